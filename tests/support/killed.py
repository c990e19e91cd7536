"""Runs a program that comes to harm at a chosen moment: `python -m tests.support.killed HARM NUMBER PROGRAM FLAGS...`.

Harms: `row` kills it in the middle of the NUMBERth write of a row, `checkpoint` in that of the NUMBERth write of a
checkpoint; `SIGINT` and `SIGTERM` send it that signal before the NUMBERth write of a row; `disk` leaves room for NUMBER
bytes in each file.
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
  """As a power cut does."""
  os.kill(os.getpid(), signal.SIGKILL)


def before_a_row(nth: int, harm: Callable[[int, bytes], None]) -> None:
  """Does harm when the NTHth row is to be written to a descriptor."""
  write, seen = os.write, []

  def harmed(descriptor: int, content: bytes) -> int:
    if content.startswith(b'{"acq"'):
      seen.append(content)
      if len(seen) == nth:
        harm(descriptor, content)
    return write(descriptor, content)

  os.write = harmed


def in_a_row(nth: int) -> None:
  """Half of a row reaches the disk."""
  write = os.write

  def tear(descriptor: int, content: bytes) -> None:
    write(descriptor, content[: len(content) // 2])
    kill()

  before_a_row(nth, tear)


def signaled(number: int, nth: int) -> None:
  """As Ctrl-C and a scheduler do, in a round that takes longer than the main thread needs to hear of it."""

  def send(*_) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.5)

  before_a_row(nth, send)


def in_a_checkpoint(nth: int) -> None:
  """As soon as there is something of it beside those that are whole."""
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
  """A limit on the size of a file stands for a disk that is full."""
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


if __name__ == "__main__":
  harm, number, program = sys.argv[1:4]
  del sys.argv[1:4]
  harms = {"row": in_a_row, "checkpoint": in_a_checkpoint, "disk": small_disk}
  harms |= {name: functools.partial(signaled, signal.Signals[name]) for name in ("SIGINT", "SIGTERM")}
  harms[harm](int(number))
  runpy.run_module(program, run_name="__main__", alter_sys=True)
