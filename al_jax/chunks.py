"""Maps a function over many rows in chunks to bound memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax import types


def map_chunks(fn: Callable[[types.PyTree], types.PyTree], arrays: types.PyTree, *, chunk_size: int) -> types.PyTree:
  """`fn(arrays)`, computed on `chunk_size` rows at a time; arrays have a common leading axis `[N, ...]`.

  The last chunk overlaps its neighbor instead of being padded or cut, so all chunks have the same shape and no row is
  left out. `fn` must treat rows independently. Memory: the intermediates of one chunk and the `[N, ...]` results.
  """
  total = jax.tree.leaves(arrays)[0].shape[0]
  chunk_size = min(chunk_size, total)
  chunks = -(-total // chunk_size)
  if chunks == 1:
    return fn(arrays)
  starts = jnp.minimum(jnp.arange(chunks) * chunk_size, total - chunk_size)
  slices = lambda start: jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, chunk_size), arrays)
  out = jax.lax.map(lambda start: fn(slices(start)), starts)

  def joined(leaf: jax.Array) -> jax.Array:
    head = leaf[:-1].reshape((-1, *leaf.shape[2:]))
    return jnp.concatenate([head, leaf[-1, chunk_size - (total - head.shape[0]) :]])

  return jax.tree.map(joined, out)
