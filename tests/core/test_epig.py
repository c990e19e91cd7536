"""EPIG compared with its definition, its bounds and its symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from al_jax import acquisition
from al_jax import types
from tests.support import reference as core_reference
from tests.support import reference_information as reference
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SIZE, TARGETS, SAMPLES, CLASSES = 11, 5, 6, 3


def log_probs_of(size: int, seed: int, scale: float = 2.0) -> np.ndarray:
  logits = np.random.default_rng(seed).normal(size=(size, SAMPLES, CLASSES)) * scale
  return scipy.special.log_softmax(logits, axis=-1).astype(np.float32)


def certain_log_probs(size: int, seed: int) -> np.ndarray:
  """Probabilities of exactly 0 and 1; the last class is never predicted."""
  labels = np.random.default_rng(seed).integers(0, CLASSES - 1, (size, SAMPLES))
  return np.where(np.eye(CLASSES)[labels] > 0, 0.0, -np.inf).astype(np.float32)


POOLS = {
  "ordinary": (log_probs_of(SIZE, 0), log_probs_of(TARGETS, 1)),
  "nearly agreeing": (log_probs_of(SIZE, 0, 0.2), log_probs_of(TARGETS, 1, 0.2)),
  "certain": (certain_log_probs(SIZE, 2), certain_log_probs(TARGETS, 3)),
  "certain targets": (log_probs_of(SIZE, 0), certain_log_probs(TARGETS, 3)),
}


_score = jax.jit(acquisition.make("epig", chunk_size=4).score)


def scores_of(log_probs: np.ndarray, targets: np.ndarray) -> np.ndarray:
  candidates = np.ones(len(log_probs), bool)
  return np.asarray(_score(ties_by_id(types.PoolView(~candidates, candidates, log_probs, target_log_probs=targets))))


@pytest.mark.parametrize("kind", POOLS)
def test_scores_equal_the_definition(kind, debug_nans):
  log_probs, targets = POOLS[kind]
  scores = scores_of(log_probs, targets)
  expected = [reference.epig(image, targets) for image in log_probs]
  # If samples nearly agree, rounding takes digits from their differences.
  rtol = 1e-3 if kind == "nearly agreeing" else 2e-5
  np.testing.assert_allclose(scores, expected, rtol=rtol, atol=1e-7 * max(expected))
  assert (scores >= 0).all() and scores.max() > 0


@pytest.mark.parametrize("kind", POOLS)
def test_no_more_than_either_label_or_the_parameters_hold(kind):
  log_probs, targets = POOLS[kind]
  scores = scores_of(log_probs, targets)
  entropy, bald = (
    lambda images, of=of: np.array([of(image) for image in images])
    for of in (core_reference.entropy, core_reference.mutual_information)
  )
  # Labels are independent given the parameters: I[y; y*] <= I[y; w] and I[y; y*] <= I[y*; w].
  for bound in (entropy(log_probs), entropy(targets).mean(), bald(log_probs), bald(targets).mean()):
    assert (scores <= bound * (1 + 1e-5)).all()


def test_is_the_information_in_the_pair_beyond_each_alone():
  log_probs, targets = POOLS["ordinary"]
  for target in targets:
    expected = [
      reference.joint_information(image[None])
      + reference.joint_information(target[None])
      - reference.joint_information(np.stack([image, target]))
      for image in log_probs
    ]
    np.testing.assert_allclose(scores_of(log_probs, target[None]), expected, rtol=2e-5, atol=1e-7)


def test_an_image_that_is_its_own_target():
  # Without label noise, one label determines the other: EPIG is the entropy, which also equals BALD.
  log_probs = certain_log_probs(SIZE, 4)
  scores = [scores_of(log_probs, image[None])[i] for i, image in enumerate(log_probs)]
  np.testing.assert_allclose(scores, [core_reference.entropy(image) for image in log_probs], rtol=1e-5, atol=1e-7)


def test_image_and_target_are_exchangeable():
  images, _ = POOLS["ordinary"]
  table = np.stack([scores_of(images, target[None]) for target in images])
  np.testing.assert_allclose(table, table.T, rtol=1e-5)
  np.testing.assert_allclose(table[:TARGETS].mean(axis=0), scores_of(images, images[:TARGETS]), rtol=1e-5)


def test_order_of_classes_samples_images_and_targets_does_not_matter():
  log_probs, targets = POOLS["ordinary"]
  scores, rng = scores_of(log_probs, targets), np.random.default_rng(0)
  classes, samples, images = (rng.permutation(size) for size in (CLASSES, SAMPLES, SIZE))
  for other in (
    scores_of(log_probs[:, :, classes], targets),
    scores_of(log_probs, targets[:, :, classes]),
    scores_of(log_probs[:, samples], targets[:, samples]),
    scores_of(log_probs, targets[::-1]),
  ):
    np.testing.assert_allclose(other, scores, rtol=1e-5)
  np.testing.assert_allclose(scores_of(log_probs[images], targets), scores[images], rtol=1e-5)
  # Images and targets share their samples: permuting only one of them changes the scores.
  assert not np.allclose(scores_of(log_probs[:, samples], targets), scores, rtol=0.1)


@pytest.mark.parametrize("agreeing", ["images", "targets", "both"])
def test_samples_that_agree_say_exactly_nothing(agreeing):
  log_probs, targets = POOLS["ordinary"]
  first = lambda x: np.repeat(x[:, :1], SAMPLES, axis=1)
  log_probs = log_probs if agreeing == "targets" else first(log_probs)
  targets = targets if agreeing == "images" else first(targets)
  assert (scores_of(log_probs, targets) == 0).all()


def test_prefers_what_bears_on_the_targets():
  # Image 0 splits the samples as the target does. Image 1 splits them more finely but independently of the target: BALD
  # prefers image 1, EPIG image 0.
  certain_votes = lambda *labels: jnp.where(jax.nn.one_hot(jnp.array(labels), CLASSES) > 0, 0.0, -jnp.inf)
  log_probs = jnp.stack([certain_votes(0, 0, 0, 1, 1, 1), certain_votes(0, 1, 2, 0, 1, 2)])
  candidates = jnp.ones(2, bool)
  view = ties_by_id(types.PoolView(~candidates, candidates, log_probs, target_log_probs=log_probs[:1]))
  select_one = lambda name: lambda view: jax.jit(lambda v: acquisition.make(name).select(None, v, num=1))(view).tolist()
  choice = {name: select_one(name)(view) for name in ("bald", "epig")}
  assert choice == {"bald": [1], "epig": [0]}


def test_number_of_targets():
  assert acquisition.make("epig").needs.targets == 100
  assert acquisition.make("epig", targets=7).needs.targets == 7
  assert acquisition.power(acquisition.epig(targets=7)).needs.targets == 7
  with pytest.raises(ValueError, match="targets must be at least 1, not 0"):
    acquisition.make("epig", targets=0)
