"""Networks, and the lowering of convolutions to matrix products."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import from_flax
from al_jax import models
from al_jax.models import convolution
from al_jax.models import layers
from al_jax.models.batchbald import BatchBALDNet
from al_jax.models.cnn import CNN
from al_jax.models.gal import GalNet
from al_jax.models.linear import Linear
from al_jax.models.mlp import MLP
from al_jax.models.vgg import VGG16
from tests.support import reference

pytestmark = pytest.mark.usefixtures("fast_compilation")

# batch, height, width, in, kh, kw, out. Up to 64 products per value use im2col, more use row contributions.
IM2COL = [(2, 8, 8, 1, 3, 3, 4), (3, 6, 9, 4, 2, 5, 3), (1, 5, 5, 64, 1, 1, 8), (2, 4, 3, 5, 4, 3, 2)]
SHARES = [
  (2, 8, 8, 16, 3, 3, 5),
  (2, 9, 6, 16, 5, 2, 3),
  (1, 5, 4, 65, 1, 1, 3),
  (2, 3, 4, 30, 3, 4, 2),
  (2, 8, 7, 32, 5, 5, 3),
]


def lowered(lowering: str):
  """The valid convolution of `x` with a kernel, in a scoring pass."""
  return lambda x, kernel: convolution.convolve(x, kernel, convolution.Window(), lowering, train=False)


def scaled(x, scale, kernel):
  """The valid convolution of `x * scale` with a deep kernel, in a scoring pass."""
  return convolution.convolve(x, kernel, convolution.Window(), "auto", train=False, scale=scale)


conv, matrix, one_by_one = map(lowered, ("conv", "matrix", "one_by_one"))


def arrays(shape, seed: int = 0):
  batch, height, width, in_features, kh, kw, features = shape
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(batch, height, width, in_features)).astype(np.float32)
  kernel = rng.normal(size=(kh, kw, in_features, features)).astype(np.float32)
  return x, kernel


def assert_close(got, expected, products: int) -> None:
  """Asserts equality within float32 rounding of sums of that many products of order 1."""
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6 * np.sqrt(products) * np.abs(expected).max())


def test_shapes_cover_both_branches():
  depth = lambda shape: shape[3] * shape[4] * shape[5]
  assert max(map(depth, IM2COL)) == convolution._IM2COL_MAX_DEPTH < min(map(depth, SHARES))


@pytest.mark.parametrize("convolve", [conv, matrix], ids=["conv", "matrix"])
@pytest.mark.parametrize("shape", IM2COL + SHARES, ids=str)
def test_convolution_equals_the_reference(shape, convolve):
  x, kernel = arrays(shape)
  assert_close(jax.jit(convolve)(x, kernel), reference.conv_valid(x, kernel), kernel[..., 0].size)


@pytest.mark.parametrize("shape", IM2COL + SHARES, ids=str)
def test_gradients_of_both_lowerings_are_equal(shape):
  x, kernel = arrays(shape)
  out, pull_conv = jax.vjp(conv, x, kernel)
  _, pull_matrix = jax.vjp(matrix, x, kernel)
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

  got = jax.jit(jax.vmap(value_and_gradients(matrix), in_axes=(None, 0)))(x, kernels)
  singly = [jax.jit(value_and_gradients(conv))(x, kernel) for kernel in kernels]
  expected = jax.tree.map(lambda *leaves: np.stack(leaves), *singly)
  # Through the sine, gradients inherit the rounding of sums of up to 160 products, hence the wider bound.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max()), got, expected)


@pytest.mark.parametrize("batched", [(0, None), (None, 0), (0, 0)], ids=["images", "kernels", "both"])
def test_one_kernel_after_another_under_vmap(batched):
  drawn = [arrays(SHARES[1], seed) for seed in (1, 2, 3)]
  xs, kernels = (
    np.stack(arrays) if axis == 0 else arrays[0] for arrays, axis in zip(zip(*drawn, strict=True), batched, strict=True)
  )

  def gradients(convolve):
    return jax.vmap(jax.value_and_grad(lambda x, k: jnp.sum(jnp.sin(convolve(x, k))), (0, 1)), in_axes=batched)

  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())
  jax.tree.map(close, *(jax.jit(gradients(function))(xs, kernels) for function in (one_by_one, conv)))
  forward = jax.vmap(one_by_one, in_axes=batched)
  assert ("scan[" in str(jax.make_jaxpr(forward)(xs, kernels))) == (batched[1] == 0)


def convolves(function, platform: str, *args) -> bool:
  """Whether the program lowered for a platform contains a convolution."""
  lowered = jax.jit(function).trace(*args).lower(lowering_platforms=(platform,))
  return "stablehlo.convolution" in lowered.as_text()


def scales_of(shape, own: bool, samples: int = 4) -> np.ndarray:
  """`[samples, 1 or B, 1, 1, I]` scales, a third of them 0."""
  rng = np.random.default_rng(1)
  size = (samples, shape[0] if own else 1, 1, 1, shape[3])
  return (rng.uniform(-1, 2, size) * (rng.random(size) > 1 / 3)).astype(np.float32)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("shape", SHARES, ids=str)
def test_convolution_of_scaled_channels(shape, own):
  x, kernel = arrays(shape)
  scales, products = scales_of(shape, own), kernel[..., 0].size
  expected = np.stack([reference.conv_valid(x * scale, kernel) for scale in scales])
  assert_close(jax.jit(scaled)(x, scales[0], kernel), expected[0], products)
  # All scales share the per-channel convolutions, which are matrix products.
  mapped = jax.vmap(scaled, in_axes=(None, 0, None))
  assert_close(jax.jit(mapped)(x, scales, kernel), expected, products)
  assert not convolves(mapped, "cpu", x, scales, kernel)
  assert convolves(mapped, "cuda", x, scales, kernel)
  assert_close(jax.vmap(lambda scale: conv(x * scale, kernel))(scales), expected, products)


@pytest.mark.parametrize(
  "batched", [(None, 0, None), (0, None, None), (None, None, 0), (0, 0, 0), (None, 0, 0)], ids=str
)
def test_scaled_channels_under_vmap_have_the_plain_gradients(batched):
  drawn = [arrays(SHARES[1], seed) for seed in (1, 2, 3, 4)]
  xs, kernels = map(np.stack, zip(*drawn, strict=True))
  given = (xs, scales_of(SHARES[1], own=False), kernels)
  given = [array if axis == 0 else array[0] for array, axis in zip(given, batched, strict=True)]

  def gradients(convolve):
    loss = lambda x, scale, kernel: jnp.sum(jnp.sin(convolve(x, scale, kernel)))
    return jax.jit(jax.vmap(jax.value_and_grad(loss, (0, 1, 2)), in_axes=batched))(*given)

  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())
  jax.tree.map(close, gradients(scaled), gradients(lambda x, s, k: conv(x * s, k)))


@pytest.mark.parametrize("lowering", ["conv", "matrix", "one_by_one", "auto"])
def test_conv_layer(lowering):
  x, _ = arrays(SHARES[1])
  layer = layers.Conv(3, (5, 2), lowering=lowering)
  params = layer.init(jax.random.key(0), x)["params"]
  assert jax.tree.map(jnp.shape, params) == {"kernel": (5, 2, 16, 3), "bias": (3,)}
  assert not params["bias"].any()
  params = {**params, "bias": jnp.arange(3.0)}
  expected = reference.conv_valid(x, params["kernel"]) + np.arange(3)
  scale = np.linspace(-1, 2, 16, dtype=np.float32).reshape(1, 1, 1, 16)
  scaled = reference.conv_valid(x * scale, params["kernel"]) + np.arange(3)
  for train in (False, True):
    assert_close(layer.apply({"params": params}, x, train=train), expected, 160)
    assert_close(layer.apply({"params": params}, x, train=train, scale=scale), scaled, 160)


def test_lowering_by_use():
  first, second = 9, 288  # the default network's convolutions
  assert convolution.resolve_lowering("auto", depth=second, train=True) == "matrix"
  assert convolution.resolve_lowering("auto", depth=second, train=False) == "one_by_one"
  assert convolution.resolve_lowering("auto", depth=first, train=False) == "matrix"
  assert convolution.resolve_lowering("conv", depth=first, train=True) == "conv"
  assert convolution.resolve_lowering("matrix", depth=second, train=False) == "matrix"


@pytest.mark.parametrize("shape", [IM2COL[0], SHARES[0]], ids=str)
def test_a_program_is_lowered_for_its_own_platform(shape):
  x, kernel = arrays(shape)

  def step(lowering):
    def loss(kernel, x):
      params = {"kernel": kernel, "bias": jnp.zeros(kernel.shape[-1])}
      return jnp.sum(jnp.sin(layer.apply({"params": params}, x, train=True)))

    layer = layers.Conv(shape[-1], shape[4:6], lowering=lowering)
    train = lambda kernel, x: jax.lax.fori_loop(0, 2, lambda _, kernel: kernel - jax.grad(loss)(kernel, x), kernel)
    score = lambda kernel, x: layer.apply({"params": {"kernel": kernel, "bias": jnp.zeros(kernel.shape[-1])}}, x)
    return train, score

  train, score = step("auto")
  for platform in ("tpu", "cuda"):
    assert convolves(train, platform, kernel, x) and convolves(score, platform, kernel, x)
    assert not convolves(step("matrix")[0], platform, kernel, x)
    # One convolution with many kernels on those platforms, one after another on CPU.
    many = jax.jit(jax.vmap(score, (0, None))).trace(np.stack([kernel] * 3), x)
    assert "stablehlo.while" not in many.lower(lowering_platforms=(platform,)).as_text()
  assert not convolves(train, "cpu", kernel, x) and convolves(step("conv")[0], "cpu", kernel, x)
  assert convolves(score, "cpu", kernel, x) == (shape in SHARES)
  assert ("stablehlo.while" in many.lower(lowering_platforms=("cpu",)).as_text()) == (shape in SHARES)


# height, width, in, kernel size, strides, padding: both matrix lowerings, strides that do not divide the size.
WINDOWS = [
  (6, 9, 3, (3, 3), 1, "SAME"),
  (7, 6, 20, (3, 3), 1, "SAME"),
  (5, 6, 20, (5, 3), 1, "SAME"),
  (3, 2, 20, (5, 3), 1, "SAME"),
  (2, 2, 20, (3, 3), 1, "SAME"),
  (7, 6, 20, (3, 3), 2, "SAME"),
  (8, 7, 3, (3, 3), 2, "SAME"),
  (8, 7, 65, (1, 1), 2, "SAME"),
  (8, 7, 20, (2, 4), 3, "VALID"),
  (1, 1, 20, (3, 3), 2, "SAME"),
]


def convolution_and_gradients(x, kernel, bias, cotangent, strides: int, padding: str):
  """Float64 reference: the output, and the gradients of its product with the cotangent."""
  kh, kw = kernel.shape[:2]
  pad = ((kh - 1) // 2, (kw - 1) // 2) if padding == "SAME" else (0, 0)
  padded = np.pad(x.astype(np.float64), [(0, 0), (pad[0], pad[0]), (pad[1], pad[1]), (0, 0)])
  out = reference.conv_valid(padded, kernel)[:, ::strides, ::strides] + bias
  grad_padded, grad_kernel = np.zeros_like(padded), np.zeros(kernel.shape)
  for b, r, c in np.ndindex(out.shape[:3]):
    rows, columns = slice(r * strides, r * strides + kh), slice(c * strides, c * strides + kw)
    grad_kernel += padded[b, rows, columns, :, None] * cotangent[b, r, c]
    grad_padded[b, rows, columns] += kernel @ cotangent[b, r, c].astype(np.float64)
  grad_x = grad_padded[:, pad[0] : pad[0] + x.shape[1], pad[1] : pad[1] + x.shape[2]]
  return out, (grad_x, grad_kernel, cotangent.sum(axis=(0, 1, 2)))


# Single lowerings are tested quickly for one window; "auto" combines them.
_LONE = [
  pytest.param(how, case, marks=pytest.mark.slow) for how in ("conv", "one_by_one", "matrix") for case in WINDOWS[1:]
]


@pytest.mark.parametrize(
  ("lowering", "case"),
  [*((how, WINDOWS[0]) for how in ("conv", "one_by_one", "matrix")), *(("auto", case) for case in WINDOWS), *_LONE],
  ids=str,
)
def test_strides_and_padding(lowering, case):
  height, width, in_features, size, strides, padding = case
  x, kernel = arrays((2, height, width, in_features, *size, 4))
  layer = layers.Conv(4, size, lowering=lowering, strides=strides, padding=padding)
  bias = np.arange(4.0, dtype=np.float32)
  apply = lambda x, kernel, bias, **kwargs: layer.apply({"params": {"kernel": kernel, "bias": bias}}, x, **kwargs)
  cotangent = np.random.default_rng(1).normal(size=jax.eval_shape(apply, x, kernel, bias).shape).astype(np.float32)

  @functools.partial(jax.jit, static_argnames="train")
  def pulled(x, kernel, bias, train):
    out, pull = jax.vjp(functools.partial(apply, train=train), x, kernel, bias)
    return out, pull(cotangent)

  expected, gradients = convolution_and_gradients(x, kernel, bias, cotangent, strides, padding)
  for train in (False, True):
    got, got_gradients = pulled(x, kernel, bias, train=train)
    assert_close(got, expected, kernel[..., 0].size)
    for one, other in zip(got_gradients, gradients, strict=True):
      assert one.shape == other.shape
      assert_close(one, other, cotangent.size)
  scales = scales_of((2, height, width, in_features), own=True, samples=2)
  mapped = jax.jit(jax.vmap(lambda scale: apply(x, kernel, bias, scale=scale)))
  for got, scale in zip(mapped(scales), scales, strict=True):
    assert_close(
      got, convolution_and_gradients(x * scale, kernel, bias, cotangent, strides, padding)[0], kernel[..., 0].size
    )


def test_conv_layer_without_bias_and_with_a_kernel_that_cannot_pad():
  x = jnp.ones((1, 4, 5, 2))
  layer = layers.Conv(3, (3, 3), padding="SAME", strides=2, use_bias=False)
  variables = layer.init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, variables["params"]) == {"kernel": (3, 3, 2, 3)}
  assert layer.apply(variables, x).shape == (1, 2, 3, 3)
  with pytest.raises(ValueError, match="odd size, not 2 x 3"):
    layers.Conv(3, (2, 3), padding="SAME").init(jax.random.key(0), x)
  with pytest.raises(ValueError, match="padding='same' is unknown"):
    layers.Conv(3, (3, 3), padding="same").init(jax.random.key(0), x)
  with pytest.raises(ValueError, match="kernel is larger than"):
    layers.Conv(3, (5, 5)).init(jax.random.key(0), x)


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (4, 7), (7, 5)])
def test_max_pool_equals_flax(size):
  x = jnp.array(np.random.default_rng(0).normal(size=(2, *size, 3)), jnp.float32)
  np.testing.assert_array_equal(layers.max_pool_2x2(x), nn.max_pool(x, (2, 2), strides=(2, 2)))


def shapes(image_shape, num_classes: int = 10, network: type[nn.Module] = CNN):
  """Shapes of a network's parameters and of its output for a batch of two. Computes nothing."""
  model = network(num_classes=num_classes)
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


def test_cnn_trains_and_predicts_with_the_same_function():
  # Training uses matrix products and prediction convolutions; without dropout the logits must agree.
  model = CNN(dropout_rate=0.0)
  x = jnp.array(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
  variables = jax.jit(model.init)(jax.random.key(0), x)
  predict, train = (jax.jit(functools.partial(model.apply, train=train)) for train in (False, True))
  logits = predict(variables, x)
  assert np.isfinite(logits).all() and np.ptp(logits) > 0
  np.testing.assert_allclose(train(variables, x), logits, rtol=1e-4, atol=1e-5)


def test_cnn_initialises_as_keras_does():
  params = jax.jit(CNN().init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
  for name, fan_in, fan_out in [("Conv_0", 9, 9 * 32), ("Conv_1", 9 * 32, 9 * 64), ("Dense_0", 256, 128)]:
    limit = np.sqrt(6 / (fan_in + fan_out))
    kernel = np.asarray(params[name]["kernel"])
    assert np.abs(kernel).max() <= limit and not params[name]["bias"].any()
    # A uniform variable's variance is limit^2 / 3; its estimate's relative standard error is sqrt(0.8 / n).
    np.testing.assert_allclose(kernel.var(), limit**2 / 3, rtol=5 * np.sqrt(0.8 / kernel.size))


def test_dropout_is_on_in_training_only():
  model = CNN()
  x = jnp.ones((2, 8, 8, 1))
  variables = jax.jit(model.init)(jax.random.key(0), x)
  train = jax.jit(lambda seed: model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)}))
  np.testing.assert_array_equal(train(1), train(1))
  assert (train(1) != train(2)).any()
  assert (train(1) != model.apply(variables, x)).any()


def count(params) -> int:
  """Number of parameters in a tree of shapes."""
  return int(sum(np.prod(size) for size in jax.tree.leaves(params, is_leaf=lambda leaf: isinstance(leaf, tuple))))


@pytest.mark.parametrize("network", [MLP, Linear])
def test_initial_weights_as_in_pytorch_or_keras_or_zero(network):
  x = jnp.zeros((1, 8, 50))
  start = lambda kind: network(num_classes=300, kernel_init=kind).init(jax.random.key(0), x)["params"]["Dense_0"]
  layer = start("torch")
  for leaf in (layer["kernel"], layer["bias"]):
    assert 0.95 / 20 < jnp.abs(leaf).max() <= 1 / 20  # 400 inputs
    assert abs(float(leaf.std()) - 1 / 20 / 3**0.5) < 0.06 / 20
  glorot = start("glorot")
  limit = (6 / (400 + layer["bias"].size)) ** 0.5
  assert 0.99 * limit < jnp.abs(glorot["kernel"]).max() <= limit and not glorot["bias"].any()
  if network is MLP:
    with pytest.raises(ValueError, match="gives hidden layers no gradient"):
      start("zeros")
  else:
    zeros = start("zeros")
    assert not zeros["kernel"].any() and not zeros["bias"].any()
  with pytest.raises(ValueError, match="kernel_init='he' is unknown: choose from glorot, torch, zeros"):
    start("he")


NETWORKS = {BatchBALDNet: 184_586, GalNet: 513_994, MLP: 118_282}
SMALLEST = {BatchBALDNet: 16, GalNet: 8, MLP: 1}


@pytest.mark.parametrize(("network", "parameters"), NETWORKS.items())
def test_networks_have_the_stated_size(network, parameters):
  params, out = shapes((28, 28, 1), network=network)
  assert out == (2, 10) and count(params) == parameters
  assert params["Dense_0"]["kernel"] == ({BatchBALDNet: 1024, GalNet: 3872, MLP: 784}[network], 128)
  assert shapes((32, 32, 3), 7, network)[1] == (2, 7)
  least = SMALLEST[network]
  assert count(shapes((least, least, 2), network=network)[0]["Dense_0"]) > 128
  if least > 1:
    with pytest.raises(ZeroDivisionError):  # the dense layer has no inputs
      shapes((least - 1, least, 2), network=network)


@functools.cache
def initialised(network, size: int = 16, **changes):
  model = network(**changes)
  return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, size, size, 1)))


def test_batchbald_net_initialises_as_pytorch_does():
  params = initialised(BatchBALDNet, 28)[1]["params"]
  for name, inputs in [("Conv_0", 25), ("Conv_1", 25 * 32), ("Dense_0", 1024), ("Dense_1", 128)]:
    limit = inputs**-0.5
    for values in params[name].values():
      assert np.abs(values).max() <= limit
      # A uniform variable's variance is limit^2 / 3; its estimate's relative standard error is sqrt(0.8 / n).
      np.testing.assert_allclose(np.mean(values**2), limit**2 / 3, rtol=5 * np.sqrt(0.8 / values.size))
      quarters = np.histogram(values, bins=4, range=(-limit, limit))[0] / values.size
      np.testing.assert_allclose(quarters, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / values.size))


@pytest.mark.parametrize("network", [GalNet, MLP])
def test_other_networks_initialise_as_keras_does(network):
  for layer in initialised(network)[1]["params"].values():
    kernel = np.asarray(layer["kernel"])
    places = kernel.size // (kernel.shape[-1] * kernel.shape[-2])
    limit = np.sqrt(6 / (places * (kernel.shape[-1] + kernel.shape[-2])))
    assert np.abs(kernel).max() <= limit and not layer["bias"].any()
    np.testing.assert_allclose(kernel.var(), limit**2 / 3, rtol=5 * np.sqrt(0.8 / kernel.size))


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_dropout_of_networks(network):
  x = jnp.array(np.random.default_rng(0).normal(size=(3, 16, 16, 1)), jnp.float32)
  model, variables = initialised(network)
  train = jax.jit(lambda seed: model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)}))
  logits = jax.jit(model.apply)(variables, x)
  np.testing.assert_array_equal(train(1), train(1))
  assert (train(1) != train(2)).any() and (train(1) != logits).any()
  # Training uses matrix products and prediction convolutions; at a rate of 0 the logits must agree.
  off = initialised(network, dropout_rate=0.0)[0]
  np.testing.assert_allclose(
    jax.jit(functools.partial(off.apply, train=True))(variables, x), logits, rtol=1e-4, atol=1e-5
  )


def dropouts(network, **changes):
  """`(rate, input, output)` of every dropout layer in one training pass, in call order."""
  variables = initialised(network)[1]
  seen = []

  def look(call, args, kwargs, context):
    out = call(*args, **kwargs)
    if isinstance(context.module, nn.Dropout) and context.method_name == "__call__":
      seen.append((context.module.rate, np.asarray(args[0]), np.asarray(out)))
    return out

  x = jnp.array(np.random.default_rng(0).uniform(size=(3, 16, 16, 1)), jnp.float32)
  with nn.intercept_methods(look):
    network(**changes).apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
  return seen


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("broadcast", [(), (1, 2)])
def test_dropout_is_flaxs_whether_its_rate_is_traced_or_not(rate, broadcast):
  x = jnp.array(np.random.default_rng(0).normal(size=(3, 4, 4, 5)), jnp.float32)

  def dropped(layer, rate):
    made = layer(rate, broadcast_dims=broadcast, deterministic=False)
    return made.apply({}, x, rngs={"dropout": jax.random.key(3)})

  expected = dropped(nn.Dropout, rate)
  np.testing.assert_array_equal(dropped(layers.Dropout, rate), expected)
  np.testing.assert_array_equal(jax.jit(lambda rate: dropped(layers.Dropout, rate))(rate), expected)
  assert layers.Dropout(rate).apply({}, x, deterministic=True) is x


@pytest.mark.parametrize(
  ("network", "rates"),
  [pytest.param(BatchBALDNet, [0.5, 0.5, 0.5], marks=pytest.mark.slow), (GalNet, [0.25, 0.5]), (MLP, [0.25, 0.25])],
)
def test_dropout_rates(network, rates):
  seen = dropouts(network)
  assert [rate for rate, _, _ in seen] == rates
  assert {rate for rate, _, _ in dropouts(network, dropout_rate=0.125)} == {0.125}
  for i, (rate, into, out) in enumerate(seen):
    dropped = (into != 0) & (out == 0)
    np.testing.assert_allclose(out[~dropped], into[~dropped] / (1 - rate), rtol=1e-6)
    assert dropped.any() and not dropped.all()
    if network is BatchBALDNet and i < 2:  # whole channels, for an input without zeros
      assert (dropped.any(axis=(1, 2)) == dropped.all(axis=(1, 2))).all()
      assert len({tuple(channels) for channels in dropped[:, 0, 0]}) == 3  # each image has its own mask
    else:
      mixed = dropped.reshape(-1, dropped.shape[-1])
      assert (mixed.any(axis=0) & ~mixed.all(axis=0)).any()


@pytest.mark.slow
@pytest.mark.parametrize(("network", "channelwise"), [(BatchBALDNet, 2), (GalNet, 0), (CNN, 0)])
def test_dropout_behind_convolutions_is_spatial_in_the_batchbald_net_alone(network, channelwise):
  spatial = [(into, out) for _, into, out in dropouts(network) if into.ndim == 4]
  assert len(spatial) == (channelwise or 1)
  for into, out in spatial:
    live = into != 0
    dropped, kept = (live & (out == 0)).any(axis=(1, 2)), (live & (out != 0)).any(axis=(1, 2))
    assert dropped.any() and kept.any()
    assert (dropped & kept).any() == (not channelwise)  # a partly dropped channel of an image


def test_batchbald_net_equals_the_reference():
  model, variables = initialised(BatchBALDNet)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
  images = np.random.default_rng(0).normal(size=(2, 16, 16, 1)).astype(np.float32)
  x = images
  for name in ("Conv_0", "Conv_1"):
    x = reference.conv_valid(x, params[name]["kernel"]) + params[name]["bias"]
    x = np.maximum.reduce([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    x = np.maximum(x, 0)
  x = np.maximum(x.reshape(2, -1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
  x = x @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
  np.testing.assert_allclose(jax.jit(model.apply)(variables, images), x, rtol=1e-4, atol=1e-5)


class DroppingFirst(nn.Module):
  """The BatchBALD network as published: channels are dropped before pooling and ReLU."""

  dropout_rate: float = 0.5

  @nn.compact
  def __call__(self, x, *, train: bool = False):
    for features in (32, 64):
      x = layers.Conv(features, (5, 5))(x, train=train)
      x = nn.Dropout(self.dropout_rate, broadcast_dims=(1, 2), deterministic=not train)(x)
      x = nn.relu(layers.max_pool_2x2(x))
    x = nn.Dense(128)(x.reshape((x.shape[0], -1)))
    x = nn.relu(nn.Dropout(self.dropout_rate, deterministic=not train)(x))
    return nn.Dense(10)(x)


@pytest.mark.slow
def test_batchbald_net_trains_as_if_it_dropped_ahead_of_the_pooling():
  """At the published rate, scales are 0 and 2: logits and gradients are bitwise equal."""
  variables = initialised(BatchBALDNet)[1]
  x = jnp.array(np.random.default_rng(0).normal(size=(5, 16, 16, 1)), jnp.float32)

  def value_and_gradients(model):
    def loss(variables):
      logits = model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})
      return jnp.sum(jnp.sin(logits)), logits

    return jax.value_and_grad(loss, has_aux=True)(variables)

  got, expected = value_and_gradients(BatchBALDNet()), value_and_gradients(DroppingFirst())
  assert np.unique(expected[0][1]).size == 50
  jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize(
  "name", [pytest.param(n, marks=() if n == "mlp" else pytest.mark.slow) for n in models.NETWORKS]
)
def test_the_head_gives_the_logits_of_the_features(name):
  network = from_flax(models.NETWORKS[name](num_classes=3))
  x = jax.random.normal(jax.random.key(1), (2, 32, 32, 1) if name == "vgg16" else (2, 16, 16, 1))
  x = jnp.array([[3, 1, 2], [0, 1, 2]]) if name in models.TOKENS else x
  variables = jax.jit(network.init)(jax.random.key(0), x)
  logits, features = jax.jit(network.sample)(None, variables, x)
  np.testing.assert_allclose(network.head(variables, features), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", models.NETWORKS)
def test_tokens_are_for_networks_of_tokens_alone(name):
  tokens, floats = jnp.zeros((2, 32), jnp.int32), jnp.zeros((2, 32))
  network = from_flax(models.NETWORKS[name]())
  with pytest.raises(ValueError, match="takes") as caught:
    jax.eval_shape(network.init, jax.random.key(0), floats if name in models.TOKENS else tokens)
  assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_transformer_is_told_by_the_order_of_its_tokens_too():
  network = from_flax(models.Transformer(vocabulary=4))
  x = jnp.array([[0, 1, 2, 3], [1, 0, 2, 3]])
  logits, _ = network.sample(None, network.init(jax.random.key(0), x), x)
  assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_vgg16_has_batch_norm_behind_thirteen_convolutions():
  x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  made = jax.eval_shape(VGG16().init, jax.random.key(0), x)
  assert sum(leaf.size for leaf in jax.tree.leaves(made["params"])) == 14_728_266
  assert len(made["batch_stats"]) == sum("Conv" in name for name in made["params"]) == 13
  with pytest.raises(ValueError, match="VGG16 takes images of 32 x 32 or more, not 28 x 28"):
    jax.eval_shape(VGG16().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32))


@pytest.mark.slow
def test_vgg16_keeps_statistics_and_scales_what_it_is_told():
  network = from_flax(VGG16(num_classes=3, width=4))
  x = 3 + 2 * jax.random.normal(jax.random.key(1), (6, 33, 35, 2))
  variables = jax.jit(network.init)(jax.random.key(0), x)
  logits, after = jax.jit(lambda v: network.apply(v, x, key=jax.random.key(2), weights=None))(variables)
  assert logits.shape == (6, 3)
  moved = after["batch_stats"]["BatchNorm_0"]["var"], variables["batch_stats"]["BatchNorm_0"]["var"]
  convolved = jax.lax.conv_general_dilated(
    x, variables["params"]["Conv_0"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  np.testing.assert_allclose(moved[0], 0.9 * moved[1] + 0.1 * convolved.var(axis=(0, 1, 2)), rtol=1e-3)
