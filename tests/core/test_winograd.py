"""Winograd's products against float64 sums, and where the layer uses them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.models import layers
from al_jax.models import winograd

pytestmark = pytest.mark.usefixtures("fast_compilation")


def by_numpy(x, kernel, pad):
  """A convolution of stride 1 as a sum over the kernel's positions, in float64."""
  x = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  size, rows, columns = len(kernel), x.shape[1] - len(kernel) + 1, x.shape[2] - len(kernel) + 1
  views = [(x[:, i : i + rows, j : j + columns], kernel[i, j]) for i in range(size) for j in range(size)]
  return sum(view @ part.astype(np.float64) for view, part in views)


def test_transforms_give_the_sums():
  """In exact arithmetic they give the four sums; here in float64 with the float32 transforms."""
  outputs, kernels, tiles = (one.astype(np.float64) for one in winograd.transforms(5))
  rng = np.random.default_rng(0)
  tile, kernel = rng.normal(size=(6, 6)), rng.normal(size=(5, 5))
  found = outputs @ ((kernels @ kernel.ravel()) * (tiles @ tile.ravel()))
  expected = [(tile[i : i + 5, j : j + 5] * kernel).sum() for i in (0, 1) for j in (0, 1)]
  np.testing.assert_allclose(found, expected, atol=2e-5)


# Even and odd numbers of output rows and columns, without and with padding.
@pytest.mark.parametrize(("height", "width", "pad"), [(12, 12, 0), (9, 10, 0), (5, 5, 0), (4, 7, 2)])
def test_equals_the_sums(height, width, pad):
  rng = np.random.default_rng(height)
  x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((3, height, width, 8), (5, 5, 8, 6)))
  layer = layers.Conv(6, (5, 5), padding="SAME" if pad else "VALID", use_bias=False, lowering="winograd")
  variables = {"params": {"kernel": kernel}}
  weights = rng.normal(size=by_numpy(x, kernel, pad).shape).astype(np.float32)

  def loss(kernel, x, layer):
    out = layer.apply({"params": {"kernel": kernel}}, x, train=True)
    return jnp.sum(out * weights), out

  by_loss = jax.value_and_grad(loss, (0, 1), has_aux=True)
  of = lambda lowering: jax.jit(functools.partial(by_loss, layer=layer.clone(lowering=lowering)))(kernel, x)
  (_, out), grads = of("winograd")
  np.testing.assert_allclose(out, by_numpy(x, kernel, pad), atol=2e-4)
  for found, expected in zip(grads, of("conv")[1], strict=True):
    np.testing.assert_allclose(found, expected, atol=1e-3)
  scored = layer.apply(variables, x)
  np.testing.assert_array_equal(scored, layer.clone(lowering="auto").apply(variables, x))


@pytest.mark.parametrize(
  ("channels", "size", "strides"), [(8, (3, 3), 1), (8, (5, 3), 1), (8, (5, 5), 2), (1, (5, 5), 1)]
)
def test_other_convolutions_are_those_of_auto(channels, size, strides):
  x = np.random.default_rng(0).normal(size=(2, 9, 9, channels)).astype(np.float32)
  layer = layers.Conv(4, size, strides=strides, lowering="winograd")
  variables = layer.init(jax.random.key(0), x)
  other = layer.clone(lowering="auto")
  np.testing.assert_array_equal(layer.apply(variables, x, train=True), other.apply(variables, x, train=True))


def test_accelerators_convolve():
  layer = layers.Conv(4, (5, 5), lowering="winograd")
  x = jnp.ones((2, 9, 9, 8))
  variables = layer.init(jax.random.key(0), x)
  traced = jax.jit(lambda x: layer.apply(variables, x, train=True)).trace(x)
  on_gpu, on_cpu = (traced.lower(lowering_platforms=(name,)).as_text() for name in ("cuda", "cpu"))
  assert "stablehlo.convolution" in on_gpu and "dot_general" not in on_gpu
  assert "dot_general" in on_cpu and "stablehlo.convolution" not in on_cpu
