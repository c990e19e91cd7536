"""Studies in processes of their own, one or several at a time, until they end or the time is up."""

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
  """A study, or some seeds of it, with a folder of its own."""

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
  """What is run at a time: whole studies by one process, seeds by several; what has been begun goes on as it is.

  So do, where a study is run by seeds, folders NAME-SEED of several seeds from that one on.

  Raises:
    UsageError: the config.json of such a folder is damaged.
  """
  found = []
  for study in studies:
    begun = _begun(study, workdir)
    if (workdir / study.name).exists() or (processes == 1 and not begun):
      found.append(Piece(study))
      continue
    left = set(plan.all_seeds(study)).difference(*begun)
    parts = [*begun, *(range(seed, seed + 1) for seed in left)]
    found += [Piece(study, seeds) for seeds in sorted(parts, key=lambda seeds: seeds.start)]
  return found


def _begun(study: StudyCommand, workdir: Path) -> list[range]:
  """The seeds of each folder NAME-SEED of a study."""
  out = []
  for folder in workdir.glob(f"{study.name}-*"):
    first = folder.name.removeprefix(f"{study.name}-")
    if first.isdecimal():
      config = folder / "config.json"  # none yet where it was stopped at its start
      count = load_config(config)["flags"]["seeds"] if config.exists() else 1
      out.append(range(int(first), int(first) + count))
  return out


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
        running[slot] = _begin(waiting.pop(0), workdir, words, quiet=len(cores) > 1)
        if cores[slot] is not None:
          # Before it has begun a thread, which would keep to its own.
          os.sched_setaffinity(running[slot].process.pid, cores[slot])
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
  except BaseException:  # Ctrl-C, or a folder that cannot be written: no process is left alone
    _stop(running)
    raise
  return missing


def _begin(piece: Piece, workdir: Path, words: Sequence[str], *, quiet: bool) -> _Running:
  print(f"{workdir.name}: {plan.command(piece.study, str(workdir), piece.seeds)}", flush=True)
  call = [sys.executable, "-m", "experiments.mnist", *plan.words(piece.study, str(workdir), piece.seeds), *words]
  # A session of its own, so that Ctrl-C reaches it once, from here: a second signal would end it in the middle.
  if quiet:
    (workdir / piece.name).mkdir(parents=True, exist_ok=True)
    with (workdir / piece.name / _LOG).open("a") as log:
      process = subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
  else:
    process = subprocess.Popen(call, start_new_session=True)
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
