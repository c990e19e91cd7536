"""BADGE: k-means++ over what one label would do to the last layer's weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import types
from al_jax import uncertainty
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import given
from al_jax.chunks import map_chunks


def residual(log_probs: jax.Array) -> jax.Array:
  """`p - onehot(argmax p)` of the mean prediction p: `[S, C]` -> `[C]`; ties go to the lowest class.

  The last layer's gradient of the loss, were the predicted class the label, is its outer product with the features.
  """
  probs = jnp.exp(uncertainty.log_mean(log_probs))
  top = jax.nn.one_hot(probs.argmax(), probs.size)
  others = jnp.where(top > 0, 0.0, probs)
  # p - 1 as minus the rest of the probability: a confident prediction keeps its digits.
  return others - top * others.sum()


def outer_distances(a: jax.Array, h: jax.Array) -> Callable[[jax.Array], jax.Array]:
  """Squared distances between outer products `a_x h_x'` that are never formed: `[N, C]`, `[N, F]` -> (id -> `[N]`).

  With A = |a_x - a_y|^2, H = |h_x - h_y|^2, and D_a, D_h the differences of the squared norms,

    |a_x h_x' - a_y h_y'|^2 = (A (|h_x|^2 + |h_y|^2) + H (|a_x|^2 + |a_y|^2) + D_a D_h - A H) / 2.

  The same number as |a_x|^2 |h_x|^2 + |a_y|^2 |h_y|^2 - 2 (a_x.a_y) (h_x.h_y), but every term has a difference in it:
  equal rows are at distance exactly 0, and of rows that differ by a share d of their length, 1e-7 / d of the distance
  is rounding, where the other form has 1e-7 / d^2. What can still cancel is `(a / t) (t h)'` against `a h'`.
  """
  norms = lambda z: jnp.sum(z * z, axis=1)
  a_norms, h_norms = norms(a), norms(h)

  def distances_to(i: jax.Array) -> jax.Array:
    a_apart, h_apart = clustering.squared_distances_to(a, a[i]), clustering.squared_distances_to(h, h[i])
    # Not by the norms, whose rounding may differ between equal rows: this is 0 for them.
    a_longer = jnp.sum((a - a[i][None]) * (a + a[i][None]), axis=1)
    twice = a_apart * (h_norms + h_norms[i]) + h_apart * (a_norms + a_norms[i])
    twice += a_longer * (h_norms - h_norms[i]) - a_apart * h_apart
    return jnp.maximum(twice, 0.0) / 2

  return distances_to


@factory
def badge(*, chunk_size: int = 1024) -> types.Acquisition:
  """k-means++ seeds among gradient embeddings: images that would change the network much, and differently.

  A candidate's embedding is the gradient of its loss by the last layer's weights, as if the predicted class were its
  label. The first image is drawn uniformly, as k-means++ has it (the authors' code begins with the longest gradient),
  each next one in proportion to the squared distance from the nearest one drawn; neither labeled images nor the origin
  are centers. Where all distances left are 0, as in a pool certain of everything, images are ties. The prediction is
  the mean of the samples, where the paper has a deterministic one.

  Formula: P(x) ~ min_y |a_x h_x' - a_y h_y'|^2, a = p - onehot(argmax p)
  Source: Ash et al. 2020
  """

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    def residuals(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
      log_probs, valid = rows
      return jax.vmap(residual)(jnp.where(valid[:, None, None], log_probs, 0.0))

    a = map_chunks(residuals, (given(view, "log_probs"), view.candidates), chunk_size=chunk_size)
    h = jnp.where(view.candidates[:, None], given(view, "features"), 0.0)
    return clustering.kmeans_plus_plus(key, outer_distances(a, h), view.candidates, num=num, tie_break=view.tie_break)

  return from_select(select, needs=types.Needs(samples=1, features=True))
