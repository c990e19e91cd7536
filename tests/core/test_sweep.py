"""Many runs as one program: packings, grids, transfers, and compilation for other platforms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import acquisition
from al_jax import from_flax
from al_jax import loop
from al_jax import posterior
from al_jax import rounds
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer
from al_jax.models.cnn import CNN
from al_jax.models.mlp import MLP
from al_jax.sweep import PACKS
from al_jax.sweep import Runs
from al_jax.sweep import sweep
from al_jax.sweep import sweep_program
from tests.conftest import ACQUISITIONS
from tests.support.learners import changed

KEYS = jax.vmap(jax.random.key)(jnp.arange(4, dtype=jnp.uint32))


@pytest.fixture(scope="module", autouse=True)
def quick(fast_compilation):
  """Compiles the programs of this module without optimizations."""


def of_run(runs: Runs, k: int) -> types.RoundInfo:
  return jax.tree.map(lambda leaf: np.asarray(leaf[k]), runs.info)


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_under_vmap_every_draw_is_that_of_the_run_alone(data, make_learner):
  """Initial sets, initial weights and random's ids are equal; results of training may differ in the last bits."""
  learner = make_learner("random")
  (runs,) = sweep(KEYS, data, (learner,), pack="vmap")
  together = jax.vmap(lambda key: loop.init_state(key, data, learner))(KEYS)
  for k, key in enumerate(KEYS):
    state = loop.init_state(key, data, learner)
    assert_equal(state.variables, jax.tree.map(lambda leaf, k=k: leaf[k], together.variables))
    assert sorted(runs.initial[k].tolist()) == np.flatnonzero(state.labeled).tolist()
    for selected in runs.info.selected[k][:-1]:  # random does not depend on the parameters
      ids, _ = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
      np.testing.assert_array_equal(selected, ids)
      state = rounds.label(state, ids, learner.plan)
  assert len({tuple(ids) for ids in runs.info.selected[:, 0].tolist()}) == len(KEYS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["entropy", "bald"])
def test_under_vmap_scores_of_given_parameters_agree_within_rounding(name, data, make_learner):
  learner = make_learner(name)
  states = [loop.init_state(key, data, learner) for key in KEYS]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
  acquire = lambda state: rounds.acquire_round(state, data, learner)
  ids, scores = jax.jit(jax.vmap(acquire))(stacked)
  for k, state in enumerate(states):
    alone_ids, alone = jax.jit(acquire)(state)
    np.testing.assert_allclose(scores[k], alone, rtol=1e-5, atol=1e-6)
    if np.diff(alone).max() < -1e-5:  # no near ties, so the order is that of the scores
      np.testing.assert_array_equal(ids[k], alone_ids)


def test_packed_by_map_a_run_is_the_run_alone_and_other_keys_compile_nothing(data, make_learner, compilations):
  learners = make_learner("random"), make_learner("margin")
  together = sweep(KEYS, data, learners, pack="map")
  for k in (0, 2):
    state, info = loop.run(KEYS[k], data, learners[1])
    assert_equal(of_run(together[1], k), info)
    assert set(together[1].initial[k].tolist()) <= set(np.flatnonzero(state.labeled).tolist())
  others = KEYS[::-1]
  with compilations() as events:
    again = sweep(others, data, learners, pack="map")
  assert not events
  assert_equal(of_run(again[1], 3), of_run(together[1], 0))


def test_unknown_packing_is_refused(data, make_learner):
  with pytest.raises(ValueError, match="unknown packing 'pmap': choose from map, vmap"):
    sweep(KEYS, data, (make_learner(),), pack="pmap")


@dataclasses.dataclass(frozen=True)
class Point:
  """A learner for the tiny pool; all its numbers may be traced."""

  plan: types.Plan

  def __call__(self, point):
    optimizer = optax.chain(optax.add_decayed_weights(point["weight_decay"]), optax.adam(point["learning_rate"]))
    made = make_power(point["coldness"])
    network = from_flax(MLP(hidden=(16,), dropout_rate=point["dropout_rate"]))
    return (Learner(Trainer(network, optimizer, self.plan, label_noise=point["label_noise"]), made, MC),)


MC = posterior.mc_dropout(3)


def make_power(coldness):
  return acquisition.power(ACQUISITIONS["bald"], coldness=coldness)


# A first point, points that differ from it in one value each, and one that differs in all.
GRID = {
  "learning_rate": [1e-2, 3e-3, 1e-2, 1e-2, 1e-2, 1e-2, 3e-3],
  "dropout_rate": [0.25, 0.25, 0.5, 0.25, 0.25, 0.25, 0.5],
  "weight_decay": [0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.5],
  "coldness": [8.0, 8.0, 8.0, 8.0, 1.0, 8.0, 1.0],
  "label_noise": [0.0, 0.0, 0.0, 0.0, 0.0, 0.6, 0.6],
}
POINTS = 7


def sweep_of_points(data, recipe, *, pack: str, **changes) -> Runs:
  """The runs of `GRID` with these changes and one key."""
  points = {name: jnp.array(axis, jnp.float32) for name, axis in (GRID | changes).items()}
  return sweep(jnp.stack([KEYS[0]] * POINTS), data, recipe, pack=pack, points=points)[0]


@pytest.mark.slow
@pytest.mark.parametrize("pack", ["map", "vmap"])
def test_a_grid_is_its_points_run_one_by_one(pack, data, make_learner):
  recipe = Point(make_learner().plan)
  runs = sweep_of_points(data, recipe, pack=pack)
  losses = np.asarray(runs.info.fit.loss)
  assert len(set(losses[:, -1].tolist())) == POINTS, "a value without effect"
  # The last point with constants instead of program arguments; under vmap also the first.
  for k in (POINTS - 1,) if pack == "map" else (0, POINTS - 1):
    _, info = loop.run(KEYS[0], data, *recipe({name: axis[k] for name, axis in GRID.items()}))
    np.testing.assert_allclose(losses[k], info.fit.loss, rtol=2e-3, atol=1e-4)
    np.testing.assert_array_equal(runs.info.selected[k, 0], info.selected[0])


@pytest.mark.slow
def test_a_diverging_run_leaves_the_others_alone(data, make_learner):
  recipe, rates = Point(make_learner().plan), GRID["learning_rate"]
  broken = sweep_of_points(data, recipe, pack="vmap", learning_rate=[1e30, *rates[1:]])
  whole = sweep_of_points(data, recipe, pack="vmap")
  assert broken.info.fit.first_bad_step[0, 0] >= 0 and broken.info.fit.first_bad_step[1].tolist() == [-1, -1, -1]
  for k in range(1, POINTS):
    assert_equal(of_run(broken, k), of_run(whole, k))


@dataclasses.dataclass(frozen=True)
class Noisy:
  """A learner with a traced label noise rate."""

  learner: Learner

  def __call__(self, point):
    return (changed(self.learner, label_noise=point["label_noise"]),)


@pytest.mark.slow
@pytest.mark.parametrize("pack", PACKS)
def test_a_grid_of_label_noise_is_its_points_run_one_by_one(pack, data, make_learner):
  learner = make_learner("margin", val_size=11)
  rates = [0.0, 0.2, 0.6]
  points = {"label_noise": jnp.array(rates, jnp.float32)}
  (runs,) = sweep(jnp.stack([KEYS[0]] * 3), data, Noisy(learner), pack=pack, points=points)
  for k, rate in ((0, 0.0), (2, 0.6)):
    _, info = loop.run(KEYS[0], data, changed(learner, label_noise=rate))
    if pack == "map":
      assert_equal(of_run(runs, k), info)
    np.testing.assert_allclose(runs.info.fit.loss[k], info.fit.loss, rtol=2e-3, atol=1e-4)
  assert len(set(runs.info.fit.loss[:, 0].tolist())) == 3, "a rate without effect"


@pytest.mark.parametrize(
  ("pack", "names"),
  [("map", ("random", "margin")), ("vmap", ("random",)), pytest.param("vmap", ("bald",), marks=pytest.mark.slow)],
)
def test_the_program_moves_nothing_between_host_and_device(pack, names, data, make_learner):
  learners = tuple(map(make_learner, names))
  arguments = jax.device_put((KEYS, data))
  program = lambda: sweep(*arguments, learners, pack=pack)
  program()  # compilation may transfer
  with jax.transfer_guard("disallow"):
    runs = program()
  assert (np.asarray(runs[0].info.num_labeled) == [10, 17, 24]).all()
  with jax.transfer_guard("disallow"), pytest.raises(Exception, match="isallowed host-to-device"):
    jnp.asarray(np.arange(3)) + program()[0].info.num_labeled[0]


@pytest.mark.slow
@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_whole_program_lowers_for_other_devices(platform, pack, data, make_learner):
  """Programs of the default network with every kind of strategy are not tied to this machine's backend."""
  names = ("entropy", "power_bald", "batchbald", "badge", "bait", "typiclust")
  learners = tuple(changed(make_learner(name), network=from_flax(CNN())) for name in names)
  lowered = sweep_program.trace(KEYS[:2], data, learners, pack=pack).lower(lowering_platforms=(platform,))
  text = lowered.as_text()
  assert "while" in text and "custom_call @Sharding" not in text and "lapack" not in text


def test_bfloat16_scores_agree_with_float32_but_for_near_ties(data, make_learner):
  learner = make_learner("entropy", score_dtype="bfloat16")
  exact = make_learner("entropy")
  state = loop.init_state(KEYS[0], data, exact)
  ids, scores = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
  exact_ids, exact_scores = rounds.JITTED_PHASES.acquire(state, data, learner=exact)
  assert scores.dtype == jnp.float32 and not np.array_equal(scores, exact_scores)
  np.testing.assert_allclose(np.sort(scores), np.sort(exact_scores), atol=0.02)
  assert len(set(ids.tolist()) & set(exact_ids.tolist())) >= 4  # out of 7
  dtypes = {var.aval.dtype.name for var in _variables(learner, state, data)}
  assert "bfloat16" in dtypes


def _variables(learner, state, data):
  jaxpr = jax.make_jaxpr(lambda state: rounds.acquire_round(state, data, learner))(state)

  def walk(jaxpr):
    for equation in jaxpr.eqns:
      yield from equation.outvars
      for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
        if hasattr(value, "jaxpr"):
          yield from walk(value.jaxpr)

  return walk(jaxpr.jaxpr)


def test_the_pool_enters_as_bytes_and_is_held_once(data, make_learner):
  learners = (make_learner("random"),)
  taken = sweep_program.trace(KEYS, data, learners, pack="vmap").jaxpr.in_avals
  sizes = [aval.dtype.name for aval in taken if aval.shape == data.inputs.shape]
  assert sizes == ["uint8"]
