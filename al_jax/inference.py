"""Predictions on many images, a chunk at a time."""

from typing import Any

import jax
import jax.numpy as jnp

from al_jax import types


def normalize(images: jax.Array, data: types.Dataset) -> jax.Array:
  """Images as the network takes them: integers become `(x - mean) / std`, floats are left as they are."""
  if jnp.issubdtype(images.dtype, jnp.floating):
    return images
  return (images.astype(jnp.float32) - data.mean) / data.std


def map_chunks(fn, images: jax.Array, *, chunk_size: int) -> jax.Array:
  """`fn` over `[N, ...]` images, `chunk_size` at a time; equals `fn(images)` for any N.

  The last chunk overlaps its neighbour instead of being padded or cut, so every chunk has one shape and no image is
  left out. Memory: one chunk's activations beside the `[N, ...]` result.
  """
  total = images.shape[0]
  chunk_size = min(chunk_size, total)
  chunks = -(-total // chunk_size)
  starts = jnp.minimum(jnp.arange(chunks) * chunk_size, total - chunk_size)
  out = jax.lax.map(lambda start: fn(jax.lax.dynamic_slice_in_dim(images, start, chunk_size)), starts)
  head = out[:-1].reshape((-1, *out.shape[2:]))
  return jnp.concatenate([head, out[-1, chunk_size - (total - head.shape[0]) :]])


def predict(model: Any, params: types.PyTree, images: jax.Array, data: types.Dataset, *, chunk_size: int):
  """Deterministic log-probabilities of a Flax classifier: `[N, ...]` -> `[N, 1, C]`, dropout off."""

  def log_probs(chunk: jax.Array) -> jax.Array:
    logits = model.apply({"params": params}, normalize(chunk, data), train=False)
    return jax.nn.log_softmax(logits)[:, None]

  return map_chunks(log_probs, images, chunk_size=chunk_size)
