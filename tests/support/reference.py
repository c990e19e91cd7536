"""Slow float64 NumPy references of every formula, written as in the papers and not as in the library."""

import math

import numpy as np

# --- Uncertainty of one example: `[S, C]` log-probabilities -> a float. ---


def mean_probs(log_probs) -> np.ndarray:
  """The posterior mean of the probabilities, `[C]`."""
  return np.exp(np.asarray(log_probs, np.float64)).mean(axis=0)


def least_confidence(log_probs) -> float:
  """One minus the highest mean probability."""
  return 1.0 - max(mean_probs(log_probs))


def margin(log_probs) -> float:
  """One minus the difference of the two highest mean probabilities."""
  *_, second, first = sorted(mean_probs(log_probs))
  return 1.0 - (first - second)


def entropy(log_probs) -> float:
  """Shannon's entropy of the mean probabilities, in nats; 0 log 0 is 0."""
  return -math.fsum(p * math.log(p) for p in mean_probs(log_probs) if p > 0)


def mutual_information(log_probs) -> float:
  """Entropy of the mean minus the mean of the entropies."""
  return entropy(log_probs) - float(np.mean([entropy(np.asarray(sample)[None]) for sample in log_probs]))


def consensus_kl(log_probs) -> float:
  """McCallum & Nigam (1998): the mean of KL(member || consensus)."""
  consensus = mean_probs(log_probs)
  divergences = [
    math.fsum(
      p * math.log(p / q) for p, q in zip(np.exp(np.asarray(member, np.float64)), consensus, strict=True) if p > 0
    )
    for member in log_probs
  ]
  return sum(divergences) / len(divergences)


def _votes(log_probs) -> list[int]:
  log_probs = np.asarray(log_probs)
  votes = [int(np.argmax(sample)) for sample in log_probs]
  return [votes.count(c) for c in range(log_probs.shape[1])]


def variation_ratio(log_probs) -> float:
  """One minus the share of samples that vote for the most popular class."""
  return 1.0 - max(_votes(log_probs)) / len(log_probs)


def vote_entropy(log_probs) -> float:
  """Shannon's entropy of the shares of votes, in nats."""
  return -math.fsum(v / len(log_probs) * math.log(v / len(log_probs)) for v in _votes(log_probs) if v)


def mean_std(log_probs) -> float:
  """Gal et al. (2017): sigma_c = sqrt(E[p_c^2] - E[p_c]^2), averaged over classes."""
  probs = np.exp(np.asarray(log_probs, np.float64))
  return float(np.sqrt(np.maximum((probs**2).mean(axis=0) - probs.mean(axis=0) ** 2, 0)).mean())


# --- Metrics: `[M, C]` log-probabilities and `[M]` labels -> a float. ---


def accuracy(log_probs, labels) -> float:
  """Share of correct predictions; of equally probable classes, the first is predicted."""
  return sum(int(np.argmax(row)) == int(label) for row, label in zip(log_probs, labels, strict=True)) / len(labels)


def negative_log_likelihood(log_probs, labels) -> float:
  """Mean of minus the label's log-probability."""
  return -math.fsum(float(row[label]) for row, label in zip(log_probs, labels, strict=True)) / len(labels)


def expected_calibration_error(log_probs, labels, num_bins: int = 15) -> float:
  """Guo et al. (2017), equation 3: bin b holds the confidences in `(b / B, (b + 1) / B]`."""
  confidence = np.exp(np.asarray(log_probs, np.float64)).max(axis=1)
  right = np.asarray(log_probs).argmax(axis=1) == np.asarray(labels)
  total = 0.0
  for b in range(num_bins):
    inside = (confidence > b / num_bins) & (confidence <= (b + 1) / num_bins)
    if b == num_bins - 1:
      inside |= confidence > 1  # float32 sometimes rounds a certain prediction above 1
    if inside.any():
      total += inside.sum() / len(labels) * abs(right[inside].mean() - confidence[inside].mean())
  return total


def area_under_curve(num_labeled, accuracies) -> float:
  """Sum of trapezoids, divided by the range of labels."""
  points = list(zip(num_labeled, accuracies, strict=True))
  area = sum((n1 - n0) * (a0 + a1) / 2 for (n0, a0), (n1, a1) in zip(points[:-1], points[1:], strict=True))
  return area / (num_labeled[-1] - num_labeled[0])


# --- The pool. ---


def masked_top_k(scores, candidates, num: int) -> list[int]:
  """Candidates by descending score, then ascending id; NaN and minus infinity are the lowest float."""
  lowest, highest = np.finfo(np.float32).min, np.finfo(np.float32).max

  def value(i: int) -> float:
    return lowest if np.isnan(scores[i]) else min(max(scores[i], lowest), highest)

  return sorted(np.flatnonzero(candidates).tolist(), key=lambda i: (-value(i), i))[:num]


def balanced_counts(available, num: int) -> tuple[list[int], int]:
  """The number that each class gives for certain, and how many classes with more rows give one more."""
  given, level = [0] * len(available), 0
  while True:
    open_classes = [c for c, have in enumerate(available) if have > level]
    left = num - sum(given)
    if left < len(open_classes) or not open_classes:
      return given, left
    for c in open_classes:
      given[c] += 1
    level += 1


# --- Layers. ---


def conv_valid(x, kernel) -> np.ndarray:
  """Valid cross-correlation of `[B, H, W, I]` with `[kh, kw, I, O]`, one output position at a time."""
  x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
  kh, kw = kernel.shape[:2]
  rows, columns = x.shape[1] - kh + 1, x.shape[2] - kw + 1
  out = np.zeros((x.shape[0], rows, columns, kernel.shape[3]))
  for i in range(rows):
    for j in range(columns):
      out[:, i, j] = np.tensordot(x[:, i : i + kh, j : j + kw], kernel, axes=3)
  return out


# --- Optimizers, as Keras documents them: `(gradient, memory, step) -> (change, memory)`, step counted from 1. ---


def sgd(learning_rate: float, momentum: float = 0.0):
  """velocity = momentum * velocity - learning_rate * g."""

  def update(grad, velocity, step):
    velocity = momentum * velocity - learning_rate * grad
    return velocity, velocity

  return update


def adam(learning_rate: float, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8):
  """Kingma & Ba (2015), algorithm 1."""

  def update(grad, memory, step):
    first, second = memory if isinstance(memory, tuple) else (0.0, 0.0)
    first = beta_1 * first + (1 - beta_1) * grad
    second = beta_2 * second + (1 - beta_2) * grad**2
    corrected = first / (1 - beta_1**step), second / (1 - beta_2**step)
    return -learning_rate * corrected[0] / (np.sqrt(corrected[1]) + epsilon), (first, second)

  return update


def adadelta(learning_rate: float, rho: float = 0.95, epsilon: float = 1e-7):
  """Zeiler (2012), algorithm 1, with the change multiplied by a learning rate, as in Keras."""

  def update(grad, memory, step):
    grads, changes = memory if isinstance(memory, tuple) else (0.0, 0.0)
    grads = rho * grads + (1 - rho) * grad**2
    change = -np.sqrt(changes + epsilon) / np.sqrt(grads + epsilon) * grad
    changes = rho * changes + (1 - rho) * change**2
    return learning_rate * change, (grads, changes)

  return update


def fit_softmax_regression(features, labels, num_classes: int, optimizer, steps: int, weight_decay: float = 0.0):
  """Full-batch training of `features @ W` from W = 0 on mean cross-entropy; returns the final W and the last loss."""
  features, one_hot = np.asarray(features, np.float64), np.eye(num_classes)[labels]
  weights, memory, loss = np.zeros((features.shape[1], num_classes)), 0.0, None
  for step in range(1, steps + 1):
    logits = features @ weights
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -(log_probs * one_hot).sum(axis=1).mean()
    grad = features.T @ (np.exp(log_probs) - one_hot) / len(labels) + weight_decay * weights
    change, memory = optimizer(grad, memory, step)
    weights = weights + change
  return weights, loss
