"""Slow float64 references of joint information, by enumeration, straight from the definitions."""

import itertools
import math

import numpy as np


def _probs(log_probs) -> np.ndarray:
  """Probabilities, normalized again: rounded logarithms do not sum exactly to 1, which would look like information."""
  probs = np.exp(np.asarray(log_probs, np.float64))
  return probs / probs.sum(axis=-1, keepdims=True)


def _entropy(probs) -> float:
  return -math.fsum(p * math.log(p) for p in np.ravel(probs) if p > 0)


def joint_information(log_probs) -> float:
  """`I[y_1, ..., y_b; w] = H[y_1, ..., y_b] - sum_i E_s H[y_i | w_s]` of b images `[b, S, C]`.

  Kirsch et al. (2019), equations 8 to 10, summed over every configuration of labels.
  """
  probs = _probs(log_probs)
  size, samples, classes = probs.shape
  joint = [
    math.fsum(math.prod(probs[i, s, y] for i, y in enumerate(labels)) for s in range(samples)) / samples
    for labels in itertools.product(range(classes), repeat=size)
  ]
  return _entropy(joint) - math.fsum(_entropy(probs[:, s]) for s in range(samples)) / samples


def batchbald(log_probs, candidates, num: int) -> tuple[list[int], list[float]]:
  """The greedy batch and its joint information after each pick; ties to the lowest id."""
  log_probs, picked, information = np.asarray(log_probs), [], []
  for _ in range(num):
    left = [i for i in np.flatnonzero(candidates).tolist() if i not in picked]
    value = {i: joint_information(log_probs[[*picked, i]]) for i in left}
    picked.append(max(left, key=lambda i: (value[i], -i)))
    information.append(value[picked[-1]])
  return picked, information


def epig(log_probs, target_log_probs) -> float:
  """Bickford Smith et al. (2023), equation 5: `I[y; y*]` of one image `[S, C]`, averaged over targets `[T, S, C]`."""
  probs = _probs(log_probs)
  total = 0.0
  for target in _probs(target_log_probs):
    joint = np.mean([np.outer(p, q) for p, q in zip(probs, target, strict=True)], axis=0)
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    total += math.fsum(p * math.log(p / q) for p, q in zip(joint.flat, independent.flat, strict=True) if p > 0)
  return total / len(target_log_probs)
