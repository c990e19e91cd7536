"""Reference of BAIT: explicit float64 matrices of all parameters, every trace computed from scratch."""

import numpy as np


def fisher_factor(probs, features) -> np.ndarray:
  """Rows `sqrt(p_c)` times the gradient of `log p_c` with respect to the kernel: `[C, C*F]`."""
  probs, features = np.asarray(probs, np.float64), np.asarray(features, np.float64)
  rows = []
  for c in range(len(probs)):
    error = -probs.copy()
    error[c] += 1
    rows.append(np.sqrt(probs[c]) * np.outer(error, features).ravel())
  return np.array(rows)


def information(probs, features) -> np.ndarray:
  """Fisher information of one example, `[C*F, C*F]`: expectation over the label of the gradient's outer product."""
  rows = fisher_factor(probs, features)
  return rows.T @ rows


def expectation_information(probs, features, classes: int) -> np.ndarray:
  """Huseljic et al. (2024): the expectation over the most probable labels, with probabilities that sum to 1."""
  probs, features = np.asarray(probs, np.float64), np.asarray(features, np.float64)
  top = sorted(range(len(probs)), key=lambda c: -probs[c])[:classes]
  total = 0.0
  for c in top:
    gradient = np.outer(np.eye(len(probs))[c] - probs, features).ravel()
    total = total + probs[c] / probs[top].sum() * np.outer(gradient, gradient)
  return total


def binary_information(probs, features) -> np.ndarray:
  """Huseljic et al. (2024): the expectation over "the most probable class" and "another one", `[F, F]`."""
  highest, features = np.max(np.asarray(probs, np.float64)), np.asarray(features, np.float64)
  gradients = (1 - highest) * features, -highest * features
  return sum(p * np.outer(g, g) for p, g in zip((highest, 1 - highest), gradients, strict=True))


def problem(log_probs, features, labeled, candidates, num: int, regularization: float, information=information):
  """F `[C*F, C*F]`, M of an empty batch `[C*F, C*F]`, and the term that each row adds to M `[N, C*F, C*F]`."""
  probs = np.exp(np.asarray(log_probs, np.float64)).mean(axis=1)
  each = np.array([information(p, h) for p, h in zip(probs, features, strict=True)])
  labeled, candidates = np.asarray(labeled), np.asarray(candidates)
  count = labeled.sum()
  start = regularization * np.eye(each.shape[1])
  if count:
    start = start + count / (count + num) * each[labeled].mean(axis=0)
  return each[labeled | candidates].mean(axis=0), start, num / (count + num) * each


def objective(target, matrix) -> float:
  """tr(M^-1 F)."""
  return float(np.trace(np.linalg.solve(matrix, target)))


def bait(
  log_probs,
  features,
  labeled,
  candidates,
  num: int,
  regularization: float = 1.0,
  oversample: float = 2.0,
  information=information,
):
  """Ids of the forward phase, and those left after the backward phase; of equals, the last added is removed."""
  target, matrix, each = problem(log_probs, features, labeled, candidates, num, regularization, information)
  pool = np.flatnonzero(candidates).tolist()
  picked = []
  while len(picked) < min(int(oversample * num), len(np.flatnonzero(candidates))):
    best = min(pool, key=lambda i: objective(target, matrix + each[i]))
    matrix = matrix + each[best]
    pool.remove(best)
    picked.append(best)
  kept = list(picked)
  while len(kept) > num:
    worst = min(reversed(kept), key=lambda i: objective(target, matrix - each[i]))
    matrix = matrix - each[worst]
    kept.remove(worst)
  return picked, kept
