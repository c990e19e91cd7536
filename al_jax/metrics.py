"""How good predictions are, and how good a learning curve is."""

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
  """Mean of `[M]` values, each counted `weights[m]` times (all once where None); NaN where nothing counts."""
  if weights is None:
    return jnp.mean(values)
  return jnp.sum(values * weights) / jnp.sum(weights)


def _correct(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Whether the most probable class is the label, as 0 or 1: `[M, C]`, `[M]` -> `[M]`; a prediction of NaN is wrong."""
  # Of a row with NaN, argmax is the first of these.
  return ((log_probs.argmax(-1) == labels) & ~jnp.isnan(log_probs).any(-1)).astype(jnp.float32)


def accuracy(log_probs: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
  """Share of examples whose most probable class is the label: `[M, C]`, `[M]` -> `[]` in 0..1."""
  chex.assert_rank([log_probs, labels], [2, 1])

  return weighted_mean(_correct(log_probs, labels), weights)


def class_accuracy(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """Share of each class's examples whose most probable class is it (recall): `[M, C]`, `[M]` -> `[C]`; NaN of none."""
  chex.assert_rank([log_probs, labels], [2, 1])

  per_class = functools.partial(jax.ops.segment_sum, segment_ids=labels, num_segments=log_probs.shape[1])
  correct = _correct(log_probs, labels)
  return per_class(correct) / per_class(jnp.ones_like(correct))


def balanced_accuracy(class_accuracies: np.typing.ArrayLike) -> float:
  """Mean of the accuracies `[C]` of the classes that were measured; NaN where none was."""
  found = np.asarray(class_accuracies)
  found = found[~np.isnan(found)]
  return float(found.mean()) if found.size else float("nan")


def negative_log_likelihood(log_probs: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
  """Mean `-log p(label)` in nats: `[M, C]`, `[M]` -> `[]`."""
  chex.assert_rank([log_probs, labels], [2, 1])

  taken = jnp.take_along_axis(log_probs, labels[:, None], axis=-1)
  if weights is None:
    return -jnp.mean(taken)
  # Rows of no weight may have no label, and what is read there may be infinite.
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
  """Trapezoid of accuracy over labels divided by the range of labels: the mean accuracy of the run, in 0..1.

  A single point has no area; its accuracy is returned.
  """
  if len(num_labeled) == 1:
    return float(accuracies[0])
  return float(np.trapezoid(accuracies, num_labeled) / (num_labeled[-1] - num_labeled[0]))


def labels_to_reach(threshold: float, num_labeled: Sequence[int], accuracies: Sequence[float]) -> int | None:
  """The fewest labels at which a curve is at or above `threshold`; None where it never is."""
  return next((int(n) for n, value in zip(num_labeled, accuracies, strict=True) if value >= threshold), None)
