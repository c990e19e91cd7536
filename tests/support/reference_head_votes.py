"""Slow float64 NumPy references of DropQuery and ALFA-Mix, one row at a time, as in the papers."""

import itertools
import math

import numpy as np

from tests.support.reference_low_budget import unit


def prediction(row, head) -> int:
  """The class of the largest logit."""
  kernel, bias = (np.asarray(part, np.float64) for part in head)
  return int((np.asarray(row, np.float64) @ kernel + bias).argmax())


def differing_votes(features, kept, head, drop_rate: float) -> list[int]:
  """Gupte et al. (2024), section 4: predictions for dropped features that differ from the prediction without."""
  rows = np.asarray(features, np.float64)
  dropped = lambda row, mask: np.where(mask, row / (1 - drop_rate), 0)
  return [
    sum(prediction(dropped(row, mask), head) != prediction(row, head) for mask in masks)
    for row, masks in zip(rows, kept, strict=True)
  ]


def marked_by_votes(differing, candidates, votes: int, wanted: int) -> set[int]:
  """Rows with more than half of the votes against; as in the authors' code, fewer votes while they are too few."""
  above = votes // 2
  marked = lambda: {i for i in np.flatnonzero(candidates).tolist() if differing[i] > above}
  while len(marked()) < wanted and above > 0:
    above -= 1
  return marked()


def loss_gradient(row, head) -> np.ndarray:
  """Gradient by the features of the cross-entropy, with the predicted class as the label."""
  kernel, bias = (np.asarray(part, np.float64) for part in head)
  logits = row @ kernel + bias
  probs = np.exp(logits - logits.max())
  probs /= probs.sum()
  label = prediction(row, head)
  by_logits = np.where(np.arange(len(probs)) == label, 0, probs)
  by_logits[label] = -by_logits.sum()
  return kernel @ by_logits


def closed_form(row, anchor, head, epsilon: float) -> np.ndarray:
  """Parvaneh et al. (2022), equation 5: a weight per feature; 0 where row and anchor are equal."""
  gradient, away = loss_gradient(row, head), anchor - row
  scale = epsilon * math.hypot(*away) / math.hypot(*gradient)
  return np.array([scale * g / z if z else 0.0 for g, z in zip(gradient, away, strict=True)])


def changes(row, anchors, head, epsilon: float) -> bool:
  """Whether the prediction for the interpolation with any anchor differs."""
  row = np.asarray(row, np.float64)
  for anchor in np.asarray(anchors, np.float64):
    alpha = closed_form(row, anchor, head, epsilon)
    if prediction(alpha * anchor + (1 - alpha) * row, head) != prediction(row, head):
      return True
  return False


def anchors(features, labels, labeled) -> list[np.ndarray]:
  """Mean features of the labeled rows of each class that has any."""
  rows, labels = np.asarray(features, np.float64), np.asarray(labels)
  return [rows[labeled & (labels == c)].mean(axis=0) for c in np.unique(labels[labeled])]


def marked_by_steps(features, of_classes, candidates, head, alpha_cap: float, num: int) -> set[int]:
  """Rows that change for any anchor, with a cap that grows as in the authors' code."""
  marked = set()
  for times in itertools.count(1):
    epsilon = times * alpha_cap / math.sqrt(len(features[0]))
    left = set(np.flatnonzero(candidates).tolist()) - marked
    marked |= {i for i in left if changes(features[i], of_classes, head, epsilon)}
    if len(marked) > num or times * alpha_cap >= 1:
      return marked
  raise AssertionError


def representatives(features, groups) -> list[int]:
  """The row of each group whose features of unit length are nearest to the group's mean, largest group first."""
  rows = unit(features)
  nearest = lambda group: min(group, key=lambda i: math.dist(rows[i], rows[group].mean(axis=0)))
  return [nearest(group) for group in sorted(groups, key=len, reverse=True)]
