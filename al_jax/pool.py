"""Operations on masks of pool rows. All shapes are fixed, so nothing recompiles as the labeled set grows."""

import chex
import jax
import jax.numpy as jnp

_EXACT_IN_FLOAT32 = 2**24  # integers up to this one


def _finite(scores: jax.Array) -> jax.Array:
  """Finite scores: NaN becomes the lowest number, and -0.0 becomes 0.0, which top_k would order as different."""
  limits = jnp.finfo(scores.dtype)
  finite = jnp.nan_to_num(scores, nan=limits.min, posinf=limits.max, neginf=limits.min)
  return jnp.where(finite == 0, 0.0, finite)


def _top_k(scores: jax.Array, num: int) -> tuple[jax.Array, jax.Array]:
  """`lax.top_k` behind barriers: where XLA sees that only part of a result is read, it sorts the whole array."""
  values, ids = jax.lax.top_k(scores, num)
  # One barrier each: XLA's CPU compiler fails on a barrier around both.
  return jax.lax.optimization_barrier(values), jax.lax.optimization_barrier(ids)


def masked_top_k(
  scores: jax.Array, candidates: jax.Array, *, num: int, tie_break: jax.Array | None = None
) -> jax.Array:
  """Ids of the `num` highest scores among the candidates, best first.

  Only candidates are returned, whatever the scores: candidates' scores are made finite first (NaN counts as the
  lowest), and all other rows score minus infinity. All selection by score goes through this function.

  Args:
    scores: `[N]` floats, higher is labeled first.
    candidates: `[N]` bool, true for at least `num` rows.
    num: number of ids.
    tie_break: `[N]` floats in [0, 1): ties go to the highest value. None: to the lowest id.

  Returns:
    `[num]` int32.
  """
  chex.assert_rank([scores, candidates], 1)
  chex.assert_equal_shape([scores, candidates])
  chex.assert_type(candidates, bool)

  scores = jnp.where(candidates, _finite(scores), -jnp.inf)
  values, ids = _top_k(scores, num)
  if tie_break is None:
    return ids.astype(jnp.int32)
  chex.assert_equal_shape([scores, tie_break])
  # Take all rows above the lowest selected score, and fill up with the highest tie_break among rows equal to it.
  lowest = values[-1]
  _, ids = _top_k(jnp.where(scores > lowest, 1.0, jnp.where(scores == lowest, tie_break, -1.0)), num)
  return ids[jnp.lexsort((-tie_break[ids], -scores[ids]))].astype(jnp.int32)


def masked_argmax(scores: jax.Array, candidates: jax.Array, *, tie_break: jax.Array | None = None) -> jax.Array:
  """`masked_top_k` for `num=1`: `[]` int32. Scores may also be integers."""
  chex.assert_equal_shape([scores, candidates])

  if jnp.issubdtype(scores.dtype, jnp.floating):
    scores, lowest = _finite(scores), -jnp.inf
  else:
    lowest = jnp.iinfo(scores.dtype).min
  best = jnp.max(scores, where=candidates, initial=lowest)
  among_equals = 0.0 if tie_break is None else tie_break
  return jnp.argmax(jnp.where(candidates & (scores == best), among_equals, -1.0)).astype(jnp.int32)


def random_subset(key: jax.Array, candidates: jax.Array, *, num: int) -> jax.Array:
  """`[num]` int32 ids drawn uniformly without replacement from the candidates, `[N]` bool."""
  return masked_top_k(jax.random.uniform(key, candidates.shape), candidates, num=num)


def balanced_subset(key: jax.Array, labels: jax.Array, candidates: jax.Array, *, num: int, num_classes: int):
  """`[num]` int32 ids, equally many of each class, drawn uniformly within a class.

  If `num` is not a multiple of `num_classes`, randomly chosen classes get one more. If a class has too few candidates,
  all of them are drawn and the other classes make up the difference.

  Args:
    key: a random key; it is consumed.
    labels: `[N]` int32.
    candidates: `[N]` bool, true for at least `num` rows.
    num: number of ids.
    num_classes: number of classes.
  """
  chex.assert_equal_shape([labels, candidates])

  labels = jnp.asarray(labels, jnp.int32)  # a smaller integer type could overflow with the class added below
  key_shuffle, key_classes = jax.random.split(key)
  shuffled = jax.random.permutation(key_shuffle, labels.shape[0])
  # Rows that are not candidates form an extra class, which is taken last.
  classes = jnp.where(candidates, labels, num_classes)[shuffled]
  by_class = jnp.argsort(classes, stable=True)
  sorted_classes = classes[by_class]
  first_of_class = jnp.searchsorted(sorted_classes, jnp.arange(num_classes + 1))
  turn = jnp.arange(labels.shape[0]) - first_of_class[sorted_classes]
  class_order = jnp.append(jax.random.permutation(key_classes, num_classes), num_classes)
  take = jnp.lexsort((class_order[sorted_classes], turn, sorted_classes == num_classes))
  return shuffled[by_class[take[:num]]].astype(jnp.int32)


def mask_of(ids: jax.Array, *, size: int) -> jax.Array:
  """`[size]` bool, true at `ids`."""
  return jnp.zeros(size, bool).at[ids].set(True)


def reveal(labeled: jax.Array, ids: jax.Array) -> jax.Array:
  """The labeled mask `[N]` with `ids` added; an id of -1 adds nothing."""
  # An index out of range is dropped; a negative index would count from the end.
  return labeled.at[jnp.where(ids < 0, labeled.shape[0], ids)].set(True, mode="drop")


def labeled_ids(labeled: jax.Array, *, size: int) -> jax.Array:
  """`[size]` int32: the labeled ids in ascending order, padded with 0 at the end."""
  rows = labeled.shape[0]
  if rows > _EXACT_IN_FLOAT32 or size > rows // 16:
    (ids,) = jnp.nonzero(labeled, size=size, fill_value=0)
    return ids.astype(jnp.int32)
  # On CPU, `nonzero` takes ten times as long: it computes a cumulative sum of the pool.
  negated, _ = _top_k(jnp.where(labeled, -jnp.arange(rows, dtype=jnp.float32), -jnp.inf), size)
  return jnp.where(negated > -jnp.inf, -negated, 0).astype(jnp.int32)
