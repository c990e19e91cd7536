"""LCMD: the farthest image of the largest cluster around labeled and selected images, by last-layer gradients."""

import jax
import jax.numpy as jnp

from al_jax import pool
from al_jax import types
from al_jax.acquisition import _badge
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field
from al_jax.chunks import map_chunks

# Labeled images per matrix product.
_BLOCK = 64


def nearest_labeled(
  rows: _badge.Outer, labeled: jax.Array, *, bias: jax.Array | float, chunk_size: int
) -> tuple[jax.Array, jax.Array]:
  """Each row's nearest labeled row: `[N]` int32 ids, `[N]` squared distances; 0 and inf if nothing is labeled.

  The nearest is found by products of the factors. The distance to it is computed by `_badge.distances`, and is exactly
  0 for equal rows.

  Args:
    rows: N rows.
    labeled: `[N]` bool.
    bias: as in `_badge.outer`.
    chunk_size: rows per chunk.
  """
  size = labeled.shape[0]
  block = min(_BLOCK, size)
  count = labeled.sum()
  ids = jnp.pad(pool.labeled_ids(labeled, size=size), (0, -size % block))
  places = jnp.arange(block, dtype=jnp.int32)
  gather = lambda ids: jax.tree.map(lambda leaf: leaf[ids], rows)

  def find(own: _badge.Outer) -> tuple[jax.Array, jax.Array]:
    def merge(i: jax.Array, best: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
      here = jax.lax.dynamic_slice_in_dim(ids, i * block, block)
      centers = gather(here)
      # Squared distances minus the squared norm of the row.
      offset = jnp.where(i * block + places < count, centers.a_norms * centers.h_norms, jnp.inf)
      to_centers = offset[None] - 2 * (own.a @ centers.a.T) * (own.h @ centers.h.T + bias)
      lowest = to_centers.min(axis=1)
      # Two plain minima take half the time of `argmin` on a CPU.
      place = jnp.where(to_centers == lowest[:, None], places[None], block - 1).min(axis=1)
      return jnp.minimum(best[0], lowest), jnp.where(lowest < best[0], here[place], best[1])

    start = jnp.full(own.a.shape[0], jnp.inf), jnp.zeros(own.a.shape[0], jnp.int32)
    nearest = jax.lax.fori_loop(0, -(-count // block), merge, start)[1]
    return nearest, _badge.distances(own, gather(nearest))

  nearest, distances = map_chunks(find, rows, chunk_size=chunk_size)
  return nearest, jnp.where(count > 0, distances, jnp.inf)


@factory
def lcmd(*, chunk_size: int = 1024) -> types.Acquisition:
  """Repeatedly the image farthest from its center, in the largest cluster around labeled and selected images.

  Every candidate belongs to the nearest center. The size of a cluster is the sum of the squared distances of its
  candidates to the center; of clusters of equal size, all are searched. If nothing is labeled, the first pick is the
  candidate with the longest gradient, as in the authors' code.

  The paper is on regression, where the gradient of the last layer does not depend on a label. Here it is the gradient
  of the loss with respect to the last layer's kernel and bias, with the predicted class as the label, as in BADGE; also
  for labeled images. The prediction is the mean over samples. The paper sketches gradients of all layers; those of the
  last layer are products of two factors, whose distances are exact without a sketch.

  The distances to all labeled images are computed in every selection, by matrix products with 64 labeled images each;
  then each pick passes once over the pool.

  Formula: argmax_x d(x) over argmax_c sum_{x in c} d(x), d(x) = min_c |a_x [h_x 1]' - a_c [h_c 1]'|^2
  Source: Holzmueller et al. 2023
  """

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # deterministic given the distances and tie breaks
    in_use = view.labeled | view.candidates
    features = jnp.where(in_use[:, None], require_field(view, "features"), 0.0)
    # Only ratios of distances matter. With features of length at most 1, sums of squared distances are finite.
    scale = jnp.maximum(jnp.sqrt(jnp.sum(features**2, axis=1).max()), 1.0)
    bias = 1 / scale**2
    rows = _badge.outer(_badge.residuals(view, in_use, chunk_size=chunk_size), features / scale, bias=bias)
    nearest, distances = nearest_labeled(rows, view.labeled, bias=bias, chunk_size=chunk_size)
    distances_to = _badge.outer_distances(rows)

    def step(carry: tuple[jax.Array, ...], _) -> tuple[tuple[jax.Array, ...], jax.Array]:
      nearest, distances, remaining = carry
      # Without a center, all candidates form one cluster, with the origin as the center.
      farness = jnp.where(jnp.isinf(distances), rows.a_norms * rows.h_norms, distances)
      sizes = jax.ops.segment_sum(jnp.where(view.candidates, farness, 0.0), nearest, num_segments=nearest.shape[0])
      scores = jnp.where(sizes[nearest] == sizes.max(), farness, -jnp.inf)
      new = pool.masked_argmax(scores, remaining, tie_break=view.tie_break)
      to_new = distances_to(new)
      nearest = jnp.where(to_new < distances, new, nearest)
      return (nearest, jnp.minimum(distances, to_new), remaining.at[new].set(False)), new

    return jax.lax.scan(step, (nearest, distances, view.candidates), length=num)[1]

  return from_select(select, needs=types.Needs(samples=1, features=True))
