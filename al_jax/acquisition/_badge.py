"""BADGE: k-means++ on gradients of the loss with respect to the last layer's weights."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import types
from al_jax import uncertainty
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field
from al_jax.chunks import map_chunks


def residual(log_probs: jax.Array) -> jax.Array:
  """`p - onehot(argmax p)` of the mean prediction p: `[S, C]` -> `[C]`; ties go to the lowest class.

  Its outer product with the features is the last layer's gradient of the loss, with the predicted class as the label.
  """
  probs = jnp.exp(uncertainty.log_mean(log_probs))
  top = jax.nn.one_hot(probs.argmax(), probs.size)
  others = jnp.where(top > 0, 0.0, probs)
  # Computes p - 1 as minus the sum of the other probabilities, so that a confident prediction keeps its digits.
  return others - top * others.sum()


def residuals(view: types.PoolView, valid: jax.Array, *, chunk_size: int) -> jax.Array:
  """`residual` of each valid row: `[N, C]`; what is returned for the others is finite and means nothing."""

  def of_chunk(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
    log_probs, valid = rows
    return jax.vmap(residual)(jnp.where(valid[:, None, None], log_probs, 0.0))

  return map_chunks(of_chunk, (require_field(view, "log_probs"), valid), chunk_size=chunk_size)


class Outer(NamedTuple):
  """Rows `a_x h_x'`, which are never formed."""

  a: jax.Array  # `[n, C]`
  h: jax.Array  # `[n, F]`
  a_norms: jax.Array  # `[n]` squared
  h_norms: jax.Array  # `[n]` squared


def outer(a: jax.Array, h: jax.Array, *, bias: jax.Array | float = 0.0) -> Outer:
  """Rows from their factors; `bias` is the square of one more feature, which is equal in all rows."""
  return Outer(a, h, jnp.sum(a * a, axis=1), jnp.sum(h * h, axis=1) + bias)


def distances(x: Outer, y: Outer) -> jax.Array:
  """Squared distance of each row of x to the same row of y, or to the only one: `[n]`.

  With A = |a_x - a_y|^2, H = |h_x - h_y|^2, and D_a, D_h the differences of the squared norms,

    |a_x h_x' - a_y h_y'|^2 = (A (|h_x|^2 + |h_y|^2) + H (|a_x|^2 + |a_y|^2) + D_a D_h - A H) / 2.

  This equals |a_x|^2 |h_x|^2 + |a_y|^2 |h_y|^2 - 2 (a_x.a_y) (h_x.h_y), but every term contains a difference, so equal
  rows are at distance exactly 0. For rows whose relative difference is d, the relative rounding error is 1e-7 / d
  instead of 1e-7 / d^2. Only the pair `(a / t) (t h)'` and `a h'` can still cancel.
  """
  a_distances, h_distances = jnp.sum((x.a - y.a) ** 2, axis=1), jnp.sum((x.h - y.h) ** 2, axis=1)
  # Not the difference of the rounded norms, which may differ between equal rows: this is exactly 0 for them.
  a_norm_differences = jnp.sum((x.a - y.a) * (x.a + y.a), axis=1)
  doubled = a_distances * (x.h_norms + y.h_norms) + h_distances * (x.a_norms + y.a_norms)
  doubled += a_norm_differences * (x.h_norms - y.h_norms) - a_distances * h_distances
  return jnp.maximum(doubled, 0.0) / 2


def outer_distances(rows: Outer) -> Callable[[jax.Array], jax.Array]:
  """Squared distances of all rows to one: id -> `[N]`."""
  return lambda i: distances(rows, jax.tree.map(lambda leaf: leaf[i][None], rows))


@factory
def badge(*, chunk_size: int = 1024) -> types.Acquisition:
  """Images with large and diverse last-layer gradients, drawn by k-means++.

  A candidate's embedding is the gradient of its loss with respect to the last layer's weights, with the predicted class
  as the label. The first image is drawn uniformly, as in k-means++ (the authors' code starts with the longest
  gradient). Each next one is drawn in proportion to the squared distance to the nearest image drawn so far; neither
  labeled images nor the origin are centers. If all remaining distances are 0, for example because every prediction is
  certain, the rest is drawn at random. The prediction is the mean over samples; the paper's is deterministic.

  Formula: P(x) ~ min_y |a_x h_x' - a_y h_y'|^2, a = p - onehot(argmax p)
  Source: Ash et al. 2020
  """

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    a = residuals(view, view.candidates, chunk_size=chunk_size)
    h = jnp.where(view.candidates[:, None], require_field(view, "features"), 0.0)
    return clustering.kmeans_plus_plus(
      key, outer_distances(outer(a, h)), view.candidates, num=num, tie_break=view.tie_break
    )

  return from_select(select, needs=types.Needs(samples=1, features=True))
