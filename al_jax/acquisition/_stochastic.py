"""Stochastic batches: draw by score instead of taking the top, so that a batch is not ten times the same image.

Each is a top-k of perturbed log-weights (Gumbel noise divided by the coldness), which draws without replacement in
proportion to `weight ** coldness` (Kool et al. 2019). Coldness 0 would be uniform; the colder, the closer to the top.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax import pool
from al_jax import types
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import given
from al_jax.acquisition._selection import with_tie_break


def _draw_by(log_weights: Callable[[jax.Array, types.PoolView], jax.Array], base: types.Acquisition, coldness: float):
  """An acquisition that draws by `log_weights(scores, view)` `[N]` of a scored one; minus infinity is no weight."""
  if not isinstance(base, types.Acquisition):
    given_as = getattr(base, "__name__", repr(base))
    raise ValueError(f"an acquisition is due, not {given_as}: al_jax.acquisition.bald(), say, with its brackets")
  score = base.score
  if score is None:
    raise ValueError("only an acquisition that scores each image can be drawn from")
  if not isinstance(coldness, jax.Array) and not coldness > 0:  # a traced number cannot be looked at
    raise ValueError(f"coldness must be positive, not {coldness}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    view, scores = with_tie_break(key, view), score(view)
    weights = log_weights(
      jnp.nan_to_num(scores, nan=-jnp.inf, posinf=jnp.finfo(jnp.float32).max, neginf=-jnp.inf), view
    )
    # The default mode has 23 bits for the tail that decides among many rows.
    gumbel = jax.random.gumbel(jax.random.fold_in(key, 0), scores.shape, mode="high")
    # Images without weight come behind all that have some, and NaN behind those.
    drawn = jnp.where(jnp.isneginf(weights), jnp.finfo(jnp.float32).min / 2, weights + gumbel / coldness)
    drawn = jnp.where(jnp.isnan(scores), jnp.nan, drawn)
    return pool.masked_top_k(drawn, view.candidates, num=num, tie_break=view.tie_break)

  return base._replace(select=select, score=None)


@factory
def power(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `score ** coldness`; scores are at least 0, and those of 0 come last, in random order.

  Formula: top-k of log s + Gumbel / coldness
  Source: Kirsch et al. 2021
  """
  return _draw_by(lambda scores, _: jnp.where(scores > 0, jnp.log(scores), -jnp.inf), base, coldness)


@factory
def softmax(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `exp(coldness * score)`.

  Formula: top-k of s + Gumbel / coldness
  Source: Kirsch et al. 2021
  """
  return _draw_by(lambda scores, _: scores, base, coldness)


@factory
def softrank(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `rank ** -coldness`, the candidate of highest score having rank 1; ties by a draw.

  Formula: top-k of -log r + Gumbel / coldness, r the rank of s
  Source: Kirsch et al. 2021
  """

  def log_weights(scores: jax.Array, view: types.PoolView) -> jax.Array:
    by_score = jnp.lexsort((-given(view, "tie_break"), -scores, ~view.candidates))
    ranks = jnp.zeros(scores.shape).at[by_score].set(1.0 + jnp.arange(scores.size))
    return -jnp.log(ranks)

  return _draw_by(log_weights, base, coldness)
