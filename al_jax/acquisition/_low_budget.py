"""Strategies for the first few labels: typical images, and images whose neighbourhoods cover the pool.

Both look at embeddings alone, scaled to unit length, and so work before any network is worth asking.
"""

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import given
from al_jax.chunks import map_chunks


def _unit_rows(view: types.PoolView) -> tuple[jax.Array, jax.Array]:
  """Embeddings of unit length, then centered, of the labeled and candidate rows; `[N]` bool says which those are."""
  in_play = view.labeled | view.candidates
  unit = clustering.l2_normalize(jnp.where(in_play[:, None], given(view, "embedding"), 0.0))
  return clustering.centered(unit, in_play), in_play


def _most_typical(
  x: jax.Array,
  order: jax.Array,
  available: jax.Array,
  start: jax.Array,
  count: jax.Array,
  left: jax.Array,
  *,
  neighbors: int,
  chunk_size: int,
) -> jax.Array:
  """The most typical of the available rows among `order[start : start + count]`; ties to the first.

  Args:
    x: `[N, F]`.
    order: `[N + chunk_size]` int32 ids.
    available: `[N]` bool.
    start: `[]` int32.
    count: `[]` int32.
    left: `[]` int32: how many of them are available.
    neighbors: most nearest neighbours to average over.
    chunk_size: rows, and columns, of distances held at a time.

  Returns:
    `[]` int32.
  """
  chunks = -(-count // chunk_size)

  def block(i: jax.Array) -> tuple[jax.Array, jax.Array]:
    ids = jax.lax.dynamic_slice_in_dim(order, start + i * chunk_size, chunk_size)
    return ids, (i * chunk_size + jnp.arange(chunk_size) < count) & available[ids]

  # Where one row is left it has no neighbour, and no rival.
  used = jnp.minimum(neighbors, left // 2)

  def better_of_chunk(i: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    ids, present = block(i)

    def nearest_so_far(j: jax.Array, nearest: jax.Array) -> jax.Array:
      others, there = block(j)
      distances = clustering.squared_distances(x[ids], x[others])
      is_neighbor = there[None] & (ids[:, None] != others[None])
      return -jax.lax.top_k(-jnp.append(nearest, jnp.where(is_neighbor, distances, jnp.inf), axis=1), neighbors)[0]

    nearest = jax.lax.fori_loop(0, chunks, nearest_so_far, jnp.full((chunk_size, neighbors), jnp.inf, x.dtype))
    is_used = jnp.arange(neighbors) < used
    distance = jnp.where(is_used[None], jnp.sqrt(nearest), 0.0).sum(axis=1) / jnp.maximum(used, 1)
    distance = jnp.where(present, distance, jnp.inf)
    place = distance.argmin()
    is_better = distance[place] < best[0]
    return jnp.where(is_better, distance[place], best[0]), jnp.where(is_better, ids[place], best[1])

  return jax.lax.fori_loop(0, chunks, better_of_chunk, (jnp.array(jnp.inf, x.dtype), jnp.int32(0)))[1]


@factory
def typiclust(
  *,
  max_clusters: int = 500,
  min_cluster_size: int = 5,
  neighbors: int = 20,
  iterations: int = 20,
  chunk_size: int = 256,
) -> types.Acquisition:
  """The most typical image of each cluster in turn, clusters without labels and large ones first.

  Labeled and candidate images are clustered by k-means into as many clusters as there will be labels. Clusters take
  turns, those with the fewest labeled images first, then the largest; each gives the candidate of highest typicality
  among those it has left, where typicality is the inverse of the mean distance to the nearest `neighbors` of them, or
  to half of them where that is less. A cluster that has no candidate left is passed over. Clusters of at most
  `min_cluster_size` images are asked only when all the others are used up. Of equal clusters the first that k-means
  seeded comes first.

  Distances are Euclidean, as in the paper; the authors' program averages squared ones. The paper clusters
  self-supervised embeddings, fixed for the run: give the data set one. Without it these are the features of each
  round's network.

  Formula: 1 / mean distance to the k nearest in its cluster
  Source: Hacohen et al. 2022
  """
  for name, value in {"min_cluster_size": min_cluster_size, "iterations": iterations}.items():
    if value < 0:
      raise ValueError(f"{name} must be at least 0, not {value}")
  for name, value in {"max_clusters": max_clusters, "neighbors": neighbors, "chunk_size": chunk_size}.items():
    if value < 1:
      raise ValueError(f"{name} must be at least 1, not {value}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    size = view.labeled.shape[0]
    chunk, most = min(chunk_size, size), min(max_clusters, size)
    x, in_play = _unit_rows(view)
    active = jnp.minimum(view.labeled.sum() + num, most)
    how = {"num": most, "active": active, "iterations": iterations, "chunk_size": chunk}
    _, cluster = clustering.kmeans(key, x, in_play, tie_break=view.tie_break, **how)

    count = lambda mask: jax.ops.segment_sum(mask.astype(jnp.int32), cluster, num_segments=most)
    sizes = count(in_play)
    small = sizes <= min_cluster_size
    by_turn = jnp.lexsort((-sizes, count(view.labeled), small))
    small, counts = small[by_turn], count(view.candidates)[by_turn]
    turn = jnp.zeros(most, jnp.int32).at[by_turn].set(jnp.arange(most, dtype=jnp.int32))
    # The candidates of a cluster stand together, in the order of the turns; the first of equals is taken.
    order = jnp.lexsort((-given(view, "tie_break"), turn[cluster], ~view.candidates)).astype(jnp.int32)
    order, starts = jnp.pad(order, (0, chunk)), jnp.cumsum(counts) - counts

    def pick(i, carry):
      ids, available, visits = carry
      # In turn means: of those that have candidates left, the first that was visited least.
      c = jnp.argmin(jnp.where(visits < counts, visits + num * small, 2 * num))
      new = _most_typical(
        x, order, available, starts[c], counts[c], counts[c] - visits[c], neighbors=neighbors, chunk_size=chunk
      )
      return ids.at[i].set(new), available.at[new].set(False), visits.at[c].add(1)

    start = jnp.zeros(num, jnp.int32), view.candidates, jnp.zeros(most, jnp.int32)
    return jax.lax.fori_loop(0, num, pick, start)[0]

  return from_select(select, needs=types.Needs(embedding=True))


def count_within(x: jax.Array, among: jax.Array, squared_radius: jax.Array, *, chunk_size: int) -> jax.Array:
  """How many of the rows `among` `[N]` bool lie less than the radius from each row of `x` `[N, F]`: `[N]` int32."""
  total = among.sum()
  (ids,) = jnp.nonzero(among, size=x.shape[0], fill_value=0)
  ids = jnp.pad(ids, (0, chunk_size))

  def add(i: jax.Array, counts: jax.Array) -> jax.Array:
    others = x[jax.lax.dynamic_slice_in_dim(ids, i * chunk_size, chunk_size)]
    # Padding lies within no radius: a squared distance is at least 0.
    limits = jnp.where(i * chunk_size + jnp.arange(chunk_size) < total, squared_radius, -1.0)[None]
    within = lambda rows: jnp.sum(clustering.squared_distances(rows, others) < limits, axis=1, dtype=jnp.int32)
    return counts + map_chunks(within, x, chunk_size=chunk_size)

  return jax.lax.fori_loop(0, -(-total // chunk_size), add, jnp.zeros(x.shape[0], jnp.int32))


def _nearest_stranger(x: jax.Array, labels: jax.Array, in_play: jax.Array, *, chunk_size: int) -> jax.Array:
  """Squared distance of each row to the nearest one in play of another label: `[N]`, infinite where there is none."""
  size = x.shape[0]

  def of_chunk(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
    def closer(i: jax.Array, nearest: jax.Array) -> jax.Array:
      # The last block overlaps its neighbour, which changes no minimum.
      first = jnp.minimum(i * chunk_size, size - chunk_size)
      others, their_labels, there = jax.tree.map(
        lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, chunk_size), (x, labels, in_play)
      )
      is_stranger = there[None] & (rows[1][:, None] != their_labels[None])
      distances = jnp.where(is_stranger, clustering.squared_distances(rows[0], others), jnp.inf)
      return jnp.minimum(nearest, distances.min(axis=1))

    return jax.lax.fori_loop(0, -(-size // chunk_size), closer, jnp.full(chunk_size, jnp.inf, x.dtype))

  return map_chunks(of_chunk, (x, labels), chunk_size=chunk_size)


def squared_pure_radius(
  key: jax.Array,
  x: jax.Array,
  in_play: jax.Array,
  *,
  classes: int,
  purity: float,
  chunk_size: int,
  tie_break: jax.Array | None = None,
) -> jax.Array:
  """Square of the largest radius at which a share of at least `purity` of the balls holds one pseudo-label: `[]`."""
  most, total = min(classes, x.shape[0]), in_play.sum()
  active = jnp.minimum(most, total)
  _, labels = clustering.kmeans(key, x, in_play, num=most, active=active, tie_break=tie_break, chunk_size=chunk_size)
  distances = _nearest_stranger(x, labels, in_play, chunk_size=chunk_size)
  # 0.05 of 60 rows are 3, whatever float32 makes of the product.
  impure = jnp.floor((1 - purity) * total + 0.01).astype(jnp.int32)
  largest = jnp.sort(jnp.where(in_play, distances, jnp.inf))[jnp.minimum(impure, total - 1)]
  # That is the distance of two rows; a little less, and rounding cannot put the one into the other's ball.
  return (1 - 1e-4) * largest


@factory
def probcover(
  *, radius: float = 0.0, purity: float = 0.95, classes: int = 10, chunk_size: int = 512
) -> types.Acquisition:
  """Greedily the image whose ball holds the most images that no labeled image's ball holds yet.

  A ball is open: it holds what is nearer than the radius. It covers labeled and candidate images alike. Where all is
  covered, or nothing can be, candidates are ties. The paper looks at self-supervised embeddings, fixed for the run:
  give the data set one. Without it these are the features of each round's network.

  A radius of 0 asks for the paper's estimate: k-means gives pseudo-labels, and the radius is the largest for which a
  share of at least `purity` of all balls holds images of one pseudo-label only, which is that quantile of the distances
  to the nearest image of another. How many classes there are must be said: a view carries neither labels nor their
  number.

  Formula: argmax |ball(x) - covered|
  Source: Yehuda et al. 2022
  """
  if not radius >= 0:
    raise ValueError(f"radius must be positive, or 0 for an estimate, not {radius}")
  if not 0 < purity <= 1:
    raise ValueError(f"purity must be above 0 and at most 1, not {purity}")
  if classes < 2:
    raise ValueError(f"classes must be at least 2, not {classes}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    chunk = min(chunk_size, view.labeled.shape[0])
    x, in_play = _unit_rows(view)
    if radius:
      squared = jnp.array(radius**2, x.dtype)
    else:
      estimate = {"classes": classes, "purity": purity, "chunk_size": chunk, "tie_break": view.tie_break}
      squared = squared_pure_radius(key, x, in_play, **estimate)
    within = lambda among: count_within(x, among, squared, chunk_size=chunk)

    def pick(i, carry):
      ids, gains, uncovered, left = carry
      new = pool.masked_argmax(gains, left, tie_break=view.tie_break)
      covers = uncovered & (clustering.squared_distances_to(x, x[new]) < squared)
      # A row is covered once, so that over all picks each is counted out once.
      return ids.at[i].set(new), gains - within(covers), uncovered & ~covers, left.at[new].set(False)

    uncovered = in_play & (within(view.labeled) == 0) & ~view.labeled
    start = jnp.zeros(num, jnp.int32), within(uncovered), uncovered, view.candidates
    return jax.lax.fori_loop(0, num, pick, start)[0]

  return from_select(select, needs=types.Needs(embedding=True))
