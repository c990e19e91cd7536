"""Fitting: what is read, how often, with what weight, and that the arithmetic is the textbook's.

Most tests fit a linear model to one-hot features: row i of its kernel then moves only when example i is in a batch,
and by how much says with which weight.
"""

import functools

import flax.linen as nn
import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import training
from al_jax import types
from tests.support import reference

pytestmark = pytest.mark.usefixtures("fast_compilation")

CLASSES = 4


class Linear(nn.Module):
  """`images @ W` from zero."""

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    return nn.Dense(CLASSES, use_bias=False, kernel_init=nn.initializers.zeros_init())(x)


def one_hot_data(size: int) -> types.Dataset:
  """Example i is the i-th unit vector."""
  labels = jnp.arange(size, dtype=jnp.int32) % CLASSES
  return types.Dataset(jnp.eye(size), labels, jnp.eye(size)[:1], labels[:1], num_classes=CLASSES)


ADAM = optax.adam(1e-2)
sgd = functools.cache(optax.sgd)  # one object a rate: programs are shared by those whose parts are the same


@functools.cache
def fit_of(optimizer, **sizes):
  """The compiled training of a linear model."""
  return jax.jit(functools.partial(training.fit, model=Linear(), optimizer=optimizer, **sizes))


def fit_linear(data, ids, count, optimizer, *, seed: int = 0, **sizes):
  """The fitted kernel `[features, CLASSES]` and how it went."""
  fit = fit_of(optimizer, **sizes)
  params = {"Dense_0": {"kernel": jnp.zeros((data.images.shape[1], CLASSES))}}
  keys = jax.random.split(jax.random.key(seed))
  params, info = fit(*keys, params, data, jnp.asarray(ids, jnp.int32), jnp.int32(count))
  return np.asarray(params["Dense_0"]["kernel"], np.float64), info


def shares(kernel, data, rate: float) -> np.ndarray:
  """How much of every example's gradient the kernel holds: the sum over its visits of 1 / batch."""
  one_step = rate * (np.eye(CLASSES)[np.asarray(data.labels)] - 1 / CLASSES)
  return (kernel * one_step).sum(axis=1) / (one_step**2).sum(axis=1)


@pytest.mark.parametrize(
  ("count", "batch_size", "last"),
  [(6, 3, 3), (7, 3, 1), (8, 3, 2), (5, 8, 5), (5, 5, 5), (1, 4, 1), (4, 1, 1)],
)
def test_an_epoch_visits_every_example_once(count, batch_size, last):
  data, rate = one_hot_data(11), 0.5
  ids = [9, 2, 4, 0, 7, 1, 8, 3, 0, 0]  # buffers are padded with an id that may be among the labeled
  kernel, info = fit_linear(data, ids, count, sgd(rate), batch_size=batch_size, epochs=1)
  batches = -(-count // batch_size)
  assert info.steps == batches
  got = shares(kernel, data, rate)
  # The last batch's examples count 1 / last each: its loss is a mean over what it holds.
  expected = [1 / batch_size] * (batch_size * (batches - 1)) + [1 / last] * last
  np.testing.assert_allclose(sorted(got[ids[:count]]), sorted(expected), rtol=1e-5)
  rest = np.setdiff1d(np.arange(11), ids[:count])
  assert (kernel[rest] == 0).all()


def test_every_further_epoch_visits_every_example_once_more():
  data, rate = one_hot_data(9), 1e-3
  kernel, info = fit_linear(data, range(9), 6, sgd(rate), batch_size=2, epochs=5)
  assert info.steps == 15
  # At this rate the gradient barely changes from visit to visit: 5 visits of 1/2 each, to a part in a thousand.
  np.testing.assert_allclose(shares(kernel, data, rate)[:6], 2.5, rtol=2e-3)


def test_batches_of_an_epoch_are_shuffled():
  data, rate = one_hot_data(9), 0.5

  def last_visited(seed: int) -> int:
    kernel, _ = fit_linear(data, range(9), 9, sgd(rate), batch_size=4, epochs=1, seed=seed)
    return int(shares(kernel, data, rate).argmax())

  assert len({last_visited(seed) for seed in range(6)}) > 1  # all equal with probability 9^-5


def test_steps_draw_evenly_from_the_labeled():
  data, rate, steps = one_hot_data(9), 1e-5, 400
  kernel, info = fit_linear(data, [8, 6, 4, 2, 0, 1], 4, sgd(rate), batch_size=8, train_steps=steps)
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
  """A compiled training at rest that keeps its gradients, and its optimizer."""

  def record(grads, seen, params=None):
    step, rows = seen
    return jax.tree.map(jnp.zeros_like, grads), (step + 1, rows.at[step].set(grads["Dense_0"]["kernel"]))

  recorder = optax.GradientTransformation(lambda params: (0, jnp.zeros((MOST_STEPS, size, CLASSES))), record)
  return jax.jit(functools.partial(training.advance, model=Linear(), optimizer=recorder, **sizes)), recorder


def recorded_batches(count, *, buffer=11, size=11, **sizes) -> np.ndarray:
  """`[steps, size]`: each example's share of the batch at every step, read off the gradients of a model at rest."""
  data, (advance, recorder) = one_hot_data(size), recorder_of(size, **sizes)
  start = training.begin({"Dense_0": {"kernel": jnp.zeros((size, CLASSES))}}, optimizer=recorder)
  ids = jnp.arange(buffer, dtype=jnp.int32)[::-1]
  trained = advance(*jax.random.split(jax.random.key(3)), start, data, ids, jnp.int32(count))
  steps, rows = trained.opt_state
  assert trained.info.steps == steps < MOST_STEPS
  label = np.asarray(data.labels)
  return -np.asarray(rows, np.float64)[:steps, np.arange(size), label] / (1 - 1 / CLASSES)


@pytest.mark.parametrize(
  ("count", "draws", "batch_size"),
  [(6, 20, 4), (6, 20, 8), (6, 21, 8), (5, 12, 5), (1, 7, 3), (7, 13, 13), (7, 13, 20), (11, 23, 6), (4, 6, 4)],
)
def test_an_epoch_of_draws_goes_over_the_images_again_until_it_has_so_many(count, draws, batch_size):
  epochs = 3
  shares = recorded_batches(count, batch_size=batch_size, epochs=epochs, epoch_draws=draws)
  sizes = [min(batch_size, draws - first) for first in range(0, draws, batch_size)]
  assert len(shares) == epochs * len(sizes) == epochs * -(-draws // batch_size)
  visits = shares.reshape(epochs, len(sizes), -1) * np.array(sizes)[:, None]
  np.testing.assert_allclose(visits, visits.round(), atol=1e-5)
  visits = visits.round().astype(int)
  np.testing.assert_array_equal(visits.sum(axis=2), [sizes] * epochs)
  # The places are 0..count-1 over and over; the ids run down from the last of the buffer.
  expected = np.zeros(11, int)
  expected[10 - np.arange(count)] = np.bincount(np.arange(draws) % count)
  np.testing.assert_array_equal(visits.sum(axis=1), [expected] * epochs)
  if count > 1 and batch_size < draws:
    assert (visits[0] != visits[1]).any() and (visits[1] != visits[2]).any()


@pytest.mark.parametrize("draws", [1, 5, 9])
def test_an_epoch_of_no_more_draws_than_images_is_one_pass(draws):
  passes = recorded_batches(9, batch_size=4, epochs=3)
  np.testing.assert_array_equal(recorded_batches(9, batch_size=4, epochs=3, epoch_draws=draws), passes)
  np.testing.assert_allclose((passes.reshape(3, 3, 11)[..., 2:] > 0).sum(axis=1), 1)


@pytest.mark.parametrize(("count", "draws", "steps"), [(20, 5056, 79), (300, 5056, 79), (6000, 5056, 94), (65, 0, 2)])
def test_steps_of_an_epoch(count, draws, steps):
  for held in (count, jnp.int32(count)):
    assert training.epoch_steps(held, batch_size=64, epoch_draws=draws) == steps


@pytest.mark.parametrize("limit", [4, *(pytest.param(limit, marks=pytest.mark.slow) for limit in (1, 100))])
def test_an_epoch_of_draws_in_parts_is_the_training_in_one(limit):
  data, optimizer = one_hot_data(9), ADAM
  sizes = {"batch_size": 4, "epochs": 5, "epoch_draws": 10}
  how = functools.partial(training.advance, model=Linear(), optimizer=optimizer, limit=limit, **sizes)
  advance, keys = jax.jit(how), jax.random.split(jax.random.key(0))
  under_way, parts = training.begin({"Dense_0": {"kernel": jnp.zeros((9, CLASSES))}}, optimizer=optimizer), 0
  while training.unfinished(under_way, jnp.int32(7), **sizes):
    under_way, parts = advance(*keys, under_way, data, jnp.arange(9), jnp.int32(7)), parts + 1
  kernel, info = fit_linear(data, range(9), 7, optimizer, **sizes)
  assert under_way.info.steps == info.steps == 15 and parts == {1: 5, 4: 3, 100: 1}[limit]
  np.testing.assert_array_equal(under_way.params["Dense_0"]["kernel"], kernel)


@pytest.mark.parametrize(
  "sizes", [{"train_steps": 25}, {"epochs": 4}, {"epochs": 2, "epoch_draws": 19}], ids=["steps", "epochs", "draws"]
)
def test_reads_nothing_but_the_first_count_ids(sizes, data, model):
  ids = np.array([5, 90, 13, 7, 44, 60, 2, 31, 8, 0, 0, 0], np.int32)
  count = 8
  fit = jax.jit(functools.partial(training.fit, model=model, optimizer=optax.adam(1e-2), batch_size=3, **sizes))
  start = training.init_params(jax.random.key(0), model, data)
  keys = jax.random.split(jax.random.key(1))
  rng = np.random.default_rng(0)

  def fitted(changed, ids=ids):
    images, labels = np.array(data.images), np.array(data.labels)
    images[changed] = rng.integers(0, 17, images[changed].shape)
    labels[changed] = (labels[changed] + 1) % 10
    other = types.Dataset(images, labels, data.test_images, data.test_labels, num_classes=10, std=16.0)
    return jax.tree.leaves(fit(*keys, start, other, ids, jnp.int32(count)))

  plain = fitted([])
  others = np.setdiff1d(np.arange(len(data.labels)), ids[:count])
  padding = np.where(np.arange(12) < count, ids, 77).astype(np.int32)
  for same in (fitted(others), fitted([], padding)):
    for a, b in zip(plain, same, strict=True):
      np.testing.assert_array_equal(a, b)
  assert any((a != b).any() for a, b in zip(plain, fitted([ids[0]]), strict=True))


def test_learns(data, model):
  ids = np.arange(60, dtype=np.int32)
  fit = jax.jit(
    functools.partial(training.fit, model=model, optimizer=optax.adam(1e-2), batch_size=20, train_steps=200)
  )
  start = training.init_params(jax.random.key(0), model, data)
  params, info = fit(*jax.random.split(jax.random.key(1)), start, data, ids, jnp.int32(60))
  right = lambda params: np.mean(
    model.apply({"params": params}, data.images[:60] / np.float32(16)).argmax(-1) == data.labels[:60]
  )
  assert right(start) < 0.4
  assert right(params) > 0.95
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
  data = types.Dataset(images, labels, images[:1], labels[:1], num_classes=CLASSES)
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
  ours = optax.chain(training.add_decayed_weights_over_labels(0.8), optax.adam(1e-2))
  for batch_size in (8, 16):
    kernel, _ = fit_linear(data, range(8), 8, ours, batch_size=batch_size, epochs=60)
    expected, _ = reference.fit_softmax_regression(
      np.eye(8), np.asarray(data.labels), CLASSES, reference.adam(1e-2), 60, weight_decay=0.8 / 8
    )
    np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_image_is_reported_at_its_step(bad):
  data = one_hot_data(4)
  images = np.array(data.images)
  images[2] = bad
  spoiled = types.Dataset(images, data.labels, data.test_images, data.test_labels, num_classes=CLASSES)
  _, info = fit_linear(spoiled, [2], 1, sgd(0.1), batch_size=1, train_steps=5)
  assert (info.first_bad_step, info.steps) == (0, 5)
  _, info = fit_linear(spoiled, [0, 1, 3], 3, sgd(0.1), batch_size=3, train_steps=5)
  assert info.first_bad_step == -1 and np.isfinite(info.loss)


@pytest.mark.parametrize(
  "sizes", [{"train_steps": 4}, {"epochs": 2}, {"epochs": 2, "epoch_draws": 5}], ids=["steps", "epochs", "draws"]
)
def test_a_bad_image_in_the_padding_does_no_harm(sizes):
  # Buffers are padded with id 0, which need not be labeled: 0 times not a number is not a number.
  data = one_hot_data(6)
  spoiled = types.Dataset(
    data.images.at[0].set(jnp.nan), data.labels, data.test_images, data.test_labels, num_classes=CLASSES
  )
  kernel, info = fit_linear(spoiled, [4, 2, 5, 0, 0, 0], 3, sgd(0.1), batch_size=2, **sizes)
  assert info.first_bad_step == -1
  assert np.isfinite(kernel).all()


def test_divergence_is_reported_at_the_first_bad_step():
  # The first loss is log 4; the step overflows, so the second is not a number.
  _, info = fit_linear(one_hot_data(1), [0], 1, sgd(np.inf), batch_size=1, train_steps=6)
  assert (info.first_bad_step, info.steps) == (1, 6)


@pytest.mark.parametrize("sizes", [{"train_steps": 1}, {"epochs": 1}], ids=["steps", "epochs"])
def test_an_update_that_no_loss_follows_is_looked_at(sizes):
  kernel, info = fit_linear(one_hot_data(1), [0], 1, sgd(np.inf), batch_size=1, **sizes)
  assert not np.isfinite(kernel).all()
  assert (info.first_bad_step, info.steps) == (1, 1)


def test_no_key_of_an_ensemble_is_drawn_from_and_a_parent():
  """A member's epochs and steps have keys under its own: none of them is another member's."""
  key = jax.random.key(3)
  members = training.member_keys(key, 6)
  assert (members[0] == key).all() and len({key_data.tobytes() for key_data in map(data_of, members)}) == 6
  under = jax.vmap(lambda member: jax.vmap(lambda i: jax.random.fold_in(member, i))(jnp.arange(50)))(members)
  everything = [*map(data_of, members), *map(data_of, under.reshape(-1))]
  assert len({key_data.tobytes() for key_data in everything}) == 6 + 6 * 50


def data_of(key) -> np.ndarray:
  return np.asarray(jax.random.key_data(key))


def test_dropout_and_batches_have_keys_of_their_own(data, model):
  fit = jax.jit(functools.partial(training.fit, model=model, optimizer=sgd(0.1), batch_size=4, train_steps=3))
  start = training.init_params(jax.random.key(0), model, data)
  fitted = lambda batches, dropout: fit(
    jax.random.key(batches), jax.random.key(dropout), start, data, jnp.arange(20), jnp.int32(20)
  )[0]["Dense_0"]["kernel"]
  np.testing.assert_array_equal(fitted(1, 2), fitted(1, 2))
  assert (fitted(1, 2) != fitted(1, 3)).any()
  assert (fitted(1, 2) != fitted(4, 2)).any()


@pytest.mark.parametrize("size", [1, 6, 13])
def test_shuffled_positions(size):
  shuffled = jax.jit(functools.partial(training.shuffled_positions, size=size))
  orders = set()
  for count in range(1, size + 1):
    positions = shuffled(jax.random.key(count), jnp.int32(count)).tolist()
    assert sorted(positions[:count]) == list(range(count))
    assert positions[count:] == list(range(count, size))
    orders.add(positions[:count] == list(range(count)))
  assert (False in orders) == (size > 1)


def test_init_params_reads_one_image_shape_and_the_key(data, model):
  first, again, other = (training.init_params(jax.random.key(seed), model, data) for seed in (0, 0, 1))
  assert first["Dense_0"]["kernel"].shape == (64, 16)
  np.testing.assert_array_equal(first["Dense_0"]["kernel"], again["Dense_0"]["kernel"])
  assert (first["Dense_0"]["kernel"] != other["Dense_0"]["kernel"]).any()


# Early stopping, against a loop in Python. The labels are noise, so that accuracy on the held-out images wanders.
_IDS = np.array([5, 90, 13, 7, 44, 60, 2, 31, 8, 11, 0, 0], np.int32)
_COUNT = 10
_HELD_OUT = np.arange(20, 41)


def _accuracy(params, data, model) -> jax.Array:
  logits = model.apply({"params": params}, data.images[_HELD_OUT] / 16.0, train=False)
  return jnp.mean((logits.argmax(-1) == data.labels[_HELD_OUT]).astype(jnp.float32))


@functools.cache
def _step_of(model, optimizer):
  return jax.jit(functools.partial(training.train_step, model=model, optimizer=optimizer))


_QUICK = optax.adam(2e-2)


def _stopped_in_python(keys, params, model, data, optimizer, validate, patience, stretches, batches):
  """Parameters of the earliest best look and the steps taken; `batches(i)` gives a stretch's ids and weights."""
  step = _step_of(model, optimizer)
  opt_state, taken, best, kept, waited, looks = optimizer.init(params), 0, -1.0, params, 0, []
  for i in range(stretches):
    for ids, weights in batches(i):
      images, labels = jnp.asarray(data.images[ids]) / 16.0, jnp.asarray(data.labels)[ids]
      key = jax.random.fold_in(keys[1], taken)
      params, opt_state, _ = step(key, params, opt_state, images, labels, jnp.asarray(weights, jnp.float32), 1)
      taken += 1
    looks.append(float(validate(params)))
    if looks[-1] > best:
      best, kept, waited = looks[-1], params, 0
    else:
      waited += 1
    if waited == patience:
      break
  return kept, taken, looks


@pytest.mark.parametrize("patience", [3, *(pytest.param(looks, marks=pytest.mark.slow) for looks in (1, 100))])
@pytest.mark.parametrize("mode", ["steps", "epochs"])
def test_early_stopping_equals_a_loop_in_python(mode, patience, data, model):
  early_stop, batch, optimizer = types.EarlyStop(patience, every=4), 4, _QUICK
  sizes = {"steps": {"train_steps": 30}, "epochs": {"epochs": 9}}[mode]
  validate = jax.jit(functools.partial(_accuracy, data=data, model=model))
  how = {"batch_size": batch, "early_stop": early_stop, "validate": validate} | sizes
  fit = jax.jit(functools.partial(training.fit, model=model, optimizer=optimizer, **how))
  for seed in (1, 2):
    keys = jax.random.split(jax.random.key(seed))
    start = training.init_params(jax.random.key(seed), model, data)
    batches, stretches = _batches(mode, keys, batch)
    expected, steps, looks = _stopped_in_python(
      keys, start, model, data, optimizer, validate, patience, stretches, batches
    )
    params, info = fit(*keys, start, data, _IDS, jnp.int32(_COUNT))
    assert info.steps == steps
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), params, expected)
    assert float(validate(params)) == max(looks)
    whole = 30 if mode == "steps" else 27
    assert patience == 3 or (steps == whole) == (patience == 100)


def _batches(mode: str, keys, batch: int):
  """`(i) -> ids and weights` of the batches of a stretch, and how many stretches there are."""
  if mode == "steps":  # the last of eight stretches is of two steps
    places = jax.random.randint(jax.random.fold_in(keys[0], 0), (30 * batch,), 0, _COUNT)
    drawn = _IDS[np.asarray(places)].reshape(30, batch)
    return lambda i: [(ids, np.ones(batch)) for ids in drawn[i * 4 : (i + 1) * 4]], 8

  def of_epoch(i):
    order = _shuffled(jax.random.fold_in(keys[0], i), jnp.int32(_COUNT), size=12)
    ids = _IDS[np.where(np.arange(12) < _COUNT, order, 0)].reshape(3, batch)
    return list(zip(ids, (np.arange(12) < _COUNT).reshape(3, batch), strict=True))

  return of_epoch, 9


_shuffled = jax.jit(training.shuffled_positions, static_argnames="size")


def test_early_stopping_that_never_stops_trains_on_the_same_batches(data, model):
  """With accuracy rising at every look, the last parameters are kept: those of a training without looks."""
  fit = functools.partial(training.fit, model=model, optimizer=optax.adam(1e-2), batch_size=3, train_steps=10)
  arguments = (*jax.random.split(jax.random.key(0)), training.init_params(jax.random.key(0), model, data), data, _IDS)
  rising = lambda params: jnp.sum(params["Dense_0"]["kernel"] ** 2)
  looked = jax.jit(functools.partial(fit, early_stop=types.EarlyStop(1, every=4), validate=rising))
  params, info = looked(*arguments, jnp.int32(_COUNT))
  plain, plain_info = jax.jit(fit)(*arguments, jnp.int32(_COUNT))
  assert info.steps == plain_info.steps == 10
  jax.tree.map(np.testing.assert_array_equal, params, plain)


def _stopped_by_hand(looks, patience: int) -> tuple[int, int]:
  """The look that is kept and the number of looks, counted from 1: wait for a strictly better score, else count."""
  best, kept, counter = None, 0, 0
  for i, score in enumerate(looks, start=1):
    if best is None or score > best:
      best, kept, counter = score, i, 0
    else:
      counter += 1
      if counter >= patience:
        return kept, i
  return kept, len(looks)


# (epochs or steps): the ceiling in steps, and the step at which each of eight looks is taken.
_PLANS = {
  "epochs": ({"epochs": 8, "batch_size": 4}, [3 * i for i in range(1, 9)]),
  "draws": ({"epochs": 8, "batch_size": 4, "epoch_draws": 17}, [5 * i for i in range(1, 9)]),
  "steps": ({"train_steps": 30, "batch_size": 2}, [4, 8, 12, 16, 20, 24, 28, 30]),
}


@functools.cache
def _scripted(mode: str, patience: int):
  """A compiled training whose parameters count its steps: scores of eight looks -> the kept count and the steps."""
  sizes, steps = _PLANS[mode]
  counting = optax.GradientTransformation(lambda params: (), lambda grads, state, params=None: (_ones(grads), state))
  data = one_hot_data(10)

  def run(scores: jax.Array):
    look = lambda params: scores[jnp.searchsorted(jnp.array(steps), params["Dense_0"]["kernel"][0, 0])]
    start = {"Dense_0": {"kernel": jnp.zeros((10, CLASSES))}}
    how = {"optimizer": counting, "early_stop": types.EarlyStop(patience, every=4), "validate": look} | sizes
    keys = jax.random.split(jax.random.key(0))
    params, info = training.fit(*keys, start, data, jnp.arange(10), jnp.int32(10), model=Linear(), **how)
    return params["Dense_0"]["kernel"][0, 0], info.steps

  return jax.jit(run)


def _ones(tree):
  return jax.tree.map(jnp.ones_like, tree)


@pytest.mark.parametrize("patience", [1, 3, *(pytest.param(looks, marks=pytest.mark.slow) for looks in (2, 8))])
@pytest.mark.parametrize("mode", _PLANS)
@hypothesis.settings(max_examples=40)
@hypothesis.given(scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=8, max_size=8))
@hypothesis.example(scores=[0.0] * 8)
@hypothesis.example(scores=[0.5, 0.5, 0.75, 0.75, 0.75, 0.5, 1.0, 1.0])
@hypothesis.example(scores=[0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0])
def test_early_stopping_waits_for_a_strictly_better_look(mode, patience, scores):
  kept, looks = _stopped_by_hand(scores, patience)
  steps = _PLANS[mode][1]
  assert tuple(map(int, _scripted(mode, patience)(jnp.array(scores)))) == (steps[kept - 1], steps[looks - 1])
