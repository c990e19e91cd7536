"""Reproduces published results: runs the presets in resumable pieces and writes one page per publication.

python -m experiments.reproduce --out=runs/out --processes=2                 about an hour on two cores
python -m experiments.reproduce --out=runs/out --scale=cpu --only=batchbald  one protocol, overnight
python -m experiments.reproduce --out=runs/out --scale=full --minutes=9      nine minutes of it; run again to resume
"""

import math
import os
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
from experiments.reproduction import files
from experiments.reproduction import page
from experiments.reproduction import plan
from experiments.reproduction import processes
from experiments.reproduction import results
from experiments.runs import runtime

_SCALE = flags.DEFINE_enum("scale", "quick", list(plan.SCALES), "; ".join(f"{k}: {v}" for k, v in plan.SCALES.items()))
_ONLY = flags.DEFINE_list(
  "only", None, f"comma-separated protocols to run, from {', '.join(REPRODUCTIONS)} (default: all of the scale)"
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "data folder, passed on to experiments.mnist")
_FILES_DIR = flags.DEFINE_string(
  "files_dir", None, "folder with the features and tables that some protocols need; without it, they are left out"
)
_PLATFORM = flags.DEFINE_string("platform", None, "device type, passed on to experiments.mnist")
_WORKDIR = flags.DEFINE_string("workdir", "runs/reproduce", "folder of the runs; existing runs in it are resumed")
_OUT = flags.DEFINE_string(
  "out",
  ".",
  "folder in which docs/reproductions (pages) and results/reproductions (figures and archived rows, which new runs"
  " extend) are written; outside this repository, the pages omit the notes on its rows",
)
_MINUTES = flags.DEFINE_float("minutes", None, "stop after this many minutes, once the current round has ended", 0.0)
_PROCESSES = flags.DEFINE_integer(
  "processes",
  1,
  "number of seeds run in parallel, each on its share of the CPU cores; keep 1 if they would share one GPU",
  1,
)
_PAGE_ONLY = flags.DEFINE_boolean("page_only", False, "run nothing; write the pages from the archived rows")


def _interrupt(*_) -> None:
  raise KeyboardInterrupt


def select_protocols(only: list[str] | None, scale: str) -> dict[str, Reproduction]:
  """The protocols to run, by name.

  Raises:
    UsageError: an unknown protocol, or one that the scale does not include.
  """
  for name in only or ():
    if name not in REPRODUCTIONS:
      raise UsageError(f"--only: unknown protocol {name!r}; choose from {', '.join(REPRODUCTIONS)}")
    if scale not in REPRODUCTIONS[name].studies:
      scales = " and ".join(REPRODUCTIONS[name].studies)
      raise UsageError(f"--only: {name} is not part of --scale={scale}, only of {scales}")
  return {name: part for name, part in REPRODUCTIONS.items() if scale in part.studies and (not only or name in only)}


def archive_rows(workdir: Path, rows: Path, studies) -> list[str]:
  """Archives the rows of all runs that have ended in `workdir`, in each study's folder NAME and in NAME-* next to it.

  Rows archived earlier stay if their run is not in `workdir` or has not ended there.

  Returns:
    One sentence for each study whose archive is left unchanged, because a file is damaged or because the folders and
    the archive belong to different studies.
  """
  refused = []
  for study in studies:
    folders, path = [workdir / study.name, *sorted(workdir.glob(f"{study.name}-*"))], rows / f"{study.name}.jsonl"
    try:
      named = plan.strategies(study)
      parts = {folder: found for folder in folders if (found := archive.from_workdir(folder, named, brief=study.brief))}
      if parts:
        before = archive.read(path)
        joined = archive.joined(({path: before} if before else {}) | parts)
        if remark := archive.versions_remark(joined):
          print(f"{study.name}: {remark}")
        archive.write(joined, path)
    except UsageError as error:
      refused.append(f"{study.name}: the page omits its new runs: {error}")
  return refused


def check_generator(rows: Path, studies) -> None:
  """Raises UsageError if a study's archived rows come from another random generator than new runs would use."""
  for study in studies:
    path = rows / f"{study.name}.jsonl"
    before = archive.read(path)
    if before and (other := other_generator(before.about, runtime.generator())):
      raise UsageError(
        f"{path} holds rows from another random generator ({other}): pass --out=FOLDER to write new rows elsewhere"
      )


def main(argv: list[str]) -> None:
  signal.signal(signal.SIGTERM, _interrupt)
  try:
    if len(argv) > 1:
      raise UsageError(f"unexpected argument {argv[1]!r}: every setting is a flag, --name=value")
    scale, workdir, out = _SCALE.value, Path(_WORKDIR.value) / _SCALE.value, Path(_OUT.value)
    parts = select_protocols(_ONLY.value, scale)
    files_dir = None if _FILES_DIR.value is None else os.path.expanduser(_FILES_DIR.value)
    if not _PAGE_ONLY.value:
      parts = files.checked(parts, scale, files_dir, named=bool(_ONLY.value))
    until = math.inf if _MINUTES.value is None else time.monotonic() + 60 * _MINUTES.value
    studies = [study for part in parts.values() for study in part.studies[scale]]
    cores = processes.shares(_PROCESSES.value)
    results.gather(out)  # reports a damaged file now, not after hours of training
    if not _PAGE_ONLY.value:
      check_generator(out / results.ROWS / scale, studies)
    words = [f"--{flag.name}={flag.value}" for flag in (_DATA_DIR, _PLATFORM) if flag.value is not None]
    pieces = [] if _PAGE_ONLY.value else processes.pieces(studies, workdir, _PROCESSES.value)
    try:
      missing = processes.run(pieces, workdir, words, cores, until, files_dir)
    finally:
      refused = archive_rows(workdir, out / results.ROWS / scale, studies)
      for sentence in refused:
        print(sentence)
      print(f"pages in {page.write(out)}")
    for name, why in missing.items():
      print(f"{name} is incomplete: {why}; the same command resumes it")
    sys.exit(bool(refused) or any("exit code" in why for why in missing.values()))
  except UsageError as error:
    sys.exit(f"error: {error}")
  except OSError as error:
    sys.exit(
      f"error: {error.filename} cannot be read or written: {error.strerror}" if error.filename else f"error: {error}"
    )
  except KeyboardInterrupt:
    print("\ninterrupted: all written rows are kept; run the same command again to resume", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
  app.run(main)
