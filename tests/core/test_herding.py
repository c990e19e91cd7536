"""MaxHerding and UHerding compared with references and brute force, lazy evaluation, preselection, temperature."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from al_jax import acquisition
from al_jax import loop
from al_jax import oracle
from al_jax import splits
from al_jax import types
from al_jax import views
from al_jax.acquisition import _herding as herding
from tests.support import reference_low_budget as reference
from tests.support.learners import changed
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SIZE, FEATURES, NUM = 61, 6, 12


def view_of(embedding, labeled=(), out=()) -> types.PoolView:
  """A view in which all rows are candidates except `labeled` and `out`; rows in `out` hold NaN."""
  ids = np.arange(len(embedding))
  labeled, out = np.isin(ids, labeled), np.isin(ids, out)
  embedding = np.where(out[:, None], np.nan, embedding).astype(np.float32)
  return ties_by_id(types.PoolView(jnp.array(labeled), jnp.array(~labeled & ~out), embedding=jnp.array(embedding)))


def ordinary(seed: int, num_labeled: int = 5) -> types.PoolView:
  """Random rows: some are labeled, and three are neither labeled nor candidates."""
  rng = np.random.default_rng(seed)
  special = rng.permutation(SIZE)
  embedding = rng.normal(size=(SIZE, FEATURES)) + 0.5
  return view_of(embedding, special[:num_labeled], special[num_labeled : num_labeled + 3])


def masks(view: types.PoolView) -> tuple[np.ndarray, np.ndarray]:
  return np.asarray(view.labeled), np.asarray(view.candidates)


@functools.cache
def selector(name: str, num: int, **hyper):
  return jax.jit(functools.partial(acquisition.make(name, **hyper).select, num=num))


def chosen(view: types.PoolView, num: int = NUM, seed: int = 0, name: str = "maxherding", **hyper) -> list[int]:
  return selector(name, num, **hyper)(jax.random.key(seed), view).tolist()


def assert_greedy(view: types.PoolView, ids: list[int], radius: float, weights=None) -> None:
  """Asserts that every pick has the largest gain; gains within about 1e-4 are ties."""
  gains = reference.herding_gains(view.embedding, *masks(view), ids, radius, weights)
  assert len(set(ids)) == len(ids)
  picked = [left[i] for left, i in zip(gains, ids, strict=True)]
  np.testing.assert_allclose(picked, [max(left.values()) for left in gains], rtol=3e-4)


@pytest.mark.parametrize(
  ("radius", "num_labeled"), [(0.3, 5), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1.0, 5), (1.0, 0)))]
)
def test_every_pick_has_the_largest_gain_of_the_reference(radius, num_labeled):
  for seed in range(4):
    view = ordinary(seed, num_labeled)
    for chunk_size in (7, 1024):
      assert_greedy(view, chosen(view, radius=radius, chunk_size=chunk_size), radius)


def predicted(view: types.PoolView, seed: int, sharpness: float = 1.0) -> types.PoolView:
  """The view with predictions of two samples, four classes."""
  logits = sharpness * np.random.default_rng(seed).normal(size=(SIZE, 2, 4))
  return view._replace(log_probs=jax.nn.log_softmax(jnp.array(logits, jnp.float32)))


def margins(view: types.PoolView, temperature: float = 1.0) -> np.ndarray:
  """Each row's uncertainty in float64."""
  mean = np.exp(np.asarray(view.log_probs, np.float64)).mean(axis=1) ** (1 / temperature)
  probs = np.sort(mean / mean.sum(axis=1, keepdims=True), axis=1)
  return 1 - (probs[:, -1] - probs[:, -2])


def labeled_radius(view: types.PoolView) -> float:
  """The smallest distance of two labeled rows, in float64."""
  labeled, _ = masks(view)
  pairs = reference.distances(reference.unit(np.asarray(view.embedding)[labeled]))
  return float(pairs[pairs > 1e-3].min(initial=np.inf))


@pytest.mark.parametrize("radius", [0.0, pytest.param(0.4, marks=pytest.mark.slow)])
def test_every_pick_of_uherding_has_the_largest_gain_of_the_reference(radius):
  for seed in range(4):
    view = predicted(ordinary(seed), seed)
    ids = chosen(view, name="uherding", radius=radius, chunk_size=16)
    assert_greedy(view, ids, radius or labeled_radius(view), margins(view))
    assert ids != chosen(view, radius=radius or labeled_radius(view))


@pytest.mark.slow
def test_uherding_reads_the_temperature_of_the_validation_rows():
  rng = np.random.default_rng(0)
  view = predicted(ordinary(0), 0, sharpness=6.0)
  labels = rng.integers(0, 4, 30)
  probs = np.exp(np.asarray(view.log_probs, np.float64)).mean(axis=1)[:30]
  loss = lambda log_t: -np.log((own := probs ** np.exp(-log_t))[np.arange(30), labels] / own.sum(axis=1)).sum()
  temperature = math.exp(scipy.optimize.minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)
  assert temperature > 3  # the labels have nothing to do with the predictions
  checked = view._replace(val_log_probs=view.log_probs[:30], val_labels=jnp.array(labels, jnp.int32))
  assert_greedy(view, chosen(checked, name="uherding", radius=0.4), 0.4, margins(view, temperature))
  unknown = checked._replace(val_labels=jnp.full(30, types.UNKNOWN))
  assert chosen(unknown, name="uherding") == chosen(view, name="uherding") != chosen(checked, name="uherding")


def test_the_temperature_has_the_highest_likelihood():
  rng = np.random.default_rng(1)
  logits = rng.normal(size=(4000, 5))
  labels = (logits + rng.gumbel(size=(4000, 5))).argmax(axis=1)  # drawn from the softmax of the logits
  for factor in (0.2, 1.0, 5.0):
    log_probs = jax.nn.log_softmax(jnp.array(factor * logits, jnp.float32))
    assert float(herding.fitted_temperature(log_probs, jnp.array(labels))) == pytest.approx(factor, rel=0.1)
    some = jnp.where(jnp.arange(4000) % 2 == 0, jnp.array(labels), types.UNKNOWN)
    half = herding.fitted_temperature(log_probs[::2], jnp.array(labels[::2]))
    np.testing.assert_allclose(herding.fitted_temperature(log_probs, some), half, rtol=1e-5)
  assert herding.fitted_temperature(log_probs, jnp.full(4000, types.UNKNOWN)) == 1
  wrong = herding.fitted_temperature(jnp.log(jnp.eye(3)), jnp.array([1, 2, 0]))
  right = herding.fitted_temperature(log_probs, jnp.argmax(log_probs, axis=1))
  assert float(wrong) == pytest.approx(100) and float(right) == pytest.approx(0.1)


@pytest.mark.slow
def test_the_view_has_predictions_and_answers_of_the_validation_rows(data, make_learner):
  known = np.arange(97) % 3 > 0
  masked = dataclasses.replace(data, known=known, available=np.ones(97, bool))
  learner = changed(make_learner("uherding"), val_size=30, init_labels=10, init_balanced=False, label_noise=0.5)
  for pool, is_known in ((data, np.ones(97, bool)), (masked, known)):
    state = loop.init_state(jax.random.key(3), data, learner)
    view, ids = jax.jit(views.pool_view, static_argnames="learner")(state, pool, learner)
    held = np.asarray(splits.validation_ids(state.key, pool, learner.plan))
    np.testing.assert_array_equal(ids, np.arange(97))
    np.testing.assert_allclose(view.val_log_probs, view.log_probs[held], atol=1e-5)
    answers = np.asarray(oracle.noisy_labels(state.key, pool, 0.5))[held]
    assert (answers != data.labels[held]).any()
    np.testing.assert_array_equal(view.val_labels, np.where(is_known[held], answers, types.UNKNOWN))
    assert not np.asarray(view.candidates)[held].any()
  without, _ = views.pool_view(state, pool, changed(learner, val_size=0))
  assert without.val_log_probs is None and without.val_labels is None


@pytest.mark.parametrize("chunk_size", [3, 1024])
def test_the_smallest_distance_of_labeled_rows(chunk_size):
  find = functools.partial(herding.smallest_distance, chunk_size=chunk_size)
  x = reference.unit(np.random.default_rng(0).normal(size=(20, 3)))
  x[7] = x[3]  # equal rows do not count
  labeled = np.isin(np.arange(20), [1, 3, 7, 12, 19])
  pairs = reference.distances(x[labeled])
  expected = pairs[pairs > 1e-6].min()
  assert float(find(jnp.array(x, jnp.float32), jnp.array(labeled))) == pytest.approx(expected, rel=1e-4)
  for few in ([], [5], [3, 7]):
    assert find(jnp.array(x, jnp.float32), jnp.isin(jnp.arange(20), jnp.array(few))) == 1


def test_first_gains_are_those_of_all_pairs():
  rng = np.random.default_rng(0)
  x = jnp.array(rng.normal(size=(50, 4)), jnp.float32)
  covered, weights = jnp.array(rng.random(50), jnp.float32), jnp.array(rng.integers(0, 3, 50), jnp.float32)
  kernels = np.exp(-(reference.distances(x) ** 2) / 1.5**2)
  expected = np.maximum(kernels - np.asarray(covered)[:, None], 0).T @ np.asarray(weights)
  for chunk_size in (1, 8, 50, 64):
    gains = herding.coverage_gains(x, covered, weights, radius=1.5, chunk_size=chunk_size)
    np.testing.assert_allclose(gains, expected, rtol=1e-4, atol=1e-5)


def test_is_near_the_best_of_all_batches():
  for seed in range(10):
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(11, 2)).astype(np.float32)
    view = view_of(embedding, rng.choice(11, size=seed % 3, replace=False))
    labeled, candidates = masks(view)
    kernels, covered = reference.coverage(embedding, labeled, candidates, 0.5)
    ids = chosen(view, 3, radius=0.5)
    reached = (np.maximum(kernels[:, ids].max(axis=1) - covered, 0) * candidates).sum()
    assert reached >= (1 - 1 / math.e) * reference.best_herd(embedding, labeled, candidates, 3, 0.5)


@pytest.mark.slow
def test_few_gains_are_computed_again(monkeypatch):
  """Lazy evaluation: on clusters, a pick leaves the gains of the other clusters as they are."""
  rng, seen = np.random.default_rng(0), []
  view = view_of(np.eye(8)[np.arange(800) % 8] + 0.05 * rng.normal(size=(800, 8)))
  kernel = herding._kernel

  def counted(x, y, radius):
    jax.debug.callback(lambda: seen.append((x.shape[0], y.shape[0])))
    return kernel(x, y, radius)

  monkeypatch.setattr(herding, "_kernel", counted)
  ids = acquisition.maxherding(radius=0.3).select(jax.random.key(0), view, num=8)
  jax.effects_barrier()
  assert sorted(np.asarray(ids) % 8) == list(range(8))  # a pick per cluster
  refreshed = sum(rows for rows, columns in seen if (rows, columns) == (herding._REFRESHED, 800))
  assert 0 < refreshed < 0.5 * 8 * 800


def test_larger_pools_are_sampled_anew_by_every_key():
  view = ordinary(0)
  picks = [chosen(view, 3, seed, candidates=20) for seed in range(40)]
  assert all(len(set(ids)) == 3 and np.asarray(view.candidates)[ids].all() for ids in picks)
  assert len({tuple(ids) for ids in picks}) > 10
  drawn = {i for ids in picks for i in ids}
  assert len(drawn) > 25
  # The picks are the best of what was drawn: with one candidate left out of 53, mostly those of the whole pool.
  best = chosen(view, 3)
  assert np.mean([chosen(view, 3, seed, candidates=52) == best for seed in range(20)]) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["equal", "zero", "two values"])
def test_a_batch_is_always_full(kind, debug_nans):
  embedding = {"equal": np.ones((SIZE, 3)), "zero": np.zeros((SIZE, 3)), "two values": np.eye(3)[np.arange(SIZE) % 2]}
  view = view_of(embedding[kind], [3])
  for candidates in (10_000, 60, 50):
    for name in ("maxherding", "uherding"):
      ids = chosen(predicted(view, 0), 14, name=name, candidates=candidates)
      assert len(set(ids)) == 14 and np.asarray(view.candidates)[ids].all()
  assert len(set(chosen(view, SIZE - 1, candidates=SIZE))) == SIZE - 1


@pytest.mark.parametrize(
  ("hyper", "message"),
  [
    ({"radius": 0}, "radius must be positive, not 0"),
    ({"radius": math.nan}, "radius must be positive, not nan"),
    ({"candidates": 0}, "candidates must be at least 1, not 0"),
    ({"candidates": 2.5}, "candidates must be a whole number"),
    ({"chunk_size": 0}, "chunk_size must be at least 1, not 0"),
  ],
)
def test_impossible_hyper_parameters(hyper, message):
  with pytest.raises(ValueError, match=message):
    acquisition.maxherding(**hyper)
  if hyper != {"radius": 0}:
    with pytest.raises(ValueError, match=message.replace("positive", "positive, or 0 for an estimate")):
      acquisition.uherding(**hyper)


def test_more_picks_than_candidates_are_refused():
  with pytest.raises(ValueError, match="candidates=5 are too few to select 6 images: give at least 6"):
    acquisition.maxherding(candidates=5).select(jax.random.key(0), ordinary(0), num=6)
