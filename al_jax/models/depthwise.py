"""The depthwise convolution, and how it is lowered.

XLA convolves channel groups on CPU several times slower than it adds the shifted views of the images, each times its
weight per channel, in one loop. Elsewhere its grouped convolution is used. As in `layers`, the platform is the one that
a program is lowered for, and parameters are the same for every lowering.
"""

from typing import Literal

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

Lowering = Literal["auto", "conv", "shifts"]


def same_padding(length: int, kernel: int, strides: int) -> tuple[int, int]:
  """Zeros before and after an axis for ceil(length / strides) outputs; an odd number has one more after it.

  As TensorFlow pads; for strides above 1, PyTorch's symmetric padding moves the windows by one.
  """
  total = max((-(-length // strides) - 1) * strides + kernel - length, 0)
  return total // 2, total - total // 2


def pad_same(x: jax.Array, kernel: int, strides: int) -> jax.Array:
  """Images `[B, H, W, C]` with the zeros of `same_padding`."""
  return jnp.pad(x, [(0, 0), *(same_padding(n, kernel, strides) for n in x.shape[1:3]), (0, 0)])


def _by_conv(padded: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
  return lax.conv_general_dilated(
    padded,
    kernel,
    (strides, strides),
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=padded.shape[-1],
  )


def _by_shifts(padded: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
  size = kernel.shape[0]
  rows, columns = ((n - size) // strides + 1 for n in padded.shape[1:3])
  view = lambda i, j: padded[
    :, i : i + (rows - 1) * strides + 1 : strides, j : j + (columns - 1) * strides + 1 : strides
  ]
  return jnp.asarray(sum(view(i, j) * kernel[i : i + 1, j : j + 1] for i in range(size) for j in range(size)))


class DepthwiseConv(nn.Module):
  """One `kernel` x `kernel` filter per channel, without bias: `[B, H, W, C]` -> `[B, ceil(H / s), ceil(W / s), C]`.

  The padding is that of `same_padding`. The `[kernel, kernel, 1, C]` kernel is normal with variance 2 / kernel^2.
  `lowering="auto"` chooses by platform.
  """

  kernel: int
  strides: int = 1
  lowering: Lowering = "auto"

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    kernel = self.param("kernel", init, (self.kernel, self.kernel, 1, x.shape[-1]))

    # Recomputed in the backward pass: otherwise it would keep every shifted view.
    @jax.checkpoint
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
      padded = pad_same(x, self.kernel, self.strides)
      forms = {"conv": lambda x, k: _by_conv(x, k, self.strides), "shifts": lambda x, k: _by_shifts(x, k, self.strides)}
      if self.lowering != "auto":
        return forms[self.lowering](padded, kernel)
      return lax.platform_dependent(padded, kernel, cpu=forms["shifts"], default=forms["conv"])

    return convolve(x, kernel)
