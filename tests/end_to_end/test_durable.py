"""Runs that are killed, stopped, or out of disk space resume to the rows of an uninterrupted run."""

import os
from pathlib import Path
import random
import re
import shlex
import signal
import time

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest

from tests.support.forked import Started
from tests.support.programs import read
from tests.support.programs import untimed

pytestmark = pytest.mark.slow

PROGRAM = "experiments.mnist"
# With warm starts, a round depends on the parameters of the previous one.
FLAGS = ("--dataset=digits", "--model=mlp", "--acq=margin", "--rounds=5", "--train_steps=100", "--warm_start")


def parameters(workdir: Path) -> list[np.ndarray]:
  """The final parameters of the run in a workdir."""
  (folder,) = (workdir / "checkpoints").iterdir()
  with ocp.training.Checkpointer(folder / "rounds") as kept:
    assert [checkpoint.step for checkpoint in kept.checkpoints] == [5, 6]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(kept.load(6)["variables"])]


def wait_for_rows(started: Started, workdir: Path, num: int) -> None:
  path = workdir / "results.jsonl"
  while not path.exists() or path.read_bytes().count(b"\n") < num:
    os.kill(started.pid, 0)  # raises if the process has ended
    time.sleep(0.01)


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path, program):
  whole, torn = tmp_path / "whole", tmp_path / "torn"
  program.run(PROGRAM, *FLAGS, f"--workdir={whole}")
  resume = (PROGRAM, *FLAGS, f"--workdir={torn}", "--resume")
  killed = lambda *words: program.run("tests.support.killed", *words, *resume, expect=-signal.SIGKILL)

  killed("checkpoint", "2")
  assert len(read(torn)) == 1
  left = [path.name for path in (torn / "checkpoints").glob("*/rounds/*")]
  assert len(left) > 1, "the unfinished checkpoint is left next to that of the first round"

  killed("row", "2")
  content = (torn / "results.jsonl").read_bytes()
  assert content.count(b"\n") == 2 and not content.endswith(b"\n"), "half a row is left"

  moment = random.SystemRandom().uniform(0, 0.1)
  with program.start(*resume) as started:
    wait_for_rows(started, torn, 3)
    time.sleep(moment)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL, started.printed()

  program.run(*resume)
  assert list(map(untimed, read(torn))) == list(map(untimed, read(whole))), f"killed {moment} s after the third row"
  for ours, theirs in zip(parameters(torn), parameters(whole), strict=True):
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_lets_the_round_be_finished_and_says_how_to_go_on(tmp_path, program, name, code):
  printed = program.run("tests.support.killed", name, "2", PROGRAM, *FLAGS, f"--workdir={tmp_path}", expect=code)
  rows = read(tmp_path)
  assert len(rows) == 2 and f"stopped by {name}" in printed and "Traceback" not in printed
  python, module, *words = shlex.split(re.search(r"resume with: (.*)", printed)[1])
  assert (python, module) == ("python", "-m")
  program.run(*words)
  assert len(read(tmp_path)) == 6 and read(tmp_path)[:2] == rows


def test_a_full_disk_is_said_in_a_sentence_and_damages_nothing(tmp_path, program):
  # The rows fit on the disk, the parameters do not. Nor would compiled programs, so there is no cache.
  flags = (PROGRAM, *(word for word in FLAGS if word != "--rounds=5"), "--rounds=1", f"--workdir={tmp_path}")
  printed = program.run("tests.support.killed", "disk", "20000", *flags, "--compilation_cache=none", expect=1)
  assert "File too large; earlier checkpoints are kept" in printed and "Traceback" not in printed
  assert not (tmp_path / "results.jsonl").exists(), "a row is written after its checkpoint"
  program.run(*flags, "--resume")
  assert [row["round"] for row in read(tmp_path)] == [0, 1]
