"""Contact sheets: drawn for every round that acquires images, with that round's model."""

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

from al_jax import evaluation
from al_jax import loop
from experiments.runs import contact_sheets


def row_of(acq="power_bald(coldness=8)", selected=(3, 9, 4), scores=(0.5, 0.25, 0.125), r=1):
  return {
    "acq": acq,
    "seed": 0,
    "round": r,
    "num_labeled": 17,
    "selected": list(selected),
    "selected_labels": [1] * len(selected),
    "selected_scores": None if scores is None else list(scores),
  }


@pytest.mark.slow
def test_a_sheet_a_round(data, make_learner, tmp_path):
  learner = make_learner("bald")
  state = loop.init_state(jax.random.key(0), data, learner)
  write = contact_sheets.writer(tmp_path / "sheets", jax.device_put(data), learner)
  write(row_of(), state)
  write(row_of(selected=(), scores=None, r=2), state)  # the last round acquires nothing
  (sheet,) = (tmp_path / "sheets").iterdir()
  assert sheet.name == "power_bald-coldness=8-seed0-round01.png"
  assert sheet.stat().st_size < 300_000


@pytest.mark.slow
def test_predictions_are_of_the_rows_round(data, make_learner, tmp_path, monkeypatch):
  learner = make_learner("bald")
  state = loop.init_state(jax.random.key(0), data, learner)
  shown = []
  monkeypatch.setattr(contact_sheets, "draw", lambda row, images, probs, path, names: shown.append((images, probs)))
  after = state._replace(round=jnp.int32(2))  # the state after round 1
  contact_sheets.writer(tmp_path, jax.device_put(data), learner)(row_of(), after)
  expected = evaluation.predict_pool(state._replace(round=jnp.int32(1)), data, jnp.array([3, 9, 4]), learner)
  np.testing.assert_allclose(shown[0][1], np.exp(expected), rtol=1e-4)
  np.testing.assert_allclose(shown[0][0], np.asarray(data.inputs, np.float32)[[3, 9, 4]] / 16, rtol=1e-6)


@pytest.mark.parametrize(
  ("shape", "scores"), [((8, 8, 1), (0.5,) * 12), ((8, 8), None), ((8, 8, 3), (0.1,) * 12), ((8, 8, 2), None)]
)
def test_every_kind_of_image_is_drawn(shape, scores, tmp_path):
  rng = np.random.default_rng(0)
  probs = rng.dirichlet(np.ones(10), 12)
  row = row_of(selected=range(12), scores=scores)
  contact_sheets.draw(row, rng.normal(size=(12, *shape)), probs, tmp_path / "sheet.png")
  pixels = matplotlib.image.imread(tmp_path / "sheet.png")
  assert pixels.std() > 0.05 and pixels.shape[1] > pixels.shape[0] / 4


@pytest.mark.slow
def test_more_than_a_hundred_images_are_cut(tmp_path):
  images, probs = np.zeros((150, 4, 4)), np.full((150, 10), 0.1)
  contact_sheets.draw(row_of(selected=range(150), scores=None), images, probs, tmp_path / "sheet.png")
  assert (tmp_path / "sheet.png").stat().st_size < 2_000_000
