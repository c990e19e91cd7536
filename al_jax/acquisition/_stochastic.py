"""Stochastic batches: draw by score instead of taking the top scores, so that a batch is not ten similar images.

Each wrapper takes the top-k of perturbed log-weights (Gumbel noise divided by the coldness). This draws without
replacement in proportion to `weight ** coldness` (Kool et al. 2019). Coldness 0 would be uniform; a high coldness is
close to the top scores.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax import pool
from al_jax import types
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import require_field
from al_jax.acquisition._selection import scores_of
from al_jax.acquisition._selection import with_tie_break


def _perturbed_top_k(
  log_weights: Callable[[jax.Array, types.PoolView], jax.Array], base: types.Acquisition, coldness: float
):
  """Makes an acquisition that draws by `log_weights(scores, view)` `[N]`; minus infinity stands for weight 0."""
  if not isinstance(base, types.Acquisition):
    received = getattr(base, "__name__", repr(base))
    raise ValueError(
      f"a wrapper takes an Acquisition, not {received}: call a factory, such as al_jax.acquisition.bald()"
    )
  score = base.score
  if score is None:
    raise ValueError(
      "only an acquisition that scores each image can be wrapped: use one such as al_jax.acquisition.bald()"
    )
  if not isinstance(coldness, jax.Array) and not coldness > 0:  # a tracer has no concrete value
    raise ValueError(f"coldness must be positive, not {coldness}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    view, scores = with_tie_break(key, view), scores_of(view, score)
    weights = log_weights(
      jnp.nan_to_num(scores, nan=-jnp.inf, posinf=jnp.finfo(jnp.float32).max, neginf=-jnp.inf), view
    )
    # The default mode has 23 bits, too few for the tail that decides among many rows.
    gumbel = jax.random.gumbel(jax.random.fold_in(key, 0), scores.shape, mode="high")
    # Images of weight 0 come after all others, and NaN scores after those.
    perturbed = jnp.where(jnp.isneginf(weights), jnp.finfo(jnp.float32).min / 2, weights + gumbel / coldness)
    perturbed = jnp.where(jnp.isnan(scores), jnp.nan, perturbed)
    return pool.masked_top_k(perturbed, view.candidates, num=num, tie_break=view.tie_break)

  return base._replace(select=select, score=None)


@factory
def power(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `score ** coldness` for positive scores; all others come last, in random order.

  Formula: top-k of log s + Gumbel / coldness
  Source: Kirsch et al. 2021

  Args:
    base: an acquisition that scores each image. The result has no `score`.
    coldness: positive; higher values are closer to the top scores.

  Raises:
    ValueError: `base` has no `score`, or `coldness` is not positive.
  """
  return _perturbed_top_k(lambda scores, _: jnp.where(scores > 0, jnp.log(scores), -jnp.inf), base, coldness)


@factory
def softmax(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `exp(coldness * score)`.

  Formula: top-k of s + Gumbel / coldness
  Source: Kirsch et al. 2021

  Args:
    base: an acquisition that scores each image. The result has no `score`.
    coldness: positive; higher values are closer to the top scores.

  Raises:
    ValueError: `base` has no `score`, or `coldness` is not positive.
  """
  return _perturbed_top_k(lambda scores, _: scores, base, coldness)


@factory
def softrank(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `rank ** -coldness`; the highest score has rank 1, and ties are ranked at random.

  Formula: top-k of -log r + Gumbel / coldness, r the rank of s
  Source: Kirsch et al. 2021

  Args:
    base: an acquisition that scores each image. The result has no `score`.
    coldness: positive; higher values are closer to the top scores.

  Raises:
    ValueError: `base` has no `score`, or `coldness` is not positive.
  """

  def log_weights(scores: jax.Array, view: types.PoolView) -> jax.Array:
    by_score = jnp.lexsort((-require_field(view, "tie_break"), -scores, ~view.candidates))
    ranks = jnp.zeros(scores.shape).at[by_score].set(1.0 + jnp.arange(scores.size))
    return -jnp.log(ranks)

  return _perturbed_top_k(log_weights, base, coldness)
