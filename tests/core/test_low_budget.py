"""TypiClust and ProbCover compared with references and brute force, and their invariances."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import special_ortho_group

from al_jax import acquisition
from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition import _probcover
from tests.support import reference_low_budget as reference
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SIZE, FEATURES = 61, 6


def pool_of(embedding, labeled=(), out=()) -> types.PoolView:
  """A view in which all rows are candidates except `labeled` and `out`; rows in `out` are not labeled and hold NaN."""
  ids = np.arange(len(embedding))
  labeled, out = np.isin(ids, labeled), np.isin(ids, out)
  embedding = np.where(out[:, None], np.nan, embedding).astype(np.float32)
  return ties_by_id(types.PoolView(jnp.array(labeled), jnp.array(~labeled & ~out), embedding=jnp.array(embedding)))


def ordinary(seed: int) -> types.PoolView:
  """Random rows: five are labeled, and three are neither labeled nor candidates."""
  rng = np.random.default_rng(seed)
  special = rng.permutation(SIZE)
  return pool_of(rng.normal(size=(SIZE, FEATURES)) + 0.5, special[:5], special[5:8])


def blobs(sizes, seed: int = 0, spread: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
  """Shuffled rows around one orthogonal direction per size, and the blob of each row."""
  rng = np.random.default_rng(seed)
  blob = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
  return 3 * (np.eye(len(sizes))[blob] + spread * rng.normal(size=(blob.size, len(sizes)))), blob


@functools.cache
def selector(name: str, num: int, **hyper):
  """A compiled selection, shared by all tests of the same sizes."""
  return jax.jit(functools.partial(acquisition.make(name, **dict(hyper)).select, num=num))


def chosen(name: str, view: types.PoolView, num: int, seed: int = 0, **hyper) -> list[int]:
  """The selected ids."""
  return selector(name, num, **hyper)(jax.random.key(seed), view).tolist()


def masks(view: types.PoolView) -> tuple[np.ndarray, np.ndarray]:
  return np.asarray(view.labeled), np.asarray(view.candidates)


def normalized_embeddings(view: types.PoolView) -> tuple[jax.Array, jax.Array]:
  """The embeddings as a selection normalizes them, and the mask of labeled and candidate rows."""
  in_use = view.labeled | view.candidates
  unit = clustering.l2_normalize(jnp.where(in_use[:, None], view.embedding, 0.0))
  return clustering.centered(unit, in_use), in_use


@functools.partial(jax.jit, static_argnames=("num", "chunk_size"))
def pseudo_labels(key: jax.Array, view: types.PoolView, *, num: int, active=None, chunk_size: int = 16) -> jax.Array:
  """The k-means clusters of the view, with the key that a selection uses."""
  return clustering.kmeans(key, *normalized_embeddings(view), num=num, active=active, chunk_size=chunk_size)[1]


@functools.partial(jax.jit, static_argnames=("classes", "purity", "images"))
def pure_radius(view: types.PoolView, *, classes: int, purity: float = 0.95, images: int = 10_000) -> jax.Array:
  """The radius that ProbCover estimates."""
  options = {"classes": classes, "purity": purity, "images": images, "chunk_size": 16}
  return jnp.sqrt(_probcover.estimated_squared_radius(jax.random.key(0), *normalized_embeddings(view), **options))


def radius_keys() -> tuple[jax.Array, jax.Array]:
  """The constant keys of that estimate: of the images drawn, and of their clusters."""
  draw, seeds = jax.random.split(jax.random.key(0))
  return draw, seeds


TYPICLUST = [
  {"max_clusters": 4, "neighbors": 3, "chunk_size": 3},  # clusters of several blocks of rows and of columns
  {"max_clusters": 9, "min_cluster_size": 7},  # half of the clusters are too small
  {"min_cluster_size": 60},  # all clusters are too small, so all are treated alike
]


@pytest.mark.parametrize("hyper", [TYPICLUST[0], *(pytest.param(h, marks=pytest.mark.slow) for h in TYPICLUST[1:])])
def test_typiclust_equals_the_reference_given_the_clusters(hyper):
  num = 14
  for seed in range(4):
    view = ordinary(seed)
    labeled, candidates = masks(view)
    capacity = min(hyper.get("max_clusters", 500), SIZE)
    chunk = min(hyper.get("chunk_size", 256), SIZE)
    active = min(5 + num, capacity)
    cluster = np.asarray(pseudo_labels(jax.random.key(seed), view, num=capacity, active=active, chunk_size=chunk))
    kwargs = {key: value for key, value in hyper.items() if key in ("min_cluster_size", "neighbors")}
    expected = reference.typiclust(view.embedding, cluster, labeled, candidates, num, **kwargs)
    assert chosen("typiclust", view, num, seed, **hyper) == expected


def test_typiclust_passes_over_labeled_clusters_and_takes_the_largest_first():
  embedding, blob = blobs([7, 12, 9, 8, 11, 10])
  labeled = [int(np.flatnonzero(blob == b)[0]) for b in (1, 3, 5)]
  ids = chosen("typiclust", pool_of(embedding, labeled), 3)  # as many clusters as blobs
  assert blob[ids].tolist() == [4, 2, 0]


@pytest.mark.slow
def test_typiclust_leaves_small_clusters_to_the_end():
  embedding, blob = blobs([5, 30, 1, 25])
  view = pool_of(embedding)
  # Four clusters and more labels than clusters: the large ones give several.
  ids = chosen("typiclust", view, 61, max_clusters=4)
  assert sorted(ids) == list(range(61))
  assert set(blob[ids[:55]]) == {1, 3} and blob[ids[:4]].tolist() == [1, 3, 1, 3]
  assert blob[ids[55:]].tolist() == [0, 2, 0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["typiclust", "probcover"])
def test_rotation_and_scale_change_nothing(name):
  rotation = special_ortho_group.rvs(FEATURES, random_state=1)
  lengths = np.random.default_rng(2).uniform(0.5, 2.0, size=(SIZE, 1))
  for seed in range(3):
    view = ordinary(seed)
    turned = view._replace(embedding=jnp.array(np.asarray(view.embedding) @ rotation * lengths, jnp.float32))
    hyper = {"max_clusters": 9} if name == "typiclust" else {"classes": 3, "purity": 0.7}
    assert chosen(name, turned, 14, seed, **hyper) == chosen(name, view, 14, seed, **hyper)


@pytest.mark.slow
def test_shuffling_the_pool_maps_the_ids():
  # Stars: a hub's ball contains its leaves, a leaf's ball contains only its hub. In other pools gains may be equal, and
  # then the lowest id wins, which depends on the order.
  leaves = [8, 12, 9, 7, 11, 10]
  axes = np.eye(6 + 12)
  stars = [[axes[b], *(axes[b] + 0.3 * axes[6 : 6 + many])] for b, many in enumerate(leaves)]
  rows, hubs = np.concatenate(stars), np.cumsum([0, *leaves[:-1]]) + np.arange(6)
  order = np.random.default_rng(3).permutation(len(rows))
  expected = hubs[np.argsort(leaves)[::-1]].tolist()
  assert chosen("probcover", pool_of(rows), 6, radius=0.35) == expected
  assert order[chosen("probcover", pool_of(rows[order]), 6, radius=0.35)].tolist() == expected

  embedding, _ = blobs([7, 12, 9, 8, 11, 10])
  order = order[order < len(embedding)]
  ids = chosen("typiclust", pool_of(embedding), 6)
  assert order[chosen("typiclust", pool_of(embedding[order]), 6)].tolist() == ids


@pytest.mark.parametrize("name", ["typiclust", "probcover"])
@pytest.mark.parametrize("kind", ["equal", "zero", "two values"])
def test_a_batch_is_always_full(name, kind, debug_nans):
  embedding = {"equal": np.ones((SIZE, 3)), "zero": np.zeros((SIZE, 3)), "two values": np.eye(3)[np.arange(SIZE) % 2]}[
    kind
  ]
  view = pool_of(embedding, [3])
  view = view._replace(candidates=view.candidates.at[0].set(False))
  for num in (14, SIZE - 2):  # the second acquires all candidates
    ids = chosen(name, view, num)
    assert len(set(ids)) == num and np.asarray(view.candidates)[ids].all()


@pytest.mark.parametrize("purity", [0.5, 0.9, 0.95, 1.0])
def test_radius_is_the_largest_that_is_pure_enough(purity):
  view = ordinary(1)
  labeled, candidates = masks(view)
  clusters = pseudo_labels(radius_keys()[1], view, num=3)
  expected = reference.pure_radius(view.embedding, clusters, labeled | candidates, purity)
  assert float(pure_radius(view, classes=3, purity=purity)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_radius_of_a_larger_pool_is_that_of_a_fixed_draw():
  view = ordinary(2)
  labeled, candidates = masks(view)
  draw, seeds = radius_keys()
  drawn = pool.random_subset(draw, view.labeled | view.candidates, num=20)
  x, in_use = normalized_embeddings(view)
  _, clusters = clustering.kmeans(seeds, x[drawn], in_use[drawn], num=3, chunk_size=16)
  expected = reference.pure_radius(view.embedding[drawn], clusters, (labeled | candidates)[drawn], 0.7)
  assert float(pure_radius(view, classes=3, purity=0.7, images=20)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_radius_counts_shares_exactly():
  # At purity 0.95, one of 20 balls may be impure, and none of 19.
  for out, allowed in (([], 1), ([7], 0)):
    view = pool_of(np.random.default_rng(0).normal(size=(20, 3)), out=out)
    labels = np.asarray(pseudo_labels(radius_keys()[1], view, num=2))
    ids = np.flatnonzero(view.candidates)
    pairs = reference.distances(reference.unit(view.embedding[ids]))
    nearest_other = np.where(labels[ids, None] != labels[None, ids], pairs, np.inf).min(axis=1)
    assert float(pure_radius(view, classes=2)) == pytest.approx(np.sort(nearest_other)[allowed], rel=1e-4)


@pytest.mark.parametrize("chunk_size", [7, pytest.param(1, marks=pytest.mark.slow), SIZE])
@pytest.mark.parametrize("count", [_probcover.count_within, _probcover.ball_counts])
def test_counts_equal_brute_force(count, chunk_size):
  count = jax.jit(count, static_argnames="chunk_size")
  view = ordinary(0)
  labeled, candidates = masks(view)
  unit = reference.unit(np.where((labeled | candidates)[:, None], view.embedding, 0))
  x = jnp.array(unit, jnp.float32)
  for radius in (0.3, 0.9):
    for among in (labeled, candidates, labeled | candidates, ~labeled):
      expected = (reference.distances(unit)[:, among] < radius).sum(axis=1).tolist()
      assert count(x, jnp.array(among), jnp.float32(radius**2), chunk_size=chunk_size).tolist() == expected
  assert not count(x, jnp.zeros(SIZE, bool), jnp.float32(jnp.inf), chunk_size=chunk_size).any()


@pytest.mark.parametrize("radius", [0.2, 0.7, 1.1])
def test_probcover_equals_the_reference(radius):
  for seed in range(4):
    view = ordinary(seed)
    labeled, candidates = masks(view)
    expected, gains = reference.probcover(view.embedding, labeled, candidates, 14, radius)
    assert chosen("probcover", view, 14, radius=radius, chunk_size=16) == expected
    assert gains == sorted(gains, reverse=True)


def test_probcover_with_its_own_radius_equals_the_reference():
  for seed in range(4):
    view = ordinary(seed)
    labeled, candidates = masks(view)
    radius = float(pure_radius(view, classes=3, purity=0.7))
    expected, gains = reference.probcover(view.embedding, labeled, candidates, 14, radius)
    assert gains[0] > 1
    # The estimate does not read the key of the selection.
    assert chosen("probcover", view, 14, seed, classes=3, purity=0.7) == expected


@pytest.mark.slow
def test_probcover_is_near_the_best_of_all_batches():
  for seed in range(20):
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(11, 2)).astype(np.float32)
    view = pool_of(embedding, rng.choice(11, size=seed % 3, replace=False))
    labeled, candidates = masks(view)
    radius = 0.45
    ball = reference.balls(embedding, labeled | candidates, radius)
    covered = set().union(*(ball[i] for i in np.flatnonzero(labeled)))
    ids = chosen("probcover", view, 3, radius=radius)
    reached = len(set().union(*(ball[i] for i in ids)) - covered)
    assert reached >= (1 - 1 / math.e) * reference.best_coverage(embedding, labeled, candidates, 3, radius)


@pytest.mark.slow
def test_every_pick_of_probcover_covers_something_while_it_can():
  embedding, blob = blobs([7, 12, 9, 8, 11, 10])
  labeled = [int(np.flatnonzero(blob == b)[0]) for b in (1, 3)]
  ids = chosen("probcover", pool_of(embedding, labeled), 6, radius=0.7)
  assert blob[ids[:4]].tolist() == [4, 5, 2, 0]  # a ball contains a whole blob
  assert ids[4:] == [i for i in range(57) if i not in ids[:4] + labeled][:2]  # everything is covered: the lowest ids


@pytest.mark.parametrize(
  ("name", "hyper", "message"),
  [
    ("typiclust", {"max_clusters": 0}, "max_clusters must be at least 1, not 0"),
    ("typiclust", {"neighbors": 0}, "neighbors must be at least 1, not 0"),
    ("typiclust", {"min_cluster_size": -1}, "min_cluster_size must be at least 0, not -1"),
    ("typiclust", {"iterations": -1}, "iterations must be at least 0, not -1"),
    ("typiclust", {"chunk_size": 0}, "chunk_size must be at least 1, not 0"),
    ("probcover", {"radius": -0.1}, "radius must be positive, or 0 for an estimate, not -0.1"),
    ("probcover", {"purity": 0}, "purity must be above 0 and at most 1, not 0"),
    ("probcover", {"purity": 1.5}, "purity must be above 0 and at most 1, not 1.5"),
    ("probcover", {"chunk_size": 0}, "chunk_size must be at least 1, not 0"),
    ("probcover", {"classes": 1}, "classes must be at least 2, not 1"),
    ("probcover", {"radius_images": 9}, "radius_images must be at least classes=10, not 9"),
  ],
)
def test_impossible_hyper_parameters(name, hyper, message):
  with pytest.raises(ValueError, match=message):
    acquisition.make(name, **hyper)
