"""Stabilized predictions, and the labels that a learning curve asks for."""

import time

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import cohen_kappa_score

from experiments.labeling import stopping

LABELS = np.arange(20, 210, 10)


def curve(rng, answers: int, error: float = 0.1, exponent: float = 0.6, flicker: float = 0.0) -> np.ndarray:
  """`[models, answers]`: an answer is right once a model has enough labels; a share of the entries is flipped."""
  shares = np.minimum(error * (LABELS / LABELS[-1]) ** -exponent, 1)
  right = rng.random(answers) > shares[:, None]
  return right ^ (rng.random(right.shape) < flicker)


def test_kappa_is_scikit_learns():
  rng = np.random.default_rng(0)
  for classes in (2, 3, 10):
    first = rng.integers(0, classes, 200)
    second = np.where(rng.random(200) < 0.7, first, rng.integers(0, classes, 200))
    assert stopping.kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
  assert stopping.kappa(["cat", "dog", "dog"], ["cat", "cat", "dog"]) == pytest.approx(0.4)


def test_kappa_of_constant_labelings():
  assert stopping.kappa([3, 3, 3], [3, 3, 3]) == 1
  assert stopping.kappa([3, 3, 3], [4, 4, 4]) == 0
  assert stopping.kappa(["a", "a"], ["a", "b"]) == 0


def test_kappa_of_different_images_is_refused():
  for first, second in (([], []), ([1], [1, 2])):
    with pytest.raises(ValueError, match="same images"):
      stopping.kappa(first, second)


def test_predictions_stabilize_when_the_last_three_kappas_average_at_least_99_percent():
  assert not stopping.stabilized([])
  assert not stopping.stabilized([1.0, 1.0])
  assert stopping.stabilized([1.0, 1.0, 1.0])
  assert stopping.stabilized([0.2, 0.985, 0.99, 0.996])
  assert not stopping.stabilized([1.0, 0.985, 0.99, 0.994])
  assert not stopping.stabilized([1.0, 1.0, 1.0, 0.96])


def test_falls_are_those_of_isotonic_regression():
  rng = np.random.default_rng(0)
  for _ in range(20):
    errors = np.linspace(0.5, 0.1, 12) + rng.normal(0, 0.1, 12)
    expected = IsotonicRegression(increasing=False).fit_transform(np.arange(12), errors)
    falls, last, first = stopping._falls(errors)
    assert np.allclose([*falls, last, first], [*(expected[:-1] - expected[1:]), expected[-1], expected[0]])


def test_range_is_that_of_weighted_draws_from_the_prior():
  right = curve(np.random.default_rng(1), 60)
  target = 0.95
  rng = np.random.default_rng(0)
  exponents, errors = np.exp(rng.normal(np.log(0.8), 0.5, 400_000)), rng.beta(0.5, 0.5, 400_000)
  shares = errors[:, None] * (LABELS / LABELS[-1]) ** -exponents[:, None]
  cells = np.column_stack([1 - shares[:, 0], -np.diff(shares), shares[:, -1]])
  wrong = (~right).sum(axis=1)
  counts = np.array([60 - wrong[0], *-np.diff(wrong), wrong[-1]])  # each answer is in one cell: `right` is monotone
  possible = shares[:, 0] < 1
  weights = np.where(possible, np.exp(np.log(np.maximum(cells, 1e-300)) @ counts + 150), 0)
  more = LABELS[-1] * (np.maximum(errors / (1 - target), 1) ** (1 / exponents) - 1)
  order = np.argsort(more)
  reached = np.cumsum(weights[order]) / weights.sum()
  expected = more[order[np.searchsorted(reached, [0.1, 0.5, 0.9])]]
  found = stopping.labels_more(right, LABELS, target, left=1e9)
  assert found.reason is None
  assert np.allclose(found[:3], expected, rtol=0.1, atol=2)


def test_many_answers_give_a_narrow_range_around_the_truth():
  right = curve(np.random.default_rng(2), 2000, error=0.1, exponent=0.6)
  found = stopping.labels_more(right, LABELS, 0.95, left=1e9)
  truth = 200 * (2 ** (1 / 0.6) - 1)
  assert found.low <= found.median <= found.high
  assert 0.6 * truth < found.low < truth < found.high < 1.6 * truth


def test_range_depends_on_neither_the_order_of_the_answers_nor_on_chance():
  rng = np.random.default_rng(3)
  right = curve(rng, 40, flicker=0.05)
  found = stopping.labels_more(right, LABELS, 0.95, left=5000)
  assert stopping.labels_more(right, LABELS, 0.95, left=5000) == found
  shuffled = stopping.labels_more(right[:, rng.permutation(40)], LABELS, 0.95, left=5000)
  assert shuffled == pytest.approx(found)


def test_a_higher_target_takes_more_labels_and_may_lie_beyond_the_pool():
  right = curve(np.random.default_rng(4), 100)
  near, far = (stopping.labels_more(right, LABELS, target, left=2000) for target in (0.92, 0.99))
  assert near.low <= far.low and near.median < far.median
  assert far.high == np.inf
  assert stopping.labels_more(right, LABELS, 0.5, left=2000)[:3] == (0, 0, 0)
  assert stopping.labels_more(right, LABELS, 1.0, left=2000)[:3] == (np.inf, np.inf, np.inf)


def test_a_curve_without_information_gives_a_reason():
  ones = np.ones((10, 20), bool)
  assert "3 models" in stopping.labels_more(~ones[:3], LABELS[:3], 0.95, left=100).reason
  assert "wrong on any of the 20" in stopping.labels_more(ones, LABELS[:10], 0.95, left=100).reason
  assert "no audit answer" in stopping.labels_more(ones[:, :0], LABELS[:10], 0.95, left=100).reason
  assert stopping.labels_more(~ones, LABELS[:10], 0.95, left=100).low == np.inf  # flat, at an error of 1


def test_wrong_shapes_are_refused():
  ones = np.ones((10, 20), bool)
  for right, labels in ((ones, LABELS[:9]), (ones[0], LABELS[:20]), (ones, LABELS[:10][::-1])):
    with pytest.raises(ValueError, match="increasing"):
      stopping.labels_more(right, labels, 0.95, left=100)


def test_a_range_of_20_models_and_100_answers_takes_milliseconds():
  right = curve(np.random.default_rng(5), 100)
  stopping.labels_more(right, LABELS, 0.95, left=5000)
  start = time.process_time()
  stopping.labels_more(right, LABELS, 0.95, left=5000)
  assert time.process_time() - start < 0.5
