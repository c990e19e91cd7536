"""Fitting: which rows are read, how often, with what weight, and equality with textbook formulas.

Most tests fit a linear model to one-hot features: row i of its kernel changes only if example i is in a minibatch, in
proportion to its weight.
"""

import dataclasses
import functools

import flax.linen as nn
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import fitting
from al_jax import from_flax
from al_jax import inputs
from al_jax import loop
from al_jax import optimizers
from al_jax import rounds
from al_jax import training
from al_jax import types
from tests.conftest import NETWORK
from tests.support import reference
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

CLASSES = 4


class Linear(nn.Module):
  """`inputs @ W`, with W initialized to 0."""

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    return nn.Dense(CLASSES, use_bias=False, kernel_init=nn.initializers.zeros_init())(x)


LINEAR = from_flax(Linear())


def one_hot_data(size: int) -> types.Dataset:
  """Example i is the i-th unit vector."""
  labels = jnp.arange(size, dtype=jnp.int32) % CLASSES
  return types.Dataset(jnp.eye(size), labels, jnp.eye(size)[:1], labels[:1], num_classes=CLASSES)


ADAM = optax.adam(1e-2)
sgd = functools.cache(optax.sgd)  # one object per rate, so that programs are shared


def keys_of(seed: int) -> fitting.Keys:
  return fitting.Keys(*jax.random.split(jax.random.key(seed), 3))


def at_rest(size: int) -> types.PyTree:
  """The linear model's variables before its first step."""
  return {"params": {"Dense_0": {"kernel": jnp.zeros((size, CLASSES))}}}


@functools.cache
def fit_of(optimizer, **sizes):
  """Compiled training of a linear model."""
  plan = types.TrainPlan(**sizes)
  return jax.jit(functools.partial(fitting.fit, network=LINEAR, optimizer=optimizer, plan=plan))


def fit_linear(data, ids, count, optimizer, *, seed: int = 0, **sizes):
  """The fitted kernel `[features, CLASSES]` and the diagnostics."""
  fit = fit_of(optimizer, **sizes)
  ids, start = jnp.asarray(ids, jnp.int32), at_rest(data.inputs.shape[1])
  variables, info = fit(keys_of(seed), start, data, ids, jnp.int32(count))
  return np.asarray(variables["params"]["Dense_0"]["kernel"], np.float64), info


def shares(kernel, data, rate: float) -> np.ndarray:
  """Weight of every example's gradient in the kernel: the sum of 1 / batch size over its visits."""
  one_step = rate * (np.eye(CLASSES)[np.asarray(data.labels)] - 1 / CLASSES)
  return (kernel * one_step).sum(axis=1) / (one_step**2).sum(axis=1)


@pytest.mark.parametrize(
  ("count", "batch_size", "last"),
  [(6, 3, 3), (7, 3, 1), (8, 3, 2), (5, 8, 5), (5, 5, 5), (1, 4, 1), (4, 1, 1)],
)
def test_an_epoch_visits_every_example_once(count, batch_size, last):
  data, rate = one_hot_data(11), 0.5
  ids = [9, 2, 4, 0, 7, 1, 8, 3, 0, 0]  # buffers are padded with 0, which may be a labeled id
  kernel, info = fit_linear(data, ids, count, sgd(rate), batch_size=batch_size, epochs=1)
  batches = -(-count // batch_size)
  assert info.steps == batches
  got = shares(kernel, data, rate)
  # Examples of the last minibatch count 1 / last each, because the loss is a mean over that minibatch.
  expected = [1 / batch_size] * (batch_size * (batches - 1)) + [1 / last] * last
  np.testing.assert_allclose(sorted(got[ids[:count]]), sorted(expected), rtol=1e-5)
  rest = np.setdiff1d(np.arange(11), ids[:count])
  assert (kernel[rest] == 0).all()


def test_every_further_epoch_visits_every_example_once_more():
  data, rate = one_hot_data(9), 1e-3
  kernel, info = fit_linear(data, range(9), 6, sgd(rate), batch_size=2, epochs=5)
  assert info.steps == 15
  # At this rate the gradient barely changes between visits: 5 visits of 1/2 each, within 0.1%.
  np.testing.assert_allclose(shares(kernel, data, rate)[:6], 2.5, rtol=2e-3)


def test_batches_of_an_epoch_are_shuffled():
  data, rate = one_hot_data(9), 0.5

  def last_visited(seed: int) -> int:
    kernel, _ = fit_linear(data, range(9), 9, sgd(rate), batch_size=4, epochs=1, seed=seed)
    return int(shares(kernel, data, rate).argmax())

  assert len({last_visited(seed) for seed in range(6)}) > 1  # all equal with probability 9^-5


def test_steps_draw_evenly_from_the_labeled():
  data, rate, steps = one_hot_data(9), 1e-5, 400
  kernel, info = fit_linear(data, [8, 6, 4, 2, 0, 1], 4, sgd(rate), batch_size=8, steps=steps)
  assert info.steps == steps
  visits = shares(kernel, data, rate) * 8
  drawn = [8, 6, 4, 2]
  assert (kernel[[0, 1, 3, 5, 7]] == 0).all()
  np.testing.assert_allclose(visits[drawn].sum(), steps * 8, rtol=1e-2)
  standard_error = np.sqrt(steps * 8 * 1 / 4 * 3 / 4)
  assert np.abs(visits[drawn] - steps * 8 / 4).max() < 4 * standard_error + 0.01 * steps * 8 / 4
  assert np.ptp(visits[drawn]) > 1  # with replacement


MOST_STEPS = 200


@functools.cache
def recorder_of(size: int, **sizes):
  """A compiled training with constant parameters that records gradients, its optimizer and its plan."""

  def record(grads, seen, params=None):
    step, rows = seen
    return jax.tree.map(jnp.zeros_like, grads), (step + 1, rows.at[step].set(grads["Dense_0"]["kernel"]))

  recorder = optax.GradientTransformation(lambda params: (0, jnp.zeros((MOST_STEPS, size, CLASSES))), record)
  plan = types.TrainPlan(**sizes)
  how = {"network": LINEAR, "optimizer": recorder, "plan": plan}
  return jax.jit(functools.partial(fitting.advance, **how)), recorder, plan


def recorded_batches(count, *, buffer=11, size=11, **sizes) -> np.ndarray:
  """`[steps, size]`: each example's share of the minibatch at every step, from gradients at constant parameters."""
  data, (advance, recorder, plan) = one_hot_data(size), recorder_of(size, **sizes)
  start = fitting.begin(at_rest(size), optimizer=recorder, plan=plan)
  ids = jnp.arange(buffer, dtype=jnp.int32)[::-1]
  trained = advance(keys_of(3), start, data, ids, jnp.int32(count))
  steps, rows = trained.opt_state
  assert trained.info.steps == steps < MOST_STEPS
  label = np.asarray(data.labels)
  return -np.asarray(rows, np.float64)[:steps, np.arange(size), label] / (1 - 1 / CLASSES)


@pytest.mark.parametrize(
  ("count", "draws", "batch_size"),
  [(6, 20, 4), (6, 21, 8), (1, 7, 3), (7, 13, 20)]
  + [pytest.param(*it, marks=pytest.mark.slow) for it in ((6, 20, 8), (5, 12, 5), (7, 13, 13), (11, 23, 6), (4, 6, 4))],
)
def test_an_epoch_of_draws_goes_over_the_rows_again_until_it_has_so_many(count, draws, batch_size):
  epochs = 3
  shares = recorded_batches(count, batch_size=batch_size, epochs=epochs, min_epoch_size=draws)
  sizes = [min(batch_size, draws - first) for first in range(0, draws, batch_size)]
  assert len(shares) == epochs * len(sizes) == epochs * -(-draws // batch_size)
  visits = shares.reshape(epochs, len(sizes), -1) * np.array(sizes)[:, None]
  np.testing.assert_allclose(visits, visits.round(), atol=1e-5)
  visits = visits.round().astype(int)
  np.testing.assert_array_equal(visits.sum(axis=2), [sizes] * epochs)
  # Positions repeat 0..count-1; ids descend from the last of the buffer.
  expected = np.zeros(11, int)
  expected[10 - np.arange(count)] = np.bincount(np.arange(draws) % count)
  np.testing.assert_array_equal(visits.sum(axis=1), [expected] * epochs)
  if count > 1 and batch_size < draws:
    assert (visits[0] != visits[1]).any() and (visits[1] != visits[2]).any()


@pytest.mark.parametrize("draws", [1, 5, 9])
def test_an_epoch_of_no_more_draws_than_rows_is_one_pass(draws):
  passes = recorded_batches(9, batch_size=4, epochs=3)
  np.testing.assert_array_equal(recorded_batches(9, batch_size=4, epochs=3, min_epoch_size=draws), passes)
  np.testing.assert_allclose((passes.reshape(3, 3, 11)[..., 2:] > 0).sum(axis=1), 1)


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [(9, 4, [4, 4]), (8, 4, [4, 4]), (3, 4, [3]), (4, 4, [4])])
def test_the_last_minibatch_is_left_out_if_it_is_smaller_than_the_others(count, batch_size, sizes):
  epochs = 3
  shares = recorded_batches(count, batch_size=batch_size, epochs=epochs, drop_last=True)
  visits = (shares.reshape(epochs, len(sizes), -1) * np.array(sizes)[:, None]).round().astype(int)
  assert visits.sum(axis=2).tolist() == [sizes] * epochs and visits.sum(axis=1).max() == 1
  for held in (count, jnp.int32(count)):
    assert fitting.epoch_steps(held, types.TrainPlan(batch_size, epochs=1, drop_last=True)) == len(sizes)


@pytest.mark.parametrize(("count", "draws", "steps"), [(20, 5056, 79), (300, 5056, 79), (6000, 5056, 94), (65, 0, 2)])
def test_steps_of_an_epoch(count, draws, steps):
  for held in (count, jnp.int32(count)):
    assert fitting.epoch_steps(held, types.TrainPlan(64, epochs=1, min_epoch_size=draws)) == steps


@pytest.mark.parametrize("most", [4, *(pytest.param(most, marks=pytest.mark.slow) for most in (1, 100))])
def test_an_epoch_of_draws_in_parts_is_the_training_in_one(most):
  data, optimizer = one_hot_data(9), ADAM
  sizes = {"batch_size": 4, "epochs": 5, "min_epoch_size": 10}
  plan = types.TrainPlan(**sizes)
  how = {"network": LINEAR, "optimizer": optimizer, "plan": plan, "max_steps": most}
  advance = jax.jit(functools.partial(fitting.advance, **how))
  under_way, parts = fitting.begin(at_rest(9), optimizer=optimizer, plan=plan), 0
  while fitting.unfinished(under_way, jnp.int32(7), plan=plan):
    under_way, parts = advance(keys_of(0), under_way, data, jnp.arange(9), jnp.int32(7)), parts + 1
  kernel, info = fit_linear(data, range(9), 7, optimizer, **sizes)
  assert under_way.info.steps == info.steps == 15 and parts == {1: 5, 4: 3, 100: 1}[most]
  np.testing.assert_array_equal(under_way.variables["params"]["Dense_0"]["kernel"], kernel)


def tiny_fit(optimizer=None, **sizes):
  """Compiled training of the tiny network on given rows."""
  how = {"network": NETWORK, "optimizer": ADAM if optimizer is None else optimizer, "plan": types.TrainPlan(**sizes)}
  return jax.jit(functools.partial(fitting.fit, **how))


def start_of(seed: int, data) -> types.PyTree:
  """New variables of the tiny network."""
  return NETWORK.init(jax.random.key(seed), inputs.example(data))


@pytest.mark.parametrize(
  "sizes", [{"steps": 25}, {"epochs": 4}, {"epochs": 2, "min_epoch_size": 19}], ids=["steps", "epochs", "draws"]
)
def test_reads_nothing_but_the_first_count_ids(sizes, data):
  ids = np.array([5, 90, 13, 7, 44, 60, 2, 31, 8, 0, 0, 0], np.int32)
  count = 8
  fit, start = tiny_fit(batch_size=3, **sizes), start_of(0, data)
  rng = np.random.default_rng(0)

  def fitted(changed, ids=ids):
    images, labels = np.array(data.inputs), np.array(data.labels)
    images[changed] = rng.integers(0, 17, images[changed].shape)
    labels[changed] = (labels[changed] + 1) % 10
    other = dataclasses.replace(data, inputs=images, labels=labels)
    return jax.tree.leaves(fit(keys_of(1), start, other, ids, jnp.int32(count)))

  plain = fitted([])
  others = np.setdiff1d(np.arange(len(data.labels)), ids[:count])
  padding = np.where(np.arange(12) < count, ids, 77).astype(np.int32)
  for same in (fitted(others), fitted([], padding)):
    for a, b in zip(plain, same, strict=True):
      np.testing.assert_array_equal(a, b)
  assert any((a != b).any() for a, b in zip(plain, fitted([ids[0]]), strict=True))


def test_learns(data, model):
  ids = np.arange(60, dtype=np.int32)
  start = start_of(0, data)
  variables, info = tiny_fit(batch_size=20, steps=200)(keys_of(1), start, data, ids, jnp.int32(60))
  right = lambda variables: np.mean(
    model.apply(variables, data.inputs[:60] / np.float32(16)).argmax(-1) == data.labels[:60]
  )
  assert right(start) < 0.4
  assert right(variables) > 0.95
  assert info.loss < 1.0 and info.first_bad_step == -1


@pytest.mark.parametrize(
  ("ours", "textbook", "steps"),
  [
    (optax.sgd(0.5), reference.sgd(0.5), 50),
    (optax.sgd(0.1, momentum=0.9), reference.sgd(0.1, momentum=0.9), 50),
    (optax.adam(1e-2), reference.adam(1e-2), 100),
    (optax.adadelta(1e-3, rho=0.95, eps=1e-7), reference.adadelta(1e-3), 300),
    (optax.adadelta(1.0, rho=0.95, eps=1e-7), reference.adadelta(1.0), 300),
  ],
  ids=["sgd", "momentum", "adam", "adadelta as Keras has it", "adadelta with rate 1"],
)
def test_training_equals_the_textbook(ours, textbook, steps):
  rng = np.random.default_rng(0)
  images = rng.normal(size=(12, 5)).astype(np.float32)
  labels = rng.integers(0, CLASSES, 12).astype(np.int32)
  data = types.Dataset(images, labels, images[:1], labels[:1], CLASSES)
  kernel, info = fit_linear(data, range(12), 9, ours, batch_size=9, epochs=steps)
  expected, loss = reference.fit_softmax_regression(images[:9], labels[:9], CLASSES, textbook, steps)
  assert info.steps == steps
  np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
  np.testing.assert_allclose(info.loss, loss, rtol=1e-4)


def test_coupled_weight_decay_equals_the_textbook():
  data = one_hot_data(8)
  ours = optax.chain(optax.add_decayed_weights(0.1), optax.adam(1e-2))
  kernel, _ = fit_linear(data, range(8), 8, ours, batch_size=8, epochs=60)
  expected, _ = reference.fit_softmax_regression(
    np.eye(8), np.asarray(data.labels), CLASSES, reference.adam(1e-2), 60, weight_decay=0.1
  )
  np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-6)


def test_weight_decay_over_labels_is_divided_by_how_many_there_are_and_not_by_the_batch():
  data = one_hot_data(8)
  ours = optax.chain(optimizers.add_decayed_weights_over_labels(0.8), optax.adam(1e-2))
  for batch_size in (8, 16):
    kernel, _ = fit_linear(data, range(8), 8, ours, batch_size=batch_size, epochs=60)
    expected, _ = reference.fit_softmax_regression(
      np.eye(8), np.asarray(data.labels), CLASSES, reference.adam(1e-2), 60, weight_decay=0.8 / 8
    )
    np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-6)


def test_smoothed_labels_move_a_kernel_as_their_mixture_does():
  data, rate, share = one_hot_data(8), 0.5, 0.3
  kernel, info = fit_linear(data, range(8), 8, sgd(rate), batch_size=8, epochs=1, label_smoothing=share)
  smoothed = (1 - share) * np.eye(CLASSES)[np.asarray(data.labels)] + share / CLASSES
  np.testing.assert_allclose(kernel, rate / 8 * (smoothed - 1 / CLASSES), rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(info.loss, np.log(CLASSES), rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_is_reported_at_its_step(bad):
  data = one_hot_data(4)
  rows = np.array(data.inputs)
  rows[2] = bad
  spoiled = dataclasses.replace(data, inputs=rows)
  _, info = fit_linear(spoiled, [2], 1, sgd(0.1), batch_size=1, steps=5)
  assert (info.first_bad_step, info.steps) == (0, 5)
  _, info = fit_linear(spoiled, [0, 1, 3], 3, sgd(0.1), batch_size=3, steps=5)
  assert info.first_bad_step == -1 and np.isfinite(info.loss)


@pytest.mark.parametrize(
  "sizes", [{"steps": 4}, {"epochs": 2}, {"epochs": 2, "min_epoch_size": 5}], ids=["steps", "epochs", "draws"]
)
def test_a_bad_row_in_the_padding_does_no_harm(sizes):
  # Buffers are padded with id 0, which may be unlabeled: a weight of 0 times NaN is NaN.
  data = one_hot_data(6)
  spoiled = dataclasses.replace(data, inputs=data.inputs.at[0].set(jnp.nan))
  kernel, info = fit_linear(spoiled, [4, 2, 5, 0, 0, 0], 3, sgd(0.1), batch_size=2, **sizes)
  assert info.first_bad_step == -1
  assert np.isfinite(kernel).all()


def test_divergence_is_reported_at_the_first_bad_step():
  # The first loss is log 4; the step overflows, so the second is NaN.
  _, info = fit_linear(one_hot_data(1), [0], 1, sgd(np.inf), batch_size=1, steps=6)
  assert (info.first_bad_step, info.steps) == (1, 6)


@pytest.mark.parametrize("sizes", [{"steps": 1}, {"epochs": 1}], ids=["steps", "epochs"])
def test_an_update_that_no_loss_follows_is_checked(sizes):
  kernel, info = fit_linear(one_hot_data(1), [0], 1, sgd(np.inf), batch_size=1, **sizes)
  assert not np.isfinite(kernel).all()
  assert (info.first_bad_step, info.steps) == (1, 1)


def test_no_key_of_an_ensemble_is_drawn_from_and_a_parent():
  """Keys of a member's epochs and steps derive from the member's key and never equal another member's."""
  key = jax.random.key(3)
  members = training.member_keys(key, 6)
  assert (members[0] == key).all() and len({key_data.tobytes() for key_data in map(data_of, members)}) == 6
  under = jax.vmap(lambda member: jax.vmap(lambda i: jax.random.fold_in(member, i))(jnp.arange(50)))(members)
  everything = [*map(data_of, members), *map(data_of, under.reshape(-1))]
  assert len({key_data.tobytes() for key_data in everything}) == 6 + 6 * 50


def data_of(key) -> np.ndarray:
  return np.asarray(jax.random.key_data(key))


def test_dropout_and_batches_and_augmentation_have_keys_of_their_own(data):
  plain = tiny_fit(sgd(0.1), batch_size=4, steps=3)
  flipping = tiny_fit(sgd(0.1), batch_size=4, steps=3, augment=inputs.Flip())
  start = start_of(0, data)

  def fitted(fit, *seeds):
    keys = fitting.Keys(*map(jax.random.key, seeds))
    return fit(keys, start, data, jnp.arange(20), jnp.int32(20))[0]["params"]["Dense_0"]["kernel"]

  np.testing.assert_array_equal(fitted(plain, 1, 2, 5), fitted(plain, 1, 2, 6))
  np.testing.assert_array_equal(fitted(flipping, 1, 2, 5), fitted(flipping, 1, 2, 5))
  assert (fitted(plain, 1, 2, 5) != fitted(plain, 1, 3, 5)).any()
  assert (fitted(plain, 1, 2, 5) != fitted(plain, 4, 2, 5)).any()
  assert (fitted(flipping, 1, 2, 5) != fitted(flipping, 1, 2, 6)).any()


@pytest.mark.parametrize("size", [1, 6, 13])
def test_shuffled_positions(size):
  shuffled = jax.jit(functools.partial(fitting.shuffled_positions, size=size))
  orders = set()
  for count in range(1, size + 1):
    positions = shuffled(jax.random.key(count), jnp.int32(count)).tolist()
    assert sorted(positions[:count]) == list(range(count))
    assert positions[count:] == list(range(count, size))
    orders.add(positions[:count] == list(range(count)))
  assert (False in orders) == (size > 1)


def test_new_variables_read_the_shape_of_one_row_and_the_key(data, make_learner):
  trainer, other_values = make_learner().trainer, dataclasses.replace(data, inputs=15 - data.inputs // 2)
  drawn = [(0, data), (0, other_values), (1, data)]
  first, again, other = (training.init_variables(jax.random.key(seed), rows, trainer)["params"] for seed, rows in drawn)
  assert first["Dense_0"]["kernel"].shape == (64, 16)
  np.testing.assert_array_equal(first["Dense_0"]["kernel"], again["Dense_0"]["kernel"])
  assert (first["Dense_0"]["kernel"] != other["Dense_0"]["kernel"]).any()


# Early stopping, compared with a Python loop. Few rows make the validation accuracy fluctuate.
_IDS = np.array([5, 90, 13, 7, 44, 60, 2, 31, 8, 11, 0, 0], np.int32)
_COUNT = 10
_HELD_OUT = np.arange(20, 41)


def _accuracy(variables, data, model) -> jax.Array:
  logits = model.apply(variables, data.inputs[_HELD_OUT] / 16.0, train=False)
  return jnp.mean((logits.argmax(-1) == data.labels[_HELD_OUT]).astype(jnp.float32))


@functools.cache
def _step_of(network, optimizer):
  return jax.jit(functools.partial(fitting.train_step, network=network, optimizer=optimizer))


_QUICK = optax.adam(2e-2)


def _stopped_in_python(keys, variables, network, data, optimizer, validate, patience, stretches, batches):
  """Variables of the earliest best check, final variables, number of steps, and scores of the checks.

  `batches(i)` returns the ids and weights of a stretch.
  """
  step = _step_of(network, optimizer)
  opt_state, taken, best, kept, waited, scores = optimizer.init(variables["params"]), 0, -1.0, variables, 0, []
  for i in range(stretches):
    for ids, weights in batches(i):
      batch, labels = jnp.asarray(data.inputs[ids]) / 16.0, jnp.asarray(data.labels)[ids]
      key, weights = jax.random.fold_in(keys.dropout, taken), jnp.asarray(weights, jnp.float32)
      variables, opt_state, _ = step(key, variables, opt_state, batch, labels, weights)
      taken += 1
    scores.append(float(validate(variables)))
    if scores[-1] > best:
      best, kept, waited = scores[-1], variables, 0
    else:
      waited += 1
    if waited == patience:
      break
  return kept, variables, taken, scores


@pytest.mark.parametrize("patience", [3, *(pytest.param(checks, marks=pytest.mark.slow) for checks in (1, 100))])
@pytest.mark.parametrize("mode", ["steps", "epochs"])
def test_early_stopping_equals_a_loop_in_python(mode, patience, data, model):
  batch, optimizer = 4, _QUICK
  plan = types.TrainPlan(batch, early_stop=types.EarlyStop(patience, every=4), **_LENGTHS[mode])
  validate = jax.jit(functools.partial(_accuracy, data=data, model=model))
  how = {"network": NETWORK, "optimizer": optimizer, "plan": plan, "validate": validate}
  fit = jax.jit(functools.partial(fitting.fit, **how))
  for seed in (1, 2):
    keys, start = keys_of(seed), start_of(seed, data)
    batches, stretches = _batches(mode, keys, batch)
    expected, _, steps, scores = _stopped_in_python(
      keys, start, NETWORK, data, optimizer, validate, patience, stretches, batches
    )
    variables, info = fit(keys, start, data, _IDS, jnp.int32(_COUNT))
    assert info.steps == steps
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), variables, expected)
    assert float(validate(variables)) == max(scores)
    whole = 30 if mode == "steps" else 27
    assert patience == 3 or (steps == whole) == (patience == 100)


_LENGTHS = {"steps": {"steps": 30}, "epochs": {"epochs": 9}}


def _batches(mode: str, keys, batch: int):
  """`(i) -> ids and weights` of the minibatches of a stretch, and the number of stretches."""
  if mode == "steps":  # the last of eight stretches has two steps
    places = jax.random.randint(jax.random.fold_in(keys.batches, 0), (30 * batch,), 0, _COUNT)
    drawn = _IDS[np.asarray(places)].reshape(30, batch)
    return lambda i: [(ids, np.ones(batch)) for ids in drawn[i * 4 : (i + 1) * 4]], 8

  def of_epoch(i):
    order = _shuffled(jax.random.fold_in(keys.batches, i), jnp.int32(_COUNT), size=12)
    ids = _IDS[np.where(np.arange(12) < _COUNT, order, 0)].reshape(3, batch)
    return list(zip(ids, (np.arange(12) < _COUNT).reshape(3, batch), strict=True))

  return of_epoch, 9


_shuffled = jax.jit(fitting.shuffled_positions, static_argnames="size")


def test_early_stopping_that_never_stops_trains_on_the_same_batches(data):
  """If the score rises at every check, the last variables are kept and equal those of training without checks."""
  rising = lambda variables: jnp.sum(variables["params"]["Dense_0"]["kernel"] ** 2)
  plan = types.TrainPlan(3, steps=10)
  how = functools.partial(fitting.fit, network=NETWORK, optimizer=ADAM)
  checking = dataclasses.replace(plan, early_stop=types.EarlyStop(1, every=4))
  arguments = keys_of(0), start_of(0, data), data, _IDS, jnp.int32(_COUNT)
  checked, info = jax.jit(functools.partial(how, plan=checking, validate=rising))(*arguments)
  plain, plain_info = jax.jit(functools.partial(how, plan=plan))(*arguments)
  assert info.steps == plain_info.steps == 10
  jax.tree.map(np.testing.assert_array_equal, checked, plain)


def _stopped_by_hand(scores, patience: int) -> tuple[int, int]:
  """The kept check and the number of checks, counted from 1, if only strictly better scores reset the patience."""
  best, kept, counter = None, 0, 0
  for i, score in enumerate(scores, start=1):
    if best is None or score > best:
      best, kept, counter = score, i, 0
    else:
      counter += 1
      if counter >= patience:
        return kept, i
  return kept, len(scores)


# (epochs or steps): the upper limit in steps, and the step of each of eight checks.
_PLANS = {
  "epochs": ({"epochs": 8, "batch_size": 4}, [3 * i for i in range(1, 9)]),
  "draws": ({"epochs": 8, "batch_size": 4, "min_epoch_size": 17}, [5 * i for i in range(1, 9)]),
  "steps": ({"steps": 30, "batch_size": 2}, [4, 8, 12, 16, 20, 24, 28, 30]),
}


@functools.cache
def _scripted(mode: str, patience: int):
  """Compiled training whose parameters count steps: scores of eight checks -> the kept count and the steps taken."""
  sizes, steps = _PLANS[mode]
  counting = optax.GradientTransformation(lambda params: (), lambda grads, state, params=None: (_ones(grads), state))
  data = one_hot_data(10)

  def run(scores: jax.Array):
    count_of = lambda variables: variables["params"]["Dense_0"]["kernel"][0, 0]
    check = lambda variables: scores[jnp.searchsorted(jnp.array(steps), count_of(variables))]
    plan = types.TrainPlan(early_stop=types.EarlyStop(patience, every=4), **sizes)
    how = {"network": LINEAR, "optimizer": counting, "plan": plan, "validate": check}
    variables, info = fitting.fit(keys_of(0), at_rest(10), data, jnp.arange(10), jnp.int32(10), **how)
    return count_of(variables), info.steps

  return jax.jit(run)


def _ones(tree):
  return jax.tree.map(jnp.ones_like, tree)


@pytest.mark.parametrize("patience", [1, 3, *(pytest.param(checks, marks=pytest.mark.slow) for checks in (2, 8))])
@pytest.mark.parametrize("mode", _PLANS)
@hypothesis.settings(max_examples=40)
@hypothesis.given(scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=8, max_size=8))
@hypothesis.example(scores=[0.0] * 8)
@hypothesis.example(scores=[0.5, 0.5, 0.75, 0.75, 0.75, 0.5, 1.0, 1.0])
@hypothesis.example(scores=[0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0])
def test_early_stopping_waits_for_a_strictly_better_check(mode, patience, scores):
  kept, checks = _stopped_by_hand(scores, patience)
  steps = _PLANS[mode][1]
  assert tuple(map(int, _scripted(mode, patience)(jnp.array(scores)))) == (steps[kept - 1], steps[checks - 1])


# State other than parameters.


def counting_network(classes: int = CLASSES) -> types.Network:
  """A linear network that counts its minibatches, so that its state identifies a check."""

  def init(key, inputs):
    del key
    return {"params": {"kernel": jnp.zeros((inputs[0].size, classes))}, "seen": jnp.float32(0)}

  def logits_of(variables, inputs):
    return inputs.reshape((inputs.shape[0], -1)) @ variables["params"]["kernel"]

  def apply(variables, inputs, *, key, weights):
    del key, weights
    return logits_of(variables, inputs), variables | {"seen": variables["seen"] + 1}

  sample = lambda key, variables, inputs: (logits_of(variables, inputs), None)
  return types.Network(init, apply, sample, name="counting")


COUNTING = counting_network()


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("mode", _PLANS)
def test_early_stopping_restores_the_statistics_of_the_check_that_it_keeps(mode, keep):
  """Parameters, which change by a third of a unit per step, belong to the same step as the state."""
  scores, patience = [0.25, 0.5, 0.75, 0.5, 0.75, 0.25, 1.0, 1.0], 2
  kept, checks = _stopped_by_hand(scores, patience)
  sizes, steps = _PLANS[mode]
  thirds = optax.GradientTransformation(
    lambda params: (), lambda grads, state, params=None: (jax.tree.map(lambda leaf: leaf * 0 + 1 / 3, grads), state)
  )
  check = lambda variables: jnp.array(scores)[jnp.searchsorted(jnp.array(steps), variables["seen"])]
  plan = types.TrainPlan(early_stop=types.EarlyStop(patience, every=4, keep=keep), **sizes)
  how = {"network": COUNTING, "optimizer": thirds, "plan": plan, "validate": check}
  fit = jax.jit(functools.partial(fitting.fit, **how))
  start, data = COUNTING.init(None, jnp.zeros((1, 10))), one_hot_data(10)
  variables, info = fit(keys_of(0), start, data, jnp.arange(10), jnp.int32(10))
  assert (kept, checks) == (3, 5)
  expected = steps[(kept if keep == "best" else checks) - 1]
  assert info.steps == steps[checks - 1] and variables["seen"] == expected
  np.testing.assert_allclose(variables["params"]["kernel"], expected / 3, rtol=1e-4)


def linear_learner(make_learner, *, optimizer, **changes):
  """A linear model with full batches of ten labeled rows, which matches textbook training."""
  return make_learner("random", network=LINEAR, optimizer=optimizer, batch_size=10, steps=None, **changes)


@pytest.mark.parametrize("keep", [False, True])
def test_moments_are_kept_from_round_to_round_where_the_plan_says_so(keep, make_learner):
  """Two rounds of 20 epochs on the same rows: 40 steps of one Adam, or twice 20 steps of a new one."""
  data = one_hot_data(30)
  learner = linear_learner(make_learner, optimizer=ADAM, epochs=20, warm_start=True, keep_optimizer=keep)
  state, kernels = loop.init_state(jax.random.key(1), data, learner), []
  rows = np.flatnonzero(state.labeled)
  for r in range(2):
    state, info = rounds.JITTED_PHASES.fit(state._replace(round=jnp.int32(r)), data, trainer=learner.trainer)
    assert info.steps == 20
    kernels.append(np.asarray(state.variables["params"]["Dense_0"]["kernel"], np.float64)[rows])
  assert (state.opt_state is not None) == keep
  labels = np.asarray(data.labels)[rows]
  one = reference.adam(1e-2)

  def anew(grad, memory, step):
    """Adam whose state is reset after 20 steps."""
    return one(grad, memory if keep or step != 21 else 0.0, step if keep or step < 21 else step - 20)

  for steps, kernel in zip((20, 40), kernels, strict=True):
    expected, _ = reference.fit_softmax_regression(np.eye(10), labels, CLASSES, anew, steps)
    np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-6)
  other, _ = reference.fit_softmax_regression(np.eye(10), labels, CLASSES, one, 40)
  assert keep or np.abs(kernels[1] - other).max() > 1e-3  # the two cases differ


@pytest.mark.slow
def test_every_member_keeps_its_own_moments(data, make_learner):
  learner = make_learner("random", members=2, warm_start=True, keep_optimizer=True, steps=4)
  alone = changed(learner, members=1)
  state, lone = (loop.init_state(jax.random.key(1), data, one) for one in (learner, alone))
  for r in range(2):
    now = lambda state, r=r: state._replace(round=jnp.int32(r))
    state, _ = rounds.JITTED_PHASES.fit(now(state), data, trainer=learner.trainer)
    lone, _ = rounds.JITTED_PHASES.fit(now(lone), data, trainer=alone.trainer)
    moments = jax.tree.leaves(state.opt_state)
    for both, one in zip(moments, jax.tree.leaves(lone.opt_state), strict=True):
      np.testing.assert_allclose(both[0], one, rtol=1e-3, atol=1e-5)
  assert max(np.abs(np.asarray(leaf[0]) - leaf[1]).max() for leaf in moments) > 1e-3


def test_the_first_round_may_have_epochs_of_its_own(make_learner):
  learner = linear_learner(make_learner, optimizer=sgd(0.1), epochs=2, first_epochs=5)
  state, info = loop.run(jax.random.key(1), one_hot_data(30), learner)
  assert info.num_labeled.tolist() == [10, 17, 24]
  assert info.fit.steps.tolist() == [5 * 1, 2 * 2, 2 * 3] and state.round == 3
  plan = learner.plan.train
  assert [int(fitting.num_epochs(plan, r)) for r in range(3)] == [5, 2, 2]


@pytest.mark.slow
def test_the_first_round_may_have_a_patience_of_its_own(data, make_learner):
  """No check improves on the first: training ends after it and as many checks as the patience."""
  stop = types.EarlyStop(2, 1, first_patience=4)
  learner = make_learner("random", optimizer=optax.sgd(0.0), epochs=9, early_stop=stop, val_size=6)
  _, info = loop.run(jax.random.key(1), data, learner)
  assert (info.fit.steps // jnp.array([2, 3, 3])).tolist() == [1 + 4, 1 + 2, 1 + 2]


def test_a_first_round_in_parts_is_the_one_in_one(make_learner):
  data = one_hot_data(30)
  learner = linear_learner(make_learner, optimizer=ADAM, epochs=2, first_epochs=5)
  for r, parts in ((0, 3), (1, 1)):
    state = loop.init_state(jax.random.key(1), data, learner)._replace(round=jnp.int32(r))
    begun, made = training.begin(state, data, learner.trainer), 0
    further = jax.jit(functools.partial(training.advance, trainer=learner.trainer, max_steps=2))
    while training.unfinished(begun, state, learner.trainer):
      begun, made = further(begun, state, data), made + 1
    fitted, info = training.result(begun, state, learner.trainer)
    whole, whole_info = rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer)
    assert made == parts and info.steps == whole_info.steps == (5 if r == 0 else 2)
    jax.tree.map(np.testing.assert_array_equal, fitted.variables, whole.variables)


# An optimizer that uses the progress of the training.


@pytest.mark.parametrize("most", [None, 4])
@pytest.mark.parametrize(
  ("sizes", "total"),
  [({"steps": 10}, 10), ({"epochs": 4}, 12), ({"epochs": 2, "min_epoch_size": 10}, 10)],
  ids=["steps", "epochs", "draws"],
)
def test_scale_by_cosine_is_its_formula(sizes, total, most):
  """Updates are scaled by `(1 + cos(pi k / K)) / 2` after k of K steps, however training is split into calls."""

  def record(ones, seen, params=None):
    step, factors = seen
    return ones, (step + 1, factors.at[step].set(ones["Dense_0"]["kernel"][0, 0]))

  ones = optax.GradientTransformation(lambda params: (), lambda grads, state, params=None: (_ones(grads), state))
  recorder = optax.GradientTransformation(lambda params: (0, jnp.zeros(MOST_STEPS)), record)
  optimizer, plan = optax.chain(ones, optimizers.scale_by_cosine(), recorder), types.TrainPlan(2, **sizes)
  how = {"network": LINEAR, "optimizer": optimizer, "plan": plan, "max_steps": most}
  advance = jax.jit(functools.partial(fitting.advance, **how))
  under_way = fitting.begin(at_rest(9), optimizer=optimizer, plan=plan)
  while fitting.unfinished(under_way, jnp.int32(5), plan=plan):
    under_way = advance(keys_of(0), under_way, one_hot_data(9), jnp.arange(9), jnp.int32(5))
  steps, factors = under_way.opt_state[-1]
  expected = (1 + np.cos(np.pi * np.arange(total) / total)) / 2
  assert steps == total
  np.testing.assert_allclose(factors[:total], expected, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(under_way.variables["params"]["Dense_0"]["kernel"], expected.sum(), rtol=1e-5)
