"""Strategies that spread a batch over the pool and look at no prediction."""

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import given


def _distances_to_labeled(x: jax.Array, labeled: jax.Array, *, chunk_size: int) -> jax.Array:
  """Squared distance of every row to its nearest labeled one: `[N, F]`, `[N]` bool -> `[N]`, infinite where none is."""
  size = labeled.shape[0]
  chunk_size = min(chunk_size, size)
  ids = pool.labeled_ids(labeled, size=size)
  count = labeled.sum()

  def step(i: jax.Array, nearest: jax.Array) -> jax.Array:
    start = jnp.minimum(i * chunk_size, size - chunk_size)  # the last chunk overlaps its neighbour
    centers = x[jax.lax.dynamic_slice_in_dim(ids, start, chunk_size)]
    active = start + jnp.arange(chunk_size) < count
    _, distances = clustering.nearest_center(x, centers, active, chunk_size=chunk_size)
    return jnp.minimum(nearest, distances)

  return jax.lax.fori_loop(0, -(-count // chunk_size), step, jnp.full(size, jnp.inf))


@factory
def kcenter(*, chunk_size: int = 1024) -> types.Acquisition:
  """The candidate farthest from all labeled and chosen images, again and again (CoreSet).

  The greedy half of the method: the paper goes on with an integer program that leaves out outliers. No candidate ends
  up more than twice as far from its nearest center as the best batch could bring about. Distances are Euclidean. Where
  nothing is labeled, the first is the candidate farthest from the candidates' mean. A far outlier is always taken.

  Formula: argmax_x min_c |x - c|, c labeled or chosen
  Source: Sener & Savarese 2018
  """

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # the order is a function of the distances
    x = clustering.centered(given(view, "embedding"), view.labeled | view.candidates)
    # Read only where nothing is labeled: then the mean at the origin is that of the candidates.
    from_mean = jnp.sum(x * x, axis=1)

    def step(carry: tuple[jax.Array, jax.Array], _) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
      nearest, left = carry
      distances = jnp.where(jnp.isinf(nearest), from_mean, nearest)
      new = pool.masked_argmax(distances, left, tie_break=view.tie_break)
      nearest = jnp.minimum(nearest, clustering.squared_distances_to(x, x[new]))
      return (nearest, left.at[new].set(False)), new

    start = _distances_to_labeled(x, view.labeled, chunk_size=chunk_size), view.candidates
    return jax.lax.scan(step, start, length=num)[1]

  return from_select(select, needs=types.Needs(embedding=True))


@factory
def kmeans(*, iterations: int = 20, chunk_size: int = 1024) -> types.Acquisition:
  """The candidate nearest to each center of a k-means of all candidates, the largest cluster's first.

  The clustering step of the method alone: no preselection by uncertainty and no weights, and labeled images play no
  part. k-means++ seeds and a fixed number of Lloyd's iterations. A candidate that is taken is passed over, and so is
  its exact copy as long as there is any other; clusters of one size go by the order of their seeds, candidates at one
  distance by a draw, as far as rounding lets them: both images of a cluster of two are equally near to its center.

  Formula: argmin_x |x - m_k| for every k-means center m_k
  Source: Zhdanov 2019
  """
  if iterations < 0:
    raise ValueError(f"iterations must be at least 0, not {iterations}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    x = clustering.centered(given(view, "embedding"), view.candidates)
    centers, assigned = clustering.kmeans(
      key, x, view.candidates, num=num, iterations=iterations, tie_break=view.tie_break, chunk_size=chunk_size
    )
    sizes = jax.ops.segment_sum(view.candidates.astype(jnp.int32), assigned, num_segments=num)

    def step(carry: tuple[jax.Array, jax.Array], center: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
      left, differs = carry
      allowed = jnp.where(jnp.any(left & differs), left & differs, left)
      distances = clustering.squared_distances_to(x, center)
      new = pool.masked_argmax(-distances, allowed, tie_break=view.tie_break)
      differs = differs & (clustering.squared_distances_to(x, x[new]) > 0)
      return (left.at[new].set(False), differs), new

    largest_first = jnp.argsort(-sizes, stable=True)
    return jax.lax.scan(step, (view.candidates, view.candidates), centers[largest_first])[1]

  return from_select(select, needs=types.Needs(embedding=True))
