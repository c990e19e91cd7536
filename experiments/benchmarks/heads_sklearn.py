"""The side of `--suite=heads` that uses scikit-learn and NumPy."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from experiments.benchmarks.heads_loop import Head
from experiments.benchmarks.heads_plan import ACQ_SIZE
from experiments.benchmarks.heads_plan import Data


def scores(probs: np.ndarray, strategy: str) -> np.ndarray:
  """Entropy in nats, or the negative margin, of `[N, C]` probabilities: `[N]`, higher scores are labeled first."""
  if strategy == "entropy":
    return -(probs * np.log(np.maximum(probs, np.finfo(probs.dtype).tiny))).sum(axis=1)
  best = np.partition(probs, -2, axis=1)[:, -2:]
  return best[:, 0] - best[:, 1]


def sklearn_head(data: Data) -> Head:
  """Logistic regression with C = 1 by L-BFGS from zero, `predict_proba` on the whole pool, `np.argpartition`."""

  def fit(ids: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=1.0, max_iter=1000).fit(data.features[ids], data.labels[ids])

  def accuracy(fitted: LogisticRegression) -> float:
    return float((fitted.predict(data.test_features) == data.test_labels).mean())

  def acquire(fitted: LogisticRegression, ids: np.ndarray, strategy: str) -> np.ndarray:
    found = scores(fitted.predict_proba(data.features), strategy)
    found[ids] = -np.inf
    return np.argpartition(found, -ACQ_SIZE)[-ACQ_SIZE:]

  return Head(fit, accuracy, acquire)
