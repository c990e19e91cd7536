"""Statistics of curves, compared with hand computations and with al_jax.metrics."""

from math import inf

import numpy as np
import pytest

from al_jax import metrics
from experiments.analysis import curves

LABELS, ACCURACIES = [10, 20, 40], [0.5, 0.7, 0.9]


def test_area_by_hand_and_as_the_core_has_it():
  area = curves.area_under_curve(LABELS, ACCURACIES)
  assert area == pytest.approx((10 * 0.6 + 20 * 0.8) / 30)
  assert area == metrics.area_under_curve(LABELS, ACCURACIES)
  both = curves.area_under_curve(LABELS, np.array([ACCURACIES, [0.5, 0.5, 0.5]]))
  np.testing.assert_allclose(both, [area, 0.5])
  assert curves.area_under_curve([10], [0.5]) == metrics.area_under_curve([10], [0.5]) == 0.5
  assert curves.area_under_curve([10], [[0.5], [0.25]]).tolist() == [0.5, 0.25]


@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.71, 0.9, 0.91])
def test_labels_to_reach_is_the_core_s(threshold):
  theirs = metrics.labels_to_reach(threshold, LABELS, ACCURACIES)
  assert curves.labels_to_reach(threshold, LABELS, ACCURACIES) == (inf if theirs is None else theirs)


def test_labels_at_an_accuracy_lie_between_budgets():
  at = [curves.labels_at(level, LABELS, np.array(ACCURACIES)) for level in (0.4, 0.5, 0.6, 0.7, 0.8, 0.95)]
  assert at == [10, 10, pytest.approx(15), pytest.approx(20), pytest.approx(30), None]
  falls = np.array([0.5, 0.8, 0.6])
  assert curves.labels_at(0.65, LABELS, falls) == pytest.approx(15)  # the first crossing


def test_quartiles_are_values_that_were_seen_and_never_counts_as_more():
  assert curves.quartiles([10, 20, 30, inf]) == (20, 30, inf)
  assert curves.quartiles([10, inf]) == (inf, inf, inf)
  assert curves.quartiles([20]) == (20, 20, 20)


def test_a_bootstrap_of_two_seeds_reaches_from_one_to_the_other():
  """A quarter of the resamples has one seed twice, more than the 2.5% of each tail."""
  low, high = curves.interval(np.array([[0.0, 0.3], [1.0, 0.3]]))
  np.testing.assert_array_equal(low, [0, 0.3])
  np.testing.assert_array_equal(high, [1, 0.3])
  assert curves.interval(np.array([[0.5, 0.6]])) is None


def test_a_bootstrap_of_many_seeds_is_near_the_normal_interval():
  values = np.random.default_rng(3).normal(size=400)
  low, high = curves.interval(values)
  error = values.std(ddof=1) / 20
  np.testing.assert_allclose([low, high], values.mean() + np.array([-1.96, 1.96]) * error, atol=0.3 * error)


def test_an_accuracy_in_float32_reaches_the_level_that_it_equals():
  for threshold in (0.8, 0.9, 0.95, 0.99):
    exactly = float(np.float32(threshold))
    below = float(np.nextafter(np.float32(threshold), np.float32(0)))
    assert curves.labels_to_reach(threshold, [10, 20, 30], [0.5, below, exactly]) == 30
