"""Studies in processes of their own, one or several at a time, until they end or the time is up."""

from collections.abc import Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from experiments.errors import UsageError
from experiments.reproduction import kept
from experiments.reproduction import plan

_LOG = "log"
_TIME_UP = "the time was up"


class Piece(NamedTuple):
  """A study, or one seed of it, with a folder of its own."""

  study: plan.Study
  seed: int | None = None

  @property
  def name(self) -> str:
    return plan.folder_name(self.study, self.seed)


class _Running(NamedTuple):
  piece: Piece
  process: subprocess.Popen
  begun: float


def pieces(studies: Sequence[plan.Study], workdir: Path, processes: int) -> list[Piece]:
  """What is run at a time: whole studies by one process, seeds by several; what has been begun goes on as it is.

  Where seeds are run, those that have ended in a folder of the study, NAME-*, are left out.

  Raises:
    UsageError: a file in such a folder is damaged.
  """
  found = []
  for study in studies:
    seeds = plan.seeds(study)
    begun = any((workdir / plan.folder_name(study, seed)).exists() for seed in seeds)
    divided = (processes > 1 or begun) and not (workdir / study.name).exists()
    found += [Piece(study, seed) for seed in seeds if seed not in _ended(study, workdir)] if divided else [Piece(study)]
  return found


def _ended(study: plan.Study, workdir: Path) -> set[int]:
  """Seeds of which every run that the study names has ended, in whichever of its folders."""
  parts = [part for folder in workdir.glob(f"{study.name}-*") if (part := kept.from_workdir(folder))]
  if not parts:
    return set()
  if plan.is_full_data(study):
    return {row["seed"] for part in parts for row in part.full_data}
  ran = {(row["acq"], row["seed"]) for part in parts for row in part.rows}
  named = plan.strategies(study)
  return {seed for _, seed in ran if named and all((acq, seed) in ran for acq in named)}


def shares(processes: int) -> list[set[int] | None]:
  """The processor cores of each of several processes; None where all are one's own, or the system cannot bind.

  Raises:
    UsageError: there are fewer cores than processes.
  """
  cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
  count = os.cpu_count() if cores is None else len(cores)
  if processes > count:
    raise UsageError(f"--processes={processes}: more than there are cores, {count}")
  if processes == 1 or cores is None:
    return [None] * processes
  return [set(cores[slot::processes]) for slot in range(processes)]


def run(
  waiting: Sequence[Piece], workdir: Path, words: Sequence[str], cores: Sequence[set[int] | None], until: float
) -> dict[str, str]:
  """Runs pieces, or what is missing of them.

  Args:
    waiting: the pieces, in the order in which they are begun.
    workdir: folder of their folders.
    words: further flags of experiments.mnist, for all.
    cores: of `shares`: as many pieces as it has entries run side by side. One prints here, several in a file `log` of
      their folders.
    until: when to stop, on the clock of `time.monotonic`.

  Returns:
    By the names of the pieces that did not come to their end: why.
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
        running[slot] = _begin(waiting.pop(0), workdir, words, cores[slot], quiet=len(cores) > 1)
      for slot, (piece, process, begun) in list(running.items()):
        if process.poll() is None:
          continue
        del running[slot]
        free.append(slot)
        if process.returncode:
          stopped = time.monotonic() >= until and process.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
          told = f", see {workdir / piece.name / _LOG}" if len(cores) > 1 else ""
          missing[piece.name] = _TIME_UP if stopped else f"it ended with exit code {process.returncode}{told}"
        elif len(cores) > 1:
          print(f"{piece.name}: {(time.monotonic() - begun) / 60:.0f} minutes", flush=True)
      if running:
        time.sleep(0.1)
  except BaseException:  # Ctrl-C, or a folder that cannot be written: none of the others is left alone
    _stop(running)
    raise
  return missing


def _begin(piece: Piece, workdir: Path, words: Sequence[str], cores: set[int] | None, *, quiet: bool) -> _Running:
  """Starts a process that has cores to itself."""
  print(f"{workdir.name}: {plan.command(piece.study, str(workdir), piece.seed)}", flush=True)
  call = [sys.executable, "-m", "experiments.mnist", *plan.words(piece.study, str(workdir), piece.seed), *words]
  # A session of its own, so that Ctrl-C reaches it once, from here: a second signal would end it in the middle.
  if quiet:
    (workdir / piece.name).mkdir(parents=True, exist_ok=True)
    with (workdir / piece.name / _LOG).open("a") as log:
      process = subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
  else:
    process = subprocess.Popen(call, start_new_session=True)
  if cores is not None:
    os.sched_setaffinity(process.pid, cores)  # before it has begun a thread, which would keep to its own
  return _Running(piece, process, time.monotonic())


def _stop(running: dict[int, _Running]) -> None:
  """Lets the processes end after the round in hand, and waits for them; interrupted once more, ends them at once."""
  ask = lambda: [own.process.send_signal(signal.SIGTERM) for own in running.values()]
  ask()
  try:
    for own in running.values():
      own.process.wait()
  except KeyboardInterrupt:
    ask()
    raise
