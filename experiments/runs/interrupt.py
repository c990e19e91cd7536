"""SIGINT and SIGTERM: the first lets what is in hand be finished and written, the second ends the process at once."""

from collections.abc import Callable
import concurrent.futures
import os
import signal
import sys
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
  """A signal asked for the end, and what was in hand is written."""

  def __init__(self, number: int):
    self.name = signal.Signals(number).name
    self.exit_code = 128 + number


class Interrupt:
  """Listens for signals while work is done."""

  def __init__(self):
    self._number: int | None = None

  def check(self) -> None:
    """Called by the work when a row is written.

    Raises:
      Stopped: a signal has come.
    """
    if self._number is not None:
      raise Stopped(self._number)

  def run(self, work: Callable[[], T]) -> T:
    """What the work returns. It runs in a thread of its own, so that a signal is answered while a program computes."""
    before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
      with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        while not concurrent.futures.wait([future], timeout=0.2).done:
          pass  # handlers run in this thread, which a signal to another one does not wake
        return future.result()
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)

  def _on_signal(self, number: int, _) -> None:
    name = signal.Signals(number).name
    if self._number is not None:
      print(f"\n{name} again: stopped at once; every row written is kept", file=sys.stderr, flush=True)
      os._exit(128 + number)
    self._number = number
    print(f"\n{name}: stopping when what is in hand is written; again to stop at once", file=sys.stderr, flush=True)
