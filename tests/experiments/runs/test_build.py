"""Objects built from flags: optimizers equal those of other libraries, and impossible plans are refused."""

import dataclasses
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import fitting
from al_jax import from_flax
from al_jax import inputs
from al_jax import models
from al_jax import types
from experiments import data as data_sources
from experiments.common.errors import UsageError
from experiments.data import DataError
from experiments.runs import build
from experiments.runs import pools
from tests.experiments.config.test_acquisitions import config
from tests.support import reference

pytestmark = pytest.mark.usefixtures("fast_compilation")

STEPS = 200
_rng = np.random.default_rng(0)
START, NUDGES = _rng.normal(size=7), _rng.normal(size=(STEPS, 7)) * np.logspace(-3, 1, 7)
CURVATURE = np.logspace(-2, 1, 7)


def path(flags) -> np.ndarray:
  """`[STEPS, 7]` parameters under the gradients of a noisy quadratic, with the optimizer of the flags, in float64."""
  optimizer = build.optimizer(flags)

  def step(carry, nudge):
    params, state = carry
    updates, state = optimizer.update(CURVATURE * params + nudge, state, params)
    return (params + updates, state), params + updates

  with jax.enable_x64(True):
    out = jax.jit(lambda: jax.lax.scan(step, (jnp.array(START), optimizer.init(jnp.array(START))), NUDGES)[1])()
    assert out.dtype == jnp.float64
    return np.asarray(out)


def keras_adadelta(learning_rate: float):
  """Keras's `Adadelta.update_step`: rho 0.95, epsilon 1e-7."""
  grads, deltas = np.zeros(7), np.zeros(7)
  params = START.copy()
  for nudge in NUDGES:
    gradient = CURVATURE * params + nudge
    grads[:] = 0.95 * grads + 0.05 * gradient**2
    delta = -np.sqrt(deltas + 1e-7) * gradient / np.sqrt(grads + 1e-7)
    deltas[:] = 0.95 * deltas + 0.05 * delta**2
    params = params + learning_rate * delta
    yield params


def pytorch_adam(learning_rate: float, weight_decay: float):
  """PyTorch's `Adam`, which adds weight decay to the gradient: betas 0.9 and 0.999, eps 1e-8."""
  params, first, second = START.copy(), np.zeros(7), np.zeros(7)
  for t, nudge in enumerate(NUDGES, start=1):
    gradient = CURVATURE * params + nudge + weight_decay * params
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    denominator = np.sqrt(second) / np.sqrt(1 - 0.999**t) + 1e-8
    params = params - learning_rate / (1 - 0.9**t) * first / denominator
    yield params


def pytorch_adamw(learning_rate: float, weight_decay: float):
  """PyTorch's `AdamW`, with decoupled weight decay: betas 0.9 and 0.999, eps 1e-8."""
  params, first, second = START.copy(), np.zeros(7), np.zeros(7)
  for t, nudge in enumerate(NUDGES, start=1):
    gradient = CURVATURE * params + nudge
    params = params * (1 - learning_rate * weight_decay)
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    denominator = np.sqrt(second) / np.sqrt(1 - 0.999**t) + 1e-8
    params = params - learning_rate / (1 - 0.9**t) * first / denominator
    yield params


def dozats_nadam(learning_rate: float):
  """Dozat (2016), algorithm 2, with constant momentum 0.9: the step uses the momentum of the next step."""
  params, first, second = START.copy(), np.zeros(7), np.zeros(7)
  for t, nudge in enumerate(NUDGES, start=1):
    gradient = CURVATURE * params + nudge
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    ahead = 0.9 * first / (1 - 0.9 ** (t + 1)) + 0.1 * gradient / (1 - 0.9**t)
    params = params - learning_rate * ahead / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    yield params


def pytorch_nesterov(learning_rate: float, momentum: float):
  """PyTorch's `SGD` with `nesterov=True`, no dampening."""
  params, velocity = START.copy(), np.zeros(7)
  for nudge in NUDGES:
    gradient = CURVATURE * params + nudge
    velocity = momentum * velocity + gradient
    params = params - learning_rate * (gradient + momentum * velocity)
    yield params


@pytest.mark.parametrize(
  ("flags", "its_librarys", "settings"),
  [
    ({"optimizer": "adadelta", "learning_rate": 1e-3}, keras_adadelta, (1e-3,)),
    ({"optimizer": "adadelta", "learning_rate": 1.0}, keras_adadelta, (1.0,)),
    ({"learning_rate": 1e-3}, pytorch_adam, (1e-3, 0.0)),
    ({"learning_rate": 1e-3, "weight_decay": 5e-4}, pytorch_adam, (1e-3, 5e-4)),
    ({"learning_rate": 1e-2, "weight_decay": 0.5}, pytorch_adam, (1e-2, 0.5)),
    ({"optimizer": "adamw", "learning_rate": 1e-2, "weight_decay": 0.5}, pytorch_adamw, (1e-2, 0.5)),
    ({"optimizer": "adamw", "learning_rate": 1e-2}, pytorch_adamw, (1e-2, 0.0)),
    ({"optimizer": "nadam", "learning_rate": 1e-2}, dozats_nadam, (1e-2,)),
    (
      {"optimizer": "sgd", "learning_rate": 1e-3, "momentum": 0.7, "nesterov": True},
      pytorch_nesterov,
      (1e-3, 0.7),
    ),
  ],
)
def test_an_optimizer_of_the_flags_is_its_librarys(flags, its_librarys, settings):
  expected = np.array(list(its_librarys(*settings)))
  assert len(expected) == STEPS and np.abs(expected[-1] - START).max() > 1e-4
  np.testing.assert_allclose(path(config(**flags)) - START, expected - START, rtol=1e-6, atol=1e-9)


def test_sgd_of_the_flags_has_their_momentum():
  flags = config(optimizer="sgd", learning_rate=1e-3, momentum=0.7, weight_decay=0.1)
  update, params, memory, expected = reference.sgd(1e-3, 0.7), START.copy(), 0.0, []
  for t, nudge in enumerate(NUDGES, start=1):
    change, memory = update(CURVATURE * params + nudge + 0.1 * params, memory, t)
    params = params + change
    expected.append(params)
  np.testing.assert_allclose(path(flags), expected, rtol=1e-6)


@pytest.mark.slow
def test_gals_weight_decay_is_keras_penalty_on_the_hidden_dense_kernel_alone():
  """Keras adds `l2 * sum(kernel ** 2)` to the mean loss; the released program has l2 = 3.5 / n."""
  flags = config(
    optimizer="sgd", learning_rate=0.1, momentum=0.0, weight_decay=7.0, decay_layers="Dense_0", decay_over_labels=True
  )
  model = models.NETWORKS["gal"](num_classes=3, dropout_rate=0.0)
  network = from_flax(model)
  images, labels = jax.random.uniform(jax.random.key(0), (4, 9, 9, 1)), jnp.array([0, 1, 2, 1])
  params = jax.jit(model.init)(jax.random.key(1), images)["params"]

  def penalized(params):
    log_probs = jax.nn.log_softmax(model.apply({"params": params}, images))
    cross_entropy = -jnp.mean(log_probs[jnp.arange(4), labels])
    return cross_entropy + 3.5 / 20 * jnp.sum(params["Dense_0"]["kernel"] ** 2)

  expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.jit(jax.grad(penalized))(params))
  optimizer = build.optimizer(flags)
  key, state = jax.random.key(2), optimizer.init(params)
  train_step = jax.jit(fitting.train_step, static_argnames=("network", "optimizer"))
  given = {"params": params}, state, images, labels, jnp.ones(4)
  step = train_step(key, *given, network=network, optimizer=optimizer, num_labels=20)
  chex.assert_trees_all_close(step[0]["params"], expected, rtol=1e-5, atol=1e-6)
  given = {"params": params}, optax.sgd(0.1).init(params), images, labels, jnp.ones(4)
  plain = train_step(key, *given, network=network, optimizer=optax.sgd(0.1), num_labels=20)
  changed = jax.tree.map(lambda a, b: bool(jnp.abs(a - b).max() > 1e-4), step[0]["params"], plain[0]["params"])
  assert changed["Dense_0"].pop("kernel") and not any(jax.tree.leaves(changed))


def test_cosine_falls_from_the_step_size_to_nothing():
  optimizer = build.optimizer(config(optimizer="sgd", learning_rate=0.5, momentum=0.0, schedule="cosine"))
  state = optimizer.init(jnp.ones(3))
  for progress, factor in ((0.0, 1.0), (0.25, 0.8535534), (0.5, 0.5), (1.0, 0.0)):
    updates, _ = optimizer.update(jnp.ones(3), state, jnp.ones(3), progress=progress)
    np.testing.assert_allclose(updates, -0.5 * factor, atol=1e-6)


def test_decoupled_decay_is_of_the_chosen_kernels_alone():
  optimizer = build.optimizer(config(optimizer="adamw", learning_rate=0.1, weight_decay=0.5, decay_layers="Dense_0"))
  params = {name: {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)} for name in ("Dense_0", "Dense_1")}
  updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
  moved = jax.tree.map(lambda leaf: float(leaf.sum()), updates)
  np.testing.assert_allclose(moved["Dense_0"].pop("kernel"), -0.05 * 4, rtol=1e-6)
  assert not any(jax.tree.leaves(moved))


def test_the_plan_of_the_flags():
  asked = config(
    epochs=9,
    train_steps=None,
    first_epochs=5,
    epoch_draws=64,
    warm_start=True,
    keep_optimizer=True,
    augment="crop,flip",
    label_smoothing=0.1,
    val_size=7,
    early_stop=2,
    early_stop_keep="last",
  )
  train = build.plan(asked).train
  assert (train.epochs, train.first_epochs, train.min_epoch_size, train.steps) == (9, 5, 64, None)
  assert train.warm_start and train.keep_optimizer and train.label_smoothing == 0.1
  assert train.augment == inputs.Chain((inputs.Crop(), inputs.Flip()))
  assert train.early_stop == types.EarlyStop(2, 50, 1, "accuracy", "last")
  assert build.network(config(model="resnet18", norm="batch"), 10) != build.network(config(model="resnet18"), 10)


def test_decay_of_a_layer_that_is_not_there_is_refused():
  optimizer = build.optimizer(config(weight_decay=0.1, decay_layers="Dense_0,hidden"))
  params = {"Dense_0": {"kernel": jnp.ones((2, 2))}, "Dense_1": {"kernel": jnp.ones((2, 2))}}
  with pytest.raises(UsageError, match="no layer 'hidden'; choose from Dense_0, Dense_1"):
    optimizer.init(params)


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    (
      {"acq": ("bald",), "posterior": "deterministic"},
      "bald: this acquisition needs at least 2 posterior samples, but the posterior has 1",
    ),
    ({"acq": ("bald",), "dropout_rate": 0.0}, "bald: MC dropout needs a network with dropout, and CNN has none"),
    ({"pool_size": 5000}, "--pool_size=5000 exceeds the 1297 training images"),
    ({"pool_subset": 3}, "pool_subset=3 must be between acq_size=10"),
    ({"embedding": "nowhere.npy"}, "--embedding: nowhere.npy cannot be read"),
    ({"acq": ("epig(targets=2000)",)}, "epig(targets=2000): 2000 targets are more than the pool's 1297 rows"),
    (
      {"model": "batchbald"},
      "BatchBALDNet cannot take inputs of 8 x 8 x 1 (uint8): a 5 x 5 kernel is larger than the 2 x 2",
    ),
    (
      {"init_ids": (3, 1297), "init_labels": 2, "init_file": "ids"},
      "--init_file=ids: initial id 1297 is not in the pool",
    ),
    ({"init_ids": (3, 4), "init_file": "ids"}, "--init_file=ids: 2 initial ids are given, but init_labels is 20"),
    (
      {"init_ids": (3, 3), "init_labels": 2, "init_file": "ids"},
      "--init_file=ids: initial id 3 is given more than once",
    ),
    ({"full_data": True, "init_ids": (3, 4), "init_file": "ids"}, "--init_file=ids: 2 initial ids are given"),
    ({"vmap_over": (("label_noise", (0.1, 1.0)),)}, "entropy: label_noise must be a probability in [0, 1), not 1.0"),
  ],
)
def test_what_cannot_be_carried_out_is_told_in_one_sentence(changes, sentence):
  asked = config(dataset="digits", **changes)
  with pytest.raises((UsageError, DataError), match=re.escape(sentence)) as caught:
    build.check(asked, pools.apply(asked, data_sources.load("digits")))
  assert "\n" not in str(caught.value)


def features_of_digits(data, **changes):
  """The digits of the tests, as rows of features."""
  flat = lambda images: np.asarray(images, np.float32).reshape(len(images), -1)
  return dataclasses.replace(
    data, inputs=flat(data.inputs), test_inputs=flat(data.test_inputs), prepare=inputs.as_they_are, **changes
  )


LINEAR = {"model": "linear", "optimizer": "newton", "train_steps": None, "dataset": "digits"}


@pytest.mark.parametrize(("flags", "expected"), [
  ({}, "map"),
  ({"model": "linear"}, "heads"),
  ({"model": "linear", "optimizer": "sgd"}, "heads"),
  ({"model": "linear", "pack": "vmap"}, "vmap"),
])  # fmt: skip
def test_linear_heads_are_packed_on_a_cpu(flags, expected):
  assert build.packing(config(**flags)) == expected


def test_an_accelerator_packs_everything_at_once(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert build.packing(config(model="linear")) == build.packing(config()) == "vmap"


def test_a_linear_head_has_the_posterior_of_its_penalty():
  asked = config(**LINEAR | {"l2": 2.0, "acq": ("entropy", "bald", "kcenter", "bald(posterior=ensemble)")})
  made = build.learners(asked, 10)
  names = {name: learner.posterior.name for name, learner in made.items()}
  assert names == {
    "entropy": "deterministic",
    "bald": "laplace",
    "kcenter": "deterministic",
    "bald(posterior=ensemble)": "ensemble",
  }
  assert made["bald"].posterior is build.POSTERIORS["laplace"](asked)
  assert made["bald"].posterior is not build.POSTERIORS["laplace"](dataclasses.replace(asked, l2=1.0))
  assert made["bald"].plan.train.full_batch.l2 == 2.0


def test_what_a_linear_head_cannot_do_is_refused(data):
  rows = features_of_digits(data)
  small = LINEAR | {"init_labels": 10, "acq_size": 5, "rounds": 1}
  build.check(config(**small, acq=("margin", "bald", "typiclust")), rows)
  with pytest.raises(UsageError, match="dropout"):
    build.check(config(**small, acq=("bald",), posterior="dropout"), rows)
  with pytest.raises(UsageError, match=r"--inspect draws images, but rows of these data have shape \(64,\)"):
    build.check(config(**small, inspect=True), rows)
  tokens = dataclasses.replace(rows, inputs=rows.inputs.astype(np.int32), test_inputs=rows.test_inputs.astype(np.int32))
  with pytest.raises(UsageError, match="a linear head takes floats, not int32"):
    build.check(config(**small), tokens)


def test_matrices_of_a_linear_head_that_do_not_fit_are_refused(data, monkeypatch):
  rows = features_of_digits(data)
  asked = config(**LINEAR, acq=("bald",))
  assert build.head_bytes(asked, rows) == 6 * 4 * 65**2
  sgd = dataclasses.replace(asked, optimizer="sgd", train_steps=10)
  assert build.head_bytes(sgd, rows) == 6 * 4 * 65**2, "Laplace has them too"
  assert build.head_bytes(dataclasses.replace(sgd, acq=("margin",)), rows) == 0
  assert build.head_bytes(config(model="mlp"), rows) == 0
  monkeypatch.setattr(build.runtime, "free_bytes", lambda: 100_000)
  with pytest.raises(UsageError, match=r"a linear head on 64 features needs 0.0 GiB .*: give fewer features"):
    build.check(asked, rows)
