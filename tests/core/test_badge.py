"""BADGE compared with explicit gradient embeddings and the exact distribution of its seeds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.cluster
import sklearn.metrics

from al_jax import acquisition
from al_jax import types
from al_jax.acquisition import _badge as badge
from tests.support import reference_diversity as reference
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SAMPLES, CLASSES, FEATURES, ROWS = 2, 4, 5, 30
BADGE = acquisition.make("badge", chunk_size=10)
SELECT = jax.jit(BADGE.select, static_argnames="num")
residuals_of = jax.jit(jax.vmap(badge.residual))


def pool_of(seed: int, rows: int, *, sharpness: float = 2.0) -> types.PoolView:
  """A pool in which all images are candidates."""
  rng = np.random.default_rng(seed)
  log_probs = jax.nn.log_softmax(jnp.array(rng.normal(size=(rows, SAMPLES, CLASSES)) * sharpness, jnp.float32))
  features = np.maximum(rng.normal(size=(rows, FEATURES)) + 0.5, 0) * rng.exponential(size=(rows, 1))
  everything = jnp.ones(rows, bool)
  return ties_by_id(
    types.PoolView(~everything, everything, log_probs=log_probs, features=jnp.array(features, jnp.float32))
  )


@jax.jit
def all_distances(a: jax.Array, h: jax.Array) -> jax.Array:
  """`[N, N]` distances computed by the library."""
  return jax.vmap(badge.outer_distances(badge.outer(a, h)))(jnp.arange(len(a)))


def draws(view: types.PoolView, count: int, num: int) -> np.ndarray:
  """`[count, num]`: `count` batches, each with its own key."""
  keys = jax.random.split(jax.random.key(0), count)
  return np.asarray(jax.jit(jax.vmap(lambda key: BADGE.select(key, view, num=num)))(keys))


def test_residual_is_that_of_the_mean_prediction():
  view = pool_of(0, ROWS)
  probs = np.exp(np.asarray(view.log_probs, np.float64)).mean(axis=1)
  expected = probs - np.eye(CLASSES)[probs.argmax(axis=1)]
  residuals = residuals_of(view.log_probs)
  np.testing.assert_allclose(residuals, expected, rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(residuals.sum(axis=1), np.zeros(ROWS), atol=1e-6)


def test_residual_of_a_confident_prediction_keeps_its_digits(debug_nans):
  logits = np.array([0.0, 20.0, -3.0, 2.0])
  others = np.delete(np.exp(logits), 1) / np.exp(logits).sum()
  residual = badge.residual(jax.nn.log_softmax(jnp.array(logits, jnp.float32))[None])
  np.testing.assert_allclose(np.delete(residual, 1), others, rtol=1e-5)
  np.testing.assert_allclose(residual[1], -others.sum(), rtol=1e-5)
  certain = badge.residual(jnp.where(jnp.arange(4) == 2, 0.0, -jnp.inf)[None])
  assert certain.tolist() == [0, 0, 0, 0]


def test_factored_distances_equal_those_of_the_gradients():
  view = pool_of(1, ROWS)
  gradients = reference.gradient_embeddings(view.log_probs, view.features)
  expected = sklearn.metrics.pairwise.euclidean_distances(gradients, squared=True)
  distances = all_distances(residuals_of(view.log_probs), view.features)
  np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=1e-10)
  np.testing.assert_array_equal(np.diag(distances), 0)


@pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-4])
def test_almost_equal_images_keep_their_distance(step):
  rng = np.random.default_rng(0)
  a, h = rng.normal(size=(1, CLASSES)) * np.ones((ROWS, 1)), rng.normal(size=(1, FEATURES)) * np.ones((ROWS, 1)) * 100
  a = (a * (1 + step * rng.normal(size=a.shape))).astype(np.float32)
  h = (h * (1 + step * rng.normal(size=h.shape))).astype(np.float32)
  outer = (a[:, :, None].astype(np.float64) * h[:, None]).reshape(ROWS, -1)
  expected = ((outer[:, None] - outer[None]) ** 2).sum(axis=2)
  distances = all_distances(jnp.array(a), jnp.array(h))
  np.testing.assert_allclose(distances, expected, rtol=2e-6 / step)  # the plain form is off by about 1e-7 / step**2


def test_distances_of_outer_products_of_opposite_signs():
  a, h = jnp.array([[1.0, -2.0], [-1.0, 2.0], [1.0, -2.0], [0.0, 0.0]]), jnp.array([[3.0], [-3.0], [-3.0], [5.0]])
  assert all_distances(a, h).tolist() == [[0, 0, 180, 45], [0, 0, 180, 45], [180, 180, 0, 45], [45, 45, 45, 0]]


def test_first_two_seeds_have_the_distribution_of_k_means_plus_plus():
  rows, count = 9, 20_000
  view = pool_of(2, rows)
  # The first row is labeled and the last not available: neither is drawn, and neither is a center.
  view = view._replace(labeled=jnp.arange(rows) == 0, candidates=(jnp.arange(rows) > 0) & (jnp.arange(rows) < rows - 1))
  counts = np.zeros((rows, rows))
  np.add.at(counts, tuple(draws(view, count, 2).T), 1)
  assert counts[[0, -1]].sum() == counts[:, [0, -1]].sum() == 0

  gradients = reference.gradient_embeddings(view.log_probs, view.features)[1:-1]
  distances = sklearn.metrics.pairwise.euclidean_distances(gradients, squared=True)
  pairs = ~np.eye(rows - 2, dtype=bool)
  fit = lambda distances: scipy.stats.chisquare(
    counts[1:-1, 1:-1][pairs], count * reference.first_two_seeds(distances)[pairs]
  )
  assert fit(distances).pvalue > 1e-4
  # Published code adds the origin as a center: the counts do not fit that distribution.
  assert fit(np.minimum(distances, np.where(pairs, (gradients**2).sum(axis=1)[None], 0))).pvalue < 1e-9


@pytest.mark.slow
def test_potential_of_a_batch_is_that_of_scikit_learn_on_the_gradients():
  count, num = 1000, 6
  view = pool_of(3, ROWS, sharpness=1.0)
  gradients = reference.gradient_embeddings(view.log_probs, view.features)
  distances = sklearn.metrics.pairwise.euclidean_distances(gradients, squared=True)
  ours = reference.potentials(distances, draws(view, count, num))
  reference.assert_potential_of_plus_plus(ours, gradients, distances)


def test_no_copy_is_taken_while_there_is_something_else(debug_nans):
  copies = jax.tree.map(lambda leaf: leaf[jnp.arange(30) // 3], pool_of(4, 10))
  for seed in range(5):
    ids = SELECT(jax.random.key(seed), copies, num=14).tolist()
    assert len({i // 3 for i in ids[:10]}) == 10
    assert ids[10:] == [i for i in range(30) if i not in ids[:10]][:4]


def test_a_pool_that_is_certain_of_everything_fills_the_batch(debug_nans):
  view = pool_of(5, ROWS)
  view = view._replace(log_probs=jnp.where(view.log_probs == view.log_probs.max(-1, keepdims=True), 0.0, -jnp.inf))
  certain = jnp.broadcast_to(view.log_probs[:, :1], view.log_probs.shape)
  first, *rest = SELECT(jax.random.key(0), view._replace(log_probs=certain), num=9).tolist()
  assert rest == [i for i in range(ROWS) if i != first][:8]


@pytest.mark.slow
def test_rotating_the_features_changes_nothing():
  view = pool_of(6, ROWS)
  rotation = scipy.stats.ortho_group.rvs(FEATURES, random_state=0)
  rotated = view._replace(features=jnp.array(np.asarray(view.features, np.float64) @ rotation, jnp.float32))
  for seed in range(3):
    ids = SELECT(jax.random.key(seed), view, num=9).tolist()
    assert SELECT(jax.random.key(seed), rotated, num=9).tolist() == ids
