"""Runs a program with a fault at a chosen moment: `python -m tests.support.killed FAULT NUMBER PROGRAM FLAGS...`.

Faults: `row` kills the program during the NUMBERth write of a row, `checkpoint` during the NUMBERth write of a
checkpoint; `SIGINT` and `SIGTERM` send that signal before the NUMBERth write of a row; `disk` limits each file to
NUMBER bytes.
"""

from collections.abc import Callable
import functools
import os
from pathlib import Path
import resource
import runpy
import signal
import sys
import threading
import time

from orbax.checkpoint import v1 as ocp


def kill() -> None:
  """Ends the process at once, as a power cut does."""
  os.kill(os.getpid(), signal.SIGKILL)


def before_a_row(nth: int, fault: Callable[[int, bytes], None]) -> None:
  """Calls `fault(descriptor, content)` before the nth row is written."""
  write, seen = os.write, []

  def faulty(descriptor: int, content: bytes) -> int:
    if content.startswith(b'{"acq"'):
      seen.append(content)
      if len(seen) == nth:
        fault(descriptor, content)
    return write(descriptor, content)

  os.write = faulty


def in_a_row(nth: int) -> None:
  """Writes half of the nth row, then kills the process."""
  write = os.write

  def tear(descriptor: int, content: bytes) -> None:
    write(descriptor, content[: len(content) // 2])
    kill()

  before_a_row(nth, tear)


def signaled(number: int, nth: int) -> None:
  """Sends a signal, as Ctrl-C and a scheduler do, and waits until the main thread has handled it."""

  def send(*_) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.5)

  before_a_row(nth, send)


def in_a_checkpoint(nth: int) -> None:
  """Kills the process as soon as the nth checkpoint has a temporary folder."""
  save, seen = ocp.training.Checkpointer.save, []

  def killed(self, step: int, *args, **kwargs) -> bool:
    def watch() -> None:
      while not any(path.name != str(step) and str(step) in path.name for path in Path(self.directory).iterdir()):
        pass
      kill()

    seen.append(step)
    if len(seen) == nth:
      threading.Thread(target=watch, daemon=True).start()
    return save(self, step, *args, **kwargs)

  ocp.training.Checkpointer.save = killed


def small_disk(size: int) -> None:
  """Limits the size of files, which stands for a full disk."""
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


if __name__ == "__main__":
  fault, number, program = sys.argv[1:4]
  del sys.argv[1:4]
  faults = {"row": in_a_row, "checkpoint": in_a_checkpoint, "disk": small_disk}
  faults |= {name: functools.partial(signaled, signal.Signals[name]) for name in ("SIGINT", "SIGTERM")}
  faults[fault](int(number))
  runpy.run_module(program, run_name="__main__", alter_sys=True)
