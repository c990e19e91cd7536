"""Checkpoints load what was saved, and a long training in parts equals an uninterrupted one."""

import functools
import resource
from typing import NamedTuple

import jax
import numpy as np
import pytest

from al_jax import loop
from al_jax import rounds
from al_jax import types
from experiments.common.errors import UsageError
from experiments.runs import python_driver
from experiments.runs.checkpoints import Checkpoints

pytestmark = pytest.mark.usefixtures("fast_compilation")


@pytest.fixture
def begun(data, make_learner):
  """A run of the tiny network after the training of its first round."""
  learner = make_learner(steps=25)
  state = loop.init_state(jax.random.key(0), data, learner)
  fitted, _ = rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer)
  return learner, fitted._replace(round=state.round + 1)


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
    assert checkpoints.load_round(state, 2) is None, "only two are kept, and loading deletes those of later rounds"
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
  """Stands for a kill, within the test's process."""


slow = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("changes", "members"),
  [
    ({"steps": 25}, 1),
    slow({"epochs": 9, "min_epoch_size": 21}, 3),  # three steps per epoch; the labels alone would make two
    slow({"steps": 40, "early_stop": types.EarlyStop(2, every=4), "val_size": 11}, 3),
    slow({"epochs": 9, "early_stop": types.EarlyStop(6, every=1), "val_size": 11}, 1),
  ],
)
def test_a_python_driver_in_parts_is_the_training_in_one(tmp_path, data, make_learner, monkeypatch, changes, members):
  monkeypatch.setattr(python_driver, "PART", 7)
  learner = make_learner(**changes, members=members)
  state = loop.init_state(jax.random.key(0), data, learner)
  whole = rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer)
  assert python_driver.is_long(learner.plan)

  save, saved = Checkpoints.save_training, []

  def cut(self, *args):
    save(self, *args)
    saved.append(int(args[1].info.steps.max()))
    if len(saved) == 2:
      raise Cut

  monkeypatch.setattr(Checkpoints, "save_training", cut)
  with Checkpoints(tmp_path) as checkpoints, pytest.raises(Cut):
    python_driver.fit_in_parts(checkpoints, state, data, trainer=learner.trainer)
  with Checkpoints(tmp_path) as checkpoints:
    same(python_driver.fit_in_parts(checkpoints, state, data, trainer=learner.trainer), whole)
    assert saved == sorted(set(saved)), "no part is trained twice"
    checkpoints.save_round(state._replace(round=state.round + 1))
  assert [path.name for path in tmp_path.iterdir()] == ["rounds"]


class EarlierState(NamedTuple):
  """The state of an earlier version that had parameters only."""

  params: dict
  labeled: jax.Array
  key: jax.Array
  round: jax.Array
  order: jax.Array | None = None


@pytest.mark.slow
@pytest.mark.parametrize("warm_start", [False, slow(True)])
def test_a_checkpoint_of_an_earlier_version_is_replayed_from_rows_or_refused(warm_start, tmp_path, data, make_learner):
  learner = make_learner("margin", warm_start=warm_start)
  whole = list(python_driver.run_python("margin", 0, data, learner, [], lambda *_: None))
  state = loop.init_state(jax.random.key(0), data, learner)
  with Checkpoints(tmp_path) as checkpoints:
    earlier = EarlierState(state.variables["params"], state.labeled, state.key, state.round + 2)
    checkpoints._rounds.save(2, earlier, force=True)
  with Checkpoints(tmp_path) as checkpoints:
    resumed = python_driver.run_python("margin", 0, data, learner, whole[:2], lambda *_: None, checkpoints=checkpoints)
    if warm_start:
      with pytest.raises(UsageError, match="checkpoint of an earlier version"):
        list(resumed)
    else:
      assert [row["selected"] for row in resumed] == [row["selected"] for row in whole[2:]]
