"""The networks, and the lowering of a convolution to matrix products."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.models import layers
from al_jax.models.cnn import CNN
from tests import reference

# batch, height, width, in, kh, kw, out. Up to 64 products a value are joined by im2col, more go by row shares.
IM2COL = [(2, 8, 8, 1, 3, 3, 4), (3, 6, 9, 4, 2, 5, 3), (1, 5, 5, 64, 1, 1, 8), (2, 4, 3, 5, 4, 3, 2)]
SHARES = [(2, 8, 8, 16, 3, 3, 5), (2, 9, 6, 16, 5, 2, 3), (1, 5, 4, 65, 1, 1, 3), (2, 3, 4, 30, 3, 4, 2)]


def arrays(shape, seed: int = 0):
  batch, height, width, in_features, kh, kw, features = shape
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(batch, height, width, in_features)).astype(np.float32)
  kernel = rng.normal(size=(kh, kw, in_features, features)).astype(np.float32)
  return x, kernel


def assert_close(got, expected, products: int) -> None:
  """Equal to within float32 rounding of sums of that many products of order 1."""
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6 * np.sqrt(products) * np.abs(expected).max())


def test_shapes_cover_both_branches():
  depth = lambda shape: shape[3] * shape[4] * shape[5]
  assert max(map(depth, IM2COL)) == layers._IM2COL_MAX_DEPTH < min(map(depth, SHARES))


@pytest.mark.parametrize("convolve", [layers.conv_valid, layers.conv_valid_matrix])
@pytest.mark.parametrize("shape", IM2COL + SHARES, ids=str)
def test_convolution_equals_the_reference(shape, convolve):
  x, kernel = arrays(shape)
  assert_close(jax.jit(convolve)(x, kernel), reference.conv_valid(x, kernel), kernel[..., 0].size)


@pytest.mark.parametrize("shape", IM2COL + SHARES, ids=str)
def test_gradients_of_both_lowerings_are_equal(shape):
  x, kernel = arrays(shape)
  out, pull_conv = jax.vjp(layers.conv_valid, x, kernel)
  _, pull_matrix = jax.vjp(layers.conv_valid_matrix, x, kernel)
  cotangent = jnp.array(np.random.default_rng(1).normal(size=out.shape), jnp.float32)
  for got, expected in zip(jax.jit(pull_matrix)(cotangent), jax.jit(pull_conv)(cotangent), strict=True):
    assert got.shape == expected.shape
    assert_close(got, expected, out.size)


@pytest.mark.parametrize("shape", [IM2COL[1], SHARES[1]], ids=str)
def test_lowering_under_vmap_over_kernels(shape):
  x, _ = arrays(shape)
  kernels = np.stack([arrays(shape, seed)[1] for seed in (1, 2, 3)])

  def value_and_gradients(convolve):
    def loss(x, kernel):
      out = convolve(x, kernel)
      return jnp.sum(jnp.sin(out)), out

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)

  got = jax.jit(jax.vmap(value_and_gradients(layers.conv_valid_matrix), in_axes=(None, 0)))(x, kernels)
  one_by_one = [jax.jit(value_and_gradients(layers.conv_valid))(x, kernel) for kernel in kernels]
  expected = jax.tree.map(lambda *leaves: np.stack(leaves), *one_by_one)
  # Sine passes the rounding of sums of up to 160 products on to the gradients: hence the wider bound.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max()), got, expected)


@pytest.mark.parametrize("lowering", ["conv", "matrix", "auto"])
def test_conv_layer(lowering):
  x, _ = arrays(SHARES[1])
  layer = layers.Conv(3, (5, 2), lowering=lowering)
  params = layer.init(jax.random.key(0), x)["params"]
  assert jax.tree.map(jnp.shape, params) == {"kernel": (5, 2, 16, 3), "bias": (3,)}
  assert not params["bias"].any()
  params = {**params, "bias": jnp.arange(3.0)}
  expected = reference.conv_valid(x, params["kernel"]) + np.arange(3)
  for train in (False, True):
    assert_close(layer.apply({"params": params}, x, train=train), expected, 160)


def test_lowering_by_use(monkeypatch):
  first, second = 9, 288  # the default network's convolutions
  assert layers.resolve_lowering("auto", depth=second, train=True) == "matrix"
  assert layers.resolve_lowering("auto", depth=second, train=False) == "conv"
  assert layers.resolve_lowering("auto", depth=first, train=False) == "matrix"
  assert layers.resolve_lowering("conv", depth=first, train=True) == "conv"
  assert layers.resolve_lowering("matrix", depth=second, train=False) == "matrix"
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert layers.resolve_lowering("auto", depth=first, train=True) == "conv"


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (4, 7), (7, 5)])
def test_max_pool_equals_flax(size):
  x = jnp.array(np.random.default_rng(0).normal(size=(2, *size, 3)), jnp.float32)
  np.testing.assert_array_equal(layers.max_pool_2x2(x), nn.max_pool(x, (2, 2), strides=(2, 2)))


def shapes(image_shape, num_classes: int = 10):
  """Shapes of the CNN's parameters and of its output for a batch of two, without computing anything."""
  model = CNN(num_classes=num_classes)
  x = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), x)
  out = jax.eval_shape(model.apply, variables, x)
  return jax.tree.map(jnp.shape, variables["params"]), out.shape


def test_cnn_has_the_published_size():
  params, out = shapes((28, 28, 1))
  assert out == (2, 10)
  assert params["Conv_0"] == {"kernel": (3, 3, 1, 32), "bias": (32,)}
  assert params["Conv_1"] == {"kernel": (3, 3, 32, 64), "bias": (64,)}
  assert params["Dense_0"] == {"kernel": (12 * 12 * 64, 128), "bias": (128,)}
  assert params["Dense_1"] == {"kernel": (128, 10), "bias": (10,)}
  sizes = jax.tree.leaves(params, is_leaf=lambda leaf: isinstance(leaf, tuple))
  assert sum(np.prod(size) for size in sizes) == 1_199_882


@pytest.mark.parametrize("image_shape", [(6, 6, 1), (8, 8, 1), (32, 32, 3), (9, 28, 2)])
def test_cnn_takes_other_images_and_classes(image_shape):
  params, out = shapes(image_shape, num_classes=7)
  assert out == (2, 7)
  assert params["Conv_0"]["kernel"] == (3, 3, image_shape[-1], 32)


@pytest.mark.usefixtures("fast_compilation")
def test_cnn_trains_and_predicts_with_the_same_function():
  # Training multiplies matrices and prediction convolves; without dropout the logits must agree.
  model = CNN(dropout_rate=0.0)
  x = jnp.array(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
  variables = jax.jit(model.init)(jax.random.key(0), x)
  predict, train = (jax.jit(functools.partial(model.apply, train=train)) for train in (False, True))
  logits = predict(variables, x)
  assert np.isfinite(logits).all() and np.ptp(logits) > 0
  np.testing.assert_allclose(train(variables, x), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("fast_compilation")
def test_cnn_initialises_as_keras_does():
  params = jax.jit(CNN().init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
  for name, fan_in, fan_out in [("Conv_0", 9, 9 * 32), ("Conv_1", 9 * 32, 9 * 64), ("Dense_0", 256, 128)]:
    limit = np.sqrt(6 / (fan_in + fan_out))
    kernel = np.asarray(params[name]["kernel"])
    assert np.abs(kernel).max() <= limit and not params[name]["bias"].any()
    # A uniform variable's variance is limit^2 / 3; its estimate's relative standard error is sqrt(0.8 / n).
    np.testing.assert_allclose(kernel.var(), limit**2 / 3, rtol=5 * np.sqrt(0.8 / kernel.size))


@pytest.mark.usefixtures("fast_compilation")
def test_dropout_is_on_in_training_only():
  model = CNN()
  x = jnp.ones((2, 8, 8, 1))
  variables = jax.jit(model.init)(jax.random.key(0), x)
  train = jax.jit(lambda seed: model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)}))
  np.testing.assert_array_equal(train(1), train(1))
  assert (train(1) != train(2)).any()
  assert (train(1) != model.apply(variables, x)).any()
