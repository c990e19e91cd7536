"""Uncertain images, a few from each of many clusters: Cluster-Margin."""

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition._factory import factory
from al_jax.acquisition._pointwise import margin
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import given


def average_linkage(distances: jax.Array, valid: jax.Array, *, num: int) -> jax.Array:
  """Hierarchical clustering by average linkage, cut where `num` clusters are left.

  The two clusters of smallest mean distance between their members are merged until there are `num`; ties go to the
  lowest rows. A row's bound is at most its distance to the nearest cluster, and since no merge brings clusters nearer
  than the nearer of the two was, it stays so: only rows whose bound comes out lowest are ever looked at again.

  Args:
    distances: `[M, M]` symmetric, finite where both rows are valid.
    valid: `[M]` bool: rows that take part.
    num: how many clusters to leave.

  Returns:
    `[M]` int32: the lowest row of the cluster that each row is in; a row that is not valid is in its own.

  Source: Sokal & Michener (1958); lazy bounds as in Muellner (2011), section 3.2.
  """
  rows = jnp.arange(valid.shape[0], dtype=jnp.int32)
  is_pair = valid[:, None] & valid[None] & (rows[:, None] != rows[None])
  distances = jnp.where(is_pair, distances, jnp.inf)

  def tighten_lowest(distances: jax.Array, bounds: jax.Array) -> jax.Array:
    nearest = lambda bounds: distances[bounds.argmin()].min()
    is_loose = lambda bounds: nearest(bounds) > bounds.min()
    return jax.lax.while_loop(is_loose, lambda bounds: bounds.at[bounds.argmin()].set(nearest(bounds)), bounds)

  def merge(_, carry):
    distances, bounds, sizes, cluster = carry
    bounds = tighten_lowest(distances, bounds)
    a = bounds.argmin()
    b = distances[a].argmin()
    merged = (sizes[a] * distances[a] + sizes[b] * distances[b]) / (sizes[a] + sizes[b])
    distances = distances.at[a].set(merged).at[:, a].set(merged).at[b].set(jnp.inf).at[:, b].set(jnp.inf)
    # Rounding may put a mean below both of its parts.
    bounds = jnp.minimum(bounds, merged).at[a].set(merged.min()).at[b].set(jnp.inf)
    return distances, bounds, sizes.at[a].add(sizes[b]), jnp.where(cluster == b, a, cluster)

  start = distances, distances.min(axis=1), jnp.ones(rows.size, distances.dtype), rows
  merges = jnp.maximum(valid.sum() - num, 0)
  return jax.lax.fori_loop(0, merges, merge, start)[3]


@factory
def cluster_margin(
  *, candidates_factor: float = 10.0, clusters_factor: float = 1.0, chunk_size: int = 1024
) -> types.Acquisition:
  """The smallest margins, taken from clusters in turn, small clusters first.

  The `candidates_factor * num` candidates of smallest margin are clustered by average linkage on the Euclidean
  distances of their embeddings. Clusters take turns in ascending order of size, and each gives the image of smallest
  margin that it has left. Ties of size go to the cluster with the smallest margin.

  Departures from the paper: it clusters the whole pool, once; here only the candidates of smallest margin are,
  which bounds memory by their number squared. It cuts the tree at a distance tuned for each data set; here the tree is
  cut at `clusters_factor * num` clusters. It draws from a cluster at random; here the smallest margin goes first.
  And it is meant for batches of 100,000 images and more, where these are of tens.

  Formula: 1 - (p1 - p2), in turn over clusters
  Source: Citovsky et al. 2021
  """
  if not candidates_factor >= 1:
    raise ValueError(f"candidates_factor must be at least 1, not {candidates_factor}")
  if not clusters_factor > 0:
    raise ValueError(f"clusters_factor must be positive, not {clusters_factor}")
  margins = margin(chunk_size=chunk_size).score
  assert margins is not None

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # nothing is drawn
    most = min(round(candidates_factor * num), view.labeled.shape[0])
    ids = pool.masked_top_k(margins(view), view.candidates, num=most, tie_break=view.tie_break)
    valid = view.candidates[ids]
    x = clustering.centered(given(view, "embedding")[ids], valid)
    distances = jnp.sqrt(clustering.squared_distances(x, x))
    # The product of a matrix with itself need not come out symmetric to the last digit.
    distances = jnp.maximum(distances, distances.T)
    cluster = average_linkage(distances, valid, num=max(1, round(clusters_factor * num)))

    by_cluster = jnp.lexsort((cluster, ~valid))
    cluster, valid = cluster[by_cluster], valid[by_cluster]
    sizes = jnp.zeros(most, jnp.int32).at[cluster].add(1)[cluster]
    first = jnp.full(most, most).at[cluster].min(jnp.arange(most))
    turns = jnp.arange(most) - first[cluster]
    taken = jnp.lexsort((cluster, sizes, turns, ~valid))[:num]
    return ids[by_cluster[taken]]

  return from_select(select, needs=types.Needs(samples=1, embedding=True))
