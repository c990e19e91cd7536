"""How convolutions are lowered. This module alone decides it, except for depthwise ones (`depthwise`).

On CPU, XLA's kernel-gradient convolution is about twenty times slower inside a loop (`lax.scan`, `lax.fori_loop`) than
outside (github.com/jax-ml/jax/issues/12868), so training passes on CPU use matrix products. Scoring passes use
convolutions, except in a first layer with few input channels, whose column matrix is small. Under vmap over kernels,
they convolve with one kernel after another, because XLA's grouped convolution is several times slower. If samples
differ only in channel scales, as with spatial dropout, each channel is convolved once. `python -m experiments.bench
--suite=lowering` measures all of these. Parameters are the same for every lowering: a `[kh, kw, in, out]` kernel and an
`[out]` bias.

The platform is the one that a program is lowered for, not the one it is traced on. Forward and backward pass select
their implementation separately, because a differentiated conditional would keep the residuals of all its branches.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import Literal
from typing import NamedTuple

import jax
from jax import lax
from jax.custom_batching import custom_vmap
import jax.extend
import jax.numpy as jnp

from al_jax.models import winograd

Lowering = Literal["auto", "conv", "matrix", "one_by_one", "winograd"]

# Up to this many products per output value, all shifted views are joined into one column matrix (im2col). Above it,
# copying the input kh * kw times costs more than the single large product saves. Strides avoid most of the copies.
_IM2COL_MAX_DEPTH = 64


# vmap rules that let samples share a convolution if they differ only in channel scales.
_SHARING: set[Callable] = set()


class Window(NamedTuple):
  """Stride and padding of a convolution."""

  stride: int = 1  # of rows and of columns
  pad: tuple[int, int] = (0, 0)  # zeros above and below the rows, to the left and right of the columns


class _Form(NamedTuple):
  """An implementation of a convolution and its reverse mode."""

  forward: Callable  # args -> (output, residuals of the backward pass in addition to args)
  backward: Callable  # (args, residuals, gradient of the output) -> gradients of args


def resolve_lowering(lowering: Lowering, *, depth: int, train: bool) -> Lowering:
  """The lowering for CPU of a convolution that sums `depth` products per output value.

  Resolves `"auto"`; `"winograd"` is for training and for the depths at which its products dominate.
  """
  if lowering == "winograd" and not (train and depth > _IM2COL_MAX_DEPTH):
    lowering = "auto"
  if lowering != "auto":
    return lowering
  return "matrix" if train or depth <= _IM2COL_MAX_DEPTH else "one_by_one"


def _conv(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
  pad = [(width, width) for width in window.pad]
  strides = (window.stride, window.stride)
  return lax.conv_general_dilated(x, kernel, strides, pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _conv_scaled(x: jax.Array, scale: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
  return _conv(x * scale, kernel, window)


@functools.cache
def _mapped(window: Window) -> Callable:
  """`_conv` that, under vmap over kernels, convolves with one kernel after another."""

  @custom_vmap
  def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _conv(x, kernel, window)

  @conv.def_vmap
  def conv_batched(axis_size, batched, x, kernel):
    x_batched, kernel_batched = batched
    if not kernel_batched:
      out = conv(x.reshape(-1, *x.shape[2:]), kernel)
      return out.reshape(*x.shape[:2], *out.shape[1:]), True
    if not x_batched:
      return lax.map(lambda kernel: conv(x, kernel), kernel), True
    return lax.map(lambda pair: conv(*pair), (x, kernel)), True

  return conv


@functools.cache
def _scaled_mapped(window: Window) -> Callable:
  """`_conv_scaled` that, under vmap over scales, convolves once for all of them.

  A convolution is a sum over input channels, so scales can be applied to the per-channel outputs:
  `conv(x * scale) = sum_i scale_i conv_i(x_i)`. S scales then need one convolution per channel and a product of
  `[S, I]` with `[I, B * rows * columns * O]`: 2 kh kw + 2 S operations per channel and output value
  instead of 2 kh kw S. Memory: I times the output of one convolution, so B should be small.
  """

  def plain(x: jax.Array, scale: jax.Array, kernel: jax.Array) -> jax.Array:
    return _mapped(window)(x * scale, kernel)

  conv = custom_vmap(plain)

  @conv.def_vmap
  def conv_batched(axis_size, batched, x, scale, kernel):
    x_batched, scale_batched, kernel_batched = batched
    if x_batched and not kernel_batched:  # vmap over images: merge the axis into the batch
      if scale_batched:
        scale = jnp.broadcast_to(scale, (*x.shape[:2], *scale.shape[2:])).reshape(-1, *scale.shape[2:])
      elif scale.shape[0] > 1:
        scale = jnp.tile(scale, (axis_size, 1, 1, 1))
      out = conv(x.reshape(-1, *x.shape[2:]), scale, kernel)
      return out.reshape(*x.shape[:2], *out.shape[1:]), True
    if list(batched) != [False, True, False]:
      return jax.vmap(plain, [0 if mapped else None for mapped in batched])(x, scale, kernel), True
    kh, kw, channels, features = kernel.shape
    batch = x.shape[0]
    views = _views(jnp.moveaxis(x, -1, 0), (kh, kw), window, axis=2)
    rows, columns = views[0].shape[2:]
    views = jnp.stack(views, axis=-1).reshape(channels, -1, kh * kw)
    shares = jnp.einsum("ink,iko->ino", views, jnp.moveaxis(kernel, 2, 0).reshape(channels, -1, features))
    if scale.shape[1] == 1:
      out = scale.reshape(axis_size, channels) @ shares.reshape(channels, -1)
    else:
      out = jnp.einsum("sbi,ibn->sbn", scale.reshape(axis_size, batch, channels), shares.reshape(channels, batch, -1))
    return out.reshape(axis_size, batch, rows, columns, features), True

  _SHARING.add(conv_batched)
  return conv


def _views(x: jax.Array, size: tuple[int, int], window: Window, *, axis: int = 1) -> list[jax.Array]:
  """The shifted view of the rows (at `axis`) and columns for each kernel position, in row-major order."""
  if any(window.pad):
    x = jnp.pad(x, [(0, 0)] * axis + [(width, width) for width in window.pad] + [(0, 0)] * (x.ndim - axis - 2))
  steps = [range(0, x.shape[axis + k] - size[k] + 1, window.stride) for k in (0, 1)]
  views = []
  for start in [(i, j) for i in range(size[0]) for j in range(size[1])]:
    starts, limits, strides = [0] * x.ndim, list(x.shape), [1] * x.ndim
    for k in (0, 1):
      starts[axis + k], limits[axis + k] = start[k], start[k] + steps[k][-1] + 1
      strides[axis + k] = window.stride
    views.append(lax.slice(x, starts, limits, strides))
  return views


def _gradients(plain: Callable) -> Callable:
  """The backward pass of a function without residuals other than its arguments."""
  return lambda args, kept, grad: jax.vjp(plain, *args)[1](grad)


def _by_columns(window: Window) -> _Form:
  """im2col: joins all views and computes one product."""

  def join(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.concatenate(_views(x, (kernel.shape[0], kernel.shape[1]), window), axis=-1)

  def multiply(columns: jax.Array, kernel: jax.Array) -> jax.Array:
    return columns @ kernel.reshape(-1, kernel.shape[-1])

  return _in_two_steps(join, lambda columns, kernel, x: multiply(columns, kernel))


def _by_tiles(window: Window) -> _Form:
  """Winograd's products of transformed tiles. Only for stride 1 and square kernels of `winograd.SIZES`."""
  assert window.stride == 1

  def join(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return winograd.transformed_tiles(x, kernel.shape[0], window.pad)

  def multiply(tiles: jax.Array, kernel: jax.Array, x: jax.Array) -> jax.Array:
    rows, columns = (x.shape[1 + k] + 2 * window.pad[k] - kernel.shape[k] + 1 for k in (0, 1))
    return winograd.multiply(tiles, kernel, (x.shape[0], rows, columns))

  return _in_two_steps(join, multiply)


def _in_two_steps(join: Callable, multiply: Callable) -> _Form:
  """A form that copies the input, `join(x, kernel)`, and then multiplies, `multiply(copied, kernel, x)`.

  Of the kernel, `join` reads only the shape, as `multiply` does of `x`. The copy is kept for the backward pass.
  """

  def forward(x, kernel):
    copied = join(x, kernel)
    return multiply(copied, kernel, x), copied

  def backward(args, copied, grad):
    x, kernel = args
    grad_copied, grad_kernel = jax.vjp(lambda copied, kernel: multiply(copied, kernel, x), copied, kernel)[1](grad)
    return *jax.vjp(lambda x: join(x, kernel), x)[1](grad_copied), grad_kernel

  return _Form(forward, backward)


def _by_row(kernel: jax.Array) -> jax.Array:
  """`[kh, kw, I, O]` -> `[kw * I, kh * O]`: the kernel rows side by side."""
  kh, kw, in_features, features = kernel.shape
  return kernel.reshape(kh, kw * in_features, features).swapaxes(0, 1).reshape(kw * in_features, kh * features)


def _pad_axis(x: jax.Array, axis: int, before: int, after: int) -> jax.Array:
  """Pads an axis with zeros before and after; negative numbers crop it."""
  widths = [(before, after, 0) if k == axis else (0, 0, 0) for k in range(x.ndim)]
  return lax.pad(x, jnp.zeros((), x.dtype), widths)


def _by_shares(window: Window) -> _Form:
  """One product computes the contribution of each input row to the kh output rows it affects; these are then summed.

  Only for stride 1: with larger strides, most contributions would be unused.
  """
  assert window.stride == 1
  above, left = window.pad

  def forward(x, kernel):
    batch, height, width, _ = x.shape
    kh, kw, _, features = kernel.shape
    rows, columns = height + 2 * above - kh + 1, width + 2 * left - kw + 1

    if left:
      x = _pad_axis(x, 2, left, left)
    shifted = jnp.concatenate([x[:, :, j : j + columns] for j in range(kw)], axis=-1)
    shifted = shifted.reshape(-1, shifted.shape[-1])
    shares = (shifted @ _by_row(kernel)).reshape(batch, height, columns, kh * features)
    if above:
      shares = _pad_axis(shares, 1, above, above)
    out = sum(shares[:, i : i + rows, :, i * features : (i + 1) * features] for i in range(kh))
    return jnp.asarray(out), shifted

  # Written by hand, because autodiff pads every contribution to full size, adds the copies and transposes the sum,
  # which takes half of a step. Here the output gradient is padded once, and both products read it without a copy.
  def backward(args, shifted, grad):
    x, kernel = args
    kh, kw, in_features, features = kernel.shape
    batch, _, columns, _ = grad.shape
    height = x.shape[1]

    padded = _pad_axis(grad, 1, kh - 1 - above, kh - 1 - above)
    padded = lax.optimization_barrier(padded)  # if fused below, the padding test would run once per contribution
    shares = jnp.concatenate([padded[:, kh - 1 - i : kh - 1 - i + height] for i in range(kh)], axis=-1)
    shares = shares.reshape(-1, kh * features)

    grad_by_row = lax.dot_general(shifted, shares, (((0,), (0,)), ((), ())))
    grad_kernel = grad_by_row.reshape(kw * in_features, kh, features).swapaxes(0, 1).reshape(kernel.shape)

    grad_shifted = (shares @ _by_row(kernel).T).reshape(batch, height, columns, kw * in_features)
    grad_x = sum(
      _pad_axis(grad_shifted[..., j * in_features : (j + 1) * in_features], 2, j - left, kw - 1 - j - left)
      for j in range(kw)
    )
    return grad_x, grad_kernel

  return _Form(forward, backward)


@functools.cache
def _function(
  form: Callable[[Window], _Form], plain: Callable, window: Window, *, everywhere: bool
) -> Callable[..., jax.Array]:
  """A form as a differentiable function: on all platforms, or on CPU only and `plain` elsewhere."""
  on_cpu = form(window)
  plain = functools.partial(plain, window=window)

  def elsewhere(*args):
    kept = jax.eval_shape(on_cpu.forward, *args)[1]  # unused on these platforms, so XLA removes it
    return plain(*args), jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), kept)

  def choose(*args: Any, cpu: Callable, default: Callable) -> Any:
    return cpu(*args) if everywhere else lax.platform_dependent(*args, cpu=cpu, default=default)

  def forward(*args):
    out, kept = choose(*args, cpu=on_cpu.forward, default=elsewhere)
    return out, (args, kept)

  def backward(residuals, grad):
    return choose(*residuals, grad, cpu=on_cpu.backward, default=_gradients(plain))

  function = jax.custom_vjp(lambda *args: forward(*args)[0])
  function.defvjp(forward, backward)
  return function


# A function with a custom batching rule has no reverse mode, so the plain convolution's is used.
def _one_by_one(window: Window) -> _Form:
  plain = functools.partial(_conv, window=window)
  return _Form(lambda *args: (_mapped(window)(*args), ()), _gradients(plain))


def _scaled_at_once(window: Window) -> _Form:
  plain = functools.partial(_conv_scaled, window=window)
  return _Form(lambda *args: (_scaled_mapped(window)(*args), ()), _gradients(plain))


def _tile_form(kernel: jax.Array, window: Window) -> Callable[[Window], _Form]:
  kh, kw, _, _ = kernel.shape
  fits = window.stride == 1 and kh == kw and kh in winograd.SIZES
  return _by_tiles if fits else _matrix_form(kernel, window)


def _matrix_form(kernel: jax.Array, window: Window) -> Callable[[Window], _Form]:
  kh, kw, in_features, _ = kernel.shape
  return _by_columns if window.stride > 1 or kh * kw * in_features <= _IM2COL_MAX_DEPTH else _by_shares


def convolve(
  x: jax.Array, kernel: jax.Array, window: Window, lowering: Lowering, *, train: bool, scale: jax.Array | None = None
) -> jax.Array:
  """Cross-correlation of `x` `[B, H, W, I]`, times `scale` `[1 or B, 1, 1, I]`, with a kernel `[kh, kw, I, O]`.

  `lowering` is that of a layer: `"auto"` and `"winograd"` choose by platform and pass, the others hold everywhere.
  """
  everywhere = lowering not in ("auto", "winograd")
  lowering = resolve_lowering(lowering, depth=kernel.size // kernel.shape[-1], train=train)
  if scale is not None:
    if lowering == "one_by_one":
      return _function(_scaled_at_once, _conv_scaled, window, everywhere=everywhere)(x, scale, kernel)
    x = x * scale
  if lowering == "conv":
    return _conv(x, kernel, window)
  forms = {"one_by_one": lambda *_: _one_by_one, "winograd": _tile_form, "matrix": _matrix_form}
  return _function(forms[lowering](kernel, window), _conv, window, everywhere=everywhere)(x, kernel)


def convolves_scaled(function: Callable, *args) -> bool:
  """Whether a function calls a scaled convolution that samples can share. Computes nothing."""

  def seen(jaxpr) -> bool:
    for equation in jaxpr.eqns:
      if getattr(equation.params.get("rule"), "rule", None) in _SHARING:
        return True
      if any(seen(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params)):
        return True
    return False

  return seen(jax.make_jaxpr(function)(*args).jaxpr)
