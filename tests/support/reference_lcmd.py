"""Reference of LCMD: explicit float64 gradients of the last layer's kernel and bias, one pair at a time."""

import numpy as np


def gradients(log_probs, features) -> np.ndarray:
  """`[N, C * (F + 1)]`: gradients of the loss with the predicted class as the label."""
  probs = np.exp(np.asarray(log_probs, np.float64)).mean(axis=1)
  errors = probs - np.eye(probs.shape[1])[probs.argmax(axis=1)]
  inputs = np.column_stack([np.asarray(features, np.float64), np.ones(len(probs))])
  return np.stack([np.outer(error, x).ravel() for error, x in zip(errors, inputs, strict=True)])


def lcmd(log_probs, features, labeled, candidates, num: int) -> list[int]:
  """Holzmueller et al. (2023), algorithm LCMD-TP; the first pick without a labeled image has the largest norm."""
  rows = gradients(log_probs, features)
  centers, pool, picked = np.flatnonzero(labeled).tolist(), np.flatnonzero(candidates).tolist(), []
  squared = lambda i, c: float(((rows[i] - rows[c]) ** 2).sum())
  for _ in range(num):
    left = [i for i in pool if i not in picked]
    if not centers:
      new = max(left, key=lambda i: ((rows[i] ** 2).sum(), -i))
    else:
      nearest = {i: min(centers, key=lambda c, i=i: squared(i, c)) for i in pool}
      sizes = {c: sum(squared(i, c) for i in pool if nearest[i] == c) for c in centers}
      largest = max(sizes.values())
      among = [i for i in left if sizes[nearest[i]] >= largest * (1 - 1e-12)]
      new = max(among, key=lambda i: (squared(i, nearest[i]), -i))
    picked.append(new)
    centers.append(new)
  return picked
