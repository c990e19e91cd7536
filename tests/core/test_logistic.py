"""Multinomial logistic regression against scikit-learn, and its behavior on degenerate rows."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression

from al_jax import logistic

pytestmark = pytest.mark.usefixtures("fast_compilation")

TOLERANCE = 1e-5
fit = jax.jit(logistic.fit, static_argnames="max_iterations")  # compiled once per shape


class Problem(NamedTuple):
  """Rows, labels, weights, and new rows on which predictions are compared."""

  rows: np.ndarray
  labels: np.ndarray
  weights: np.ndarray
  others: np.ndarray
  classes: int


def problem(n: int, features: int, classes: int, seed: int = 0, spread: float = 1.0) -> Problem:
  """Gaussian classes, `spread` apart; 100 other rows of the same distribution."""
  rng = np.random.default_rng(seed)
  centers = spread * rng.normal(size=(classes, features))
  labels = np.append(np.arange(n) % classes, rng.integers(0, classes, 100)).astype(np.int32)
  rows = (centers[labels] + rng.normal(size=(n + 100, features))).astype(np.float32)
  return Problem(rows[:n], labels[:n], np.ones(n, np.float32), rows[n:], classes)


def solved(given: Problem, *, l2: float = 1.0, start=None, max_iterations: int = 100) -> logistic.Solution:
  """The library's solution; by default from 0."""
  shape = given.rows.shape[1], given.classes
  start = (jnp.zeros(shape), jnp.zeros(given.classes)) if start is None else start
  how = {"l2": l2, "tolerance": TOLERANCE, "max_iterations": max_iterations}
  return fit(given.rows, given.labels, given.weights, start, **how)


def predicted(kernel, bias, rows) -> np.ndarray:
  """Class probabilities `[K, C]` in float64."""
  logits = np.asarray(rows, np.float64) @ np.asarray(kernel, np.float64) + np.asarray(bias, np.float64)
  odds = np.exp(logits - logits.max(axis=1, keepdims=True))
  return odds / odds.sum(axis=1, keepdims=True)


def by_sklearn(given: Problem, l2: float = 1.0) -> np.ndarray:
  """scikit-learn's probabilities for the rows and the other rows, with columns of 0 for classes without a label."""
  model = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=5000)
  model.fit(given.rows.astype(np.float64), given.labels, sample_weight=given.weights.astype(np.float64))
  everything = np.concatenate([given.rows, given.others]).astype(np.float64)
  probs = np.zeros((len(everything), given.classes))
  probs[:, model.classes_] = model.predict_proba(everything)
  return probs


def gap(given: Problem, l2: float = 1.0) -> float:
  """The largest difference of a probability from scikit-learn's."""
  found = solved(given, l2=l2)
  return np.abs(
    predicted(found.kernel, found.bias, np.concatenate([given.rows, given.others])) - by_sklearn(given, l2)
  ).max()


def gradient(given: Problem, found: logistic.Solution, l2: float) -> np.ndarray:
  """The gradient `[F + 1, C]` of the objective at the solution, in float64."""
  x = np.pad(given.rows.astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
  wrong = predicted(found.kernel, found.bias, given.rows) - np.eye(given.classes)[given.labels]
  penalty = np.append(l2 * np.asarray(found.kernel, np.float64), np.zeros((1, given.classes)), axis=0)
  return x.T @ (given.weights[:, None] * wrong) + penalty


@pytest.mark.parametrize("l2", [0.1, 1.0, 100.0])
@pytest.mark.parametrize(("n", "features", "classes"), [(12, 20, 10), (200, 6, 3), (60, 40, 10)])
def test_probabilities_are_those_of_scikit_learn(n, features, classes, l2):
  assert gap(problem(n, features, classes), l2) < 5e-4


@pytest.mark.parametrize(("n", "features"), [(30, 700), (700, 30), (700, 600)])
def test_the_preconditioner_is_an_inverse_by_features_and_by_rows(n, features):
  rng = np.random.default_rng(0)
  x, variance, ridge = rng.normal(size=(n, features)), rng.random(n) * (rng.random(n) < 0.7), rng.random(features) + 0.5
  given = [jnp.array(array, jnp.float32) for array in (x, variance, ridge)]
  rows = rng.normal(size=(3, features))
  expected = np.linalg.solve((x.T * variance) @ x + np.diag(ridge), rows.T).T
  found = logistic.preconditioner(*given)(jnp.array(rows, jnp.float32))
  np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_more_features_than_rows():
  assert gap(problem(40, 700, 4)) < 5e-4


def test_pixels_of_photographs_are_fitted_to_convergence():
  """768 correlated features: with the curvatures of the start, 100 Newton steps were not enough."""
  rows, labels = [], []
  for photo, image in enumerate(load_sample_images().images):
    for y, x in itertools.product(range(0, image.shape[0] - 15, 16), range(0, image.shape[1] - 15, 16)):
      rows.append(image[y : y + 16, x : x + 16].ravel())
      labels.append(6 * photo + 3 * (2 * y // image.shape[0]) + 3 * x // image.shape[1])  # the sixth of the photograph
  rows = (np.array(rows) - np.mean(rows, axis=0)) / np.std(rows, axis=0)
  ids = np.random.default_rng(0).permutation(len(rows))[:224]
  given = Problem(rows[ids].astype(np.float32), np.int32(labels)[ids], np.ones(224, np.float32), rows[:0], 12)
  found = solved(given)
  assert found.iterations < 40
  assert np.linalg.norm(gradient(given, found, 1.0)) < 1.2 * TOLERANCE * 224


def test_separable_classes():
  given = problem(60, 5, 3, spread=20.0)
  found = solved(given)
  assert (predicted(found.kernel, found.bias, given.rows).argmax(axis=1) == given.labels).all() and found.loss < 0.02
  assert gap(given) < 5e-4 and gap(given, 1e-2) < 5e-4


def test_two_classes_have_half_the_penalty_of_scikit_learns_one_column():
  given = problem(40, 6, 2)
  found = solved(given, l2=3.0)
  probs = predicted(found.kernel, found.bias, np.concatenate([given.rows, given.others]))
  np.testing.assert_allclose(probs, by_sklearn(given, 1.5), atol=5e-4)
  assert np.abs(probs - by_sklearn(given, 3.0)).max() > 5e-3


def test_a_class_without_labels():
  given = problem(40, 5, 4)
  kept = given.labels != 2
  given = given._replace(rows=given.rows[kept], labels=given.labels[kept], weights=given.weights[kept])
  assert gap(given) < 5e-4
  one = solved(given._replace(labels=np.full(30, 1, np.int32)))
  assert (predicted(one.kernel, one.bias, given.others)[:, 1] > 0.9999).all()


def test_weights_count_rows():
  """A weight of 2 is a row given twice, of 0 a row left out, whatever it holds."""
  given = problem(40, 6, 3)
  weights = np.random.default_rng(1).integers(0, 4, 40).astype(np.float32)
  weights[:3] = 0
  weighted = given._replace(weights=weights)
  repeated = np.repeat(np.arange(40), weights.astype(int))
  by_hand = given._replace(
    rows=given.rows[repeated], labels=given.labels[repeated], weights=np.ones(len(repeated), np.float32)
  )
  expected = by_sklearn(by_hand)[-100:]
  assert np.abs(expected - by_sklearn(given)[-100:]).max() > 0.01, "the weights matter"
  broken = given.rows.copy()
  broken[0], broken[1] = np.nan, np.inf
  for case in (weighted, by_hand, weighted._replace(rows=broken)):
    found = solved(case)
    np.testing.assert_allclose(predicted(found.kernel, found.bias, given.others), expected, atol=5e-4)
    np.testing.assert_allclose(found.loss, solved(by_hand).loss, rtol=1e-4)


@pytest.mark.parametrize("l2", [0.01, 1.0])
def test_the_gradient_is_below_the_tolerance_and_the_loss_is_that_of_the_solution(l2):
  for given in (problem(60, 40, 10), problem(200, 6, 3), problem(60, 5, 3, spread=5.0)):
    found = solved(given, l2=l2)
    assert np.linalg.norm(gradient(given, found, l2)) < 1.1 * TOLERANCE * len(given.labels)
    probs = predicted(found.kernel, found.bias, given.rows)[np.arange(len(given.labels)), given.labels]
    np.testing.assert_allclose(found.loss, -np.log(probs).mean(), rtol=1e-4)


@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_any_start_leads_to_the_same_solution(scale):
  given = problem(60, 12, 5)
  rng = np.random.default_rng(2)
  start = jnp.array(scale * rng.normal(size=(12, 5)), jnp.float32), jnp.array(scale * rng.normal(size=5), jnp.float32)
  from_zero, elsewhere = solved(given), solved(given, start=start)
  probs = [predicted(found.kernel, found.bias, given.others) for found in (from_zero, elsewhere)]
  np.testing.assert_allclose(*probs, atol=2e-4)
  again = solved(given, start=(from_zero.kernel, from_zero.bias))
  assert again.iterations == 0 and np.array_equal(again.kernel, from_zero.kernel)


def test_the_solution_of_half_of_the_rows_leads_to_that_of_all():
  """Also where the first half is separable, so that predictions are saturated, and the other half contradicts it."""
  given = problem(60, 12, 5, spread=20.0)
  given.labels[30:] = np.random.default_rng(0).integers(0, 5, 30)
  half = solved(given._replace(weights=np.where(np.arange(60) < 30, 1, 0).astype(np.float32)))
  assert half.loss < 0.01
  whole, onwards = solved(given), solved(given, start=(half.kernel, half.bias))
  probs = [predicted(found.kernel, found.bias, given.others) for found in (whole, onwards)]
  np.testing.assert_allclose(*probs, atol=2e-4)


def test_side_by_side_under_vmap_as_alone():
  """Problems that take a different number of steps do not affect each other."""
  given = [problem(30, 6, 3, seed, spread) for seed, spread in enumerate((0.1, 2.0, 30.0))]
  stack = lambda name: np.stack([getattr(one, name) for one in given])
  start = jnp.zeros((6, 3)), jnp.zeros(3)
  one = functools.partial(logistic.fit, start=start, l2=1.0, tolerance=TOLERANCE, max_iterations=100)
  together = jax.jit(jax.vmap(one))(stack("rows"), stack("labels"), stack("weights"))
  alone = [solved(case) for case in given]
  assert together.iterations.tolist() == [int(found.iterations) for found in alone]
  assert len(set(together.iterations.tolist())) == 3
  for k, found in enumerate(alone):
    np.testing.assert_allclose(together.kernel[k], found.kernel, atol=1e-5)
    np.testing.assert_allclose(together.loss[k], found.loss, rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
def test_rows_that_are_not_finite_or_overflow_give_a_loss_that_is_not_finite(value):
  given = problem(30, 5, 3)
  given.rows[4, 2] = value
  found = solved(given)
  assert np.isnan(found.loss) and found.iterations <= 100


def test_the_number_of_iterations_is_limited():
  given = problem(60, 12, 5, spread=3.0)
  needed = int(solved(given).iterations)
  assert needed > 3
  short = solved(given, max_iterations=3)
  assert short.iterations == 3
  assert np.linalg.norm(gradient(given, short, 1.0)) > 2 * TOLERANCE * 60
  assert solved(given, max_iterations=needed).iterations == needed


def test_the_tolerance_of_the_rows_precision_is_reached_in_few_steps():
  """Newton's method: the number of steps hardly grows with the number of features."""
  for features in (2, 64):
    assert 1 <= solved(problem(100, features, 4)).iterations <= 12
