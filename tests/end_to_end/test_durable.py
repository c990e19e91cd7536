"""Runs that are killed, stopped or refused by the disk go on as if nothing had happened."""

import os
from pathlib import Path
import random
import re
import resource
import shlex
import signal
import struct
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from al_jax import loop
from al_jax import rounds
from al_jax import types
from experiments.common.errors import UsageError
from experiments.runs import python_driver
from experiments.runs import tensorboard
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.interrupt import Interrupt
from experiments.runs.interrupt import Stopped
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


@pytest.fixture
def begun(data, make_learner):
  """A run of the tiny network after its first round."""
  learner = make_learner()
  state = loop.init_state(jax.random.key(0), data, learner)
  return learner, loop.round_fn(state, data, learner, rounds.JITTED_PHASES)[0]


def same(left, right) -> None:
  as_numbers = lambda leaf: (
    jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
  )
  for ours, theirs in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
    np.testing.assert_array_equal(as_numbers(ours), as_numbers(theirs))


def test_states_come_back_and_the_last_two_are_kept(tmp_path, begun):
  _, state = begun
  with Checkpoints(tmp_path) as checkpoints:
    for r in range(1, 5):
      checkpoints.save_round(state._replace(round=jax.numpy.int32(r)))
  with Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.load_round(state, 2) is None, "only two are kept; and the later ones are of rows not written"
    assert checkpoints.load_round(state, 4) is None
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save_round(state)
    same(checkpoints.load_round(state, 1), state)


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path, begun):
  _, state = begun
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save_round(state)
  with pytest.raises(UsageError, match="File too large"), Checkpoints(tmp_path) as checkpoints:
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
      checkpoints.save_round(state._replace(round=state.round + 1))
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, before)
  with Checkpoints(tmp_path) as checkpoints:
    same(checkpoints.load_round(state, 1), state)


def test_a_damaged_checkpoint_is_named(tmp_path, begun):
  _, state = begun
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save_round(state)
  for path in (tmp_path / "rounds" / "1").rglob("*"):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(UsageError, match="rounds/1 is damaged"):
    checkpoints.load_round(state, 1)


class Cut(Exception):
  """A kill, as a test in the same process has it."""


@pytest.mark.parametrize(
  ("changes", "members"),
  [
    ({"train_steps": 25}, 1),
    ({"epochs": 6}, 3),
    ({"epochs": 9, "epoch_draws": 21}, 1),  # three steps an epoch where the labels alone make two
    ({"train_steps": 40, "early_stop": types.EarlyStop(2, every=4), "val_size": 11}, 3),
    ({"epochs": 9, "early_stop": types.EarlyStop(6, every=1), "val_size": 11}, 1),
  ],
)
def test_a_python_driver_in_parts_is_the_training_in_one(tmp_path, data, make_learner, monkeypatch, changes, members):
  monkeypatch.setattr(python_driver, "PART", 7)
  learner = make_learner(**changes)
  if members > 1:
    learner = learner._replace(posterior=types.Posterior("ensemble", members))
  state = loop.init_state(jax.random.key(0), data, learner)
  whole = rounds.JITTED_PHASES.fit(state, data, learner=learner)
  assert python_driver.is_long(learner.protocol)

  save, saved = Checkpoints.save_training, []

  def cut(self, *args):
    save(self, *args)
    saved.append(int(args[1].info.steps.max()))
    if len(saved) == 2:
      raise Cut

  monkeypatch.setattr(Checkpoints, "save_training", cut)
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(Cut):
    python_driver.fit_in_parts(checkpoints, state, data, learner=learner)
  with Checkpoints(tmp_path) as checkpoints:
    same(python_driver.fit_in_parts(checkpoints, state, data, learner=learner), whole)
    assert saved == sorted(set(saved)), "no part is trained twice"
    checkpoints.save_round(state._replace(round=state.round + 1))
  assert [path.name for path in tmp_path.iterdir()] == ["rounds"]


def test_rows_become_scalars(tmp_path):
  workdir = type("Workdir", (), {"path": tmp_path, "on_row": None})()
  row = {"acq": "power_bald(coldness=8)", "seed": 1, "round": 0, "num_labeled": 20, "test_accuracy": 0.5}
  row |= {"test_nll": 1.5, "test_ece": 0.25, "val_accuracy": None, "train_loss": 2.5, "train_steps": 3}
  with tensorboard.written(workdir, wanted=True):
    workdir.on_row(row | {"seconds_total": 4.0})
    workdir.on_row({"acq": "random", "seed": 0, "round": 0, "error": "the loss was not finite"})
  (file,) = (tmp_path / "tensorboard" / "power_bald-coldness=8-seed1").iterdir()
  from tensorboardX.proto.event_pb2 import Event

  content, found = file.read_bytes(), {}
  while content:  # records of a length, its checksum, the event and its checksum
    (length,) = struct.unpack("<Q", content[:8])
    event = Event.FromString(content[12 : 12 + length])
    found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
    content = content[16 + length :]
  assert found["test_accuracy"] == (20, 0.5) and found["train_loss"] == (20, 2.5) and "val_accuracy" not in found
