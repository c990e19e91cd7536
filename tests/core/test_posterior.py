"""Posterior predictions: meaning of a sample, independence of chunks, and shared computations."""

import dataclasses
import functools
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import from_flax
from al_jax import inputs
from al_jax import logistic
from al_jax import loop
from al_jax import posterior
from al_jax import types
from al_jax.models import BatchBALDNet
from tests.conftest import MODEL
from tests.conftest import NETWORK
from tests.core.test_network import Attentive
from tests.core.test_network import Off
from tests.core.test_network import Rematerialized
from tests.core.test_network import Stacked
from tests.support.learners import changed
from tests.support.networks import NormedConv

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(7)


def variables_of(network) -> types.PyTree:
  return network.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def outputs(data, network=NETWORK, ids=None, by=None, key=KEY, variables=None, chunk_size=20, features=False):
  ids = jnp.arange(data.pool_size) if ids is None else ids
  by = posterior.mc_dropout(4) if by is None else by
  variables = variables_of(network) if variables is None else variables
  inputs_of = functools.partial(inputs.of_pool, data)
  return by.predict(key, network, variables, inputs_of, ids, chunk_size=chunk_size, features=features)


def test_deterministic(data, model):
  variables = variables_of(NETWORK)
  logits = model.apply(variables, np.asarray(data.inputs, np.float32) / 16)
  predict = lambda chunk_size: (
    outputs(data, by=posterior.deterministic(), key=None, variables=variables, chunk_size=chunk_size).log_probs
  )
  whole = predict(500)
  assert whole.shape == (data.pool_size, 1, 10) and whole.dtype == jnp.float32
  np.testing.assert_allclose(whole[:, 0], jax.nn.log_softmax(logits), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(np.exp(np.asarray(whole, np.float64)).sum(axis=-1), 1, rtol=1e-6)
  for chunk_size in (10, 96):
    np.testing.assert_allclose(predict(chunk_size), whole, rtol=1e-5, atol=1e-6)


def mask_of(model, variables, key) -> np.ndarray:
  """The hidden units that a training pass keeps for one row."""
  ones = jax.tree.map(jnp.ones_like, variables)  # so that no unit is 0 without dropout
  kept = lambda module, _: isinstance(module, nn.Dropout)
  row = jnp.ones((1, 8, 8, 1))
  _, seen = model.apply(ones, row, train=True, rngs={"dropout": key}, capture_intermediates=kept)
  (dropped,) = seen["intermediates"]["Dropout_0"]["__call__"]
  return np.asarray(dropped[0] > 0)


def test_mc_dropout_is_consistent(data, model):
  """One mask per sample for the whole pool: the prediction is a forward pass of the thinned network."""
  variables, samples = jax.device_get(variables_of(NETWORK)), 4
  log_probs = outputs(data, variables=variables).log_probs
  assert log_probs.shape == (data.pool_size, samples, 10)
  params = variables["params"]
  x = np.asarray(data.inputs, np.float32).reshape(data.pool_size, -1) / 16
  hidden = np.maximum(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"], 0)
  masks = []
  for s in range(samples):
    # The mask that training draws for one row of ones applies to all rows.
    masks.append(mask_of(model, variables, jax.random.fold_in(KEY, s)))
    logits = hidden * masks[s] / 0.75 @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    np.testing.assert_allclose(log_probs[:, s], jax.nn.log_softmax(logits), rtol=1e-4, atol=1e-5)
  assert len({mask.tobytes() for mask in masks}) == samples


@pytest.mark.slow
@pytest.mark.parametrize("per_example", [False, True])
def test_mc_dropout_does_not_depend_on_the_chunk(data, per_example):
  by = posterior.mc_dropout(4, per_example=per_example)
  whole = outputs(data, by=by, chunk_size=97).log_probs
  np.testing.assert_allclose(outputs(data, by=by, chunk_size=8).log_probs, whole, rtol=1e-4, atol=1e-5)
  part = outputs(data, ids=jnp.array([90, 3]), by=by).log_probs
  np.testing.assert_allclose(part, whole[jnp.array([90, 3])], rtol=1e-4, atol=1e-5)
  again = outputs(data, by=by, key=jax.random.key(8), chunk_size=97).log_probs
  assert np.abs(again - whole).max() > 0.1


def test_per_example_masks_differ_between_equal_rows(data):
  same = dataclasses.replace(data, inputs=np.broadcast_to(data.inputs[:1], data.inputs.shape))
  shared = outputs(same).log_probs
  np.testing.assert_allclose(shared, np.broadcast_to(shared[:1], shared.shape), rtol=1e-4, atol=1e-5)
  own = outputs(same, by=posterior.mc_dropout(4, per_example=True)).log_probs
  assert np.asarray(own).std(axis=0).max() > 0.05


@pytest.mark.parametrize(
  "make",
  [Attentive, Off, Rematerialized, pytest.param(BatchBALDNet, marks=pytest.mark.slow)],
  ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("per_example", [False, True])
def test_a_sample_is_what_training_computes_of_each_row_alone(make, per_example):
  """Masks come from the sample's key or, with per-example masks, from that key folded with the row's id."""
  module, rng = make(), np.random.default_rng(0)
  size = 16 if make is BatchBALDNet else 8
  rows = jnp.array(rng.normal(size=(5, size, size, 1)), jnp.float32)
  variables = module.init(jax.random.key(0), rows[:1])
  ids, by = jnp.array([4, 0, 2]), posterior.mc_dropout(3, per_example=per_example)
  rows_of = lambda ids: rows[ids]
  log_probs = by.predict(KEY, from_flax(module), variables, rows_of, ids, chunk_size=2, features=False).log_probs
  one = jax.jit(lambda key, row: module.apply(variables, row, train=True, rngs={"dropout": key}))
  for place, i in enumerate(ids):
    for s in range(3):
      own = jax.random.fold_in(KEY, s)
      logits = one(jax.random.fold_in(own, i) if per_example else own, rows[i][None])
      np.testing.assert_allclose(log_probs[place, s], jax.nn.log_softmax(logits[0]), rtol=1e-4, atol=1e-5)
  assert np.asarray(log_probs).std(axis=1).max() > 1e-3


def test_samples_of_batch_normalisation_have_running_statistics_and_drop(data):
  """Training uses minibatch statistics; samples read the running statistics and do not change them."""
  module = NormedConv()
  network, x = from_flax(module), np.asarray(data.inputs, np.float32) / 16
  variables = variables_of(network)
  statistics = jax.tree.map(lambda leaf: leaf + 0.5 + jnp.arange(leaf.size) / 10, variables["batch_stats"])
  variables = variables | {"batch_stats": statistics}
  log_probs = np.asarray(outputs(data, network, variables=variables).log_probs)
  # Linen with running statistics and dropout on gives the same.
  running = module.clone(frozen=True)
  for s in range(4):
    key = jax.random.fold_in(KEY, s)
    one = lambda row, key=key: running.apply(variables, row[None], train=True, rngs={"dropout": key})[0]
    np.testing.assert_allclose(log_probs[:, s], jax.nn.log_softmax(jax.vmap(one)(x)), rtol=1e-4, atol=1e-5)
  assert log_probs.std(axis=1).max() > 0.02
  fresh = outputs(data, network, variables=variables_of(network)).log_probs
  assert np.abs(fresh - log_probs).max() > 0.1  # the statistics matter


def test_layers_of_a_scanned_stack_drop_each_for_itself(data):
  """Four layers of rate 1/2 keep a sixteenth; one mask for all of them would keep a half."""
  log_probs = np.asarray(outputs(data, from_flax(Stacked()), jnp.arange(2)).log_probs, np.float64)
  left = (log_probs[..., 1] - log_probs[..., 0]) / 100
  np.testing.assert_allclose(left[0], left[1], atol=1e-6)  # one set of masks for all rows
  assert (np.abs(left[0] - 1 / 16) < 4 * np.sqrt(1 / 16 * 15 / 16 / 6400)).all() and np.ptp(left[0]) > 0


def products(text: str) -> list[tuple[str, int]]:
  """For each matrix product in a compiled program's text, the shape of its result and its enclosing loops."""
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
def test_layers_below_the_first_dropout_are_worked_out_once_a_row(data, model, features):
  """The loop over samples is inside the loop over chunks; the hidden layer is computed in the outer loop only.

  Features are the output of the hidden layer and need no further product.
  """
  variables = variables_of(NETWORK)
  predict = lambda ids: outputs(data, ids=ids, variables=variables, features=features)
  text = jax.jit(predict).lower(jnp.arange(60)).compile().as_text()
  assert products(text) == [("f32[20,10]", 2), (f"f32[20,{model.hidden}]", 1)]


def lowered_for(platform: str, function, ids) -> str:
  return jax.jit(function).trace(ids).lower(lowering_platforms=(platform,)).as_text()


def elsewhere(*args, default, **_):
  """`platform_dependent` for a platform without its own branch."""
  return default(*args)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_on_an_accelerator_they_are_too(platform, data, model, monkeypatch):
  """On accelerators, all samples are computed at once from a hidden layer that is computed once."""
  variables, ids = variables_of(NETWORK), np.arange(20)
  predict = lambda ids: outputs(data, ids=ids, variables=variables).log_probs
  text = lowered_for(platform, predict, jnp.arange(20))
  shapes = [list(map(int, shape.split("x"))) for shape in re.findall(r"dot_general .*-> tensor<([\dx]*)xf32>", text)]
  hidden = [math.prod(shape) for shape in shapes if model.hidden in shape]
  logits = [math.prod(shape) for shape in shapes if 10 in shape]
  assert hidden == [20 * model.hidden] and logits == [4 * 20 * 10] and len(shapes) == 2
  in_turn = predict(ids)
  monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
  np.testing.assert_allclose(predict(ids), in_turn, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("per_example", [False, True])
def test_samples_of_spatial_dropout_share_the_convolution_of_each_channel(per_example, monkeypatch):
  """No sample has its own convolution, unlike in an accelerator's program, and samples equal those of single passes."""
  network, by = from_flax(BatchBALDNet()), posterior.mc_dropout(6, per_example=per_example)
  rows = jnp.array(np.random.default_rng(0).normal(size=(7, 16, 16, 1)), jnp.float32)
  variables = jax.jit(network.init)(jax.random.key(0), rows[:1])
  rows_of = lambda ids: rows[ids]
  predict = lambda ids: by.predict(KEY, network, variables, rows_of, ids, chunk_size=50, features=True)
  ids = jnp.array([6, 0, 3, 1, 5])  # not a multiple of the rows in a chunk
  assert "stablehlo.convolution" not in lowered_for("cpu", lambda ids: predict(ids).log_probs, ids)
  assert "stablehlo.convolution" in lowered_for("cuda", lambda ids: predict(ids).log_probs, ids)
  shared = jax.jit(predict)(ids)
  assert np.asarray(shared.log_probs).std(axis=1).max() > 0.05
  alone = jax.jit(lambda key, row: network.sample(key, variables, row)[0])
  for place, i in enumerate(ids):
    for s in range(6):
      own = jax.random.fold_in(KEY, s)
      logits = alone(jax.random.fold_in(own, i) if per_example else own, rows[i][None])
      np.testing.assert_allclose(shared.log_probs[place, s], jax.nn.log_softmax(logits[0]), rtol=1e-4, atol=1e-5)
  _, features = jax.jit(lambda x: network.sample(None, variables, x))(rows[ids])
  np.testing.assert_allclose(shared.features, features, rtol=1e-4, atol=1e-5)
  monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
  plain = jax.jit(lambda ids: predict(ids))(ids)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), shared, plain)


def test_spatial_dropout_drops_whole_channels(data):
  class Spatial(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
      x = nn.Dropout(0.5, broadcast_dims=(1, 2), deterministic=not train)(x + jnp.zeros((1, 1, 1, 10)) + 1)
      return x.mean(axis=(1, 2))

  log_probs = outputs(data, from_flax(Spatial()), by=posterior.mc_dropout(6)).log_probs
  # Ten equal channels: each is dropped or kept as a whole, so a sample has at most two values.
  assert all(len(np.unique(np.round(sample, 4))) <= 2 for sample in np.asarray(log_probs[0]))


def test_features_are_the_last_dense_layers_input(data):
  variables = jax.device_get(variables_of(NETWORK))
  x = np.asarray(data.inputs, np.float32).reshape(data.pool_size, -1) / 16
  dense = variables["params"]["Dense_0"]
  hidden = np.maximum(x @ dense["kernel"] + dense["bias"], 0)
  for by in (posterior.deterministic(), posterior.mc_dropout(3)):
    out = outputs(data, by=by, features=True, variables=variables)
    np.testing.assert_allclose(out.features, hidden, rtol=1e-4, atol=1e-5)
    assert out.log_probs.shape == (data.pool_size, by.samples, 10)
  inputs_of = functools.partial(inputs.of_pool, data)
  alone = posterior.only_features(NETWORK, variables, inputs_of, jnp.arange(data.pool_size), chunk_size=20)
  np.testing.assert_allclose(alone, hidden, rtol=1e-4, atol=1e-5)
  assert outputs(data).features is None


class Bare(nn.Module):
  """A network without a dense layer."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return x.reshape((x.shape[0], -1))[:, :10]


@pytest.mark.parametrize("module", [Bare(), Rematerialized()], ids=["none", "within nn.remat"])
def test_features_that_cannot_be_reached_are_refused_in_a_sentence(module, data):
  network, name = from_flax(module), type(module).__name__
  sentence = rf"^{name} has no features: .* a dense layer outside nn\.remat, scan and jit"
  for by in (posterior.deterministic(), posterior.mc_dropout(3)):
    with pytest.raises(ValueError, match=sentence):
      outputs(data, network, by=by, features=True)
  with pytest.raises(ValueError, match=sentence):
    inputs_of = functools.partial(inputs.of_pool, data)
    posterior.only_features(network, variables_of(network), inputs_of, jnp.arange(3), chunk_size=2)
  assert outputs(data, network, jnp.arange(3)).log_probs.shape == (3, 4, 10)  # predictions need no features


def test_an_ensemble_predicts_as_each_of_its_members(data):
  members = [NETWORK.init(jax.random.key(m), jnp.zeros((1, 8, 8, 1))) for m in range(3)]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
  out = outputs(data, variables=stacked, by=posterior.ensemble(3), features=True)
  assert out.log_probs.shape == (data.pool_size, 3, 10)
  for m, variables in enumerate(members):
    one = outputs(data, variables=variables, by=posterior.deterministic(), features=True)
    np.testing.assert_allclose(out.log_probs[:, m], one.log_probs[:, 0], rtol=1e-5, atol=1e-6)
    if m == 0:
      np.testing.assert_allclose(out.features, one.features, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: posterior.mc_dropout(0), "the dropout posterior needs .* not 0"),
    (lambda: posterior.mc_dropout(-2, per_example=True), "the dropout posterior needs .* not -2"),
    (lambda: posterior.ensemble(0), "the ensemble posterior needs .* not 0"),
    (lambda: posterior.laplace(0), "the laplace posterior needs .* not 0"),
    (lambda: posterior.laplace(4, prior_precision=0), "prior_precision must be positive, not 0"),
    (lambda: posterior.laplace(4, bias_precision=-0.1), "bias_precision must be positive, not -0.1"),
    (lambda: posterior.laplace(4, bias_precision=math.nan), "bias_precision must be positive, not nan"),
  ],
)
def test_posterior_mistakes(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_mc_dropout_without_a_key_is_refused(data):
  with pytest.raises(ValueError, match="samples of MC dropout need a key"):
    outputs(data, key=None)


def test_equal_arguments_give_the_same_posterior():
  """Equal arguments in any spelling: a different object would compile every program again."""
  dropout, own = posterior.mc_dropout(3), posterior.mc_dropout(3, per_example=True)
  for again in (posterior.mc_dropout(3), posterior.mc_dropout(samples=3), posterior.mc_dropout(3, per_example=False)):
    assert again == dropout and hash(again) == hash(dropout)
  assert posterior.mc_dropout(samples=3, per_example=True) == own
  assert posterior.deterministic() == posterior.deterministic()
  assert posterior.ensemble(3) == posterior.ensemble(members=3)
  different = {dropout, own, posterior.mc_dropout(4), posterior.deterministic(), posterior.ensemble(3)}
  assert len(different) == 5
  assert (dropout.samples, dropout.members, dropout.joint, dropout.drops) == (3, 1, True, True)
  assert (own.samples, own.members, own.joint, own.drops) == (3, 1, False, True)


LAPLACE_ROWS = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)


def linear_network(classes: int) -> types.Network:
  """A network whose features are its inputs."""
  head = lambda variables, x: x @ variables["params"]["kernel"] + variables["params"]["bias"][None]
  init = lambda key, x: {"params": {"kernel": jax.random.normal(key, (4, classes)), "bias": jnp.arange(1.0 * classes)}}
  return types.Network(
    init,
    lambda variables, x, *, key, weights: (head(variables, x), variables),
    lambda key, variables, x: (head(variables, x), x),
    head,
  )


WEIGHTS, ROWS_OF_FIT = jnp.array([1.0, 1, 1, 1, 1, 0, 0]), jnp.array([3, 0, 7, 1, 5, 0, 0])


def fitted_laplace(classes: int, samples: int, prior: float, bias_precision: float | None = None, variables=None):
  """The posterior, its network, and the variables fitted on seven rows, two of them padding."""
  network = linear_network(classes)
  made = posterior.laplace(samples, prior_precision=prior, bias_precision=bias_precision)
  variables = network.init(jax.random.key(1), LAPLACE_ROWS[:1]) if variables is None else variables
  inputs_of = lambda ids: jnp.asarray(LAPLACE_ROWS)[ids]
  return made, network, made.fit(network, variables, inputs_of, ROWS_OF_FIT, WEIGHTS, chunk_size=3), inputs_of


def laplace_covariance(variables, prior: float, bias_precision: float, *, kronecker: bool) -> np.ndarray:
  """Float64 covariance `[C, F + 1, C, F + 1]` of kernel and bias: the inverse of the whole precision matrix."""
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
  x = LAPLACE_ROWS[[3, 0, 7, 1, 5]].astype(np.float64)
  odds = np.exp(x @ params["kernel"] + params["bias"])
  probs = odds / odds.sum(axis=1, keepdims=True)
  phi = np.pad(x, ((0, 0), (0, 1)), constant_values=1)
  spreads = [np.diag(p) - np.outer(p, p) for p in probs]
  if kronecker:
    precision = np.kron(np.mean(spreads, axis=0), phi.T @ phi)
  else:
    precision = sum(np.kron(spread, np.outer(row, row)) for spread, row in zip(spreads, phi, strict=True))
  classes = probs.shape[1]
  precision = precision + np.diag(np.tile([prior] * 4 + [bias_precision], classes))
  return np.linalg.inv(precision).reshape(classes, 5, classes, 5)


@pytest.mark.parametrize("classes", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_laplaces_precision_is_the_hessian_of_the_loss(classes):
  _, _, fitted, inputs_of = fitted_laplace(classes, 5, 0.7)
  rows, labels = inputs_of(jnp.array([3, 0, 7, 1, 5])), jnp.array([0, 1, 0, 1, classes - 1])

  def loss(flat):
    own = flat.reshape(classes, 5)
    log_probs = jax.nn.log_softmax(rows @ own[:, :4].T + own[:, 4][None])
    return -log_probs[jnp.arange(5), labels].sum() + 0.35 * (flat**2).sum()

  params = fitted["params"]
  flat = jnp.concatenate([params["kernel"].T, params["bias"][:, None]], axis=1).ravel()
  root = np.asarray(fitted["laplace"]["root"], np.float64)
  np.testing.assert_allclose(root @ root.T, jax.hessian(loss)(flat), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kronecker", [False, True])
@pytest.mark.parametrize("bias_precision", [None, 0.05])
def test_laplaces_samples_are_normal_around_the_fit(bias_precision, kronecker, monkeypatch):
  if kronecker:
    monkeypatch.setattr(posterior, "_MAX_FULL", 0)
  count = 40_000
  made, network, fitted, inputs_of = fitted_laplace(3, count, 0.7, bias_precision)
  assert ("root" in fitted["laplace"]) != kronecker
  out = made.predict(jax.random.key(5), network, fitted, inputs_of, jnp.array([2, 6]), chunk_size=1, features=True)
  log_probs = np.asarray(out.log_probs, np.float64)
  assert log_probs.shape == (2, count, 3)
  np.testing.assert_array_equal(out.features, LAPLACE_ROWS[[2, 6]])
  # Differences of logits, which the softmax preserves.
  moved = (log_probs[..., 1:] - log_probs[..., :1]).transpose(1, 0, 2).reshape(count, 4)
  covariance = laplace_covariance(fitted, 0.7, bias_precision or 0.7, kronecker=kronecker)
  phi = np.pad(LAPLACE_ROWS[[2, 6]].astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
  of_logits = np.einsum("if,cfdg,jg->icjd", phi, covariance, phi)
  apart = np.array([[-1, 1, 0], [-1, 0, 1]])
  expected = np.einsum("ac,icjd,bd->iajb", apart, of_logits, apart).reshape(4, 4)
  spread = np.sqrt(np.diag(expected))
  np.testing.assert_array_less(np.abs(np.cov(moved.T) - expected), 5 * np.outer(spread, spread) / np.sqrt(count))
  logits = np.asarray(network.head(fitted, jnp.asarray(LAPLACE_ROWS)[jnp.array([2, 6])]))
  np.testing.assert_array_less(
    np.abs(moved.mean(axis=0) - (logits[:, 1:] - logits[:, :1]).ravel()), 5 * spread / np.sqrt(count)
  )


def test_laplaces_product_is_exact_where_all_rows_have_equal_probabilities(monkeypatch):
  variables = {"params": {"kernel": jnp.zeros((4, 3)), "bias": jnp.array([0.3, -0.2, 1.0])}}
  _, _, exact, _ = fitted_laplace(3, 5, 0.7, 0.05, variables)
  monkeypatch.setattr(posterior, "_MAX_FULL", 0)
  _, _, product, _ = fitted_laplace(3, 5, 0.7, 0.05, variables)
  parts = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), product["laplace"])
  vectors = np.kron(parts["classes"], parts["features"])
  root = np.asarray(exact["laplace"]["root"], np.float64)
  covariance = vectors * parts["deviations"].ravel() ** 2 @ vectors.T
  np.testing.assert_allclose(covariance, np.linalg.inv(root @ root.T), rtol=1e-4, atol=1e-5)


def test_laplaces_covariance_is_full_up_to_2000_weights():
  for classes, full in [(500, True), (501, False)]:
    parts = jax.eval_shape(lambda classes=classes: fitted_laplace(classes, 2, 1.0)[2])["laplace"]
    assert ("root" in parts) == full
    assert {leaf.shape for leaf in jax.tree.leaves(parts)} == (
      {(2500, 2500)} if full else {(5, 5), (501, 501), (501, 5)}
    )


@pytest.mark.slow
def test_laplaces_predictions_of_two_classes_are_near_those_of_the_exact_posterior():
  """The reference draws heads from a wider normal distribution and weights them by the exact posterior."""
  prior, bias_precision, count = 1.0, 0.1, 50_000
  rng = np.random.default_rng(0)
  labels = np.arange(60) % 2
  x = rng.normal(size=(60, 2)) + np.eye(2)[labels]
  new = np.array([[0.5, 0.5], [2.0, -1.0], [-1.0, 2.0], [0.0, 0.0], [-3.0, -3.0]])
  start = jnp.zeros((2, 2)), jnp.zeros(2)
  found = logistic.fit(
    jnp.array(x, jnp.float32), jnp.array(labels), jnp.ones(60), start, l2=prior, tolerance=1e-6, max_iterations=50
  )
  head = lambda variables, x: x @ variables["params"]["kernel"] + variables["params"]["bias"][None]
  network = types.Network(None, None, lambda key, variables, x: (head(variables, x), x), head)
  made = posterior.laplace(10_000, prior_precision=prior, bias_precision=bias_precision)
  rows = jnp.array(np.concatenate([x, new]), jnp.float32)
  fit = {"params": {"kernel": found.kernel, "bias": found.bias}}
  fitted = made.fit(network, fit, lambda ids: rows[ids], jnp.arange(60), jnp.ones(60), chunk_size=60)
  out = made.predict(KEY, network, fitted, lambda ids: rows[ids], 60 + jnp.arange(5), chunk_size=5, features=False)
  by_laplace = np.exp(np.asarray(out.log_probs, np.float64))[:, :, 1]

  # The prediction depends only on the difference of the two columns, whose prior variance is twice as large.
  phi, phi_new = (np.pad(rows, ((0, 0), (0, 1)), constant_values=1) for rows in (x, new))
  precision = np.array([prior, prior, bias_precision]) / 2
  at = np.append(np.subtract(*found.kernel.T[::-1]), np.subtract(*found.bias[::-1])).astype(np.float64)
  probs = 1 / (1 + np.exp(-phi @ at))
  hessian = phi.T @ (phi * (probs * (1 - probs))[:, None]) + np.diag(precision)
  drawn = at + 1.5 * rng.normal(size=(count, 3)) @ np.linalg.cholesky(np.linalg.inv(hessian)).T
  proposal = -((drawn - at) @ hessian * (drawn - at)).sum(axis=1) / (2 * 1.5**2)
  target = -np.logaddexp(0, -(2 * labels - 1) * (drawn @ phi.T)).sum(axis=1) - (drawn**2 @ precision) / 2
  weights = np.exp(target - proposal - (target - proposal).max())
  assert weights.sum() ** 2 / (weights**2).sum() > count / 20, "effective number of draws"
  weights, exact = weights / weights.sum(), 1 / (1 + np.exp(-drawn @ phi_new.T))
  mean = weights @ exact
  deviation = np.sqrt(weights @ (exact - mean) ** 2)
  np.testing.assert_allclose(by_laplace.mean(axis=1), mean, atol=0.02)
  np.testing.assert_allclose(by_laplace.std(axis=1), deviation, atol=0.015)  # of 0.03 to 0.22


@pytest.mark.slow
def test_a_run_by_laplace(data, make_learner):
  learner = changed(make_learner("bald"), posterior=posterior.laplace(4), network=from_flax(MODEL, head="Dense_1"))
  _, info = loop.run(jax.random.key(0), data, learner)
  assert (info.selected[:-1] >= 0).all() and (info.scores[:-1] > 0).all()
  with pytest.raises(ValueError, match="a laplace posterior needs a head, and TinyMLP has none"):
    loop.run(jax.random.key(0), data, changed(learner, network=from_flax(MODEL)))
  assert posterior.laplace(4) == posterior.laplace(samples=4) != posterior.laplace(4, prior_precision=2)
  assert posterior.laplace(4, bias_precision=1) == posterior.laplace(4) != posterior.laplace(4, bias_precision=0.1)
