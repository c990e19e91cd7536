"""Chunked predictions: the same as all at once, whatever the sizes."""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import inference
from al_jax import types
from al_jax.models import BatchBALDNet

pytestmark = pytest.mark.usefixtures("fast_compilation")


def test_normalize(data):
  data = dataclasses.replace(data, mean=4.0, std=8.0)
  np.testing.assert_allclose(
    inference.normalize(data.images, data), (np.asarray(data.images, np.float64) - 4.0) / 8.0, rtol=1e-6
  )
  assert inference.normalize(data.images, data).dtype == jnp.float32
  signed = np.array([-3, 300], np.int16)
  np.testing.assert_allclose(inference.normalize(signed, data), [-7 / 8, 37.0], rtol=1e-6)
  floats = np.array([0.25, -1.0], np.float32)
  assert inference.normalize(floats, data) is floats


def test_predict(data, model):
  params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
  logits = model.apply({"params": params}, np.asarray(data.images, np.float32) / 16)
  whole = inference.predict(model, params, data.images, data, chunk_size=500)
  assert whole.shape == (len(data.images), 1, 10) and whole.dtype == jnp.float32
  np.testing.assert_allclose(whole[:, 0], jax.nn.log_softmax(logits), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(np.exp(np.asarray(whole, np.float64)).sum(axis=-1), 1, rtol=1e-6)
  for chunk_size in (10, 96):
    chunked = inference.predict(model, params, data.images, data, chunk_size=chunk_size)
    np.testing.assert_allclose(chunked, whole, rtol=1e-5, atol=1e-6)


def test_uint8_images_predict_as_their_normalised_floats(data, model):
  params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
  floats = np.asarray(inference.normalize(data.images, data))
  np.testing.assert_array_equal(
    inference.predict(model, params, data.images, data, chunk_size=20),
    inference.predict(model, params, floats, data, chunk_size=20),
  )


def params_of(model):
  return model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1))).get("params", {})


def outputs(data, model, ids=None, **changes):
  ids = jnp.arange(data.pool_size) if ids is None else ids
  options = {"chunk_size": 20, "posterior": types.Posterior("dropout", 4), "key": jax.random.key(7)} | changes
  inputs = functools.partial(inference.pool_inputs, data)
  params = options.pop("params", None) or params_of(model)
  return inference.outputs(options.pop("key"), model, params, inputs, ids, **options)


def mask_of(model, params, key) -> np.ndarray:
  """The hidden units that a pass of training keeps of one image."""
  ones = jax.tree.map(jnp.ones_like, params)  # so that no unit is off of itself
  kept = lambda module, _: isinstance(module, nn.Dropout)
  image = jnp.ones((1, 8, 8, 1))
  _, seen = model.apply({"params": ones}, image, train=True, rngs={"dropout": key}, capture_intermediates=kept)
  (dropped,) = seen["intermediates"]["Dropout_0"]["__call__"]
  return np.asarray(dropped[0] > 0)


def test_mc_dropout_is_consistent(data, model):
  """One mask a sample for the whole pool: the prediction is an ordinary forward pass of a thinned network."""
  params, samples = jax.device_get(params_of(model)), 4
  log_probs = outputs(data, model).log_probs
  assert log_probs.shape == (data.pool_size, samples, 10)
  x = np.asarray(data.images, np.float32).reshape(data.pool_size, -1) / 16
  hidden = np.maximum(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
  masks = []
  for s in range(samples):
    # The mask that training draws of one image of ones explains all images.
    masks.append(mask_of(model, params, jax.random.fold_in(jax.random.key(7), s)))
    logits = hidden * masks[s] / 0.75 @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    np.testing.assert_allclose(log_probs[:, s], jax.nn.log_softmax(logits), rtol=1e-4, atol=1e-5)
  assert len({mask.tobytes() for mask in masks}) == samples


@pytest.mark.slow
@pytest.mark.parametrize("per_example", [False, True])
def test_mc_dropout_does_not_depend_on_the_chunk(data, model, per_example):
  posterior = types.Posterior("dropout", 4, per_example)
  whole = outputs(data, model, posterior=posterior, chunk_size=97).log_probs
  np.testing.assert_allclose(
    outputs(data, model, posterior=posterior, chunk_size=8).log_probs, whole, rtol=1e-4, atol=1e-5
  )
  part = outputs(data, model, jnp.array([90, 3]), posterior=posterior).log_probs
  np.testing.assert_allclose(part, whole[jnp.array([90, 3])], rtol=1e-4, atol=1e-5)
  again = outputs(data, model, posterior=posterior, key=jax.random.key(8), chunk_size=97).log_probs
  assert np.abs(again - whole).max() > 0.1


def test_per_example_masks_differ_between_equal_images(data, model):
  same = dataclasses.replace(data, images=np.broadcast_to(data.images[:1], data.images.shape))
  shared = outputs(same, model).log_probs
  np.testing.assert_allclose(shared, np.broadcast_to(shared[:1], shared.shape), rtol=1e-4, atol=1e-5)
  own = outputs(same, model, posterior=types.Posterior("dropout", 4, per_example=True)).log_probs
  assert np.asarray(own).std(axis=0).max() > 0.05


class Attentive(nn.Module):
  """Attention whose weights are dropped."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = x.reshape((x.shape[0], 8, 8))
    x = nn.MultiHeadDotProductAttention(num_heads=2, dropout_rate=0.5, deterministic=not train)(x)
    return nn.Dense(10)(x.reshape((x.shape[0], -1)))


class Block(nn.Module):
  train: bool

  @nn.compact
  def __call__(self, x, _):
    return nn.Dropout(0.5, deterministic=not self.train)(x), None


class Stacked(nn.Module):
  """Four layers of dropout of 6,400 ones under `nn.scan`; class 1 has the share that is left, times 100."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = jnp.ones((x.shape[0], 6400)) + 0 * x.reshape((x.shape[0], -1))[:, :1]
    stack = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True}, length=4)
    x, _ = stack(train)(x, None)
    left = 100 * (x > 0).mean(axis=-1, keepdims=True) * jax.nn.one_hot(1, 10)[None]
    return left + self.param("bias", nn.initializers.zeros, (1, 10))


class Rematerialized(nn.Module):
  """Its last dense layer is within a transformation."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.Dropout(0.5, deterministic=not train)(x.reshape((x.shape[0], -1)))
    return nn.remat(nn.Dense)(10)(x)


class Off(nn.Module):
  """A dropout that the module itself keeps off, before one that training turns on."""

  off: float = 0.9
  on: float = 0.5

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.Dropout(self.off, deterministic=True)(x.reshape((x.shape[0], -1)))
    x = nn.Dense(40, use_bias=False, kernel_init=nn.initializers.ones)(x)
    return nn.Dense(10)(nn.Dropout(self.on, deterministic=not train)(x))


@pytest.mark.parametrize(
  "make",
  [Attentive, Off, Rematerialized, pytest.param(BatchBALDNet, marks=pytest.mark.slow)],
  ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("per_example", [False, True])
def test_a_sample_is_what_training_computes_of_each_image_alone(make, per_example, data):
  """By the sample's key or, with masks of its own, that folded with the image's id: whatever draws it."""
  network, rng = make(), np.random.default_rng(0)
  size = 16 if make is BatchBALDNet else 8
  images = jnp.array(rng.normal(size=(5, size, size, 1)), jnp.float32)
  params = network.init(jax.random.key(0), images[:1])["params"]
  ids, key = jnp.array([4, 0, 2]), jax.random.key(7)
  options = {"chunk_size": 2, "posterior": types.Posterior("dropout", 3, per_example)}
  log_probs = inference.outputs(key, network, params, lambda ids: images[ids], ids, **options).log_probs
  one = jax.jit(lambda key, image: network.apply({"params": params}, image, train=True, rngs={"dropout": key}))
  for place, i in enumerate(ids):
    for s in range(3):
      own = jax.random.fold_in(key, s)
      logits = one(jax.random.fold_in(own, i) if per_example else own, images[i][None])
      np.testing.assert_allclose(log_probs[place, s], jax.nn.log_softmax(logits[0]), rtol=1e-4, atol=1e-5)
  assert np.asarray(log_probs).std(axis=1).max() > 1e-3


def test_layers_of_a_scanned_stack_drop_each_for_itself(data):
  """Four layers of one half leave a sixteenth, where one mask for all of them would leave a half."""
  log_probs = np.asarray(outputs(data, Stacked(), jnp.arange(2)).log_probs, np.float64)
  left = (log_probs[..., 1] - log_probs[..., 0]) / 100
  np.testing.assert_allclose(left[0], left[1], atol=1e-6)  # one set of masks for all images
  assert (np.abs(left[0] - 1 / 16) < 4 * np.sqrt(1 / 16 * 15 / 16 / 6400)).all() and np.ptp(left[0]) > 0


@pytest.mark.parametrize(
  ("network", "differ"),
  [
    (Attentive(), True),
    (Stacked(), True),
    (Off(), True),
    (Off(on=0.0), False),
    (BatchBALDNet(dropout_rate=0.0), False),
  ],
  ids=["attention", "scanned", "on", "kept off", "rate 0"],
)
def test_whether_samples_can_disagree(network, differ, data):
  images = np.zeros((3, 16, 16, 1), np.float32) if isinstance(network, BatchBALDNet) else data.images
  assert inference.samples_differ(network, dataclasses.replace(data, images=images)) is differ


def products(text: str) -> list[tuple[str, int]]:
  """Of each matrix product in a compiled program's text, the shape of its result and the loops that it lies in."""
  blocks = dict(re.findall(r"^(?:ENTRY )?%([\w.\-]+) \(.*?\{\n(.*?)^\}", text, flags=re.M | re.S))
  found = []

  def visit(name: str, depth: int) -> None:
    for line in blocks[name].splitlines():
      if product := re.search(r"= (\w+\[[\d,]*\])\S* (?:dot\(|custom-call\(.*matmul)", line):
        found.append((product[1], depth))
      for role, inner in re.findall(r"(body|calls|to_apply|condition)=%([\w.\-]+)", line):
        visit(inner, depth + (role == "body"))

  visit(re.search(r"^ENTRY %([\w.\-]+)", text, flags=re.M)[1], 0)
  return sorted(found)


@pytest.mark.parametrize("features", [False, True])
def test_layers_below_the_first_dropout_are_worked_out_once_an_image(data, model, features):
  """The loop over samples lies in that over chunks: the hidden layer in the outer one, the logits in the inner one.

  Features are the hidden layer's output, and cost no other product.
  """
  params = params_of(model)
  predict = lambda ids: outputs(data, model, ids, params=params, chunk_size=20, features=features)
  text = jax.jit(predict).lower(jnp.arange(60)).compile().as_text()
  assert products(text) == [("f32[20,10]", 2), (f"f32[20,{model.hidden}]", 1)]


def test_on_an_accelerator_they_are_too(data, model, monkeypatch):
  rows = []

  def look(jaxpr):
    for equation in jaxpr.eqns:
      if equation.primitive.name == "dot_general":
        rows.append((equation.outvars[0].aval.shape, equation.outvars[0].aval.size))
      for inner in jax.extend.core.jaxprs_in_params(equation.params):
        look(inner)

  params = params_of(model)
  in_turn = outputs(data, model, np.arange(20), params=params)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  at_once = lambda ids: outputs(data, model, ids, params=params).log_probs
  look(jax.make_jaxpr(at_once)(jnp.arange(20)).jaxpr)
  hidden = [size for shape, size in rows if model.hidden in shape]
  logits = [size for shape, size in rows if 10 in shape]
  assert hidden == [20 * model.hidden] and logits == [4 * 20 * 10]
  np.testing.assert_allclose(at_once(np.arange(20)), in_turn.log_probs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("per_example", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_samples_of_spatial_dropout_share_the_convolution_of_each_channel(per_example, monkeypatch):
  """No sample convolves, and the samples are those of an accelerator's way, which convolves for each."""
  network = BatchBALDNet()
  images = jnp.array(np.random.default_rng(0).normal(size=(7, 16, 16, 1)), jnp.float32)
  params = jax.jit(network.init)(jax.random.key(0), images[:1])["params"]

  def predict(ids, features=False):
    return inference.outputs(
      jax.random.key(7),
      network,
      params,
      lambda ids: images[ids],
      ids,
      chunk_size=50,
      posterior=types.Posterior("dropout", 6, per_example),
      features=features,
    )

  ids = jnp.array([6, 0, 3, 1, 5])  # not a multiple of the images in a chunk
  convolves = lambda: "conv_general_dilated" in str(jax.make_jaxpr(lambda ids: predict(ids))(ids))
  assert not convolves()
  shared = jax.jit(lambda ids: predict(ids, features=True))(ids)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert convolves()
  plain = jax.jit(lambda ids: predict(ids, features=True))(ids)
  assert np.asarray(plain.log_probs).std(axis=1).max() > 0.05
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), shared, plain)


def test_spatial_dropout_drops_whole_channels(data):
  class Spatial(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
      x = nn.Dropout(0.5, broadcast_dims=(1, 2), deterministic=not train)(x + jnp.zeros((1, 1, 1, 10)) + 1)
      return x.mean(axis=(1, 2))

  log_probs = outputs(data, Spatial(), posterior=types.Posterior("dropout", 6)).log_probs
  # Ten equal channels: each is dropped or kept as a whole, so a sample has at most two values.
  assert all(len(np.unique(np.round(sample, 4))) <= 2 for sample in np.asarray(log_probs[0]))


def test_features_are_the_last_dense_layers_input(data, model):
  params = jax.device_get(params_of(model))
  x = np.asarray(data.images, np.float32).reshape(data.pool_size, -1) / 16
  hidden = np.maximum(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
  for posterior in (types.Posterior(), types.Posterior("dropout", 3)):
    out = outputs(data, model, posterior=posterior, features=True)
    np.testing.assert_allclose(out.features, hidden, rtol=1e-4, atol=1e-5)
    assert out.log_probs.shape == (data.pool_size, posterior.samples, 10)
  assert outputs(data, model, samples=False, features=True).log_probs is None
  assert outputs(data, model).features is None


def test_a_network_without_a_dense_layer_has_no_features(data):
  class Bare(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
      return x.reshape((x.shape[0], -1))[:, :10]

  with pytest.raises(ValueError, match=r"Bare has no nn\.Dense layer"):
    outputs(data, Bare(), samples=False, features=True)


def test_features_within_a_transformation_are_refused_in_a_sentence(data):
  for posterior in (types.Posterior(), types.Posterior("dropout", 3)):
    with pytest.raises(ValueError, match=r"last nn\.Dense of Rematerialized, .* is within nn\.remat"):
      outputs(data, Rematerialized(), posterior=posterior, features=True)


def test_an_ensemble_predicts_as_each_of_its_members(data, model):
  members = [model.init(jax.random.key(m), jnp.zeros((1, 8, 8, 1)))["params"] for m in range(3)]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
  log_probs = outputs(data, model, params=stacked, posterior=types.Posterior("ensemble", 3)).log_probs
  assert log_probs.shape == (data.pool_size, 3, 10)
  for m, params in enumerate(members):
    one = inference.predict(model, params, data.images, data, chunk_size=20)[:, 0]
    np.testing.assert_allclose(log_probs[:, m], one, rtol=1e-5, atol=1e-6)


def test_copies_and_noise(data):
  noise_key = jax.random.key(5)
  copies = dataclasses.replace(data, labels=np.tile(data.labels, 3), noise=0.1, noise_key=noise_key)
  ids = jnp.array([4, 4 + 97, 4 + 2 * 97, 4])
  seen = np.asarray(inference.pool_inputs(copies, ids))
  clean = np.asarray(inference.pool_inputs(dataclasses.replace(copies, noise=0.0), ids))
  np.testing.assert_array_equal(clean, np.broadcast_to(np.asarray(data.images[4:5], np.float32) / 16, clean.shape))
  np.testing.assert_array_equal(seen[0], seen[3])  # an id has one noise, however often it is looked at
  noise = np.asarray(inference.pool_inputs(copies, jnp.arange(3 * 97))) - np.tile(
    np.asarray(data.images, np.float32) / 16, (3, 1, 1, 1)
  )
  assert len({row.tobytes() for row in noise.round(5)}) == 3 * 97
  count = noise.size
  assert abs(noise.mean()) < 4 * 0.1 / np.sqrt(count)
  assert abs(noise.std() / 0.1 - 1) < 4 / np.sqrt(2 * count)
  other = dataclasses.replace(copies, noise_key=jax.random.key(6))
  assert np.abs(np.asarray(inference.pool_inputs(other, ids)) - seen).max() > 0.1


def test_samples_of_the_tiny_network_differ_where_it_drops(data, model):
  assert inference.samples_differ(model, data)
  assert not inference.samples_differ(model.clone(dropout_rate=0.0), data)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [(("dropot",), "unknown posterior 'dropot'"), (("deterministic", 2), "2 samples"), (("dropout", 0), "0 samples")],
)
def test_posterior_mistakes(arguments, message):
  with pytest.raises(ValueError, match=message):
    types.Posterior(*arguments)
