"""What several acquisitions compute from embeddings."""

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition._selection import require_field


def normalized_embeddings(view: types.PoolView) -> tuple[jax.Array, jax.Array]:
  """Normalized, then centered embeddings `[N, F]`, and the `[N]` bool mask of labeled and candidate rows.

  Rows outside the mask are 0.
  """
  in_use = view.labeled | view.candidates
  unit = clustering.l2_normalize(jnp.where(in_use[:, None], require_field(view, "embedding"), 0.0))
  return clustering.centered(unit, in_use), in_use


def distances_to_labeled(rows: jax.Array, x: jax.Array, labeled: jax.Array, *, chunk_size: int) -> jax.Array:
  """Squared distance of each row to the nearest labeled row of the pool: `[M]`, inf if none is labeled.

  Args:
    rows: `[M, F]`.
    x: `[N, F]` rows of the pool.
    labeled: `[N]` bool.
    chunk_size: rows per chunk.
  """
  size = labeled.shape[0]
  chunk_size = min(chunk_size, size)
  ids = pool.labeled_ids(labeled, size=size)
  count = labeled.sum()

  def step(i: jax.Array, nearest: jax.Array) -> jax.Array:
    start = jnp.minimum(i * chunk_size, size - chunk_size)  # the last chunk overlaps the previous one
    centers = x[jax.lax.dynamic_slice_in_dim(ids, start, chunk_size)]
    here = jnp.minimum(count - start, chunk_size)
    _, distances = clustering.nearest_center(rows, centers, here, chunk_size=chunk_size)
    return jnp.minimum(nearest, distances)

  return jax.lax.fori_loop(0, -(-count // chunk_size), step, jnp.full(rows.shape[0], jnp.inf))
