"""Studies in separate processes: which are started, on which cores, and that none is left running."""

import json
import math
import os
import sys
import time

import pytest

from experiments.common.errors import UsageError
from experiments.papers.base import StudyCommand
from experiments.reproduction import plan
from experiments.reproduction import processes
from tests.support.reproductions import made_config

SMALL = StudyCommand("small", "study", ("--acq=random", "--seeds=2", "--rounds=1"))


@pytest.fixture
def endless(tmp_path, monkeypatch):
  """Replaces runs by processes that end only at a signal."""
  program = tmp_path / "program"
  program.write_text("#!/bin/sh\nexec sleep 600\n")
  program.chmod(0o755)
  monkeypatch.setattr(sys, "executable", str(program))


def test_several_processes_take_seeds_and_go_on_with_what_was_begun(tmp_path):
  other = StudyCommand("other", "study", ("--seeds=1",))
  seeds = lambda study, *parts: [processes.Piece(study, range(*part)) for part in parts]
  whole, divided = [processes.Piece(SMALL)], seeds(SMALL, (0, 1), (1, 2))
  pieces = lambda count: processes.pieces([SMALL], tmp_path, count)
  assert pieces(1) == whole and pieces(2) == divided
  assert processes.pieces([other, SMALL], tmp_path, 2) == [*seeds(other, (0, 1)), *divided]
  assert [piece.name for piece in divided] == ["small-0", "small-1"]
  (tmp_path / "small-by_hand").mkdir()  # the page includes it, but no command resumes it
  assert pieces(1) == whole
  (tmp_path / "small-1").mkdir()
  assert pieces(1) == pieces(2) == divided  # the study was begun by seeds
  (tmp_path / "small-1" / "config.json").write_text(json.dumps(made_config(1, 3)))
  assert pieces(1) == pieces(2) == seeds(SMALL, (0, 1), (1, 4))  # a folder of several seeds, begun elsewhere
  assert plan.words(SMALL, "runs", range(1, 4))[-4:] == ["--seed=1", "--seeds=3", "--workdir=runs/small-1", "--resume"]
  (tmp_path / "small").mkdir()
  assert pieces(1) == pieces(2) == whole  # the study was begun as a whole


def test_a_study_in_one_program_is_not_divided(tmp_path):
  together = StudyCommand("together", SMALL.preset, (*SMALL.flags, "--driver=scan"))
  assert processes.pieces([together], tmp_path, 2) == [processes.Piece(together)]


def test_every_process_has_cores_to_itself(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 4, 5, 7}, raising=False)
  assert processes.shares(1) == [None]
  assert processes.shares(2) == [{1, 4, 7}, {2, 5}]
  with pytest.raises(UsageError, match="--processes=6 is more than the number of cores, 5"):
    processes.shares(6)
  monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
  monkeypatch.setattr(os, "cpu_count", lambda: 2)
  assert processes.shares(2) == [None, None]


def test_all_processes_stop_when_the_time_is_up(tmp_path, endless):
  long = StudyCommand("long", "study", ("--acq=random", "--seeds=3"))
  pieces, begun = processes.pieces([long], tmp_path, 2), time.monotonic()
  missing = processes.run(pieces, tmp_path, [], [None, None], begun + 0.5)
  assert missing == dict.fromkeys(("long-0", "long-1", "long-2"), "the time was up")
  assert (tmp_path / "long-1").exists() and not (tmp_path / "long-2").exists()


@pytest.mark.parametrize("fault", ["folder", "cores"])
def test_no_process_is_left_where_another_cannot_be_begun(fault, tmp_path, endless, monkeypatch):
  begun, begin = [], processes._begin
  monkeypatch.setattr(processes, "_begin", lambda *args, **kwargs: begun.append(begin(*args, **kwargs)) or begun[-1])
  long = StudyCommand("long", "study", ("--acq=random", "--seeds=2"))
  cores = [None, None]
  if fault == "folder":
    (tmp_path / "long-1").write_text("in the way")
  else:
    cores = [None, {1}]

    def refuse(*_):
      raise OSError("no such core")

    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
  with pytest.raises(OSError):
    processes.run(processes.pieces([long], tmp_path, 2), tmp_path, [], cores, math.inf)
  assert len(begun) == 1 + (fault == "cores")
  assert all(running.process.poll() is not None for running in begun)
