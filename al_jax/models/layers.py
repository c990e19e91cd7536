"""Layers of the networks."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.models import convolution

Padding = Literal["VALID", "SAME"]


def uniform_within(limit: float) -> nn.initializers.Initializer:
  """Uniform in -limit..limit; with a limit of 1 / sqrt(fan-in), PyTorch's default for kernels and biases."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -limit, limit)


KERNEL_INITS = ("glorot", "torch", "zeros")


def dense(features: int, fan_in: int, kernel_init: str) -> nn.Dense:
  """A dense layer whose parameters start as in Keras (`"glorot"`), as in PyTorch (`"torch"`), or at 0 (`"zeros"`).

  Keras's kernels are Glorot uniform, its biases 0; PyTorch's kernels and biases are uniform within 1 / sqrt(`fan_in`).

  Raises:
    ValueError: `kernel_init` is none of the three.
  """
  if kernel_init not in KERNEL_INITS:
    raise ValueError(f"kernel_init={kernel_init!r} is unknown: choose from {', '.join(KERNEL_INITS)}")
  if kernel_init == "torch":
    uniform = uniform_within(max(fan_in, 1) ** -0.5)
    return nn.Dense(features, kernel_init=uniform, bias_init=uniform)
  zeros, glorot = nn.initializers.zeros, nn.initializers.glorot_uniform()
  return nn.Dense(features, kernel_init=zeros if kernel_init == "zeros" else glorot)


class Conv(nn.Module):
  """2-D convolution, by default valid, with stride 1 and bias: `[B, H, W, I]` -> `[B, H-kh+1, W-kw+1, features]`.

  A call may pass channel scales `scale` `[1 or B, 1, 1, I]`, which multiply the images first. With scales from spatial
  dropout of ones, MC dropout samples share the per-channel convolutions on CPU.

  Attributes:
    features: number of output channels.
    kernel_size: `(kh, kw)`.
    kernel_init: initializer of the `[kh, kw, I, features]` kernel.
    bias_init: initializer of the `[features]` bias.
    lowering: `"conv"`, `"matrix"`, `"one_by_one"`, or `"auto"` to choose by platform and pass. `"winograd"` is `"auto"`
      with Winograd's products in training on CPU, for deep kernels of 5 x 5 with stride 1: fewer operations, larger
      rounding errors. All support reverse mode; only `"conv"` supports forward mode (`jax.jvp`).
    strides: stride over rows and columns.
    padding: `"VALID"`, or `"SAME"` for (k-1)/2 zeros on both sides of an axis as in PyTorch, with odd kernel size k.
      For H rows including padding, the output has (H - kh) // strides + 1 rows.
    use_bias: whether to add a bias.

  Raises:
    ValueError: inputs are not images of floats, the padded images are smaller than the kernel, the kernel size is even
      with `"SAME"`, or `padding` is unknown.
  """

  features: int
  kernel_size: tuple[int, int]
  kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
  lowering: convolution.Lowering = "auto"
  strides: int = 1
  padding: Padding = "VALID"
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False, scale: jax.Array | None = None) -> jax.Array:
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
      what = " x ".join(map(str, x.shape[1:]))
      out = "use an MLP for rows of numbers" if x.ndim != 4 else "give Dataset(prepare=al_jax.inputs.images(std=255))"
      raise ValueError(f"a convolution takes float images of height x width x channels, not {what} of {x.dtype}: {out}")
    (kh, kw), (height, width) = self.kernel_size, x.shape[1:3]
    if self.padding not in ("VALID", "SAME"):
      raise ValueError(f"padding={self.padding!r} is unknown: choose 'VALID' or 'SAME'")
    if self.padding == "SAME" and not (kh % 2 and kw % 2):
      raise ValueError(f"padding='SAME' needs a kernel of odd size, not {kh} x {kw}")
    pad = ((kh - 1) // 2, (kw - 1) // 2) if self.padding == "SAME" else (0, 0)
    if height + 2 * pad[0] < kh or width + 2 * pad[1] < kw:
      raise ValueError(f"a {kh} x {kw} kernel is larger than the {height} x {width} images")
    kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
    window = convolution.Window(self.strides, pad)
    out = convolution.convolve(x, kernel, window, self.lowering, train=train, scale=scale)
    if not self.use_bias:
      return out
    return out + self.param("bias", self.bias_init, (self.features,)).reshape((1, 1, 1, -1))


class Dropout(nn.Dropout):
  """`nn.Dropout` that also accepts a traced `rate` in [0, 1), so that one program can run several rates."""

  def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
    traced = isinstance(self.rate, jax.Array)
    if nn.merge_param("deterministic", self.deterministic, deterministic) or (not traced and not self.rate):
      return x
    shape = [1 if axis in self.broadcast_dims else size for axis, size in enumerate(x.shape)]
    keep = jax.random.bernoulli(self.make_rng(self.rng_collection), 1 - self.rate, shape)
    return jnp.where(keep, x / (1 - self.rate), 0)


def max_pool_2x2(x: jax.Array) -> jax.Array:
  """2 x 2 max-pooling with stride 2; drops an odd last row or column: `[B, H, W, C]` -> `[B, H//2, W//2, C]`.

  Implemented by reshaping, because the gradient of a maximum over axes is faster than that of a window reduction.
  """
  batch, height, width, channels = x.shape
  x = x[:, : height // 2 * 2, : width // 2 * 2]
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
