"""Strategies that judge each image by itself, and the random baseline."""

from collections.abc import Callable

import jax

from al_jax import pool
from al_jax import types
from al_jax import uncertainty


def from_score(score: Callable[[jax.Array], jax.Array]) -> types.Acquisition:
  """A strategy that labels the images of highest score first.

  Args:
    score: maths on one example: `[S, C]` log-probabilities -> `[]`, higher = label first.

  Returns:
    An `Acquisition` that scores the pool by vmapping `score`.
  """

  def pool_scores(view: types.PoolView) -> jax.Array:
    return jax.vmap(score)(view.log_probs)

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # the order is a function of the scores
    return pool.masked_top_k(pool_scores(view), view.candidates, num=num)

  return types.Acquisition(select, pool_scores, frozenset({"samples"}))


def random() -> types.Acquisition:
  """Uniformly at random: the baseline every strategy has to beat. Looks at no image."""

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    return pool.random_subset(key, view.candidates, num=num)

  return types.Acquisition(select)


def least_confidence() -> types.Acquisition:
  """Lowest top probability first: `1 - max p` (Lewis & Gale 1994)."""
  return from_score(uncertainty.least_confidence)


def margin() -> types.Acquisition:
  """Smallest difference of the two highest probabilities first: `1 - (p1 - p2)` (Scheffer et al. 2001)."""
  return from_score(uncertainty.margin)


def entropy() -> types.Acquisition:
  """Highest predictive entropy first, in nats: `-sum p log p` (Shannon 1948; Settles 2009)."""
  return from_score(uncertainty.entropy)
