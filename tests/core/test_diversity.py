"""k-center and k-means batches compared with float64 references and the best of all batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from al_jax import acquisition
from al_jax import clustering
from al_jax import types
from tests.support import reference_diversity as reference
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

ROWS, FEATURES, NUM = 47, 6, 8
FEW = 3  # clusters; with more, a cluster may hold two images, whose equal distances to its center only rounding orders
KCENTER = acquisition.make("kcenter", chunk_size=10)
KMEANS = acquisition.make("kmeans", iterations=4, chunk_size=10)
SELECT = {
  name: jax.jit(made.select, static_argnames="num") for name, made in (("kcenter", KCENTER), ("kmeans", KMEANS))
}


def pool_of(seed: int, rows: int = ROWS, num_labeled: int = 12, features: int = FEATURES) -> types.PoolView:
  """A clustered pool; some rows are labeled, and one is neither labeled nor a candidate."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(5, features))[rng.integers(0, 5, rows)] * 2 + rng.normal(size=(rows, features))
  place = rng.permutation(rows)
  labeled, absent = place < num_labeled, place == rows - 1
  return ties_by_id(
    types.PoolView(jnp.array(labeled), jnp.array(~labeled & ~absent), embedding=jnp.array(x, jnp.float32))
  )


@jax.jit
def plus_plus(key: jax.Array, x: jax.Array, candidates: jax.Array) -> jax.Array:
  """The k-means++ seeds of `FEW` clusters."""
  return clustering.kmeans_plus_plus(key, lambda i: clustering.squared_distances_to(x, x[i]), candidates, num=FEW)


def chosen(name: str, view: types.PoolView, num: int = NUM, seed: int = 0) -> list[int]:
  return SELECT[name](jax.random.key(seed), view, num=num).tolist()


@pytest.mark.parametrize("num_labeled", [0, 1, 10, 12, 30, 43])
def test_kcenter_equals_the_reference(num_labeled):
  num = min(NUM, ROWS - 1 - num_labeled)
  for seed in range(4):
    view = pool_of(seed, num_labeled=num_labeled)
    assert chosen("kcenter", view, num=num) == reference.kcenter(view.embedding, view.labeled, view.candidates, num)


def test_kcenter_sees_the_last_of_many_labeled_images():
  view = pool_of(0, num_labeled=43)
  covered, last = int(np.flatnonzero(view.candidates)[0]), int(np.flatnonzero(view.labeled)[-1])
  far = view.embedding.at[last].set(100.0).at[covered].set(100.01)
  assert chosen("kcenter", view._replace(embedding=far), num=3)[-1] == covered


def test_kcenter_without_labels_starts_at_the_farthest_from_the_mean():
  view = pool_of(0, num_labeled=0)
  x = np.asarray(view.embedding)[view.candidates]
  farthest = np.linalg.norm(x - x.mean(axis=0), axis=1).argmax()
  assert chosen("kcenter", view)[0] == np.flatnonzero(view.candidates)[farthest]


@pytest.mark.parametrize("num_labeled", [0, 2])
def test_kcenter_covers_at_most_twice_as_far_as_the_best_batch(num_labeled):
  ratios = []
  for seed in range(12):
    view = pool_of(seed, rows=11, num_labeled=num_labeled, features=2)
    distances = reference.all_distances(view.embedding)
    centers = np.flatnonzero(view.labeled).tolist() + chosen("kcenter", view, num=3)
    smallest = reference.smallest_radius(distances, view.labeled, view.candidates, 3)
    ratios.append(reference.covering_radius(distances, centers, view.candidates) / smallest)
  assert min(ratios) > 1 - 1e-6 and max(ratios) <= 2 and np.mean(ratios) < 1.6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kcenter", "kmeans"])
def test_rotations_and_shifts_change_nothing(name):
  view = pool_of(1)
  rotation = scipy.stats.ortho_group.rvs(FEATURES, random_state=0)
  moved = jnp.array(np.asarray(view.embedding, np.float64) @ rotation + 100, jnp.float32)
  num = {"kcenter": NUM, "kmeans": FEW}[name]
  assert chosen(name, view._replace(embedding=moved), num=num) == chosen(name, view, num=num)


def test_kcenter_follows_a_permutation_of_the_pool():
  view = pool_of(2)
  order = np.random.default_rng(0).permutation(ROWS)
  shuffled = jax.tree.map(lambda leaf: leaf[order], view)
  assert order[chosen("kcenter", shuffled)].tolist() == chosen("kcenter", view)


def test_kmeans_equals_the_reference():
  for seed in range(4):
    view, key = pool_of(seed), jax.random.key(seed)
    x = clustering.centered(view.embedding, view.candidates)
    seeds = plus_plus(key, x, view.candidates)
    expected = reference.kmeans(view.embedding, view.candidates, seeds.tolist(), 4)
    assert chosen("kmeans", view, num=FEW, seed=seed) == expected


@pytest.mark.slow
def test_kmeans_takes_the_middle_of_every_cluster_largest_first():
  # Lines of 9, 7, 5 and 3 images, far apart: the middle of each is nearest to its mean.
  sizes = [5, 9, 3, 7]
  x = np.concatenate(
    [np.stack([100.0 * k + np.arange(size), np.full(size, 70.0 * k**2)], 1) for k, size in enumerate(sizes)]
  )
  everything = jnp.ones(len(x), bool)
  view = ties_by_id(types.PoolView(~everything, everything, embedding=jnp.array(x, jnp.float32)))
  select = jax.jit(acquisition.make("kmeans", iterations=10).select, static_argnames="num")
  middles = {size: sum(sizes[:k]) + size // 2 for k, size in enumerate(sizes)}
  batches = [select(jax.random.key(seed), view, num=4).tolist() for seed in range(4)]
  assert [middles[size] for size in (9, 7, 5, 3)] in batches


@pytest.mark.parametrize("name", ["kcenter", "kmeans"])
def test_no_copy_is_taken_while_there_is_something_else(name, debug_nans):
  view = pool_of(3, rows=10, num_labeled=0)
  copies = ties_by_id(
    types.PoolView(jnp.zeros(30, bool), jnp.arange(30) != 4, embedding=(view.embedding * 1e3)[jnp.arange(30) // 3])
  )
  for seed in range(3):
    ids = chosen(name, copies, num=14, seed=seed)
    assert len({i // 3 for i in ids[:10]}) == 10
    assert len(set(ids)) == 14 and 4 not in ids


@pytest.mark.slow
def test_kmeans_passes_over_the_copy_that_a_second_center_is_nearest_to():
  # On the first axis, two copies and one image farther out; one image on each of six other axes. The means of the two
  # clusters are both nearest to the copies.
  x = np.concatenate([[[7.0], [7.0], [17.0]] * np.eye(1, 7), 10 * np.eye(7)[1:]])
  everything = jnp.ones(9, bool)
  view = ties_by_id(types.PoolView(~everything, everything, embedding=jnp.array(x, jnp.float32)))
  batches = [chosen("kmeans", view, num=2, seed=seed) for seed in range(10)]
  assert [0, 2] in batches and not any({0, 1} <= set(batch) for batch in batches)


def test_kcenter_takes_copies_of_labeled_images_last_and_in_order(debug_nans):
  view = pool_of(3, rows=10, num_labeled=0)
  labeled = jnp.arange(30) % 3 == 1
  labeled &= jnp.arange(30) < 15  # one copy of each of the first five
  copies = ties_by_id(types.PoolView(labeled, ~labeled, embedding=(view.embedding * 1e3 + 1e4)[jnp.arange(30) // 3]))
  ids = chosen("kcenter", copies, num=25)
  assert sorted(i // 3 for i in ids[:5]) == [5, 6, 7, 8, 9]
  assert ids[5:] == sorted(ids[5:])


def test_kmeans_does_not_look_at_labeled_images():
  view = pool_of(4)
  spoiled = jnp.where(view.candidates[:, None], view.embedding, jnp.nan)
  assert chosen("kmeans", view._replace(embedding=spoiled)) == chosen("kmeans", view)


def test_hyper_parameters_out_of_range():
  with pytest.raises(ValueError, match="iterations must be at least 0, not -1"):
    acquisition.make("kmeans", iterations=-1)
