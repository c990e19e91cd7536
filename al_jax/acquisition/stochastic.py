"""Stochastic batches: draw by score instead of taking the top, so that a batch is not ten times the same image.

Each is a top-k of perturbed log-weights (Gumbel noise divided by the coldness), which draws without replacement in
proportion to `weight ** coldness` (Kool et al. 2019). Coldness 0 would be uniform; the colder, the closer to the top.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax import pool
from al_jax import types


def _draw_by(log_weights: Callable[[jax.Array, jax.Array], jax.Array], base: types.Acquisition, coldness: float):
  """An acquisition that draws by `log_weights(scores, candidates)`, both `[N]`, of a scored one."""
  if base.score is None:
    raise ValueError("only an acquisition that scores each image can be drawn from")
  if not isinstance(coldness, jax.Array) and not coldness > 0:  # a traced number cannot be looked at
    raise ValueError(f"coldness must be positive, not {coldness}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    scores = jnp.nan_to_num(base.score(view), nan=-jnp.inf, posinf=jnp.finfo(jnp.float32).max)
    gumbel = jax.random.gumbel(key, scores.shape)
    return pool.masked_top_k(log_weights(scores, view.candidates) + gumbel / coldness, view.candidates, num=num)

  return base._replace(select=select, score=None)


def power(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `score ** coldness`; scores are at least 0.

  Formula: top-k of log s + Gumbel / coldness
  Source: Kirsch et al. 2021
  Cost: N
  Memory: 4 * 8 * N
  """
  # A score of 0 has the weight of the smallest float: never before a positive one, in random order among themselves.
  smallest = jnp.finfo(jnp.float32).tiny
  return _draw_by(lambda scores, _: jnp.log(jnp.maximum(scores, smallest)), base, coldness)


def softmax(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `exp(coldness * score)`.

  Formula: top-k of s + Gumbel / coldness
  Source: Kirsch et al. 2021
  Cost: N
  Memory: 4 * 8 * N
  """
  return _draw_by(lambda scores, _: scores, base, coldness)


def softrank(base: types.Acquisition, *, coldness: float = 1.0) -> types.Acquisition:
  """Draws in proportion to `rank ** -coldness`, the candidate of highest score having rank 1; ties by id.

  Formula: top-k of -log r + Gumbel / coldness, r the rank of s
  Source: Kirsch et al. 2021
  Cost: N log N
  Memory: 4 * 16 * N
  """

  def log_weights(scores: jax.Array, candidates: jax.Array) -> jax.Array:
    by_score = jnp.argsort(jnp.where(candidates, -scores, jnp.inf), stable=True)
    ranks = jnp.zeros(scores.shape).at[by_score].set(1.0 + jnp.arange(scores.size))
    return -jnp.log(ranks)

  return _draw_by(log_weights, base, coldness)
