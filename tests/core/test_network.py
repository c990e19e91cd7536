"""Networks from Flax modules, nnx modules and plain functions meet the requirements of `types.Network`."""

import dataclasses
import functools

from flax import nnx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import checks
from al_jax import fitting
from al_jax import from_flax
from al_jax import from_nnx
from al_jax import inputs
from al_jax import loop
from al_jax import network as networks
from al_jax import rounds
from al_jax import types
from al_jax.models import BatchBALDNet
from tests.conftest import NETWORK
from tests.conftest import TinyMLP
from tests.support.learners import changed
from tests.support.networks import NETWORKS as KINDS
from tests.support.networks import NnxMLP
from tests.support.networks import NnxNormed
from tests.support.networks import NormedConv
from tests.support.networks import TwoInputs
from tests.support.networks import batch_for

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(3)


class Attentive(nn.Module):
  """Attention with dropout of its weights."""

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
  """Four dropout layers on 6,400 ones under `nn.scan`; the logit of class 1 is 100 times the share that is kept."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = jnp.ones((x.shape[0], 6400)) + 0 * x.reshape((x.shape[0], -1))[:, :1]
    stack = nn.scan(Block, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True}, length=4)
    x, _ = stack(train)(x, None)
    left = 100 * (x > 0).mean(axis=-1, keepdims=True) * jax.nn.one_hot(1, 10)[None]
    return left + self.param("bias", nn.initializers.zeros, (1, 10))


class Rematerialized(nn.Module):
  """A module whose last dense layer is within a transformation."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.Dropout(0.5, deterministic=not train)(x.reshape((x.shape[0], -1)))
    return nn.remat(nn.Dense)(10)(x)


class Off(nn.Module):
  """A dropout layer that the module turns off, before one that is on in training."""

  off: float = 0.9
  on: float = 0.5

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.Dropout(self.off, deterministic=True)(x.reshape((x.shape[0], -1)))
    x = nn.Dense(40, use_bias=False, kernel_init=nn.initializers.ones)(x)
    return nn.Dense(10)(nn.Dropout(self.on, deterministic=not train)(x))


class NnxWithin(NnxMLP):
  """A module whose last linear layer is within a transformation."""

  def __call__(self, x):
    x = self.dropout(nnx.relu(self.hidden(x.reshape((x.shape[0], -1)))))
    return nnx.remat(lambda out, x: out(x))(self.out, x)


class NnxCounting(nnx.Module):
  """Counts its training batches: state that padding might enter."""

  def __init__(self, rngs: nnx.Rngs):
    self.out, self.seen = nnx.Linear(64, 10, rngs=rngs), nnx.Variable(jnp.float32(0))

  def __call__(self, x):
    self.seen[...] = self.seen[...] + 1
    return self.out(x.reshape((x.shape[0], -1)))


NETWORKS = {"mlp": NETWORK} | KINDS


def fitted(network, batch, steps: int = 2) -> types.PyTree:
  """Variables after some steps, so that running statistics differ from their initial values."""
  variables = network.init(jax.random.key(0), inputs.rows(batch, jnp.arange(1)))
  for step in range(steps):
    _, variables = network.apply(variables, batch, key=jax.random.fold_in(KEY, step), weights=None)
  return variables


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow) if name in ("dict", "functions", "lstm", "mlp", "tokens") else name
    for name in NETWORKS
  ],
)
def test_row_i_of_a_sample_depends_on_the_key_and_on_row_i_alone(name):
  network, batch = NETWORKS[name], batch_for(name, 6)
  variables = fitted(network, batch)
  sample = jax.jit(network.sample)
  for key in (None, KEY):
    logits, features = sample(key, variables, batch)
    assert logits.shape == (6, 10) and features.shape[0] == 6 and features.ndim == 2
    elsewhere = jnp.array([4, 0, 4, 2])  # another batch size and order, one row twice
    moved = sample(key, variables, inputs.rows(batch, elsewhere))
    others = jax.tree.map(lambda x, y: x.at[3].set(y[3]), batch_for(name, 6, seed=1), batch)
    among_others = sample(key, variables, others)
    alone = sample(key, variables, inputs.rows(batch, jnp.array([3])))
    for i, whole in enumerate((logits, features)):
      close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
      close(moved[i], whole[elsewhere])
      close(among_others[i][3], whole[3])
      close(alone[i][0], whole[3])
  first, again, other = (sample(key, variables, batch)[0] for key in (KEY, KEY, jax.random.key(4)))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 1e-3
  assert np.abs(first - sample(None, variables, batch)[0]).max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_samples_of_every_network_here_differ(name):
  assert networks.samples_differ(NETWORKS[name], batch_for(name, 1))


@pytest.mark.parametrize(
  ("network", "differ"),
  [
    (Attentive(), True),
    (Stacked(), True),
    (Off(), True),
    (Off(on=0.0), False),
    (BatchBALDNet(dropout_rate=0.0), False),
    (NormedConv(dropout_rate=0.0), False),
    (TinyMLP(), True),
    (TinyMLP(dropout_rate=0.0), False),
  ],
  ids=["attention", "scanned", "on", "kept off", "rate 0", "batch norm alone", "tiny", "tiny at rate 0"],
)
def test_whether_samples_can_disagree(network, differ, data):
  images = np.zeros((3, 16, 16, 1), np.float32) if isinstance(network, BatchBALDNet) else data.inputs
  example = inputs.example(dataclasses.replace(data, inputs=images))
  assert networks.samples_differ(from_flax(network), example) is differ


def test_equal_modules_give_equal_networks():
  assert from_flax(TinyMLP()) == NETWORK and hash(from_flax(TinyMLP())) == hash(NETWORK)
  assert from_flax(TinyMLP(hidden=17)) != NETWORK
  assert from_flax(TinyMLP(), head="Dense_1") == from_flax(TinyMLP(), head="Dense_1") != NETWORK
  assert from_nnx(NnxMLP) == NETWORKS["nnx"] != from_nnx(NnxNormed)
  listed = from_flax(TinyMLP(dropout_rate=jnp.float32(0.5)))  # unhashable modules make networks, too
  assert listed.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]["Dense_0"]["kernel"].shape == (64, 16)


@pytest.mark.parametrize(("name", "layer"), [("mlp", "Dense_1"), ("batch norm", "Dense_0"), ("dict", "Dense_1")])
def test_features_are_what_the_head_takes(name, layer):
  batch = batch_for(name, 5)
  module = {"mlp": TinyMLP(), "batch norm": NormedConv(), "dict": TwoInputs()}[name]
  network = from_flax(module, head=layer)
  variables = fitted(network, batch)
  logits, features = network.sample(None, variables, batch)
  assert features.dtype == jnp.float32 and NETWORKS[name].head is None
  np.testing.assert_allclose(network.head(variables, features), logits, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(logits, module.apply(variables, batch, train=False), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [NnxMLP, NnxNormed])
def test_features_of_nnx_are_the_last_linear_layers_input(make):
  network, batch = from_nnx(make), batch_for("nnx", 5)
  variables = fitted(network, batch)
  logits, features = network.sample(None, variables, batch)
  out = jax.device_get(variables["params"]["out"])
  assert features.shape == (5, 16) and features.dtype == jnp.float32 and (features >= 0).all()
  np.testing.assert_allclose(np.asarray(features) @ out["kernel"] + out["bias"], logits, rtol=1e-5, atol=1e-5)


def test_features_of_nnx_within_a_transformation_are_none():
  network, batch = from_nnx(NnxWithin), batch_for("nnx", 5)
  variables = network.init(jax.random.key(0), batch)
  logits, features = jax.jit(network.sample)(None, variables, batch)
  assert features is None
  expected, _ = from_nnx(NnxMLP).sample(None, variables, batch)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_an_nnx_network_begins_as_its_module_does():
  variables, x = from_nnx(NnxMLP).init(jax.random.key(9), None), batch_for("nnx", 3)
  module = NnxMLP(nnx.Rngs(jax.random.key(9)))
  module.eval()
  logits, _ = from_nnx(NnxMLP).sample(None, variables, x)
  np.testing.assert_allclose(logits, module(x), rtol=1e-5, atol=1e-6)


# Effects of padding.


def step_of(network):
  how = {"network": network, "optimizer": optax.sgd(0.1), "padded": True}
  return jax.jit(functools.partial(fitting.train_step, **how))


NORMED = ["batch norm", "nnx batch norm"]


def without_dropout(name: str) -> types.Network:
  """A dropout layer draws for the whole batch, so masks depend on the batch size."""
  return from_flax(NormedConv(dropout_rate=0.0)) if name == "batch norm" else from_nnx(nnx_normed_without_dropout)


def nnx_normed_without_dropout(rngs: nnx.Rngs) -> NnxNormed:
  made = NnxNormed(rngs)
  made.dropout.rate = 0.0
  return made


@pytest.mark.parametrize("name", NORMED)
def test_a_step_does_not_depend_on_the_inputs_of_rows_of_no_weight(name):
  """Padding affects no statistic, loss or gradient, whatever its values: the step equals one without the padding."""
  network, batch = NETWORKS[name], batch_for(name, 7)
  start, labels = fitted(network, batch), jnp.arange(7) % 10
  weights = jnp.array([1, 1, 1, 1, 0, 0, 0], jnp.float32)
  step = step_of(network)
  padded = lambda x: step(KEY, start, (optax.EmptyState(),) * 2, x, labels, weights)
  first = padded(batch)
  for far in (batch.at[4:].set(batch[0]), batch.at[4:].set(1e3)):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), padded(far), first)
  moved = padded(batch.at[2].set(1.0))
  assert max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(first), strict=True)) > 1e-3


@pytest.mark.parametrize("name", NORMED)
def test_epochs_are_trained_as_without_padding(name, data):
  """Two epochs of 7 rows in minibatches of 3 equal the same minibatches in Python, the last with one row."""
  network, optimizer, count, size = without_dropout(name), optax.sgd(0.1), 7, 3
  plan, keys = types.TrainPlan(size, epochs=2), fitting.Keys(*jax.random.split(KEY, 3))
  ids = np.array([50, 3, 71, 8, 22, 4, 60, 0, 0], np.int32)
  start = network.init(jax.random.key(0), inputs.example(data))
  fit = jax.jit(functools.partial(fitting.fit, network=network, optimizer=optimizer, plan=plan))
  variables, info = fit(keys, start, data, ids, jnp.int32(count))
  one = jax.jit(functools.partial(fitting.train_step, network=network, optimizer=optimizer, padded=False))
  expected, opt_state, taken = start, optimizer.init(start["params"]), 0
  for epoch in range(2):
    order = fitting.shuffled_positions(jax.random.fold_in(keys.batches, epoch), jnp.int32(count), size=9)[:count]
    for first in range(0, count, size):
      rows = ids[np.asarray(order[first : first + size])]
      batch, labels = inputs.of_pool(data, jnp.asarray(rows)), jnp.asarray(data.labels[rows])
      key, weights = jax.random.fold_in(keys.dropout, taken), jnp.ones(len(rows))
      expected, opt_state, _ = one(key, expected, opt_state, batch, labels, weights)
      taken += 1
  assert info.steps == taken == 6
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), variables, expected)
  state = lambda variables: jax.tree.leaves({k: v for k, v in variables.items() if k != "params"})
  moved = [np.abs(a - b).max() for a, b in zip(state(variables), state(start), strict=True)]
  assert len(moved) == 2 and min(moved) > 1e-3  # mean and variance


class Counting(nn.Module):
  """Counts its training batches: state that padding might enter."""

  @nn.compact
  def __call__(self, x, *, train=False):
    seen = self.variable("counts", "seen", jnp.zeros, ())
    if train and not self.is_initializing():
      seen.value = seen.value + 1
    x = nn.BatchNorm(use_running_average=not train)(x.reshape((x.shape[0], -1)))
    return nn.Dense(10)(x)


COUNTING = {"linen": (from_flax(Counting()), "counts"), "nnx": (from_nnx(NnxCounting), "state")}


@pytest.mark.parametrize("kind", COUNTING)
def test_state_that_padding_would_enter_is_refused_where_there_is_padding(kind, data, make_learner):
  network, _ = COUNTING[kind]
  learner = make_learner("random", network=network, epochs=2)
  sentence = "state other than parameters and batch statistics.* steps instead of epochs"
  with pytest.raises(ValueError, match=sentence) as caught:
    loop.init_state(KEY, data, learner)
  assert "\n" not in str(caught.value)
  checks.check_trainer(make_learner("random", network=network).trainer, data)
  checks.check_trainer(make_learner("random", network=NETWORKS["batch norm"], epochs=2).trainer, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTING)
def test_state_is_carried_from_step_to_step_and_only_by_training(kind, data, make_learner):
  """State is kept between rounds with a warm start, and reset otherwise."""
  network, collection = COUNTING[kind]
  warm = make_learner("entropy", network=network, warm_start=True)
  start, counted = loop.init_state(KEY, data, warm), lambda state: int(state.variables[collection]["seen"])
  fitted, _ = rounds.JITTED_PHASES.fit(start, data, trainer=warm.trainer)
  for anew in (False, True):
    learner = changed(warm, warm_start=not anew)
    if not anew:
      rounds.JITTED_PHASES.evaluate(fitted, data, trainer=learner.trainer)
      rounds.JITTED_PHASES.acquire(fitted, data, learner=learner)
    further, _ = rounds.JITTED_PHASES.fit(fitted._replace(round=jnp.int32(1)), data, trainer=learner.trainer)
    assert [counted(state) for state in (start, fitted, further)] == [0, 12, 12 if anew else 24]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batch norm", "nnx", "nnx batch norm", "lstm", "functions"])
@pytest.mark.parametrize("length", [{"steps": 12}, {"epochs": 2}], ids=["steps", "epochs"])
def test_a_run_of_every_network_is_its_rounds_one_by_one(name, length, data, make_learner):
  learner = make_learner("bald", network=NETWORKS[name], **length)
  state, info = loop.run(KEY, data, learner)
  by_round = loop.init_state(KEY, data, learner)
  for r in range(3):
    by_round, one = loop.round_fn(by_round, data, learner)
    assert one.selected.tolist() == info.selected[r].tolist()
    np.testing.assert_allclose(one.metrics.test_nll, info.metrics.test_nll[r], rtol=1e-4)
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), by_round.variables, state.variables)
  assert (info.fit.first_bad_step == -1).all()
