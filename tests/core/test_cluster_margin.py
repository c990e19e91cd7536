"""Cluster-Margin compared with SciPy's tree and a reference, and its invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.stats import special_ortho_group

from al_jax import acquisition
from al_jax import types
from al_jax.acquisition import _cluster_margin as cluster_margin
from tests.support import reference_low_budget as reference
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SIZE, SAMPLES, CLASSES, FEATURES = 61, 2, 4, 5


def ordinary(seed: int) -> types.PoolView:
  """Random rows: five are labeled, and four are neither labeled nor candidates and hold NaN."""
  rng = np.random.default_rng(seed)
  special = rng.permutation(SIZE)
  log_probs = jax.nn.log_softmax(jnp.array(rng.normal(size=(SIZE, SAMPLES, CLASSES)) * 2, jnp.float32))
  embedding = jnp.array(rng.normal(size=(SIZE, FEATURES)) + 3, jnp.float32)
  labeled, out = np.isin(np.arange(SIZE), special[:5]), jnp.array(np.isin(np.arange(SIZE), special[5:9]))
  return ties_by_id(
    types.PoolView(
      jnp.array(labeled),
      ~jnp.array(labeled) & ~out,
      log_probs=jnp.where(out[:, None, None], jnp.nan, log_probs),
      embedding=jnp.where(out[:, None], jnp.nan, embedding),
    )
  )


def in_order_of_margin(margins, embedding) -> types.PoolView:
  """All rows are candidates; row i's two highest probabilities differ by `margins[i]`."""
  margins = np.asarray(margins, np.float32)
  probs = np.stack([(1 + margins) / 2, (1 - margins) / 2], axis=-1)[:, None]
  masks = jnp.zeros(len(margins), bool), jnp.ones(len(margins), bool)
  return ties_by_id(
    types.PoolView(*masks, log_probs=jnp.log(jnp.array(probs)), embedding=jnp.array(embedding, jnp.float32))
  )


@functools.cache
def selector(num: int, **hyper):
  """A compiled selection, shared by all tests of the same sizes."""
  return jax.jit(functools.partial(acquisition.make("cluster_margin", **hyper).select, num=num))


def chosen(view: types.PoolView, num: int, **hyper) -> list[int]:
  """The selected ids."""
  return selector(num, **hyper)(jax.random.key(0), view).tolist()


def partition_of(cluster, valid) -> set[frozenset[int]]:
  """The clusters of the valid rows, as sets of rows."""
  rows = np.flatnonzero(valid)
  cluster = np.asarray(cluster)
  return {frozenset(rows[cluster[rows] == c].tolist()) for c in set(cluster[rows].tolist())}


@functools.cache
def clusterer(num: int):
  return jax.jit(functools.partial(cluster_margin.average_linkage, num=num))


@pytest.mark.parametrize("num", [1, 3, 12, 37])
def test_partition_equals_scipys(num):
  for seed in range(6):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 3)) ** 3  # far outliers, which give chains of merges
    valid = ~np.isin(np.arange(40), rng.choice(40, size=3, replace=False))
    pairs = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=-1))
    distances = np.where(valid[:, None] & valid[None], pairs, np.nan).astype(np.float32)
    cluster = np.asarray(clusterer(num)(jnp.array(distances), jnp.array(valid)))
    tree = hierarchy.linkage(x[valid], "average")
    theirs = np.zeros(40)
    theirs[valid] = hierarchy.fcluster(tree, num, "maxclust")
    assert len(partition_of(theirs, valid)) == num
    assert partition_of(cluster, valid) == partition_of(theirs, valid)
    # A cluster is named by its lowest row, an invalid row by itself.
    assert all(cluster[row] == min(rows) for rows in partition_of(cluster, valid) for row in rows)
    assert (cluster[~valid] == np.flatnonzero(~valid)).all()


def test_partition_equals_the_definition():
  for seed in range(3):
    x = np.random.default_rng(seed).normal(size=(14, 2))
    pairs = jnp.array(np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=-1)), jnp.float32)
    for num in (2, 5):
      cluster = clusterer(num)(pairs, jnp.ones(14, bool))
      assert partition_of(cluster, np.ones(14, bool)) == reference.average_linkage(x, num)


@pytest.mark.parametrize(("factor", "clusters"), [(3.0, 0.5), (2.5, 1.0), (10.0, 1.0)])
def test_selection_equals_the_reference(factor, clusters):
  num = 10
  for seed in range(3):
    view = ordinary(seed)
    candidates = np.asarray(view.candidates)
    among = min(int(factor * num), int(candidates.sum()))  # there are fewer than 10 * num candidates
    # Rows that are not candidates hold NaN, which the reference does not handle.
    log_probs = np.where(candidates[:, None, None], view.log_probs, np.log(1 / CLASSES))
    expected = reference.cluster_margin(log_probs, view.embedding, candidates, num, among, round(clusters * num))
    assert chosen(view, num, candidates_factor=factor, clusters_factor=clusters, chunk_size=16) == expected


def test_a_crowd_of_uncertain_copies_gives_one():
  margins = np.arange(30) / 30
  embedding = np.eye(30)
  embedding[:20] = [1] + [0] * 29  # the twenty smallest margins are copies of one image
  ids = chosen(in_order_of_margin(margins, embedding), 6, candidates_factor=4.2)
  assert ids == [20, 21, 22, 23, 24, 0]


@pytest.mark.slow
def test_small_clusters_go_first_and_give_their_smallest_margins():
  blob = np.array([0] * 6 + [1] * 2 + [2] * 4)
  embedding = 10 * np.eye(3)[blob] + 0.1 * np.random.default_rng(0).normal(size=(12, 3))
  view = in_order_of_margin(np.arange(12)[::-1] / 20, embedding)  # the last row is the least certain
  ids = chosen(view, 9, candidates_factor=2, clusters_factor=1 / 3)
  assert ids == [7, 11, 5, 6, 10, 4, 9, 3, 8]


@pytest.mark.slow
def test_without_merging_it_is_margin_sampling():
  view = ordinary(0)
  margin = acquisition.make("margin").select(jax.random.key(0), view, num=10).tolist()
  assert chosen(view, 10, clusters_factor=7.0) == margin
  assert sorted(chosen(view, 10, candidates_factor=1.0, clusters_factor=0.3)) == sorted(margin)


@pytest.mark.slow
def test_rotation_and_shift_change_nothing():
  rotation = special_ortho_group.rvs(FEATURES, random_state=1)
  for seed in range(3):
    view = ordinary(seed)
    turned = view._replace(embedding=jnp.array(np.asarray(view.embedding) @ rotation + 50, jnp.float32))
    assert chosen(turned, 10) == chosen(view, 10)


@pytest.mark.slow
def test_shuffling_the_pool_maps_the_ids():
  order = np.random.default_rng(3).permutation(SIZE)
  for seed in range(3):
    view = ordinary(seed)
    shuffled = jax.tree.map(lambda leaf: leaf[order], view)
    assert order[chosen(shuffled, 10)].tolist() == chosen(view, 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["equal", "certain", "two values"])
def test_a_batch_is_always_full(kind, debug_nans):
  embedding = np.eye(4)[np.arange(30) % 2] if kind == "two values" else np.ones((30, 4))
  view = in_order_of_margin(np.ones(30) if kind == "certain" else np.zeros(30), embedding)
  view = view._replace(candidates=view.candidates.at[4].set(False))
  for num in (5, 29):  # the second acquires all candidates
    ids = chosen(view, num)
    assert len(set(ids)) == num and 4 not in ids


@pytest.mark.parametrize(
  ("hyper", "message"),
  [
    ({"candidates_factor": 0.5}, "candidates_factor must be at least 1, not 0.5"),
    ({"clusters_factor": 0}, "clusters_factor must be positive, not 0"),
  ],
)
def test_impossible_hyper_parameters(hyper, message):
  with pytest.raises(ValueError, match=message):
    acquisition.make("cluster_margin", **hyper)
