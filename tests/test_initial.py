"""Given initial sets: read from a file, labeled at the start by every driver, never for validation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import checks
from al_jax import loop
from al_jax import pool
from al_jax import views
from al_jax.keys import Role
from al_jax.keys import role_key
from experiments import initial
from experiments.errors import UsageError
from tests.test_loop import by_hand
from tests.test_loop import equal
from tests.test_loop import initial_ids
from tests.test_loop import with_labels

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(0)
GIVEN = (60, 3, 71, 8, 90, 44, 12, 33, 5, 27)


def test_given_initial_ids_are_the_initial_set_in_every_driver(data, make_learner):
  learner = make_learner("margin", initial_ids=GIVEN, val_size=20, init_balanced=True)
  state, info = loop.run(KEY, data, learner)
  assert initial_ids(KEY, data, learner) == initial_ids(jax.random.key(1), data, learner) == sorted(GIVEN)
  assert not set(GIVEN) & set(info.selected.ravel().tolist())
  other_state, other_infos = by_hand(KEY, data, learner)
  assert equal((state, info), (other_state, jax.tree.map(lambda *rounds: jnp.stack(rounds), *other_infos)))
  (runs,) = loop.sweep(jnp.stack([jax.random.key(1), KEY]), data, (learner,), pack="map")
  assert runs.initial.tolist() == [sorted(GIVEN)] * 2
  assert equal(jax.tree.map(lambda leaf: leaf[1], runs.info), info)
  kept = loop.init_state(KEY, data, make_learner("margin", initial_ids=GIVEN, val_last=0.2))
  assert kept.order[:10].tolist() == list(GIVEN)


def test_given_initial_ids_are_the_drawn_ones_given(data, make_learner):
  learner = make_learner("margin")
  given = make_learner("margin", initial_ids=tuple(initial_ids(KEY, data, learner)))
  assert equal(loop.run(KEY, data, learner), loop.run(KEY, data, given))


def test_no_given_initial_image_nor_a_copy_of_it_is_for_validation(data, make_learner):
  copies = with_labels(data, np.tile(data.labels, 3))
  ids = tuple(i + 97 * (place % 3) for place, i in enumerate(GIVEN))
  for pool_data, given in ((data, GIVEN), (copies, ids)):
    plan = make_learner(initial_ids=given, val_size=87).protocol  # all that the given ids leave
    assert sorted(views.validation_ids(KEY, pool_data, plan).tolist()) == sorted(set(range(97)) - set(GIVEN))
  _, info, measured = loop.fit_full(KEY, data, make_learner(initial_ids=GIVEN, val_size=60))
  assert info.steps == 12 and 0 <= measured.val_accuracy <= 1


def test_without_given_ids_validation_images_are_drawn_from_all(data, make_learner):
  drawn = views.validation_ids(KEY, data, make_learner(val_size=30).protocol)
  key = role_key(KEY, Role.VALIDATION)
  assert equal(drawn, pool.random_subset(key, jnp.ones(97, bool), num=30))
  assert set(drawn.tolist()) & set(GIVEN)


def test_too_large_a_validation_set_beside_given_ids_is_refused(data, make_learner):
  plan = make_learner(initial_ids=GIVEN, val_size=88).protocol
  with pytest.raises(ValueError, match="val_size=88, but the initial ids leave 87 images for validation"):
    checks.check(plan, with_labels(data, np.tile(data.labels, 3)))


@pytest.mark.parametrize("text", ["[60, 3, 71]", "60 3 71\n", "60,3,71", "60\n3,\n71\n", "[60,\n3, 71]\n"])
def test_a_file_of_ids_is_read(text, tmp_path):
  (tmp_path / "ids").write_text(text)
  assert initial.read(str(tmp_path / "ids")) == (60, 3, 71)


@pytest.mark.parametrize(
  ("content", "sentence"),
  [
    (None, "cannot be read"),
    (b"\xff\xfe\x00", "cannot be read"),
    (b"", "holds no ids"),
    (b"[]", "holds no ids"),
    (b"3 -4", "'-4' is no id"),
    (b"[3, 4.5]", "4.5 is no id"),
    (b"[3, true]", "True is no id"),
    (b"[3, null]", "None is no id"),
    (b"3 four", "'four' is no id"),
    (b"[3, 4", "'[3' is no id"),
    (b'{"0": [3, 4]}', "the same for every seed"),
  ],
)
def test_a_file_without_ids_is_refused_by_name(content, sentence, tmp_path):
  path = tmp_path / "ids"
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(UsageError, match=re.escape(sentence)) as caught:
    initial.read(str(path))
  assert f"--init_file={path}" in str(caught.value) and "\n" not in str(caught.value)
