"""Diversity-based acquisitions, which read embeddings and no predictions."""

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition._embeddings import distances_to_labeled
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field


@factory
def kcenter(*, chunk_size: int = 1024) -> types.Acquisition:
  """Repeatedly the candidate farthest from all labeled and selected images (CoreSet).

  This is the greedy half of the method: the paper then runs an integer program that leaves out outliers. Here a far
  outlier is always selected. Centers are labeled and selected images. The largest distance of a candidate to its
  nearest center is at most twice as large as with the best batch. Distances are Euclidean. If nothing is labeled, the
  first pick is the candidate farthest from the candidates' mean. The distances to all labeled images are computed in
  every selection, by matrix products with 64 labeled images each; then each pick passes once over the pool.

  Formula: argmax_x min_c |x - c|, c labeled or chosen
  Source: Sener & Savarese 2018
  """

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # deterministic given the distances and tie breaks
    x = clustering.centered(require_field(view, "embedding"), view.labeled | view.candidates)
    # Used only if nothing is labeled: then the origin is the mean of the candidates.
    from_mean = jnp.sum(x * x, axis=1)

    def step(carry: tuple[jax.Array, jax.Array], _) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
      nearest, remaining = carry
      distances = jnp.where(jnp.isinf(nearest), from_mean, nearest)
      new = pool.masked_argmax(distances, remaining, tie_break=view.tie_break)
      nearest = jnp.minimum(nearest, clustering.squared_distances_to(x, x[new]))
      return (nearest, remaining.at[new].set(False)), new

    start = distances_to_labeled(x, x, view.labeled, chunk_size=chunk_size), view.candidates
    return jax.lax.scan(step, start, length=num)[1]

  return from_select(select, needs=types.Needs(embedding=True))


@factory
def kmeans(*, iterations: int = 20, chunk_size: int = 1024) -> types.Acquisition:
  """The candidate nearest to each k-means center of the candidates, largest cluster first.

  This is the clustering step of the method alone: no preselection by uncertainty, no weights; labeled images are
  ignored. In pools of more than 4,096 images, k-means stops before it has converged fully: see `clustering.kmeans`. No
  candidate is selected twice, and an exact copy of a selected candidate is skipped while any other candidate is left.
  Clusters of equal size keep the order of their seeds. Candidates at equal distance are ties. (Both images of a cluster
  of two are equally near to its center, and rounding may decide.)

  Formula: argmin_x |x - m_k| for every k-means center m_k
  Source: Zhdanov 2019

  Args:
    iterations: largest number of Lloyd iterations; 0 keeps the seeds.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `iterations` is below 0.
  """
  if iterations < 0:
    raise ValueError(f"iterations must be at least 0, not {iterations}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    x = clustering.centered(require_field(view, "embedding"), view.candidates)
    centers, assigned = clustering.kmeans(
      key, x, view.candidates, num=num, iterations=iterations, tie_break=view.tie_break, chunk_size=chunk_size
    )
    sizes = jax.ops.segment_sum(view.candidates.astype(jnp.int32), assigned, num_segments=num)

    def step(carry: tuple[jax.Array, jax.Array], center: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
      remaining, is_distinct = carry
      allowed = jnp.where(jnp.any(remaining & is_distinct), remaining & is_distinct, remaining)
      distances = clustering.squared_distances_to(x, center)
      new = pool.masked_argmax(-distances, allowed, tie_break=view.tie_break)
      is_distinct = is_distinct & (clustering.squared_distances_to(x, x[new]) > 0)
      return (remaining.at[new].set(False), is_distinct), new

    largest_first = jnp.argsort(-sizes, stable=True)
    return jax.lax.scan(step, (view.candidates, view.candidates), centers[largest_first])[1]

  return from_select(select, needs=types.Needs(embedding=True))
