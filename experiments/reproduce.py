"""Published results, reproduced: runs the presets in pieces that resume, and writes a page each publication.

python -m experiments.reproduce --out=runs/out --processes=2                 an hour on two cores
python -m experiments.reproduce --out=runs/out --scale=cpu --only=batchbald  one protocol, overnight
python -m experiments.reproduce --out=runs/out --scale=full --minutes=9      a piece of it; run again to go on
"""

import math
from pathlib import Path
import signal
import sys
import time

from absl import app
from absl import flags

from experiments.analysis.records import other_generator
from experiments.common.errors import UsageError
from experiments.papers.base import Reproduction
from experiments.papers.registry import REPRODUCTIONS
from experiments.reproduction import archive
from experiments.reproduction import page
from experiments.reproduction import plan
from experiments.reproduction import processes
from experiments.reproduction import results
from experiments.runs import runtime

_SCALE = flags.DEFINE_enum("scale", "quick", list(plan.SCALES), "; ".join(f"{k}: {v}" for k, v in plan.SCALES.items()))
_ONLY = flags.DEFINE_list(
  "only", None, f"protocols, a comma list of {', '.join(REPRODUCTIONS)}; by default all of a scale"
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "as of experiments.mnist")
_PLATFORM = flags.DEFINE_string("platform", None, "as of experiments.mnist")
_WORKDIR = flags.DEFINE_string("workdir", "runs/reproduce", "folder of the runs, which are gone on with where they are")
_OUT = flags.DEFINE_string(
  "out",
  ".",
  "folder of docs/reproductions with the pages, and of results/reproductions with figures and the rows of runs, which"
  " new runs join; notes on the rows in this repository are left out of the pages elsewhere",
)
_MINUTES = flags.DEFINE_float("minutes", None, "stop, after the round in hand, when so many have passed", 0.0)
_PROCESSES = flags.DEFINE_integer(
  "processes",
  1,
  "seeds run side by side, each on its share of the processor's cores; leave it where all would share one GPU",
  1,
)
_PAGE_ONLY = flags.DEFINE_boolean("page_only", False, "run nothing: write the pages from the rows that are there")


def _stopped(*_) -> None:
  raise KeyboardInterrupt


def chosen(only: list[str] | None, scale: str) -> dict[str, Reproduction]:
  """The parts to run.

  Raises:
    UsageError: an unknown one, or one that the scale leaves out.
  """
  for name in only or ():
    if name not in REPRODUCTIONS:
      raise UsageError(f"--only: unknown protocol {name!r}; choose from {', '.join(REPRODUCTIONS)}")
    if scale not in REPRODUCTIONS[name].studies:
      scales = " and ".join(REPRODUCTIONS[name].studies)
      raise UsageError(f"--only: {name} is not part of --scale={scale}, but of {scales}")
  return {name: part for name, part in REPRODUCTIONS.items() if scale in part.studies and (not only or name in only)}


def keep(workdir: Path, rows: Path, studies) -> list[str]:
  """Copies the small rows of a study's runs that have ended here: in its folder, and in NAME-* beside it.

  Rows that are kept already, of runs that are not here or have not ended here, stay.

  Returns:
    One sentence for each study whose kept rows stay as they are because a file here is damaged, or because the folders
    here and what is kept are not of one study.
  """
  refused = []
  for study in studies:
    folders, path = [workdir / study.name, *sorted(workdir.glob(f"{study.name}-*"))], rows / f"{study.name}.jsonl"
    try:
      named = plan.strategies(study)
      parts = {folder: found for folder in folders if (found := archive.from_workdir(folder, named))}
      if parts:
        before = archive.read(path)
        joined = archive.joined(({path: before} if before else {}) | parts)
        if remark := archive.versions_remark(joined):
          print(f"{study.name}: {remark}")
        archive.write(joined, path)
    except UsageError as error:
      refused.append(f"{study.name}: its runs here are left out of the page: {error}")
  return refused


def check_draws(rows: Path, studies) -> None:
  """Raises UsageError where what is kept of a study is of other draws than its runs here would be."""
  for study in studies:
    path = rows / f"{study.name}.jsonl"
    before = archive.read(path)
    if before and (other := other_generator(before.about, runtime.generator())):
      raise UsageError(
        f"{path} has rows of other draws than this version makes ({other}): pass --out=FOLDER to keep new rows apart"
      )


def main(argv: list[str]) -> None:
  signal.signal(signal.SIGTERM, _stopped)
  try:
    if len(argv) > 1:
      raise UsageError(f"stray word {argv[1]!r} on the command line: every setting is a flag, --name=value")
    scale, workdir, out = _SCALE.value, Path(_WORKDIR.value) / _SCALE.value, Path(_OUT.value)
    parts = chosen(_ONLY.value, scale)
    until = math.inf if _MINUTES.value is None else time.monotonic() + 60 * _MINUTES.value
    studies = [study for part in parts.values() for study in part.studies[scale]]
    cores = processes.shares(_PROCESSES.value)
    results.gather(out)  # which says that a file is damaged before the hours of training, not after them
    if not _PAGE_ONLY.value:
      check_draws(out / results.ROWS / scale, studies)
    words = [f"--{flag.name}={flag.value}" for flag in (_DATA_DIR, _PLATFORM) if flag.value is not None]
    pieces = [] if _PAGE_ONLY.value else processes.pieces(studies, workdir, _PROCESSES.value)
    try:
      missing = processes.run(pieces, workdir, words, cores, until)
    finally:
      refused = keep(workdir, out / results.ROWS / scale, studies)
      for sentence in refused:
        print(sentence)
      print(f"pages in {page.write(out)}")
    for name, why in missing.items():
      print(f"{name} is not complete: {why}; the same command goes on")
    sys.exit(bool(refused) or any("exit code" in why for why in missing.values()))
  except UsageError as error:
    sys.exit(f"error: {error}")
  except OSError as error:
    sys.exit(
      f"error: {error.filename} cannot be read or written: {error.strerror}" if error.filename else f"error: {error}"
    )
  except KeyboardInterrupt:
    print("\ninterrupted: every row written is kept; run the same command again to go on", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
  app.run(main)
