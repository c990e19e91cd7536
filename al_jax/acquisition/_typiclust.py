"""TypiClust: typical images of clusters, for small budgets.

It reads only embeddings, scaled to unit length, so it works before the network's predictions are useful.
"""

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import types
from al_jax.acquisition._embeddings import normalized_embeddings
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field

# Columns of a block of distances per row of it: `top_k` costs a CPU almost as much for 256 columns as for 1,024.
_WIDTH = 4
_TYPICALITY_BITS = 12  # of the mantissa: mean distances that differ by less than about 1e-4 of their size are ties


def _most_typical(
  x: jax.Array,
  order: jax.Array,
  available: jax.Array,
  tie_break: jax.Array,
  start: jax.Array,
  count: jax.Array,
  remaining: jax.Array,
  *,
  neighbors: int,
  chunk_size: int,
) -> jax.Array:
  """The most typical available row of a cluster, `order[start : start + count]`; ties go to the highest `tie_break`.

  Args:
    x: `[N, F]`.
    order: `[N + _WIDTH * chunk_size]` int32 ids.
    available: `[N]` bool: candidates that are not selected yet.
    tie_break: `[N]` floats in [0, 1).
    start: `[]` int32.
    count: `[]` int32.
    remaining: `[]` int32: number of available rows in the cluster.
    neighbors: maximum number of nearest neighbors to average over.
    chunk_size: number of rows of distances held at a time, and a `_WIDTH`-th of the number of columns.

  Returns:
    `[]` int32.
  """
  columns = _WIDTH * chunk_size

  def block(i: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    ids = jax.lax.dynamic_slice_in_dim(order, start + i * size, size)
    return ids, (i * size + jnp.arange(size) < count) & available[ids]

  # A single remaining row has no neighbor, and no competitor.
  num_averaged = jnp.minimum(neighbors, remaining // 2)

  def update_best(i: jax.Array, best: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    ids, present = block(i, chunk_size)
    rows = x[ids]

    def merge_nearest(j: jax.Array, nearest: jax.Array) -> jax.Array:
      others, is_member = block(j, columns)
      is_neighbor = is_member[None] & (ids[:, None] != others[None])
      distances = jnp.where(is_neighbor, clustering.squared_distances(rows, x[others]), jnp.inf)
      return -jax.lax.top_k(-jnp.append(nearest, distances, axis=1), neighbors)[0]

    nearest = jnp.full((chunk_size, neighbors), jnp.inf, x.dtype)
    nearest = jax.lax.fori_loop(0, -(-count // columns), merge_nearest, nearest)
    is_averaged = jnp.arange(neighbors) < num_averaged
    distance = jnp.where(is_averaged[None], jnp.sqrt(nearest), 0.0).sum(axis=1) / jnp.maximum(num_averaged, 1)
    # Two images that are each other's nearest are a tie, whose distances differ by rounding.
    distance = jax.lax.reduce_precision(distance, exponent_bits=8, mantissa_bits=_TYPICALITY_BITS)
    distance = jnp.where(present, distance, jnp.inf)
    lowest = distance.min()
    place = jnp.argmax(jnp.where(present & (distance == lowest), tie_break[ids], -1.0))
    new = lowest, tie_break[ids[place]], ids[place]
    is_better = (lowest < best[0]) | ((lowest == best[0]) & (new[1] > best[1]))
    return jax.tree.map(lambda ours, theirs: jnp.where(is_better, ours, theirs), new, best)

  nobody = jnp.array(jnp.inf, x.dtype), jnp.array(-1, tie_break.dtype), jnp.int32(0)
  return jax.lax.fori_loop(0, -(-count // chunk_size), update_best, nobody)[2]


@factory
def typiclust(
  *,
  max_clusters: int = 500,
  min_cluster_size: int = 5,
  neighbors: int = 20,
  iterations: int = 20,
  chunk_size: int = 256,
) -> types.Acquisition:
  """The most typical image of each cluster in turn, clusters with few labels first, then large ones.

  Labeled and candidate images are clustered by k-means into as many clusters as there will be labels, at most
  `max_clusters`. Clusters take turns: those with the fewest labeled images first, then the largest, then in the order
  of their k-means seeds. Each turn selects the cluster's remaining candidate of highest typicality: the inverse mean
  distance to its nearest `neighbors` remaining candidates of the cluster, or to the nearest half of them if that is
  fewer. Clusters without remaining candidates are skipped. Clusters of at most `min_cluster_size` images get turns only
  after all others are used up.

  k-means stops before it has converged fully: see `clustering.kmeans`. Its time grows with the number of clusters of
  the round, not with `max_clusters`; that of typicality with the square of the largest cluster, so that the first
  rounds, which have few clusters, take the longest.

  Embeddings are scaled to unit length. Distances are Euclidean, as in the paper; the authors' code averages squared
  distances. The paper clusters self-supervised embeddings that are fixed for the run: to do the same, set
  `Dataset.embedding`. Without it, the features of each round's network are clustered.

  Formula: 1 / mean distance to the k nearest in its cluster
  Source: Hacohen et al. 2022

  Args:
    max_clusters: largest number of clusters.
    min_cluster_size: clusters of at most this many images come last.
    neighbors: number of nearest neighbors that the typicality averages over.
    iterations: largest number of Lloyd iterations of k-means, on a sample and again on all rows.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `min_cluster_size` or `iterations` is below 0, or another value below 1.
  """
  for name, value in {"min_cluster_size": min_cluster_size, "iterations": iterations}.items():
    if value < 0:
      raise ValueError(f"{name} must be at least 0, not {value}")
  for name, value in {"max_clusters": max_clusters, "neighbors": neighbors, "chunk_size": chunk_size}.items():
    if value < 1:
      raise ValueError(f"{name} must be at least 1, not {value}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    size = view.labeled.shape[0]
    chunk, capacity = min(chunk_size, size), min(max_clusters, size)
    x, in_use = normalized_embeddings(view)
    tie_break = require_field(view, "tie_break")
    active = jnp.minimum(view.labeled.sum() + num, capacity)
    options = {"num": capacity, "active": active, "iterations": iterations, "chunk_size": chunk}
    _, cluster = clustering.kmeans(key, x, in_use, tie_break=tie_break, **options)

    count = lambda mask: jax.ops.segment_sum(mask.astype(jnp.int32), cluster, num_segments=capacity)
    sizes = count(in_use)
    small = sizes <= min_cluster_size
    by_turn = jnp.lexsort((-sizes, count(view.labeled), small))
    small, counts = small[by_turn], count(view.candidates)[by_turn]
    turn = jnp.zeros(capacity, jnp.int32).at[by_turn].set(jnp.arange(capacity, dtype=jnp.int32))
    # Sorts candidates by cluster in the order of turns.
    order = jnp.argsort(jnp.where(view.candidates, turn[cluster], capacity)).astype(jnp.int32)
    order, starts = jnp.pad(order, (0, _WIDTH * chunk)), jnp.cumsum(counts) - counts

    def pick(i, carry):
      ids, available, visits = carry
      # Next turn: the first of the least visited clusters that have candidates left.
      c = jnp.argmin(jnp.where(visits < counts, visits + num * small, 2 * num))
      members = starts[c], counts[c], counts[c] - visits[c]
      new = _most_typical(x, order, available, tie_break, *members, neighbors=neighbors, chunk_size=chunk)
      return ids.at[i].set(new), available.at[new].set(False), visits.at[c].add(1)

    start = jnp.zeros(num, jnp.int32), view.candidates, jnp.zeros(capacity, jnp.int32)
    return jax.lax.fori_loop(0, num, pick, start)[0]

  return from_select(select, needs=types.Needs(embedding=True))
