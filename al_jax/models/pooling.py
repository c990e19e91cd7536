"""Max-pooling and ReLU with a backward pass that reads one byte per output, for training that is bound by memory."""

import jax
import jax.numpy as jnp

_NOWHERE = 4  # in place of a position: the maximum is not positive, so ReLU stops the gradient


def relu_max_pool_2x2(x: jax.Array) -> jax.Array:
  """2 x 2 max-pooling with stride 2, then ReLU: `[B, H, W, C]` -> `[B, H//2, W//2, C]`.

  Equals `nn.relu(layers.max_pool_2x2(x))`, which also drops an odd last row or column. Where several inputs of a window
  are equal, the first gets the gradient, as in PyTorch; there they share it.
  """
  height, width = x.shape[1:3]
  return _of_even(x[:, : height // 2 * 2, : width // 2 * 2])


@jax.custom_vjp
def _of_even(x: jax.Array) -> jax.Array:
  return _forward(x)[0]


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  batch, height, width, channels = x.shape
  windows = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  (a, b), (c, d) = ([windows[:, :, i, :, j] for j in (0, 1)] for i in (0, 1))
  above, below = jnp.maximum(a, b), jnp.maximum(c, d)
  top = jnp.maximum(above, below)
  position = jnp.where(above >= below, jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3))
  return jax.nn.relu(top), jnp.where(top > 0, position, _NOWHERE).astype(jnp.uint8)


def _backward(position: jax.Array, grad: jax.Array) -> tuple[jax.Array]:
  batch, height, width, channels = grad.shape
  corners = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
  spread = jnp.where(position[:, :, None, :, None] == corners, grad[:, :, None, :, None], 0)
  return (spread.reshape(batch, 2 * height, 2 * width, channels),)


_of_even.defvjp(_forward, _backward)
