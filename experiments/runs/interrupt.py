"""SIGINT and SIGTERM: the first finishes and writes the work in progress, the second ends the process at once."""

from collections.abc import Callable
import concurrent.futures
import os
import signal
import sys
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
  """A signal asked the process to end, and the work in progress is written."""

  def __init__(self, number: int):
    self.name = signal.Signals(number).name
    self.exit_code = 128 + number


class Interrupt:
  """Handles signals while work runs."""

  def __init__(self):
    self._number: int | None = None

  def check(self) -> None:
    """The work calls this after it has written a row.

    Raises:
      Stopped: a signal has arrived.
    """
    if self._number is not None:
      raise Stopped(self._number)

  def run(self, work: Callable[[], T]) -> T:
    """Runs the work in a separate thread, so that signals are handled during computation; returns its result."""
    before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
      with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        while not concurrent.futures.wait([future], timeout=0.2).done:
          pass  # signal handlers run in this thread; a signal to another thread does not wake it
        return future.result()
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)

  def _on_signal(self, number: int, _) -> None:
    name = signal.Signals(number).name
    if self._number is not None:
      print(f"\n{name} again: stopped at once; all written rows are kept", file=sys.stderr, flush=True)
      os._exit(128 + number)
    self._number = number
    print(
      f"\n{name}: stopping after the current round or program is written; repeat to stop at once",
      file=sys.stderr,
      flush=True,
    )
