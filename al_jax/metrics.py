"""Metrics of predictions and of learning curves."""

from collections.abc import Sequence
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

__all__ = (
  "accuracy",
  "area_under_curve",
  "balanced_accuracy",
  "class_accuracy",
  "expected_calibration_error",
  "labels_to_reach",
  "negative_log_likelihood",
)

ECE_BINS = 15


def weighted_mean(values: jax.Array, weights: jax.Array | None = None) -> jax.Array:
  """Mean of `[M]` values with `[M]` weights (None: unweighted); NaN if all weights are 0."""
  if weights is None:
    return jnp.mean(values)
  return jnp.sum(values * weights) / jnp.sum(weights)


def _correct(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """1 if the most probable class is the label, else 0: `[M, C]`, `[M]` -> `[M]`; a prediction with NaN is wrong."""
  # argmax returns the first NaN of a row.
  return ((log_probs.argmax(-1) == labels) & ~jnp.isnan(log_probs).any(-1)).astype(jnp.float32)


def accuracy(log_probs: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
  """Fraction of examples whose most probable class is the label: `[M, C]`, `[M]` -> `[]` in 0..1.

  `weights` `[M]` weigh the examples (None: equally); those of weight 0 do not count, and NaN is returned if all are 0.
  """
  chex.assert_rank([log_probs, labels], [2, 1])

  return weighted_mean(_correct(log_probs, labels), weights)


def class_accuracy(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Accuracy on the examples of each class (recall): `[M, C]`, `[M]` -> `[C]`; NaN for a class without examples."""
  chex.assert_rank([log_probs, labels], [2, 1])

  per_class = functools.partial(jax.ops.segment_sum, segment_ids=labels, num_segments=log_probs.shape[1])
  correct = _correct(log_probs, labels)
  return per_class(correct) / per_class(jnp.ones_like(correct))


def balanced_accuracy(class_accuracies: np.typing.ArrayLike) -> float:
  """Mean of the class accuracies `[C]` that are not NaN; NaN if all are."""
  found = np.asarray(class_accuracies)
  found = found[~np.isnan(found)]
  return float(found.mean()) if found.size else float("nan")


def negative_log_likelihood(log_probs: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
  """Mean `-log p(label)` in nats: `[M, C]`, `[M]` -> `[]`; `weights` as in `accuracy`."""
  chex.assert_rank([log_probs, labels], [2, 1])

  taken = jnp.take_along_axis(log_probs, labels[:, None], axis=-1)
  if weights is None:
    return -jnp.mean(taken)
  # Rows of weight 0 may have no label, and the value read there may be infinite.
  return -weighted_mean(jnp.where(weights > 0, taken[:, 0], 0.0), weights)


def expected_calibration_error(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Mean gap between confidence and accuracy over 15 equal-width bins of the top probability.

  `sum_b |B_b| / M * |accuracy(B_b) - confidence(B_b)|`, bins open on the left and closed on the right, as in Guo et
  al. (2017), "On Calibration of Modern Neural Networks", equation 3. `[M, C]`, `[M]` -> `[]` in 0..1.
  """
  chex.assert_rank([log_probs, labels], [2, 1])

  confidence = jnp.exp(log_probs.max(-1))
  correct = _correct(log_probs, labels)
  bins = jnp.clip(jnp.ceil(confidence * ECE_BINS).astype(jnp.int32) - 1, 0, ECE_BINS - 1)
  gap = jax.ops.segment_sum(correct - confidence, bins, num_segments=ECE_BINS)
  return jnp.abs(gap).sum() / labels.shape[0]


def area_under_curve(num_labeled: Sequence[int], accuracies: Sequence[float]) -> float:
  """Area under the learning curve (trapezoidal rule) divided by the range of labels: a mean accuracy in 0..1.

  For a single point, returns its accuracy.
  """
  if len(num_labeled) == 1:
    return float(accuracies[0])
  return float(np.trapezoid(accuracies, num_labeled) / (num_labeled[-1] - num_labeled[0]))


def labels_to_reach(threshold: float, num_labeled: Sequence[int], accuracies: Sequence[float]) -> int | None:
  """The smallest number of labels with accuracy of at least `threshold`; None if the curve never reaches it."""
  return next((int(n) for n, value in zip(num_labeled, accuracies, strict=True) if value >= threshold), None)
