"""Given initial sets: from a file or by name; every driver labels them first and never validates on them."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import checks
from al_jax import inputs
from al_jax import loop
from al_jax import pool
from al_jax import splits
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.sweep import sweep
from al_jax.types import Dataset
from experiments import data as data_sources
from experiments.common.errors import UsageError
from experiments.data import idx_order
from experiments.data import initial_sets
from experiments.runs import pools
from tests.core.test_loop import by_hand
from tests.core.test_loop import equal
from tests.core.test_loop import initial_ids
from tests.experiments.config.test_acquisitions import config
from tests.experiments.data.test_sources import REAL
from tests.experiments.data.test_sources import SHARED

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(0)
GIVEN = (60, 3, 71, 8, 90, 44, 12, 33, 5, 27)


def test_given_initial_ids_are_the_initial_set_of_every_seed(data, make_learner):
  learner = make_learner("margin", initial_ids=GIVEN, val_size=20, init_balanced=True)
  assert initial_ids(KEY, data, learner) == initial_ids(jax.random.key(1), data, learner) == sorted(GIVEN)
  kept = loop.init_state(KEY, data, make_learner("margin", initial_ids=GIVEN, val_last=0.2))
  assert kept.order[:10].tolist() == list(GIVEN)


@pytest.mark.parametrize(
  "name", [name if name == "kcenter" else pytest.param(name, marks=pytest.mark.slow) for name in initial_sets.CHOOSERS]
)
def test_a_strategy_chooses_the_first_labels_where_none_are_known(name, data):
  pool = dataclasses.replace(data, labels=np.tile(data.labels, 2), copies=2)
  chosen = initial_sets.select_ids(name, pool, 12, seed=0)
  assert len(set(chosen)) == 12 and max(chosen) < 97
  flipped = dataclasses.replace(pool, labels=9 - np.asarray(pool.labels))
  assert initial_sets.select_ids(name, flipped, 12, seed=0) == chosen, "labels are not read"
  some = dataclasses.replace(data, available=np.arange(97) % 2 == 0)
  assert all(i % 2 == 0 for i in initial_sets.select_ids(name, some, 12, seed=0))
  with pytest.raises(UsageError, match=f"--init={name} cannot choose 50 of 49"):
    initial_sets.select_ids(name, some, 50, seed=0)
  ring = np.stack([np.cos(np.arange(97)), np.sin(np.arange(97))], 1).astype(np.float32)
  assert initial_sets.select_ids(name, dataclasses.replace(data, embedding=ring), 12, seed=0) != chosen
  named_by_flag = config(init=name, init_labels=12)
  assert initial_sets.resolve(named_by_flag, data, data).init_ids == initial_sets.select_ids(name, data, 12, seed=0)


@pytest.mark.slow
def test_given_initial_ids_are_the_initial_set_in_every_driver(data, make_learner):
  learner = make_learner("margin", initial_ids=GIVEN, val_size=20, init_balanced=True)
  state, info = loop.run(KEY, data, learner)
  assert not set(GIVEN) & set(info.selected.ravel().tolist())
  other_state, other_infos = by_hand(KEY, data, learner)
  assert equal((state, info), (other_state, jax.tree.map(lambda *rounds: jnp.stack(rounds), *other_infos)))
  (runs,) = sweep(jnp.stack([jax.random.key(1), KEY]), data, (learner,), pack="map")
  assert runs.initial.tolist() == [sorted(GIVEN)] * 2
  assert equal(jax.tree.map(lambda leaf: leaf[1], runs.info), info)


@pytest.mark.slow
def test_full_supervision_is_validated_beside_given_initial_ids(data, make_learner):
  _, info, measured = loop.fit_full(KEY, data, make_learner(initial_ids=GIVEN, val_size=60).trainer)
  assert info.steps == 12 and 0 <= measured.val_accuracy <= 1


@pytest.mark.slow
def test_given_initial_ids_are_the_drawn_ones_given(data, make_learner):
  learner = make_learner("margin")
  given = make_learner("margin", initial_ids=tuple(initial_ids(KEY, data, learner)))
  assert equal(loop.run(KEY, data, learner), loop.run(KEY, data, given))


def test_no_given_initial_image_nor_a_copy_of_it_is_for_validation(data, make_learner):
  copies = dataclasses.replace(data, labels=np.tile(data.labels, 3), copies=3)
  ids = tuple(i + 97 * (place % 3) for place, i in enumerate(GIVEN))
  for pool_data, given in ((data, GIVEN), (copies, ids)):
    plan = make_learner(initial_ids=given, val_size=87).plan  # all originals that the given ids leave
    assert sorted(splits.validation_ids(KEY, pool_data, plan).tolist()) == sorted(set(range(97)) - set(GIVEN))


def test_without_given_ids_validation_images_are_drawn_from_all(data, make_learner):
  drawn = splits.validation_ids(KEY, data, make_learner(val_size=30).plan)
  key = role_key(KEY, Role.VALIDATION)
  assert equal(drawn, pool.random_subset(key, jnp.ones(97, bool), num=30))
  assert set(drawn.tolist()) & set(GIVEN)


def test_too_large_a_validation_set_beside_given_ids_is_refused(data, make_learner):
  plan = make_learner(initial_ids=GIVEN, val_size=88).plan
  with pytest.raises(ValueError, match="val_size=88, but the initial ids leave 87 images for validation"):
    checks.check(plan, dataclasses.replace(data, labels=np.tile(data.labels, 3), copies=3))


@pytest.mark.parametrize("text", ["[60, 3, 71]", "60 3 71\n", "60,3,71", "60\n3,\n71\n", "[60,\n3, 71]\n"])
def test_a_file_of_ids_is_read(text, tmp_path):
  (tmp_path / "ids").write_text(text)
  assert initial_sets.read(str(tmp_path / "ids")) == (60, 3, 71)


@pytest.mark.parametrize(
  ("content", "sentence"),
  [
    (None, "cannot be read"),
    (b"\xff\xfe\x00", "cannot be read"),
    (b"", "holds no ids"),
    (b"[]", "holds no ids"),
    (b"3 -4", "'-4' is not an id"),
    (b"[3, 4.5]", "4.5 is not an id"),
    (b"[3, true]", "True is not an id"),
    (b"[3, null]", "None is not an id"),
    (b"3 four", "'four' is not an id"),
    (b"[3, 4", "'[3' is not an id"),
    (b'{"0": [3, 4]}', "the same for every seed"),
  ],
)
def test_a_file_without_ids_is_refused_by_name(content, sentence, tmp_path):
  path = tmp_path / "ids"
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(UsageError, match=re.escape(sentence)) as caught:
    initial_sets.read(str(path))
  assert f"--init_file={path}" in str(caught.value) and "\n" not in str(caught.value)


def drawn_images(num: int, seed: int = 0) -> np.ndarray:
  """Random images `[num, 6, 6, 1]` uint8; the brightest pixel of the first two is at (0, 0)."""
  images = np.random.default_rng(seed).integers(0, 256, (num, 6, 6, 1), dtype=np.uint8)
  images[:2, 0, 0] = 255
  return images


def test_images_are_found_by_content_wherever_they_stand():
  images = drawn_images(50)
  order = np.random.default_rng(1).permutation(50)
  wanted = [7, 0, 49, 1, 30]
  assert initial_sets.find_images(images[wanted], images[order]) == [int(np.flatnonzero(order == i)[0]) for i in wanted]
  assert initial_sets.find_images(images, images) == list(range(50))


def test_of_equal_images_the_first_is_found_and_each_place_once():
  images = drawn_images(6)
  pool_images = images[[4, 2, 3, 2, 2, 1]]
  assert initial_sets.find_images(images[[2]], pool_images) == [1]
  assert initial_sets.find_images(images[[2, 1, 2, 2, 2]], pool_images) == [1, 5, 3, 4, None]


def test_an_image_that_is_missing_or_differs_in_one_pixel_is_not_found():
  images = drawn_images(20)
  changed = images[:4].copy()
  changed[0, 5, 5] ^= 1
  brightest = np.unravel_index(changed[1].argmax(), changed[1].shape)
  changed[1][brightest] -= 1
  assert initial_sets.find_images(changed, images) == [None, None, 2, 3]
  assert initial_sets.find_images(images[[3, 9]], images[4:]) == [None, 5]
  blank = np.zeros_like(images[:1])
  assert initial_sets.find_images(blank, images) == [None]
  assert initial_sets.find_images(blank, np.concatenate([images, blank])) == [20]


NAMED = (31, 4, 17, 9)


@pytest.fixture
def named(monkeypatch):
  """`(data in IDX order, the same data in the order of another source)`, of 40 images; the named set is `NAMED`."""
  images, labels = drawn_images(40), np.arange(40, dtype=np.int32) % 10
  original = Dataset(images, labels, images[:5], labels[:5], 10, inputs.images(std=255))
  order = np.random.default_rng(2).permutation(40)
  copy = dataclasses.replace(original, inputs=images[order], labels=labels[order])
  monkeypatch.setattr(initial_sets, "BATCHBALD", NAMED)
  monkeypatch.setattr(idx_order, "to_idx_order", lambda data, name: original)
  return original, copy


@pytest.mark.parametrize(
  "pool_flags", [{}, {"pool_copies": 3, "pool_noise": 0.1}, {"input_mean": 0.1, "input_std": 0.3}], ids=str
)
def test_a_named_set_is_found_in_the_pool(pool_flags, named):
  original, copy = named
  asked = config(init="batchbald", init_labels=4, **pool_flags)
  for loaded in (original, copy):
    made = pools.apply(asked, loaded)
    found = initial_sets.resolve(asked, loaded, made)
    assert dataclasses.replace(found, init_ids=()) == asked
    np.testing.assert_array_equal(made.inputs[list(found.init_ids)], original.inputs[list(NAMED)])
    np.testing.assert_array_equal(made.labels[list(found.init_ids)], original.labels[list(NAMED)])
    assert max(found.init_ids) < 40  # in the first copy
    assert hash(found) != hash(asked)


def test_a_named_set_is_found_in_a_smaller_pool_or_the_missing_image_is_named(named):
  original, copy = named
  asked = config(init="batchbald", init_labels=4)
  part = np.sort(np.random.default_rng(0).permutation(np.concatenate([NAMED, [0, 1, 2, 39]])))
  smaller = dataclasses.replace(original, inputs=original.inputs[part], labels=original.labels[part])
  assert [part[i] for i in initial_sets.resolve(asked, copy, smaller).init_ids] == list(NAMED)
  part = part[part != 17]
  smaller = dataclasses.replace(original, inputs=original.inputs[part], labels=original.labels[part])
  with pytest.raises(UsageError, match="image 17 of the IDX files is not in this pool") as caught:
    initial_sets.resolve(asked, copy, smaller)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("init", ["balanced", "random", "file"])
def test_without_a_named_set_nothing_is_looked_up(init, named, monkeypatch):
  monkeypatch.setattr(idx_order, "to_idx_order", None)
  asked = config(init=init)
  assert initial_sets.resolve(asked, *named) is asked


def test_a_named_set_of_other_data_is_refused(data):
  asked = config(init="batchbald")
  with pytest.raises(data_sources.DataError, match="match its published IDX files in no known order"):
    initial_sets.resolve(asked, data, data)


def test_the_named_set_is_twenty_images():
  assert len(set(initial_sets.BATCHBALD)) == len(initial_sets.BATCHBALD) == 20
  assert min(initial_sets.BATCHBALD) >= 0 and max(initial_sets.BATCHBALD) < 60_000


if "mnist" in REAL:

  @pytest.mark.slow
  def test_the_named_set_in_mnist_is_two_of_every_class():
    asked = config(init="batchbald", pool_copies=2)
    original = data_sources.load("mnist", str(SHARED / "mnist_idx"))
    found = initial_sets.resolve(asked, original, pools.apply(asked, original))
    assert found.init_ids == initial_sets.BATCHBALD
    assert np.bincount(original.labels[list(found.init_ids)], minlength=10).tolist() == [2] * 10
    order = idx_order.shuffled_order("train", 60_000)  # the order of tensorflow-datasets
    copy = dataclasses.replace(original, inputs=original.inputs[order], labels=original.labels[order])
    elsewhere = initial_sets.resolve(asked, copy, pools.apply(asked, copy))
    assert elsewhere.init_ids != found.init_ids
    ids = list(elsewhere.init_ids)
    np.testing.assert_array_equal(copy.inputs[ids], original.inputs[list(initial_sets.BATCHBALD)])
    np.testing.assert_array_equal(copy.labels[ids], original.labels[list(initial_sets.BATCHBALD)])
    with pytest.raises(UsageError, match="of the IDX files is not in this pool"):
      initial_sets.resolve(asked, copy, pools.apply(dataclasses.replace(asked, pool_size=3000), copy))
