"""Signals take effect between rounds."""

import os
import signal
import sys
import time

import pytest

from experiments.common.errors import UsageError
from experiments.runs.interrupt import Interrupt
from experiments.runs.interrupt import Stopped
from tests.support import programs


def test_a_second_signal_ends_the_process_at_once():
  code = (
    "import os, signal, time\nfrom experiments.runs.interrupt import Interrupt\n"
    "Interrupt().run(lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.5),"
    " os.kill(os.getpid(), signal.SIGTERM), time.sleep(60)))"
  )
  start = time.monotonic()
  assert "stopped at once" in programs.run(sys.executable, "-c", code, expect=143)
  assert time.monotonic() - start < 30


def test_a_signal_is_noticed_where_the_work_asks():
  stop, before = Interrupt(), signal.getsignal(signal.SIGTERM)

  def work():
    stop.check()
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
      stop.check()

  with pytest.raises(Stopped) as stopped:
    stop.run(work)
  assert stopped.value.exit_code == 143 and signal.getsignal(signal.SIGTERM) is before


def test_what_the_work_raises_or_returns_comes_back():
  assert Interrupt().run(lambda: 3) == 3
  with pytest.raises(UsageError, match="no such"):
    Interrupt().run(lambda: (_ for _ in ()).throw(UsageError("no such thing")))
