"""Runs that advance round by round: equal to runs alone, and what they have in common is computed once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import from_flax
from al_jax import lockstep
from al_jax import loop
from al_jax import models
from al_jax import posterior
from al_jax import types
from al_jax.sweep import sweep
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEYS = jax.vmap(jax.random.key)(jnp.arange(3, dtype=jnp.uint32))
HEAD = {"network": from_flax(models.Linear()), "steps": None, "full_batch": types.FullBatch()}


def of_run(runs: lockstep.Runs, k: int) -> types.RoundInfo:
  return jax.tree.map(lambda leaf: np.asarray(leaf[k]), runs.info)


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def heads(make_learner, **changes) -> tuple:
  """Strategies of two trainers: margin, BALD by an ensemble, random, BALD by Laplace."""
  alone = HEAD | {"posterior": posterior.deterministic()} | changes
  return (
    changed(make_learner("margin"), **alone),
    changed(make_learner("bald"), **HEAD, members=3, posterior=posterior.ensemble(3), **changes),
    changed(make_learner("random"), **alone),
    changed(make_learner("bald"), **alone | {"posterior": posterior.laplace(4)}),
  )


def test_strategies_with_equal_trainers_are_a_group(make_learner):
  learners = heads(make_learner)
  assert lockstep.groups(learners) == [[0, 2, 3], [1]]
  traced = {"label_noise": jnp.float32(0.1)}
  one, other = (changed(learners[0], label_noise=jnp.float32(0.1)) for _ in range(2))
  same = changed(learners[2], label_noise=traced["label_noise"]), changed(learners[0], **traced)
  assert lockstep.groups((one, other, *same)) == [[0], [1], [2, 3]]  # arrays are compared as objects


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 20])
def test_in_chunks(at_once):
  """The first results are those of single jobs, also where the last chunk overlaps; no other chunk is computed."""
  jobs = {"x": jnp.arange(7.0), "y": jnp.arange(14.0).reshape(7, 2)}
  seen: list = []

  def one(job):
    jax.debug.callback(lambda x: seen.append(float(x)), job["x"])
    return job["x"] ** 2, job["y"].sum()

  run = jax.jit(lambda jobs, count: lockstep._in_chunks(one, jobs, at_once=at_once, count=count))
  for count in (1, 4, 7):
    seen.clear()
    squares, sums = run(jobs, count)
    jax.effects_barrier()
    np.testing.assert_array_equal(squares[:count], np.arange(7.0)[:count] ** 2)
    np.testing.assert_array_equal(sums[:count], (4 * np.arange(7.0) + 1)[:count])
    size = min(at_once, 7)
    assert len(seen) == -(-count // size) * size and set(range(count)) <= set(seen)


@pytest.mark.slow
def test_packed_by_map_a_head_is_the_run_alone_in_every_bit(data, make_learner):
  learners = heads(make_learner)
  together = sweep(KEYS, data, learners, pack="map")
  for learner, runs in zip(learners, together, strict=True):
    for k in (0, 2):
      state, info = loop.run(KEYS[k], data, learner)
      assert_equal(of_run(runs, k), info)
      acquired = info.selected[:-1].ravel().tolist()
      assert sorted([*runs.initial[k].tolist(), *acquired]) == np.flatnonzero(state.labeled).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
  "plan",
  [
    {"val_last": 0.2},
    {"warm_start": True, "keep_optimizer": True},
    {"val_size": 11, "early_stop": types.EarlyStop(2, 3)},
    {"steps": None, "epochs": 2, "first_epochs": 3, "pool_subset": 40},
    {"label_noise": 0.3, "members": 2},
  ],
  ids=str,
)
def test_packed_by_map_every_plan_is_the_run_alone(plan, data, make_learner):
  learners = tuple(changed(make_learner(name), **plan) for name in ("margin", "kcenter", "bald"))
  together = sweep(KEYS[:2], data, learners, pack="map")
  for learner, runs in zip(learners, together, strict=True):
    _, info = loop.run(KEYS[1], data, learner)
    assert_equal(of_run(runs, 1), info)


@pytest.mark.slow
def test_packed_by_heads_draws_are_equal_and_results_are_up_to_rounding(data, make_learner, monkeypatch):
  """Three runs, scored two at a time: the last chunk overlaps."""
  monkeypatch.setitem(lockstep.PACKS, "pairs", lockstep.Packing(1, 2))
  learners = tuple(heads(make_learner)[i] for i in (0, 2))
  together = sweep(KEYS, data, learners, pack="pairs")
  one_by_one = sweep(KEYS, data, learners, pack="map")
  margin, random = range(2)
  assert_equal(of_run(one_by_one[margin], 2), loop.run(KEYS[2], data, learners[margin])[1])
  for packed, alone in zip(together, one_by_one, strict=True):
    np.testing.assert_array_equal(packed.initial, alone.initial)
    # Training is not packed: round 0's model is the same in every bit, and its metrics are up to rounding.
    assert_equal(
      jax.tree.map(lambda leaf: leaf[:, 0], packed.info.fit), jax.tree.map(lambda x: x[:, 0], alone.info.fit)
    )
    np.testing.assert_allclose(packed.info.metrics.test_nll[:, 0], alone.info.metrics.test_nll[:, 0], rtol=1e-4)
  assert_equal(together[random].info.selected, one_by_one[random].info.selected)
  assert_equal(together[random].info.fit, one_by_one[random].info.fit)
  np.testing.assert_allclose(together[margin].info.scores[:, 0], one_by_one[margin].info.scores[:, 0], atol=1e-5)
  assert (together[margin].info.selected == one_by_one[margin].info.selected).mean() > 0.9


def test_packings_are_as_documented():
  assert lockstep.PACKS == {"map": (1, 1), "vmap": (None, None), "heads": (1, 10)}


@pytest.mark.slow
def test_round_0_is_trained_once_per_key_and_is_the_same_for_all_strategies(data, make_learner):
  steps: list = []
  adam = optax.adam(1e-2)

  def update(grads, state, params=None):
    jax.debug.callback(lambda: steps.append(1))
    return adam.update(grads, state, params)

  counted = optax.GradientTransformation(adam.init, update)
  learners = tuple(changed(make_learner(name), optimizer=counted, steps=5) for name in ("margin", "random", "entropy"))
  together = sweep(KEYS, data, learners, pack="map")
  jax.block_until_ready(together)
  jax.effects_barrier()
  rounds_after = 2
  assert len(steps) == 5 * 3 * (1 + len(learners) * rounds_after)
  first = [jax.tree.map(lambda leaf: leaf[:, 0], (runs.info.metrics, runs.info.fit)) for runs in together]
  assert_equal(first[0], first[1])
  assert_equal(first[0], first[2])
  last = [runs.info.fit.loss[:, 2].tolist() for runs in together]
  assert len(set(map(tuple, last))) == 3


@dataclasses.dataclass(frozen=True)
class Rates:
  """Learners of a point: a traced label noise rate for two of three strategies."""

  learners: tuple

  def __call__(self, rate):
    return (*(changed(learner, label_noise=rate) for learner in self.learners[:2]), self.learners[2])


@pytest.mark.slow
def test_learners_of_a_point_share_its_trainer(data, make_learner):
  """Traced rates are the same object for all strategies of a point, so these form a group."""
  learners = tuple(make_learner(name) for name in ("margin", "random", "entropy"))
  rates = jnp.array([0.0, 0.3, 0.6], jnp.float32)
  together = sweep(jnp.stack([KEYS[0]] * 3), data, Rates(learners), pack="map", points=rates)
  losses = np.stack([runs.info.fit.loss[:, 0] for runs in together])
  np.testing.assert_array_equal(losses[0], losses[1])
  assert len(set(losses[0].tolist())) == 3 and len(set(losses[2].tolist())) == 1
  for k, rate in enumerate((0.0, 0.3, 0.6)):
    _, info = loop.run(KEYS[0], data, changed(learners[0], label_noise=rate))
    assert_equal(of_run(together[0], k), info)
