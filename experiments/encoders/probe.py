"""Linear probes: how well few labels of the pool and a linear head classify the other rows of the pool."""

from collections.abc import Sequence
from typing import NamedTuple
import warnings

import numpy as np

from experiments.common.errors import UsageError

SEEDS = 5


class Probe(NamedTuple):
  """Accuracy of a linear head with `labels` labels, over `SEEDS` draws of them."""

  labels: int
  mean: float  # in 0..1
  deviation: float  # sample standard deviation


def budgets(texts: Sequence[str], labels: np.ndarray) -> list[int]:
  """Reads `--probe` for a pool with these labels, where negative ones are unknown.

  Raises:
    UsageError: a number is not a multiple of the number of classes, or exceeds the pool.
  """
  classes, counts = np.unique(labels[labels >= 0], return_counts=True)
  if texts and len(classes) < 2:
    raise UsageError(f"--probe needs known labels of two classes, but the pool has {len(classes)}: leave it out")
  found = []
  for text in texts:
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1 or number % len(classes):
      raise UsageError(f"--probe={text} must be a multiple of the {len(classes)} classes, such as {10 * len(classes)}")
    if number // len(classes) >= counts.min():
      raise UsageError(f"--probe={text} leaves no rows to test on: the smallest class has {counts.min()} in the pool")
    found.append(number)
  return found


def accuracies(features: np.ndarray, labels: np.ndarray, budgets: Sequence[int]) -> list[Probe]:
  """Fits scikit-learn's `LogisticRegression(C=1)` on class-balanced rows, and tests it on all other rows.

  Features are standardized by their mean and deviation over the rows. Labels are those of the pool: test labels must
  not be used, because whoever reads a probe may choose settings by it.

  Args:
    features: `[N, F]` of the pool.
    labels: `[N]`; rows with a negative label are left out.
    budgets: numbers of labels, multiples of the number of classes.
  """
  from sklearn.exceptions import ConvergenceWarning  # importing it takes a second
  from sklearn.linear_model import LogisticRegression

  features, labels = features[labels >= 0].astype(np.float64), labels[labels >= 0]
  deviation = features.std(axis=0)
  features = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
  classes, out = np.unique(labels), []
  for budget in budgets:
    shares = []
    for seed in range(SEEDS):
      draw = np.random.default_rng([seed, budget])
      of = lambda label, draw=draw: draw.permutation(np.flatnonzero(labels == label))
      chosen = np.concatenate([of(label)[: budget // len(classes)] for label in classes])
      with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        head = LogisticRegression(C=1.0, max_iter=1000).fit(features[chosen], labels[chosen])
      others = np.delete(np.arange(len(labels)), chosen)
      shares.append(float(np.mean(head.predict(features[others]) == labels[others])))
    out.append(Probe(budget, float(np.mean(shares)), float(np.std(shares, ddof=1))))
  return out
