"""Layers whose arithmetic is chosen by use: how a convolution is lowered is decided here and nowhere else.

XLA's kernel-gradient convolution runs some twenty times slower inside a loop (`lax.scan`, `lax.fori_loop`) than outside
it on CPU (github.com/jax-ml/jax/issues/12868), so a training pass on CPU multiplies matrices. Scoring a pool convolves,
but for a first layer with few input channels, whose column matrix is small; with many kernels under vmap one after
another, because XLA's grouped convolution is several times slower there. Where samples differ in the scale of their
channels alone, as those of spatial dropout do, each channel is convolved once. `python -m experiments.bench
--suite=lowering` measures all of these. The parameters are the same either way: a `[kh, kw, in, out]` kernel and an
`[out]` bias.
"""

from typing import Literal

import flax.linen as nn
import jax
from jax import lax
from jax.custom_batching import custom_vmap
import jax.numpy as jnp

Lowering = Literal["auto", "conv", "matrix", "one_by_one"]

# Up to this many products per output value, all shifted views are joined into one column matrix; above it, copying
# the input kh * kw times costs more than the single large product saves.
_IM2COL_MAX_DEPTH = 64


def resolve_lowering(lowering: Lowering, *, depth: int, train: bool) -> Lowering:
  """The lowering that `"auto"` stands for on the default backend; `depth` is the number of products a value sums."""
  if lowering != "auto":
    return lowering
  if jax.default_backend() != "cpu":
    return "conv"
  return "matrix" if train or depth <= _IM2COL_MAX_DEPTH else "one_by_one"


def conv_valid(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Valid cross-correlation, stride 1. `[B, H, W, I]`, `[kh, kw, I, O]` -> `[B, H-kh+1, W-kw+1, O]`."""
  return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@custom_vmap
def _conv_mapped(x: jax.Array, kernel: jax.Array) -> jax.Array:
  return conv_valid(x, kernel)


@_conv_mapped.def_vmap
def _conv_mapped_batched(axis_size, batched, x, kernel):
  x_batched, kernel_batched = batched
  if not kernel_batched:
    out = _conv_mapped(x.reshape(-1, *x.shape[2:]), kernel)
    return out.reshape(*x.shape[:2], *out.shape[1:]), True
  if not x_batched:
    return lax.map(lambda kernel: _conv_mapped(x, kernel), kernel), True
  return lax.map(lambda pair: _conv_mapped(*pair), (x, kernel)), True


@jax.custom_vjp
def conv_valid_one_by_one(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`conv_valid` which, under vmap over kernels, convolves with one kernel after another."""
  return _conv_mapped(x, kernel)


# A function with a batching rule of its own has no reverse mode: it is that of the plain convolution.
conv_valid_one_by_one.defvjp(
  lambda x, kernel: (_conv_mapped(x, kernel), (x, kernel)),
  lambda residuals, grad: jax.vjp(conv_valid, *residuals)[1](grad),
)


def _conv_scaled(x: jax.Array, scale: jax.Array, kernel: jax.Array) -> jax.Array:
  return _conv_mapped(x * scale, kernel)


_conv_scaled_mapped = custom_vmap(_conv_scaled)


@_conv_scaled_mapped.def_vmap
def _conv_scaled_mapped_batched(axis_size, batched, x, scale, kernel):
  x_batched, scale_batched, kernel_batched = batched
  if x_batched and not kernel_batched:  # images under vmap: one batch of them
    if scale_batched:
      scale = jnp.broadcast_to(scale, (*x.shape[:2], *scale.shape[2:])).reshape(-1, *scale.shape[2:])
    elif scale.shape[0] > 1:
      scale = jnp.tile(scale, (axis_size, 1, 1, 1))
    out = _conv_scaled_mapped(x.reshape(-1, *x.shape[2:]), scale, kernel)
    return out.reshape(*x.shape[:2], *out.shape[1:]), True
  if list(batched) != [False, True, False] or jax.default_backend() != "cpu":
    return jax.vmap(_conv_scaled, [0 if mapped else None for mapped in batched])(x, scale, kernel), True
  kh, kw, channels, features = kernel.shape
  batch, rows, columns = x.shape[0], x.shape[1] - kh + 1, x.shape[2] - kw + 1
  by_channel = jnp.moveaxis(x, -1, 0)
  views = [by_channel[:, :, i : i + rows, j : j + columns] for i in range(kh) for j in range(kw)]
  views = jnp.stack(views, axis=-1).reshape(channels, -1, kh * kw)
  shares = jnp.einsum("ink,iko->ino", views, jnp.moveaxis(kernel, 2, 0).reshape(channels, -1, features))
  if scale.shape[1] == 1:
    out = scale.reshape(axis_size, channels) @ shares.reshape(channels, -1)
  else:
    out = jnp.einsum("sbi,ibn->sbn", scale.reshape(axis_size, batch, channels), shares.reshape(channels, batch, -1))
  return out.reshape(axis_size, batch, rows, columns, features), True


@jax.custom_vjp
def conv_valid_scaled(x: jax.Array, scale: jax.Array, kernel: jax.Array) -> jax.Array:
  """`conv_valid(x * scale, kernel)` which, under vmap over scales on CPU, convolves once for all of them.

  A convolution is the sum of what each channel of the images gives, and a channel's factor may as well multiply what it
  gives: `conv(x * scale) = sum_i scale_i conv_i(x_i)`. The convolutions of S scales are then one pass over the channels
  and a product of `[S, I]` with `[I, B * rows * columns * O]`: 2 kh kw + 2 S operations a channel and output value
  instead of 2 kh kw S. Memory: I times the output of one convolution, so B should be small.

  Args:
    x: `[B, H, W, I]`.
    scale: `[1 or B, 1, 1, I]`, of all images or of each.
    kernel: `[kh, kw, I, O]`.
  """
  return _conv_scaled_mapped(x, scale, kernel)


conv_valid_scaled.defvjp(
  lambda *args: (_conv_scaled_mapped(*args), args),
  lambda residuals, grad: jax.vjp(lambda x, scale, kernel: conv_valid(x * scale, kernel), *residuals)[1](grad),
)


def _shifted_columns(x: jax.Array, kw: int) -> jax.Array:
  """`[B, H, W, I]` -> `[B * H * (W-kw+1), kw * I]`: the column-shifted views side by side."""
  columns = x.shape[2] - kw + 1
  shifted = jnp.concatenate([x[:, :, j : j + columns] for j in range(kw)], axis=-1)
  return shifted.reshape(-1, shifted.shape[-1])


def _by_row(kernel: jax.Array) -> jax.Array:
  """`[kh, kw, I, O]` -> `[kw * I, kh * O]`: the kernel's rows side by side."""
  kh, kw, in_features, features = kernel.shape
  return kernel.reshape(kh, kw * in_features, features).swapaxes(0, 1).reshape(kw * in_features, kh * features)


@jax.custom_vjp
def _conv_by_shares(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """One product gives every input row's share in the kh output rows that it touches; the shares are added up."""
  return _conv_by_shares_forward(x, kernel)[0]


def _conv_by_shares_forward(x, kernel):
  batch, height, width, _ = x.shape
  kh, kw, _, features = kernel.shape
  rows = height - kh + 1

  shifted = _shifted_columns(x, kw)
  shares = (shifted @ _by_row(kernel)).reshape(batch, height, width - kw + 1, kh * features)
  out = sum(shares[:, i : i + rows, :, i * features : (i + 1) * features] for i in range(kh))
  return jnp.asarray(out), (shifted, kernel)


def _conv_by_shares_backward(residuals, grad):
  # Written out because differentiating the forward pass pads every share to full size, adds the copies and transposes
  # their sum: half of a step's time. Here the output's gradient is padded once and both products read it as it lies.
  shifted, kernel = residuals
  kh, kw, in_features, features = kernel.shape
  batch, rows, columns, _ = grad.shape
  height = rows + kh - 1

  padded = jnp.pad(grad, ((0, 0), (kh - 1, kh - 1), (0, 0), (0, 0)))
  padded = lax.optimization_barrier(padded)  # fused into the concatenation, the padding test runs once a share
  shares = jnp.concatenate([padded[:, kh - 1 - i : kh - 1 - i + height] for i in range(kh)], axis=-1)
  shares = shares.reshape(-1, kh * features)

  grad_by_row = lax.dot_general(shifted, shares, (((0,), (0,)), ((), ())))
  grad_kernel = grad_by_row.reshape(kw * in_features, kh, features).swapaxes(0, 1).reshape(kernel.shape)

  grad_shifted = (shares @ _by_row(kernel).T).reshape(batch, height, columns, kw * in_features)
  grad_x = sum(
    jnp.pad(grad_shifted[..., j * in_features : (j + 1) * in_features], ((0, 0), (0, 0), (j, kw - 1 - j), (0, 0)))
    for j in range(kw)
  )
  return grad_x, grad_kernel


_conv_by_shares.defvjp(_conv_by_shares_forward, _conv_by_shares_backward)


def conv_valid_matrix(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`conv_valid` as matrix products, whose gradients are matrix products too."""
  _, height, width, _ = x.shape
  kh, kw, in_features, features = kernel.shape
  if kh * kw * in_features > _IM2COL_MAX_DEPTH:
    return _conv_by_shares(x, kernel)
  rows, columns = height - kh + 1, width - kw + 1
  views = [x[:, i : i + rows, j : j + columns] for i in range(kh) for j in range(kw)]
  return jnp.concatenate(views, axis=-1) @ kernel.reshape(-1, features)


def uniform_within(limit: float) -> nn.initializers.Initializer:
  """Uniform in -limit..limit: PyTorch's default for kernels and biases, at 1 / sqrt(inputs of a unit)."""
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -limit, limit)


class Conv(nn.Module):
  """Valid 2-D convolution, stride 1, with bias: `[B, H, W, I]` -> `[B, H-kh+1, W-kw+1, features]`.

  A call may bring the `scale` `[1 or B, 1, 1, I]` of the channels, which multiplies the images first. Spatial dropout
  of ones gives it; samples of MC dropout then share the convolution of each channel (`conv_valid_scaled`).

  Attributes:
    features: number of output channels.
    kernel_size: `(kh, kw)`.
    kernel_init: initialiser of the `[kh, kw, I, features]` kernel.
    bias_init: initialiser of the `[features]` bias.
    lowering: `"conv"`, `"matrix"`, `"one_by_one"`, or `"auto"` to choose by backend and use.

  Raises:
    ValueError: the images are smaller than the kernel.
  """

  features: int
  kernel_size: tuple[int, int]
  kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
  bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()
  lowering: Lowering = "auto"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False, scale: jax.Array | None = None) -> jax.Array:
    (kh, kw), (height, width) = self.kernel_size, x.shape[1:3]
    if height < kh or width < kw:
      raise ValueError(f"a {kh} x {kw} convolution has no room in {height} x {width}")
    kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
    bias = self.param("bias", self.bias_init, (self.features,))
    depth = kernel.size // self.features
    lowering = resolve_lowering(self.lowering, depth=depth, train=train)
    if scale is not None and lowering == "one_by_one":
      return conv_valid_scaled(x, scale, kernel) + bias.reshape((1, 1, 1, -1))
    convolve = {"conv": conv_valid, "matrix": conv_valid_matrix, "one_by_one": conv_valid_one_by_one}[lowering]
    return convolve(x if scale is None else x * scale, kernel) + bias.reshape((1, 1, 1, -1))


class Dropout(nn.Dropout):
  """`nn.Dropout` whose `rate` may also be a traced number in [0, 1), so that one program can run several rates."""

  def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
    traced = isinstance(self.rate, jax.Array)
    if nn.merge_param("deterministic", self.deterministic, deterministic) or (not traced and not self.rate):
      return x
    shape = [1 if axis in self.broadcast_dims else size for axis, size in enumerate(x.shape)]
    keep = jax.random.bernoulli(self.make_rng(self.rng_collection), 1 - self.rate, shape)
    return jnp.where(keep, x / (1 - self.rate), 0)


def max_pool_2x2(x: jax.Array) -> jax.Array:
  """2 x 2 max-pooling, stride 2, dropping an odd last row or column: `[B, H, W, C]` -> `[B, H//2, W//2, C]`.

  By reshaping, because the gradient of a window reduction is slower than that of a maximum over axes.
  """
  batch, height, width, channels = x.shape
  x = x[:, : height // 2 * 2, : width // 2 * 2]
  return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
