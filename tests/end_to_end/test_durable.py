"""Runs that are killed, stopped or refused by the disk go on as if nothing had happened."""

from pathlib import Path
import random
import re
import shlex
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests.support import programs
from tests.support.programs import read
from tests.support.programs import untimed

pytestmark = pytest.mark.usefixtures("fast_compilation")

PROGRAM = "experiments.mnist"
# Warm starts: a round depends on the parameters of the one before.
FLAGS = ("--dataset=digits", "--model=mlp", "--acq=margin", "--rounds=7", "--train_steps=300", "--warm_start")


def parameters(workdir: Path) -> list[np.ndarray]:
  """Those that the run in a workdir ended with."""
  (folder,) = (workdir / "checkpoints").iterdir()
  from orbax.checkpoint import v1 as ocp

  with ocp.training.Checkpointer(folder / "rounds") as kept:
    assert [checkpoint.step for checkpoint in kept.checkpoints] == [7, 8]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(kept.load(8)["params"])]


def killed(*words: str) -> None:
  programs.run(sys.executable, "-m", "tests.support.killed", *words, expect=-signal.SIGKILL)


def begin(*flags: str) -> subprocess.Popen:
  words = [sys.executable, "-m", PROGRAM, *FLAGS, *flags]
  return subprocess.Popen(
    words, cwd=programs.ROOT, env=programs.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


def wait_for_rows(workdir: Path, num: int) -> None:
  path = workdir / "results.jsonl"
  while not path.exists() or path.read_bytes().count(b"\n") < num:
    time.sleep(0.01)


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(tmp_path):
  whole, torn = tmp_path / "whole", tmp_path / "torn"
  programs.run(sys.executable, "-m", PROGRAM, *FLAGS, f"--workdir={whole}")
  resume = (*FLAGS, f"--workdir={torn}", "--resume")

  killed("checkpoint", "2", PROGRAM, *resume)
  assert len(read(torn)) == 1
  left = [path.name for path in (torn / "checkpoints").glob("*/rounds/*")]
  assert len(left) > 1, "what was being written is left beside the checkpoint of the first round"

  killed("row", "2", PROGRAM, *resume)
  content = (torn / "results.jsonl").read_bytes()
  assert content.count(b"\n") == 2 and not content.endswith(b"\n"), "half a row is left"

  moment = random.SystemRandom().uniform(0, 0.3)
  with begin(f"--workdir={torn}", "--resume") as process:
    wait_for_rows(torn, 3)
    time.sleep(moment)
    process.kill()

  programs.run(sys.executable, "-m", PROGRAM, *resume)
  assert list(map(untimed, read(torn))) == list(map(untimed, read(whole))), f"killed {moment} s after the third row"
  for ours, theirs in zip(parameters(torn), parameters(whole), strict=True):
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_round_be_finished_and_says_how_to_go_on(tmp_path, number, code):
  with begin(f"--workdir={tmp_path}") as process:
    wait_for_rows(tmp_path, 1)
    process.send_signal(number)
    printed = process.communicate()[0]
  assert process.returncode == code, printed
  rows = read(tmp_path)
  assert len(rows) < 8 and f"stopped by {number.name}" in printed and "Traceback" not in printed
  command = re.search(r"to go on: python (.*)", printed)[1]
  programs.run(sys.executable, *shlex.split(command))
  assert len(read(tmp_path)) == 8 and read(tmp_path)[: len(rows)] == rows


def test_a_full_disk_is_said_in_a_sentence_and_damages_nothing(tmp_path):
  # A limit on the size of a file stands for a disk that is full: the parameters do not fit, the rows do.
  code = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
    "sys.argv.pop(0); runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
  )
  flags = [*FLAGS, f"--workdir={tmp_path}", "--compilation_cache=none"]
  flags[flags.index("--rounds=7")] = "--rounds=1"
  printed = programs.run(sys.executable, "-c", code, PROGRAM, *flags, expect=1)
  assert "File too large; what it held is kept" in printed and "Traceback" not in printed
  assert not (tmp_path / "results.jsonl").exists(), "a row is written when its checkpoint is"
  programs.run(sys.executable, "-m", PROGRAM, *flags, "--resume")
  assert [row["round"] for row in read(tmp_path)] == [0, 1]
