"""Layers whose arithmetic is chosen by use: how a convolution is lowered is decided here and nowhere else.

XLA's kernel-gradient convolution runs some twenty times slower inside a loop (`lax.scan`, `lax.fori_loop`) than outside
it on CPU (github.com/jax-ml/jax/issues/12868), while `lax.conv_general_dilated` scores a pool faster than any matrix
form does. So a training pass on CPU multiplies matrices, and everything else convolves. The parameters are the same
either way: a `[kh, kw, in, out]` kernel and an `[out]` bias.
"""

from typing import Literal

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

Lowering = Literal["auto", "conv", "matrix"]

# Up to this many products per output value, all shifted views are joined into one column matrix; above it, copying
# the input kh * kw times costs more than the single large product saves.
_IM2COL_MAX_DEPTH = 64


def resolve_lowering(lowering: Lowering, *, train: bool) -> Lowering:
  """The lowering that `"auto"` stands for on the default backend."""
  if lowering != "auto":
    return lowering
  return "matrix" if train and jax.default_backend() == "cpu" else "conv"


def conv_valid(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Valid cross-correlation, stride 1. `[B, H, W, I]`, `[kh, kw, I, O]` -> `[B, H-kh+1, W-kw+1, O]`."""
  return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_valid_matrix(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`conv_valid` as matrix products, whose gradients are matrix products too."""
  _, height, width, _ = x.shape
  kh, kw, in_features, features = kernel.shape
  rows, columns = height - kh + 1, width - kw + 1

  if kh * kw * in_features <= _IM2COL_MAX_DEPTH:
    views = [x[:, i : i + rows, j : j + columns] for i in range(kh) for j in range(kw)]
    return jnp.concatenate(views, axis=-1) @ kernel.reshape(-1, features)

  shifted = jnp.concatenate([x[:, :, j : j + columns] for j in range(kw)], axis=-1)
  # One product gives every input row's share in the kh output rows that it touches; the shares are then added up.
  by_row = kernel.reshape(kh, kw * in_features, features).transpose(1, 0, 2).reshape(kw * in_features, kh * features)
  shares = shifted @ by_row
  return sum(shares[:, i : i + rows, :, i * features : (i + 1) * features] for i in range(kh))


class Conv(nn.Module):
  """Valid 2-D convolution, stride 1, with bias: `[B, H, W, I]` -> `[B, H-kh+1, W-kw+1, features]`.

  Attributes:
    features: number of output channels.
    kernel_size: `(kh, kw)`.
    kernel_init: initialiser of the `[kh, kw, I, features]` kernel.
    lowering: `"conv"`, `"matrix"`, or `"auto"` to choose by backend and use.
  """

  features: int
  kernel_size: tuple[int, int]
  kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
  lowering: Lowering = "auto"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
    bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
    convolve = conv_valid_matrix if resolve_lowering(self.lowering, train=train) == "matrix" else conv_valid
    return convolve(x, kernel) + bias.reshape((1, 1, 1, -1))


def max_pool_2x2(x: jax.Array) -> jax.Array:
  """2 x 2 max-pooling, stride 2, dropping an odd last row or column: `[B, H, W, C]` -> `[B, H//2, W//2, C]`.

  By reshaping, because the gradient of a window reduction is slower than that of a maximum over axes.
  """
  batch, height, width, channels = x.shape
  x = x[:, : height // 2 * 2, : width // 2 * 2]
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
