"""From maths to a strategy: what every selection has in common, whatever it judges images by.

Ties are broken by a draw, never by id: a pool is often sorted by class. A row that is not finite, or too long for its
distances to be, which a diverging network makes, is labeled last and touches no other row. Products are in full
precision: accelerators would shorten them, and what is left of two almost equal numbers would be noise.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax import pool
from al_jax import types

# No draw of a strategy has this number under its key.
_TIES = 2**32 - 1
# Rows whose squared length is below this are at a finite squared distance.
_LONGEST_SQUARED = 1e36


def with_tie_break(key: jax.Array, view: types.PoolView) -> types.PoolView:
  """The view with draws to break ties by: its own or, where it has none, from `key`, which is not consumed."""
  if view.tie_break is not None:
    return view
  return view._replace(tie_break=jax.random.uniform(jax.random.fold_in(key, _TIES), view.candidates.shape))


def given(view: types.PoolView, field: str) -> jax.Array:
  """A field of the view that the acquisition reads. Raises ValueError where the view lacks it."""
  value = getattr(view, field)
  if value is None:
    raise ValueError(f"the view has no {field}, which this acquisition reads")
  return value


def usable(view: types.PoolView, needs: types.Needs) -> jax.Array:
  """`[N]` bool: rows whose needed fields hold no NaN and, but for the log-probability of 0, nothing infinite.

  Nor features of a length that float32 cannot square.
  """
  out = jnp.ones(view.candidates.shape, bool)
  for field in needs.fields:
    rows = given(view, field).astype(jnp.float32)
    axes = tuple(range(1, rows.ndim))
    # A comparison with NaN is false.
    if field == "log_probs":
      out &= jnp.all(rows < jnp.inf, axis=axes)
    else:
      out &= jnp.sum(rows * rows, axis=axes) < _LONGEST_SQUARED
  return out


def from_pool_score(score: Callable[[types.PoolView], jax.Array], *, needs: types.Needs) -> types.Acquisition:
  """A strategy that labels the images of highest score first; that of a row that is not usable is NaN, the lowest.

  Args:
    score: `(view) -> [N]` floats, higher = label first.
    needs: what of the view it reads.
  """

  def precise(view: types.PoolView) -> jax.Array:
    with jax.default_matmul_precision("highest"):
      return jnp.where(usable(view, needs), score(view), jnp.nan)  # a vote, say, would count as any other

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    tie_break = with_tie_break(key, view).tie_break
    return pool.masked_top_k(precise(view), view.candidates, num=num, tie_break=tie_break)

  return types.Acquisition(select, precise, needs)


def from_select(select: types.SelectFn, *, needs: types.Needs) -> types.Acquisition:
  """A strategy that chooses a set of images for what they are together.

  Args:
    select: `(key, view, *, num) -> [num]` int32 ids, best first. The masks of its view hold usable rows alone, and
      `tie_break` is there; where it has fewer candidates than `num`, the places behind them may hold anything.
    needs: what of the view it reads.
  """

  def complete(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    view, sound = with_tie_break(key, view), usable(view, needs)
    candidates = view.candidates & sound
    with jax.default_matmul_precision("highest"):
      ids = select(key, view._replace(labeled=view.labeled & sound, candidates=candidates), num=num)
    broken = view.candidates & ~sound
    last = pool.masked_top_k(jnp.zeros(sound.shape), broken, num=num, tie_break=view.tie_break)
    places, chosen = jnp.arange(num), candidates.sum()
    return jnp.where(places < chosen, ids, last[jnp.maximum(places - chosen, 0)])

  return types.Acquisition(complete, None, needs)
