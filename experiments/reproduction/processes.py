"""Runs studies in separate processes, one or several at a time, until they end or the time is up."""

from collections.abc import Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from experiments.analysis.records import load_config
from experiments.common.errors import UsageError
from experiments.papers.base import StudyCommand
from experiments.reproduction import plan

_LOG = "log"
_TIME_UP = "the time was up"


class Piece(NamedTuple):
  """The unit that one process runs: a study, or some of its seeds, with a separate folder."""

  study: StudyCommand
  seeds: range | None = None

  @property
  def name(self) -> str:
    return plan.folder_name(self.study, self.seeds)


class _Running(NamedTuple):
  piece: Piece
  process: subprocess.Popen
  begun: float


def pieces(studies: Sequence[StudyCommand], workdir: Path, processes: int) -> list[Piece]:
  """Divides studies into pieces: whole studies for one process, single seeds for several.

  A study that runs as one program stays whole. A study that was begun, whole or by seeds, keeps its division. A folder
  NAME-SEED may hold several seeds, from SEED on, and then remains one piece.

  Raises:
    UsageError: the config.json of a folder NAME-SEED is damaged.
  """
  found = []
  for study in studies:
    begun = _begun(study, workdir)
    whole = processes == 1 or plan.is_one_program(study)
    if (workdir / study.name).exists() or (whole and not begun):
      found.append(Piece(study))
      continue
    left = set(plan.all_seeds(study)).difference(*begun)
    parts = [*begun, *(range(seed, seed + 1) for seed in left)]
    found += [Piece(study, seeds) for seeds in sorted(parts, key=lambda seeds: seeds.start)]
  return found


def _begun(study: StudyCommand, workdir: Path) -> list[range]:
  """The seeds in each folder NAME-SEED of a study."""
  out = []
  for folder in workdir.glob(f"{study.name}-*"):
    first = folder.name.removeprefix(f"{study.name}-")
    if first.isdecimal():
      config = folder / "config.json"  # absent if the run stopped before writing it
      count = load_config(config)["flags"]["seeds"] if config.exists() else 1
      out.append(range(int(first), int(first) + count))
  return out


def shares(processes: int) -> list[set[int] | None]:
  """The processor cores of each process; None means unbound: for a single process, or if the system cannot bind.

  Raises:
    UsageError: there are more processes than cores.
  """
  cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
  count = os.cpu_count() if cores is None else len(cores)
  if processes > count:
    raise UsageError(f"--processes={processes} is more than the number of cores, {count}: choose at most as many")
  if processes == 1 or cores is None:
    return [None] * processes
  return [set(cores[slot::processes]) for slot in range(processes)]


def run(
  waiting: Sequence[Piece],
  workdir: Path,
  words: Sequence[str],
  cores: Sequence[set[int] | None],
  until: float,
  files_dir: str | None = None,
) -> dict[str, str]:
  """Runs or resumes pieces.

  Args:
    waiting: the pieces, in the order in which they start.
    workdir: parent of the pieces' folders.
    words: additional flags of experiments.mnist for all pieces.
    cores: the result of `shares`; one piece per entry runs at a time. A single piece prints to this terminal; several
      print to the file `log` in their folders.
    until: when to stop, in seconds of `time.monotonic`.
    files_dir: the user's folder of files, for studies that need them.

  Returns:
    The reason for each piece that is not complete, by the piece's name.
  """
  waiting, free, missing = list(waiting), list(range(len(cores))), {}
  running: dict[int, _Running] = {}
  try:
    while waiting or running:
      if time.monotonic() >= until:
        _stop(running)
        missing |= {piece.name: _TIME_UP for piece in waiting}
        waiting = []
      while waiting and free:
        slot = free.pop(0)
        running[slot] = _begin(waiting.pop(0), workdir, words, files_dir, quiet=len(cores) > 1)
        if cores[slot] is not None:
          # Done before the process starts threads, because a thread keeps the cores that it started with.
          os.sched_setaffinity(running[slot].process.pid, cores[slot])
      for slot, (piece, process, begun) in list(running.items()):
        if process.poll() is None:
          continue
        del running[slot]
        free.append(slot)
        if process.returncode:
          stopped = time.monotonic() >= until and process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
          hint = f", see {workdir / piece.name / _LOG}" if len(cores) > 1 else ""
          missing[piece.name] = _TIME_UP if stopped else f"it ended with exit code {process.returncode}{hint}"
        elif len(cores) > 1:
          print(f"{piece.name}: {(time.monotonic() - begun) / 60:.0f} minutes", flush=True)
      if running:
        time.sleep(0.1)
  except BaseException:  # Ctrl-C, or a folder that cannot be written: leave no process running
    _stop(running)
    raise
  return missing


def _begin(piece: Piece, workdir: Path, words: Sequence[str], files_dir: str | None, *, quiet: bool) -> _Running:
  which = piece.study, str(workdir), piece.seeds, files_dir
  print(f"{workdir.name}: {plan.command(*which)}", flush=True)
  call = [sys.executable, "-m", "experiments.mnist", *plan.words(*which), *words]
  # A new session, so that Ctrl-C reaches the process only through `_stop`: a second signal would kill it mid-round.
  if quiet:
    (workdir / piece.name).mkdir(parents=True, exist_ok=True)
    with (workdir / piece.name / _LOG).open("a") as log:
      process = subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
  else:
    process = subprocess.Popen(call, start_new_session=True)
  return _Running(piece, process, time.monotonic())


def _stop(running: dict[int, _Running]) -> None:
  """Lets the processes finish their current round and waits; a second interrupt ends them at once."""
  ask = lambda: [own.process.send_signal(signal.SIGTERM) for own in running.values()]
  ask()
  try:
    for own in running.values():
      own.process.wait()
  except KeyboardInterrupt:
    ask()
    raise
