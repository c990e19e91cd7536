"""Cluster-Margin: uncertain images from many clusters."""

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition._factory import factory
from al_jax.acquisition._pointwise import margin
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field


def average_linkage(distances: jax.Array, valid: jax.Array, *, num: int) -> jax.Array:
  """Average-linkage hierarchical clustering, stopped at `num` clusters.

  Repeatedly merges the two clusters with the smallest mean distance between their members; ties go to the lowest rows.
  Each row keeps a lower bound of the distance to its nearest cluster. The bound stays valid because a merged cluster is
  at least as far away as the nearer of its two parts. Only rows with the lowest bound are therefore recomputed.

  Args:
    distances: `[M, M]` symmetric, finite where both rows are valid.
    valid: `[M]` bool: rows to cluster.
    num: number of clusters to stop at.

  Returns:
    `[M]` int32: the lowest row of each row's cluster; an invalid row is a separate cluster.

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
    # Due to rounding, a mean may be below both of its parts.
    bounds = jnp.minimum(bounds, merged).at[a].set(merged.min()).at[b].set(jnp.inf)
    return distances, bounds, sizes.at[a].add(sizes[b]), jnp.where(cluster == b, a, cluster)

  start = distances, distances.min(axis=1), jnp.ones(rows.size, distances.dtype), rows
  merges = jnp.maximum(valid.sum() - num, 0)
  return jax.lax.fori_loop(0, merges, merge, start)[3]


@factory
def cluster_margin(
  *, candidates_factor: float = 10.0, clusters_factor: float = 1.0, chunk_size: int = 1024
) -> types.Acquisition:
  """Smallest margins, taken from clusters in turn, smallest clusters first.

  The `candidates_factor * num` candidates of smallest margin are clustered by average linkage on the Euclidean
  distances of their embeddings. Clusters take turns in ascending order of size; each turn selects the cluster's
  remaining image of smallest margin. Among clusters of equal size, the one with the smallest margin goes first.

  Departures from the paper: the paper clusters the whole pool, once; here only the candidates of smallest margin are
  clustered, so memory grows with their number squared. The paper cuts the tree at a distance tuned for each data set;
  here it is cut at `clusters_factor * num` clusters. The paper draws from a cluster at random; here the smallest margin
  goes first. The paper selects batches of 100,000 images and more; this version is meant for batches of tens of images.

  Formula: 1 - (p1 - p2), in turn over clusters
  Source: Citovsky et al. 2021

  Args:
    candidates_factor: candidates to cluster, divided by `num`; at least 1.
    clusters_factor: clusters, divided by `num`; positive.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: a factor is too small.
  """
  if not candidates_factor >= 1:
    raise ValueError(f"candidates_factor must be at least 1, not {candidates_factor}")
  if not clusters_factor > 0:
    raise ValueError(f"clusters_factor must be positive, not {clusters_factor}")
  margins = margin(chunk_size=chunk_size).score
  assert margins is not None

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # deterministic
    num_candidates = min(round(candidates_factor * num), view.labeled.shape[0])
    ids = pool.masked_top_k(margins(view), view.candidates, num=num_candidates, tie_break=view.tie_break)
    valid = view.candidates[ids]
    x = clustering.centered(require_field(view, "embedding")[ids], valid)
    distances = jnp.sqrt(clustering.squared_distances(x, x))
    # Due to rounding, the product of a matrix with its transpose may not be exactly symmetric.
    distances = jnp.maximum(distances, distances.T)
    cluster = average_linkage(distances, valid, num=max(1, round(clusters_factor * num)))

    by_cluster = jnp.lexsort((cluster, ~valid))
    cluster, valid = cluster[by_cluster], valid[by_cluster]
    sizes = jnp.zeros(num_candidates, jnp.int32).at[cluster].add(1)[cluster]
    first = jnp.full(num_candidates, num_candidates).at[cluster].min(jnp.arange(num_candidates))
    turns = jnp.arange(num_candidates) - first[cluster]
    selected = jnp.lexsort((cluster, sizes, turns, ~valid))[:num]
    return ids[by_cluster[selected]]

  return from_select(select, needs=types.Needs(samples=1, embedding=True))
