"""Distances, k-means++ and k-means, compared with float64, scikit-learn and the exact distribution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.cluster
import sklearn.metrics

from al_jax import clustering
from tests.support import reference_diversity as reference

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

ROWS, FEATURES, CLUSTERS = 53, 4, 5


def blobs(seed: int = 0, rows: int = ROWS) -> np.ndarray:
  """`[rows, FEATURES]` float32 in five overlapping clusters."""
  rng = np.random.default_rng(seed)
  return (
    rng.normal(size=(CLUSTERS, FEATURES))[rng.integers(0, CLUSTERS, rows)] * 3 + rng.normal(size=(rows, FEATURES))
  ).astype(np.float32)


@functools.partial(jax.jit, static_argnames="num")
def plus_plus(key: jax.Array, x: jax.Array, valid: jax.Array, *, num: int) -> jax.Array:
  """k-means++ seeds with Euclidean distances."""
  return clustering.kmeans_plus_plus(key, lambda i: clustering.squared_distances_to(x, x[i]), valid, num=num)


nearest_center = jax.jit(clustering.nearest_center, static_argnames="chunk_size")
kmeans = jax.jit(clustering.kmeans, static_argnames=("num", "iterations", "chunk_size"))
ALL = np.ones(ROWS, bool)


def test_squared_distances_equal_those_of_scikit_learn():
  x, y = blobs(), blobs(1)[:7]
  expected = sklearn.metrics.pairwise.euclidean_distances(x.astype(np.float64), y.astype(np.float64), squared=True)
  scale = (x**2).sum(axis=1).max() + (y**2).sum(axis=1).max()
  np.testing.assert_allclose(clustering.squared_distances(jnp.array(x), jnp.array(y)), expected, atol=1e-6 * scale)
  direct = [clustering.squared_distances_to(jnp.array(x), row) for row in jnp.array(y)]
  np.testing.assert_allclose(np.stack(direct, axis=1), expected, rtol=1e-6)


def test_distances_of_equal_rows():
  x = jnp.array(blobs() * 1e4)
  own = jnp.diag(clustering.squared_distances(x, x))
  assert (own >= 0).all() and (own <= 1e-6 * jnp.sum(x * x, axis=1)).all()
  assert all(clustering.squared_distances_to(x, x[i])[i] == 0 for i in (0, 17, ROWS - 1))


def test_centering_keeps_the_digits_of_far_away_data(debug_nans):
  x = blobs() + np.float32(4096)
  expected = sklearn.metrics.pairwise.euclidean_distances(x.astype(np.float64), squared=True)
  valid = jnp.ones(ROWS, bool)
  near = clustering.centered(jnp.array(x), valid)
  np.testing.assert_allclose(near.mean(axis=0), np.zeros(FEATURES), atol=1e-3)
  off = lambda rows: np.abs(clustering.squared_distances(rows, rows) - expected).max()
  assert off(near) < 1e-4 < off(jnp.array(x))


def test_centered_leaves_out_what_is_not_valid(debug_nans):
  x = blobs()
  valid = np.arange(ROWS) % 3 > 0
  rows = clustering.centered(np.where(valid[:, None], x, np.nan), jnp.array(valid))
  np.testing.assert_allclose(rows[valid], x[valid] - x[valid].mean(axis=0), atol=1e-5)
  assert (rows[~valid] == 0).all()
  assert (clustering.centered(jnp.array(x), jnp.zeros(ROWS, bool)) == 0).all()


def test_unit_rows(debug_nans):
  x = blobs() * np.where(np.arange(ROWS) % 5 == 0, 0, 1e4)[:, None]
  rows = clustering.l2_normalize(jnp.array(x, jnp.float32))
  np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.arange(ROWS) % 5 > 0, rtol=1e-6)
  np.testing.assert_allclose(rows * np.linalg.norm(x, axis=1, keepdims=True), x, rtol=1e-5)


def test_first_two_seeds_have_the_distribution_of_k_means_plus_plus():
  rows, count = 9, 20_000
  x = blobs(rows=rows)
  valid = np.arange(rows) != 4
  draw = jax.vmap(lambda key: plus_plus(key, jnp.array(x), jnp.array(valid), num=2))
  ids = draw(jax.random.split(jax.random.key(0), count))
  distances = sklearn.metrics.pairwise.euclidean_distances(x[valid].astype(np.float64), squared=True)
  expected = count * reference.first_two_seeds(distances)
  counts = np.zeros((rows, rows))
  np.add.at(counts, tuple(np.asarray(ids).T), 1)
  assert counts[4].sum() == counts[:, 4].sum() == np.trace(counts) == 0
  drawn, expected = counts[valid][:, valid][~np.eye(rows - 1, dtype=bool)], expected[~np.eye(rows - 1, dtype=bool)]
  assert scipy.stats.chisquare(drawn, expected).pvalue > 1e-4


@pytest.mark.slow
def test_potential_of_the_seeds_is_that_of_scikit_learn():
  x, count, num = blobs(), 1000, 6
  distances = sklearn.metrics.pairwise.euclidean_distances(x.astype(np.float64), squared=True)
  draw = jax.vmap(lambda key: plus_plus(key, jnp.array(x), jnp.array(ALL), num=num))
  ours = reference.potentials(distances, draw(jax.random.split(jax.random.key(0), count)))
  reference.assert_potential_of_plus_plus(ours, x, distances)


def test_copies_are_drawn_last(debug_nans):
  x = jnp.array(blobs(rows=6))[jnp.arange(18) // 3]
  for seed in range(5):
    ids = plus_plus(jax.random.key(seed), x, jnp.ones(18, bool), num=10).tolist()
    assert len({i // 3 for i in ids[:6]}) == 6 and len(set(ids)) == 10
    assert ids[6:] == [i for i in range(18) if i not in ids[:6]][:4]


@pytest.mark.parametrize("count", [3, 64, 65, 150])
def test_nearest_center(count):
  x = np.random.default_rng(0).normal(size=(170, FEATURES)).astype(np.float32)
  centers = jnp.array(x[np.r_[0, 11, np.arange(20, 170)][:151]])  # the first two are rows of any count
  nearest, distances = nearest_center(jnp.array(x), centers, jnp.int32(count), chunk_size=50)
  expected = sklearn.metrics.pairwise.euclidean_distances(x.astype(np.float64), centers[:count], squared=True)
  np.testing.assert_array_equal(nearest, expected.argmin(axis=1))
  np.testing.assert_allclose(distances, expected.min(axis=1), rtol=1e-4, atol=1e-6)
  assert (distances[jnp.array([0, 11, 20])] == 0).all() and nearest.dtype == jnp.int32


def test_of_equal_centers_the_first_is_nearest():
  x = jnp.array(blobs())
  centers = jnp.tile(x[:30], (5, 1))
  nearest, _ = nearest_center(x, centers, 150, chunk_size=20)
  np.testing.assert_array_equal(nearest, nearest_center(x, centers, 30, chunk_size=20)[0])


@pytest.mark.parametrize("iterations", [1, 4, 25])
def test_kmeans_equals_that_of_scikit_learn_from_the_same_centers(iterations):
  x, key = blobs(), jax.random.key(3)
  seeds = plus_plus(key, x, ALL, num=CLUSTERS)
  centers, assigned = kmeans(key, x, ALL, num=CLUSTERS, iterations=iterations, chunk_size=20)
  theirs = sklearn.cluster.KMeans(CLUSTERS, init=x[seeds], n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
  theirs.fit(x)
  np.testing.assert_allclose(centers, theirs.cluster_centers_, atol=1e-4)
  np.testing.assert_array_equal(assigned, theirs.labels_)
  inertia = ((x - np.asarray(centers)[assigned]) ** 2).sum()
  np.testing.assert_allclose(inertia, theirs.inertia_, rtol=1e-5)


def test_kmeans_leaves_out_what_is_not_valid(debug_nans):
  x, valid, key = blobs(), np.arange(ROWS) % 4 > 0, jax.random.key(0)
  spoiled = np.where(valid[:, None], x, np.nan)
  seeds, _ = kmeans(key, spoiled, valid, num=CLUSTERS, iterations=0)
  centers, assigned = kmeans(key, spoiled, valid, num=CLUSTERS, iterations=4, chunk_size=20)
  expected_centers, expected_assigned = reference.lloyd(x[valid], seeds, 4)
  np.testing.assert_allclose(centers, expected_centers, atol=1e-5)
  np.testing.assert_array_equal(assigned[valid], expected_assigned)


def test_kmeans_with_fewer_clusters_than_there_is_room_for():
  x, key = blobs(), jax.random.key(0)
  seeds, _ = kmeans(key, x, ALL, num=CLUSTERS, iterations=0)
  for active in (2, 4):
    centers, assigned = kmeans(key, x, ALL, num=CLUSTERS, active=jnp.int32(active), iterations=4, chunk_size=20)
    expected_centers, expected_assigned = reference.lloyd(x, seeds[:active], 4)
    np.testing.assert_allclose(centers[:active], expected_centers, atol=1e-5)
    np.testing.assert_array_equal(assigned, expected_assigned)


def test_an_empty_cluster_keeps_its_center(debug_nans):
  x, key = blobs(rows=3)[np.arange(ROWS) % 3], jax.random.key(0)
  seeds, _ = kmeans(key, x, ALL, num=CLUSTERS, iterations=0)
  centers, assigned = kmeans(key, x, ALL, num=CLUSTERS, iterations=4, chunk_size=20)
  np.testing.assert_allclose(centers, seeds, rtol=1e-6)
  assert len(set(assigned.tolist())) == 3


LARGE, MANY = 5000, 12  # more rows than the sample that k-means starts from


def large_pool(seed: int) -> np.ndarray:
  """`[LARGE, 6]` float32 in 20 overlapping clusters of unequal size."""
  rng = np.random.default_rng(seed)
  cluster = rng.choice(20, LARGE, p=rng.dirichlet(np.full(20, 2.0)))
  return (2 * rng.normal(size=(20, 6))[cluster] + rng.normal(size=(LARGE, 6))).astype(np.float32)


def inertia(x: np.ndarray, centers: jax.Array) -> float:
  """The sum of squared distances to the nearest center."""
  return sklearn.metrics.pairwise.euclidean_distances(x.astype(np.float64), centers, squared=True).min(axis=1).sum()


def test_kmeans_of_many_rows_is_about_as_good_as_that_of_scikit_learn():
  x, valid = large_pool(0), np.arange(LARGE) % 9 > 0
  ours = [kmeans(jax.random.key(seed), x, valid, num=MANY) for seed in range(8)]
  theirs = [sklearn.cluster.KMeans(MANY, n_init=1, random_state=seed).fit(x[valid]).inertia_ for seed in range(4)]
  assert np.mean([inertia(x[valid], centers) for centers, _ in ours]) < 1.05 * np.mean(theirs)
  for centers, assigned in ours[:2]:
    distances = sklearn.metrics.pairwise.euclidean_distances(x, centers, squared=True)[valid]
    np.testing.assert_allclose(distances[np.arange(len(distances)), assigned[valid]], distances.min(axis=1), atol=1e-3)


@pytest.mark.slow
def test_kmeans_of_many_rows_under_vmap_and_in_other_chunks():
  x, valid = jnp.array(large_pool(0)), jnp.ones(LARGE, bool)
  keys, active = jax.random.split(jax.random.key(0), 2), jnp.array([5, MANY])
  clusters = lambda chunk_size: (
    lambda key, active: clustering.kmeans(key, x, valid, num=MANY, active=active, chunk_size=chunk_size)
  )
  centers, assigned = jax.jit(jax.vmap(clusters(1024)))(keys, active)
  alone_centers, alone = jax.jit(lambda key, active: jax.lax.map(lambda args: clusters(777)(*args), (key, active)))(
    keys, active
  )
  assert assigned[0].max() == 4 and assigned[1].max() == MANY - 1
  # The order of sums differs, so rounding may move a row that is about equally near to two centers.
  assert jnp.mean(assigned == alone) > 0.999
  np.testing.assert_allclose(centers[1], alone_centers[1], atol=1e-2)


@pytest.mark.parametrize("kind", ["equal", "few valid", "few values"])
def test_kmeans_of_many_rows_with_little_in_them(kind, debug_nans):
  x, valid = large_pool(0), np.ones(LARGE, bool)
  if kind == "equal":
    x = np.ones_like(x)
  elif kind == "few values":
    x = x[np.arange(LARGE) % 3]
  else:
    valid = np.arange(LARGE) % 400 == 7  # 13 rows
  centers, assigned = kmeans(jax.random.key(0), x, valid, num=MANY)
  found = {"equal": 1, "few values": 3, "few valid": MANY}[kind]
  assert len(set(assigned[valid].tolist())) == found
  if kind != "few valid":
    assert inertia(x, centers) < 1e-2
