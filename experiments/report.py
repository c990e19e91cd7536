"""Writes the report of a study: figures, tables, tests and protocol card, as Markdown and as one HTML file.

python -m experiments.report runs/study                             one workdir
python -m experiments.report runs/study/task* --out=runs/study      all workdirs of an array job
python -m experiments.report runs/study --keep=study.jsonl          also keep the study in one file, a line per run
python -m experiments.report study.jsonl                            the report of a kept study
python -m experiments.report a.jsonl --beside=b.jsonl --regimes=20,50,200    gains over random and ranks of two studies
"""

import itertools
from pathlib import Path
import sys

from absl import app
from absl import flags

from experiments.analysis import summary
from experiments.common import console
from experiments.common.errors import UsageError
from experiments.reporting import document
from experiments.reporting import study as studies

_OUT = flags.DEFINE_string(
  "out", None, "folder of the report (default: report/ in the first workdir; for a kept study NAME.jsonl, NAME/report/)"
)
_KEEP = flags.DEFINE_string("keep", None, "file to which the study is written, one line per run, such as study.jsonl")
_REGIMES = flags.DEFINE_list(
  "regimes",
  None,
  "numbers of labels that bound the budget regimes, such as 20,50,100 (default: three regimes of about equal ratio)",
)
_BESIDE = flags.DEFINE_list(
  "beside",
  [],
  "workdirs or kept studies, comma-separated, such as other data sets: in the figure of the budget regimes and in the"
  " ranks over studies",
)


def main(argv: list[str]) -> None:
  workdirs = [Path(word) for word in argv[1:]]
  try:
    if not workdirs:
      raise UsageError("no workdir given: name at least one")
    keep = None if _KEEP.value is None else Path(_KEEP.value)
    if keep is not None and (keep.suffix != ".jsonl" or keep.name == "results.jsonl"):
      raise UsageError(f"--keep={keep} must be a .jsonl file, and not a results.jsonl")
    study = studies.gather(workdirs)
    beside = [studies.gather([Path(word)]) for word in _BESIDE.value]
    if len({one.name for one in (study, *beside)}) <= len(beside):
      raise UsageError(f"--beside={','.join(_BESIDE.value)}: the studies must differ in their names")
    files = document.files(study, _bounds(_REGIMES.value), beside)
    first = workdirs[0]
    out = Path(_OUT.value or (first.with_suffix("") if first.is_file() else first) / "report")
    try:
      out.mkdir(parents=True, exist_ok=True)
      for name, content in files.items():
        (out / name).write_bytes(content)
    except OSError as error:
      raise UsageError(f"--out={out} cannot be written: {error.strerror}") from error
    if keep is not None:
      try:
        keep.parent.mkdir(parents=True, exist_ok=True)
        studies.keep(study, keep)
      except OSError as error:
        raise UsageError(f"--keep={keep} cannot be written: {error.strerror}") from error
    if study.versions_remark:
      print(study.versions_remark)
    console.console().print(summary.closing_table(study.rows, study.full_data))
    print(f"report in {out / 'report.html'} and {out / 'report.md'}")
    if keep is not None:
      print(f"study kept in {keep}: {keep.stat().st_size / 1e6:.1f} MB")
  except UsageError as error:
    sys.exit(f"error: {error}")
  except OSError as error:
    sys.exit(f"error: {error.filename} cannot be read: {error.strerror}")


def _bounds(words: list[str] | None) -> list[int] | None:
  if words is None:
    return None
  bounds = [int(word) if word.isdecimal() else 0 for word in words]
  if len(bounds) < 2 or bounds[0] < 1 or any(low >= high for low, high in itertools.pairwise(bounds)):
    raise UsageError(f"--regimes={','.join(words)} must be ascending numbers of labels, such as 20,50,100,220")
  return bounds


if __name__ == "__main__":
  app.run(main)
