"""Writes the report of a study: figures, tables, tests and protocol card, as Markdown and as one HTML file.

python -m experiments.report runs/study                             one workdir
python -m experiments.report runs/study/task* --out=runs/study      all workdirs of an array job
"""

from pathlib import Path
import sys

from absl import app
from absl import flags

from experiments.analysis import summary
from experiments.common import console
from experiments.common.errors import UsageError
from experiments.reporting import document
from experiments.reporting import study as studies

_OUT = flags.DEFINE_string("out", None, "folder of the report (default: report/ in the first workdir)")


def main(argv: list[str]) -> None:
  workdirs = [Path(word) for word in argv[1:]]
  try:
    if not workdirs:
      raise UsageError("no workdir given: name at least one")
    study = studies.gather(workdirs)
    files = document.files(study)
    out = Path(_OUT.value or workdirs[0] / "report")
    try:
      out.mkdir(parents=True, exist_ok=True)
      for name, content in files.items():
        (out / name).write_bytes(content)
    except OSError as error:
      raise UsageError(f"--out={out} cannot be written: {error.strerror}") from error
    if study.versions_remark:
      print(study.versions_remark)
    console.console().print(summary.closing_table(study.rows, study.full_data))
    print(f"report in {out / 'report.html'} and {out / 'report.md'}")
  except UsageError as error:
    sys.exit(f"error: {error}")
  except OSError as error:
    sys.exit(f"error: {error.filename} cannot be read: {error.strerror}")


if __name__ == "__main__":
  app.run(main)
