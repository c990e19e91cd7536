"""Network inputs: preparation, copies, noise per row, and augmentation in training only."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import checks
from al_jax import inputs
from al_jax import loop
from al_jax import posterior
from al_jax import rounds
from al_jax import types
from tests.conftest import NETWORK
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(3)


def test_images_are_scaled(data):
  prepare = inputs.images(mean=4.0, std=8.0)
  scaled = prepare(data.inputs)
  np.testing.assert_allclose(scaled, (np.asarray(data.inputs, np.float64) - 4.0) / 8.0, rtol=1e-6)
  assert scaled.dtype == jnp.float32
  for dtype in (np.int16, np.float16, np.float32):
    np.testing.assert_allclose(prepare(np.array([[-3], [300]], dtype)), [[-7 / 8], [37.0]], rtol=1e-6)
  assert inputs.images(mean=4, std=8) == prepare and hash(inputs.images(mean=4, std=8)) == hash(prepare)


def test_images_are_scaled_by_channel():
  mean, std = (1.0, 2.0, 3.0), (10.0, 20.0, 40.0)
  pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
  expected = (pixels.astype(np.float64) - mean) / std
  np.testing.assert_allclose(inputs.images(mean=mean, std=std)(pixels), expected, rtol=1e-6)
  assert inputs.images(mean=np.array(mean), std=list(std)) == inputs.images(mean=mean, std=std)


@pytest.mark.parametrize("std", [0, -1.0, (1.0, 0.0), float("nan")])
def test_a_deviation_that_is_not_positive_is_refused(std):
  with pytest.raises(ValueError, match="std must be positive"):
    inputs.images(std=std)


def test_what_is_not_prepared_stays_as_it_is(data):
  plain = dataclasses.replace(data, prepare=None)
  floats, tokens = np.array([0.25, -1.0], np.float32), np.array([3, 1], np.int32)
  given = {"floats": floats, "halves": floats.astype(np.float16), "tokens": tokens}
  entered = inputs.prepared(plain, given)
  np.testing.assert_array_equal(entered["floats"], floats)
  np.testing.assert_array_equal(entered["halves"], floats)
  np.testing.assert_array_equal(entered["tokens"], tokens)
  assert [entered[name].dtype for name in given] == ["float32", "float32", "int32"]


def test_each_of_a_dict_of_inputs_is_prepared_in_its_own_way():
  prepare = inputs.by_name(table=inputs.as_they_are, image=inputs.images(std=2.0))
  pixels, table = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1), np.arange(6, dtype=np.float32).reshape(3, 2)
  labels = np.zeros(3, np.int32)
  both = {"image": pixels, "table": table}
  data = types.Dataset(both, labels, both, labels, 2, prepare)
  entered = inputs.of_pool(data, jnp.array([2, 0]))
  np.testing.assert_array_equal(entered["image"], pixels[[2, 0]] / 2)
  np.testing.assert_array_equal(entered["table"], table[[2, 0]])
  assert prepare == inputs.by_name(image=inputs.images(std=2.0), table=inputs.as_they_are)


def test_uint8_images_predict_as_their_prepared_floats(data):
  variables = NETWORK.init(jax.random.key(0), inputs.example(data))
  floats = dataclasses.replace(data, inputs=np.asarray(inputs.prepared(data, data.inputs)), prepare=None)
  predict = lambda data: posterior.deterministic().predict(
    None,
    NETWORK,
    variables,
    functools.partial(inputs.of_pool, data),
    jnp.arange(data.pool_size),
    chunk_size=20,
    features=False,
  )
  np.testing.assert_array_equal(predict(data).log_probs, predict(floats).log_probs)


def test_copies_and_noise(data):
  noise_key = jax.random.key(5)
  copies = dataclasses.replace(data, labels=np.tile(data.labels, 3), copies=3, noise=0.1, noise_key=noise_key)
  ids = jnp.array([4, 4 + 97, 4 + 2 * 97, 4])
  seen = np.asarray(inputs.of_pool(copies, ids))
  clean = np.asarray(inputs.of_pool(dataclasses.replace(copies, noise=0.0), ids))
  np.testing.assert_array_equal(clean, np.broadcast_to(np.asarray(data.inputs[4:5], np.float32) / 16, clean.shape))
  np.testing.assert_array_equal(seen[0], seen[3])  # the noise of an id is the same on every read
  noise = np.asarray(inputs.of_pool(copies, jnp.arange(3 * 97))) - np.tile(
    np.asarray(data.inputs, np.float32) / 16, (3, 1, 1, 1)
  )
  assert len({row.tobytes() for row in noise.round(5)}) == 3 * 97
  count = noise.size
  assert abs(noise.mean()) < 4 * 0.1 / np.sqrt(count)
  assert abs(noise.std() / 0.1 - 1) < 4 / np.sqrt(2 * count)
  other = dataclasses.replace(copies, noise_key=jax.random.key(6))
  assert np.abs(np.asarray(inputs.of_pool(other, ids)) - seen).max() > 0.1


@pytest.mark.parametrize("channels", [(), (1,), (3,)], ids=str)
def test_flip_mirrors_half_of_the_images_left_to_right(channels):
  images = np.random.default_rng(0).normal(size=(400, 5, 4, *channels)).astype(np.float32)
  flipped = np.asarray(inputs.Flip()(KEY, images))
  mirrored = (flipped == images[:, :, ::-1]).reshape(400, -1).all(axis=1)
  same = (flipped == images).reshape(400, -1).all(axis=1)
  assert (mirrored ^ same).all() and abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(400)
  assert (np.asarray(inputs.Flip()(jax.random.key(4), images)) != flipped).any()


@pytest.mark.parametrize("channels", [(), (2,)], ids=str)
def test_crop_shifts_each_image_and_fills_up_with_zeros(channels):
  padding, (height, width) = 2, (5, 7)
  images = np.random.default_rng(0).normal(size=(300, height, width, *channels)).astype(np.float32)
  cropped = np.asarray(inputs.Crop(padding)(KEY, images))
  assert cropped.shape == images.shape and cropped.dtype == images.dtype
  around = ((0, 0), (padding, padding), (padding, padding)) + ((0, 0),) * len(channels)
  padded, shifts = np.pad(images, around), []
  for one, out in zip(padded, cropped, strict=True):
    corners = [(i, j) for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
    found = [(i, j) for i, j in corners if np.array_equal(one[i : i + height, j : j + width], out)]
    assert len(found) == 1
    shifts += found
  assert len(set(shifts)) == (2 * padding + 1) ** 2  # 300 draws of 25: one is missed with probability 1e-4
  np.testing.assert_array_equal(inputs.Crop(0)(KEY, images), images)


@pytest.mark.parametrize(
  ("size", "shape"), [(3, (7, 5)), (None, (7, 8)), (4, (6, 6, 2)), (1, (4, 4, 1)), (20, (5, 5, 1))]
)
def test_cutout_blanks_a_square_around_a_place_of_the_image(size, shape):
  images = jnp.ones((200, *shape))
  cut = np.asarray(inputs.Cutout(size)(KEY, images)) == 0
  blanked, size = inputs.Cutout(size), size or 4
  if cut.ndim == 4:
    assert (cut == cut[..., :1]).all()  # the same in all channels
    cut = cut[..., 0]
  seen = set()
  for image in cut:
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert image.sum() == len(rows) * len(columns)  # a rectangle, clipped only at edges
    for places, length in ((rows, shape[0]), (columns, shape[1])):
      assert 1 <= len(places) <= size and len(places) == places[-1] - places[0] + 1
      assert len(places) == min(size, length) or places[0] == 0 or places[-1] == length - 1
    seen.add((rows[0], columns[0]))
  assert len(seen) > 1 or size >= 2 * max(shape[:2])
  assert (np.asarray(blanked(jax.random.key(9), images)) == 0).sum() > 0


def test_a_chain_applies_its_parts_in_order_each_with_a_key_of_its_own():
  images = np.random.default_rng(0).normal(size=(40, 4, 4, 1)).astype(np.float32)
  chain = inputs.Chain((inputs.Flip(), inputs.Flip(), inputs.Crop(1)))
  step = images
  for i, part in enumerate(chain.parts):
    step = part(jax.random.fold_in(KEY, i), step)
  np.testing.assert_array_equal(chain(KEY, images), step)
  twice = np.asarray(inputs.Chain((inputs.Flip(), inputs.Flip()))(KEY, images))
  assert (twice != images).any()  # with one key for both, every image would be unchanged
  assert hash(chain) == hash(inputs.Chain((inputs.Flip(), inputs.Flip(), inputs.Crop(1))))


def blank(key, batch):
  """An augmentation that sets everything to 0."""
  del key
  return jnp.zeros_like(batch)


@pytest.mark.slow
def test_only_training_is_augmented(data, make_learner):
  plain = make_learner("entropy", val_size=11)
  blanked = changed(plain, augment=blank)
  start = loop.init_state(KEY, data, plain)
  fitted, _ = rounds.JITTED_PHASES.fit(start, data, trainer=plain.trainer)
  blind, _ = rounds.JITTED_PHASES.fit(start, data, trainer=blanked.trainer)
  kernel = lambda state: np.asarray(state.variables["params"]["Dense_0"]["kernel"])
  np.testing.assert_array_equal(kernel(blind), kernel(start))  # zero inputs give zero gradients
  assert (kernel(fitted) != kernel(start)).any()
  measured = [rounds.JITTED_PHASES.evaluate(fitted, data, trainer=one.trainer) for one in (plain, blanked)]
  acquired = [rounds.JITTED_PHASES.acquire(fitted, data, learner=one) for one in (plain, blanked)]
  for one, other in (measured, acquired):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_every_step_augments_anew(data, make_learner):
  """Minibatches repeat one row: draws differ between steps and between run keys."""
  seen = []

  def record(key, batch):
    jax.debug.callback(lambda draw: seen.append(int(draw)), jax.random.bits(key), ordered=True)
    return batch

  learner = make_learner("random", augment=record, steps=5)
  for seed in (0, 1):
    state = loop.init_state(jax.random.key(seed), data, learner)
    for r in (0, 1):
      rounds.JITTED_PHASES.fit(state._replace(round=jnp.int32(r)), data, trainer=learner.trainer)
  jax.effects_barrier()
  assert len(seen) == len(set(seen)) == 2 * 2 * 5


@pytest.mark.parametrize("name", inputs.AUGMENTATIONS)
def test_what_is_for_images_says_so_of_a_table(name, data, make_learner):
  table = dataclasses.replace(data, inputs=np.ones((97, 5), np.float32), test_inputs=np.ones((43, 5), np.float32))
  table = dataclasses.replace(table, prepare=inputs.as_they_are)
  with pytest.raises(ValueError, match=f"{name.capitalize()} is for images"):
    checks.check_trainer(make_learner("random", augment=inputs.AUGMENTATIONS[name]).trainer, table)
