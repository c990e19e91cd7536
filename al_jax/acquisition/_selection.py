"""Builds acquisitions from score functions or set selections, with shared handling of ties and non-finite rows.

Ties are broken at random, never by id, because pools are often sorted by class. A diverging network may give rows that
are not finite, or so long that their distances overflow: these are labeled last and do not affect other rows. Matrix
products use full precision: with the shorter products of accelerators, differences of nearly equal numbers would be
noise.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax import pool
from al_jax import types

# Folded into the key for tie breaks; no acquisition folds in this number.
_TIE_BREAK_STREAM = 2**32 - 1
# Rows with a squared norm below this have finite squared distances in float32.
_MAX_SQUARED_NORM = 1e36


def with_tie_break(key: jax.Array, view: types.PoolView) -> types.PoolView:
  """The view with `tie_break` set: its own or, if it has none, drawn from `key`, which is not consumed."""
  if view.tie_break is not None:
    return view
  return view._replace(tie_break=jax.random.uniform(jax.random.fold_in(key, _TIE_BREAK_STREAM), view.candidates.shape))


def require_field(view: types.PoolView, field: str) -> jax.Array:
  """Returns the view's field. Raises ValueError if the view lacks it."""
  value = getattr(view, field)
  if value is None:
    raise ValueError(f"this acquisition reads {field}, but the view has none: set PoolView.{field}")
  return value


def require_head(view: types.PoolView) -> types.Head:
  """Returns the view's head. Raises ValueError if the view lacks it."""
  if view.head is None:
    raise ValueError("this acquisition reads head, but the view has none: set PoolView.head")
  return view.head


def finite_rows(view: types.PoolView, needs: types.Needs) -> jax.Array:
  """`[N]` bool: rows whose needed fields are finite; a log-probability may be minus infinity.

  Features and embeddings must also have a squared norm below 1e36, so that their squared distances are finite.
  """
  out = jnp.ones(view.candidates.shape, bool)
  for field in needs.fields:
    rows = require_field(view, field).astype(jnp.float32)
    axes = tuple(range(1, rows.ndim))
    # Comparisons with NaN are false, so NaN rows drop out.
    if field == "log_probs":
      out &= jnp.all(rows < jnp.inf, axis=axes)
    else:
      out &= jnp.sum(rows * rows, axis=axes) < _MAX_SQUARED_NORM
  return out


def scores_of(view: types.PoolView, score: types.ScoreFn) -> jax.Array:
  """`[N]` scores: the view's, or computed from its other fields."""
  return score(view) if view.scores is None else view.scores


def from_pool_score(score: Callable[[types.PoolView], jax.Array], *, needs: types.Needs) -> types.Acquisition:
  """Makes an acquisition that labels the highest scores first; rows that are not finite score NaN, the lowest.

  Args:
    score: `(view) -> [N]` floats, higher = label first.
    needs: the fields of the view that it reads.
  """

  def precise(view: types.PoolView) -> jax.Array:
    with jax.default_matmul_precision("highest"):
      return jnp.where(finite_rows(view, needs), score(view), jnp.nan)  # a vote on NaN, for example, would look valid

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    tie_break = with_tie_break(key, view).tie_break
    return pool.masked_top_k(scores_of(view, precise), view.candidates, num=num, tie_break=tie_break)

  return types.Acquisition(select, precise, needs, precise)


def from_select(select: types.SelectFn, *, needs: types.Needs) -> types.Acquisition:
  """Makes an acquisition from a function that selects a batch jointly.

  Args:
    select: `(key, view, *, num) -> [num]` int32 positions in the view, best first. In its view, `labeled` and
      `candidates` are False for rows that are not finite, and `tie_break` is set. If this leaves fewer candidates than
      `num`, what it returns after the last candidate is ignored.
    needs: the fields of the view that it reads.
  """

  def complete(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    view, finite = with_tie_break(key, view), finite_rows(view, needs)
    candidates = view.candidates & finite
    with jax.default_matmul_precision("highest"):
      ids = select(key, view._replace(labeled=view.labeled & finite, candidates=candidates), num=num)
    not_finite = view.candidates & ~finite
    last = pool.masked_top_k(jnp.zeros(finite.shape), not_finite, num=num, tie_break=view.tie_break)
    positions, num_finite = jnp.arange(num), candidates.sum()
    return jnp.where(positions < num_finite, ids, last[jnp.maximum(positions - num_finite, 0)])

  return types.Acquisition(complete, None, needs)
