"""Metrics and learning-curve summaries, compared with slow references and worked examples."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import recall_score

from al_jax import metrics
from tests.support import reference

NAMES = ["accuracy", "negative_log_likelihood", "expected_calibration_error"]


def predictions(scale: float, seed: int = 0, size: int = 301):
  rng = np.random.default_rng(seed)
  logits = jnp.array(rng.normal(size=(size, 4)) * scale, jnp.float32)
  return np.asarray(jax.nn.log_softmax(logits)), rng.integers(0, 4, size).astype(np.int32)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 100.0])
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_reference(name, scale):
  log_probs, labels = predictions(scale)
  expected = getattr(reference, name)(log_probs, labels)
  np.testing.assert_allclose(jax.jit(getattr(metrics, name))(log_probs, labels), expected, rtol=1e-5, atol=1e-6)


def test_accuracy_of_each_class_is_recall_and_its_mean_balanced_accuracy():
  log_probs, labels = predictions(1.0)
  said = log_probs.argmax(1)
  measured = jax.jit(metrics.class_accuracy)(log_probs, labels)
  np.testing.assert_allclose(measured, recall_score(labels, said, average=None), rtol=1e-6)
  assert metrics.balanced_accuracy(measured) == pytest.approx(balanced_accuracy_score(labels, said))
  some = labels < 3  # no row of class 3
  measured = metrics.class_accuracy(log_probs[some], labels[some])
  assert math.isnan(measured[3]) and metrics.balanced_accuracy(measured) == pytest.approx(float(measured[:3].mean()))
  assert math.isnan(metrics.balanced_accuracy([math.nan]))


def test_worked_calibration_error():
  # Bin 9 contains 0.65 twice, once correct; bin 14 contains 0.95 once, wrong: (2 |0.5 - 0.65| + |0 - 0.95|) / 3.
  log_probs = jnp.log(jnp.array([[0.65, 0.35], [0.65, 0.35], [0.05, 0.95]]))
  labels = jnp.array([0, 1, 0])
  np.testing.assert_allclose(metrics.expected_calibration_error(log_probs, labels), (0.3 + 0.95) / 3, rtol=1e-6)


def test_calibration_error_of_sure_answers():
  sure = jnp.array([[0.0, -jnp.inf]] * 4)
  assert metrics.expected_calibration_error(sure, jnp.array([0, 0, 0, 0])) == 0
  assert metrics.expected_calibration_error(sure, jnp.array([0, 0, 0, 1])) == 0.25
  assert metrics.expected_calibration_error(sure, jnp.array([1, 1, 1, 1])) == 1


def test_impossible_labels_cost_infinitely_much():
  assert metrics.negative_log_likelihood(jnp.array([[0.0, -jnp.inf]]), jnp.array([1])) == math.inf


@pytest.mark.parametrize("name", NAMES)
def test_order_of_examples_does_not_matter(name):
  log_probs, labels = predictions(2.0)
  order = np.random.default_rng(3).permutation(len(labels))
  metric = getattr(metrics, name)
  np.testing.assert_allclose(metric(log_probs[order], labels[order]), metric(log_probs, labels), rtol=1e-5)


def test_weights_of_accuracy():
  log_probs, labels = predictions(2.0)
  weights = (np.arange(len(labels)) % 3 == 0).astype(np.float32)
  kept = weights > 0
  expected = reference.accuracy(log_probs[kept], labels[kept])
  np.testing.assert_allclose(metrics.accuracy(log_probs, labels, weights), expected, rtol=1e-6)
  assert expected != reference.accuracy(log_probs, labels)


def test_a_prediction_that_is_not_a_number_is_wrong():
  log_probs = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], np.float32))
  log_probs[0] = np.nan
  labels = np.array([0, 0, 1], np.int32)
  np.testing.assert_allclose(metrics.accuracy(log_probs, labels), 2 / 3)
  np.testing.assert_allclose(metrics.accuracy(log_probs, labels, np.array([1.0, 1.0, 0.0])), 1 / 2)
  assert np.isnan(metrics.negative_log_likelihood(log_probs, labels))


def test_area_under_curve():
  labels, accuracies = [20, 30, 60, 61], [0.2, 0.5, 0.9, 0.8]
  np.testing.assert_allclose(
    metrics.area_under_curve(labels, accuracies), reference.area_under_curve(labels, accuracies), rtol=1e-12
  )
  # 10 * 0.35 + 30 * 0.7 + 1 * 0.85 = 25.35 over 41 labels.
  np.testing.assert_allclose(metrics.area_under_curve(labels, accuracies), 25.35 / 41, rtol=1e-12)
  assert metrics.area_under_curve([7], [0.25]) == 0.25


def test_area_under_a_flat_curve_is_its_height():
  np.testing.assert_allclose(metrics.area_under_curve([3, 5, 50], [0.75] * 3), 0.75, rtol=1e-12)


def test_labels_to_reach():
  labels, accuracies = [20, 30, 40, 50], [0.5, 0.8, 0.7, 0.9]
  reached = [metrics.labels_to_reach(goal, labels, accuracies) for goal in (0.0, 0.5, 0.6, 0.8, 0.85, 0.9, 0.91)]
  assert reached == [20, 20, 30, 30, 50, 50, None]
  with pytest.raises(ValueError):
    metrics.labels_to_reach(0.99, labels, accuracies[:-1])
