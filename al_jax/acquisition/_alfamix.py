"""ALFA-Mix: images from all over those whose predictions change on a short way to labeled images."""

import math

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import types
from al_jax.acquisition._clustered import clustered_batch
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field
from al_jax.acquisition._selection import require_head
from al_jax.chunks import map_chunks


def class_anchors(
  features: jax.Array, labels: jax.Array, labeled: jax.Array, *, num_classes: int
) -> tuple[jax.Array, jax.Array]:
  """Mean features of the labeled rows of each class, `[C, F]`, and whether the class has any, `[C]` bool.

  Args:
    features: `[N, F]`; rows that are not labeled are ignored, even if they hold NaN.
    labels: `[N]` int32, negative where unknown.
    labeled: `[N]` bool.
    num_classes: C.
  """
  own = jnp.where(labeled & (labels >= 0), labels, num_classes)  # out of range is dropped
  sums = jax.ops.segment_sum(features, own, num_segments=num_classes)
  counts = jax.ops.segment_sum(jnp.ones(own.shape), own, num_segments=num_classes)
  return sums / jnp.maximum(counts, 1)[:, None], counts > 0


def critical_steps(features: jax.Array, head: types.Head, anchors: jax.Array, present: jax.Array) -> jax.Array:
  """The smallest step to any anchor that changes a row's prediction: `[B]`, inf if none does.

  A step is the paper's epsilon. With the gradient g of the loss of the predicted class, the closed form alpha =
  epsilon |a - h| g / (|g| (a - h)), elementwise, moves a row h by epsilon |a - h| g / |g|, but not in the features in
  which it equals the anchor a. The logits of a linear head change in proportion to epsilon, so that the epsilon at
  which another class overtakes the predicted one is a quotient, and every larger one changes the prediction too.

  Args:
    features: `[B, F]`.
    head: the head of the network. Where logits are not finite, the step is inf.
    anchors: `[A, F]`.
    present: `[A]` bool: anchors that exist.
  """
  logits = features @ head.kernel + head.bias[None]
  own = jax.nn.one_hot(logits.argmax(axis=1), logits.shape[1], dtype=bool)
  of_own = lambda values: jnp.sum(jnp.where(own, values, 0.0), axis=1, keepdims=True)
  # The gradient by the logits is p - onehot. Divided by 1 minus the predicted probability, which may round to 0, it
  # has the same direction.
  others = jax.nn.softmax(jnp.where(own, -jnp.inf, logits))
  unit = clustering.l2_normalize((others - own) @ head.kernel.T)
  behind = of_own(logits) - logits
  middle = anchors.sum(axis=0, keepdims=True) / jnp.maximum(present.sum(), 1)
  distances = jnp.sqrt(clustering.squared_distances(anchors - middle, features - middle))

  def to_anchor(smallest: jax.Array, of_anchor: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
    anchor, is_present, distance = of_anchor
    moved = jnp.where(features == anchor[None], 0.0, unit) @ head.kernel
    gain = distance[:, None] * (moved - of_own(moved))
    overtakes = is_present & ~own & (gain > 0)
    steps = jnp.where(overtakes, behind / jnp.where(overtakes, gain, 1.0), jnp.inf)
    return jnp.minimum(smallest, steps.min(axis=1)), None

  steps, _ = jax.lax.scan(to_anchor, jnp.full(features.shape[0], jnp.inf), (anchors, present, distances))
  return jnp.where(jnp.isfinite(logits).all(axis=1), steps, jnp.inf)


def mark(critical: jax.Array, candidates: jax.Array, *, alpha_cap: float, num_features: int, num: int) -> jax.Array:
  """The `[N]` bool candidates whose prediction changes within a step of `alpha_cap` / sqrt(F).

  While there are at most `num`, `alpha_cap` is added to the cap, until it is 1 or more.
  """
  last = math.ceil(1 / alpha_cap)
  scaled = jnp.where(candidates, critical, jnp.inf) * math.sqrt(num_features)
  within = lambda times: scaled < times * alpha_cap
  grows = lambda times: (times < last) & (within(times).sum() <= num)
  return within(jax.lax.while_loop(grows, lambda times: times + 1, jnp.int32(1)))


@factory
def alfamix(*, alpha_cap: float = 0.2, chunk_size: int = 1024) -> types.Acquisition:
  """One image per k-means cluster of those whose prediction changes on a short way to labeled images.

  An image's features are interpolated with an anchor, the mean features of the labeled images of a class, and the head
  predicts again. The weights of the anchor, one per feature, are the closed form that raises the loss of the predicted
  class most for a step of a given length. The images to cluster are those whose prediction changes for any anchor.
  Other images are labeled only if none of these are left, at random. Without any labeled image, or with a head that is
  not finite, all images are random.

  As in the authors' code, the weights are not limited to 0 to 1, a feature that is equal in image and anchor stays
  unchanged, and as long as no more images change than are to be labeled, the cap grows by `alpha_cap`, up to 1. 0.2 is
  the authors' value for the closed form; their other variant, weights learned by gradient descent with a cap of
  0.03125, is not implemented. For a class without labeled images their code takes the mean of all labeled images as the
  anchor; here such a class has none. Images are clustered by their features, scaled to unit length as in the authors'
  code. In pools of more than 4,096 images, or 128 per image to label, the centers are those of a random sample of that
  size.

  Formula: argmin_x |x - m_k|, m_k k-means centers of {x: argmax f(h + alpha (a_c - h)) != argmax f(h) for a class c}
  Source: Parvaneh et al. 2022

  Args:
    alpha_cap: length of the step as a share of the distance to the anchor, times the square root of the number of
      features.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `alpha_cap` is not above 0, or above 1.
  """
  if not 0 < alpha_cap <= 1:
    raise ValueError(f"alpha_cap must be above 0 and at most 1, not {alpha_cap}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    features, head = require_field(view, "features"), require_head(view)
    anchors, present = class_anchors(
      features, require_field(view, "labels"), view.labeled, num_classes=head.bias.shape[0]
    )

    def steps_of(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
      features, valid = rows
      return critical_steps(jnp.where(valid[:, None], features, 0.0), head, anchors, present)

    steps = map_chunks(steps_of, (features, view.candidates), chunk_size=chunk_size)
    marked = mark(steps, view.candidates, alpha_cap=alpha_cap, num_features=features.shape[1], num=num)
    return clustered_batch(key, view, marked, num=num, chunk_size=chunk_size)

  return from_select(select, needs=types.Needs(features=True, labels=True, head=True))
