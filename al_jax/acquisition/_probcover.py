"""ProbCover: images whose neighborhoods cover the pool, for small budgets."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition._embeddings import normalized_embeddings
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.chunks import map_chunks

# Columns of a block of distances in `count_within`: a pick newly covers few rows, often fewer than these.
_COLUMNS = 64
_RADIUS_SEED = 0


def count_within(x: jax.Array, among: jax.Array, squared_radius: jax.Array, *, chunk_size: int) -> jax.Array:
  """Number of rows of the mask `among` `[N]` within less than the radius of each row of `x` `[N, F]`: `[N]` int32.

  For a mask of few rows: its cost is N F times their number, rounded up to a multiple of 64.
  """
  total = among.sum()
  (ids,) = jnp.nonzero(among, size=x.shape[0], fill_value=0)
  ids = jnp.pad(ids, (0, _COLUMNS))

  def within(rows: jax.Array) -> jax.Array:
    def add(i: jax.Array, counts: jax.Array) -> jax.Array:
      others = x[jax.lax.dynamic_slice_in_dim(ids, i * _COLUMNS, _COLUMNS)]
      # A limit of -1 excludes the padding: squared distances are at least 0.
      limits = jnp.where(i * _COLUMNS + jnp.arange(_COLUMNS) < total, squared_radius, -1.0)[None]
      return counts + jnp.sum(clustering.squared_distances(rows, others) < limits, axis=1, dtype=jnp.int32)

    return jax.lax.fori_loop(0, -(-total // _COLUMNS), add, jnp.zeros(rows.shape[0], jnp.int32))

  return map_chunks(within, x, chunk_size=chunk_size)


def _fold_pairs(
  pair: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]],
  combine: Callable[[jax.Array, jax.Array], jax.Array],
  start: jax.Array,
  *,
  first: jax.Array | int,
  chunk_size: int,
) -> jax.Array:
  """Combines into `start` `[blocks * chunk]` what the rows of each pair of blocks give each other, each pair once.

  Args:
    pair: `(a, b) -> (of_a, of_b)`, `[chunk]` each: what the rows of block `a` get from those of `b`, and the other way
      round.
    combine: an associative and commutative operation of two arrays.
    start: the initial values.
    first: pairs have at least one of the first `first` blocks.
    chunk_size: rows of a block.
  """

  def update(values: jax.Array, block: jax.Array, new: jax.Array) -> jax.Array:
    old = jax.lax.dynamic_slice_in_dim(values, block * chunk_size, chunk_size)
    return jax.lax.dynamic_update_slice_in_dim(values, combine(old, new), block * chunk_size, 0)

  def outer(a: jax.Array, values: jax.Array) -> jax.Array:
    def inner(b: jax.Array, values: jax.Array) -> jax.Array:
      of_a, of_b = pair(a, b)
      return update(update(values, a, of_a), b, of_b)

    return jax.lax.fori_loop(a, start.shape[0] // chunk_size, inner, values)

  return jax.lax.fori_loop(0, first, outer, start)


def ball_counts(x: jax.Array, among: jax.Array, squared_radius: jax.Array, *, chunk_size: int) -> jax.Array:
  """As `count_within`, for a mask of many rows: distances among them are computed once per pair.

  The cost for M rows is (N - M / 2) M F.
  """
  size = x.shape[0]
  chunk = min(chunk_size, size)
  total = among.sum()
  order = jnp.argsort(~among, stable=True).astype(jnp.int32)
  ids = jnp.pad(order, (0, -size % chunk))

  def block(i: jax.Array) -> tuple[jax.Array, jax.Array]:
    limits = jnp.where(i * chunk + jnp.arange(chunk) < total, squared_radius, -1.0)
    return x[jax.lax.dynamic_slice_in_dim(ids, i * chunk, chunk)], limits

  def pair(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    (rows, own_limits), (others, limits) = block(a), block(b)
    distances = clustering.squared_distances(rows, others)
    of_a = jnp.sum(distances < limits[None], axis=1, dtype=jnp.int32)
    of_b = jnp.sum(distances < own_limits[:, None], axis=0, dtype=jnp.int32)
    return of_a, jnp.where(a == b, 0, of_b)

  start = jnp.zeros(ids.shape, jnp.int32)
  counts = _fold_pairs(pair, jnp.add, start, first=-(-total // chunk), chunk_size=chunk)
  return jnp.zeros(size, jnp.int32).at[order].set(counts[:size])


def _nearest_other_class(x: jax.Array, labels: jax.Array, in_use: jax.Array, *, chunk_size: int) -> jax.Array:
  """Squared distance of each row to the nearest row in use with another label: `[N]`, infinite if there is none."""
  size = x.shape[0]
  chunk = min(chunk_size, size)
  padded = tuple(jnp.pad(leaf, [(0, -size % chunk), *[(0, 0)] * (leaf.ndim - 1)]) for leaf in (x, labels, in_use))

  def pair(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    block = lambda i: tuple(jax.lax.dynamic_slice_in_dim(leaf, i * chunk, chunk) for leaf in padded)
    (rows, own_labels, own_in_use), (others, other_labels, others_in_use) = block(a), block(b)
    both = own_in_use[:, None] & others_in_use[None]
    distances = clustering.squared_distances(rows, others)
    distances = jnp.where(both & (own_labels[:, None] != other_labels[None]), distances, jnp.inf)
    return distances.min(axis=1), distances.min(axis=0)

  blocks = padded[0].shape[0] // chunk
  start = jnp.full(blocks * chunk, jnp.inf, x.dtype)
  return _fold_pairs(pair, jnp.minimum, start, first=blocks, chunk_size=chunk)[:size]


def squared_pure_radius(
  key: jax.Array, x: jax.Array, in_use: jax.Array, *, classes: int, purity: float, chunk_size: int
) -> jax.Array:
  """Square `[]` of the largest radius at which at least a share `purity` of the balls are pure.

  A ball is pure if its rows all have the same pseudo-label.
  """
  capacity, total = min(classes, x.shape[0]), in_use.sum()
  active = jnp.minimum(capacity, total)
  _, labels = clustering.kmeans(key, x, in_use, num=capacity, active=active, chunk_size=chunk_size)
  distances = _nearest_other_class(x, labels, in_use, chunk_size=chunk_size)
  # The 0.01 absorbs float32 rounding: 5% of 60 rows must be 3.
  impure = jnp.floor((1 - purity) * total + 0.01).astype(jnp.int32)
  largest = jnp.sort(jnp.where(in_use, distances, jnp.inf))[jnp.minimum(impure, total - 1)]
  # `largest` is the distance of two rows. A slightly smaller radius keeps one out of the other's ball despite rounding.
  return (1 - 1e-4) * largest


def estimated_squared_radius(
  key: jax.Array, x: jax.Array, in_use: jax.Array, *, images: int, classes: int, purity: float, chunk_size: int
) -> jax.Array:
  """`squared_pure_radius` of at most `images` rows in use, drawn with `key`."""
  draw, seeds = jax.random.split(key)
  if images < x.shape[0]:
    places = pool.random_subset(draw, in_use, num=images)
    x, in_use = x[places], in_use[places]
  return squared_pure_radius(seeds, x, in_use, classes=classes, purity=purity, chunk_size=chunk_size)


@factory
def probcover(
  *,
  radius: float = 0.0,
  purity: float = 0.95,
  classes: int = 10,
  radius_images: int = 10_000,
  chunk_size: int = 512,
) -> types.Acquisition:
  """Greedily the image whose ball contains the most images that are not covered yet.

  An image is covered if it is in the ball of a labeled or selected image. Balls are open: they contain the labeled and
  candidate images at a distance below the radius. Embeddings are scaled to unit length, and distances are Euclidean. If
  no candidate would cover a new image, one is drawn at random. The paper uses self-supervised embeddings that are fixed
  for the run: to do the same, set `Dataset.embedding`. Without it, the features of each round's network are used.

  With `radius=0` the radius is estimated as in the paper. k-means with `classes` clusters gives pseudo-labels. The
  radius is the largest at which at least a share `purity` of all balls contain a single pseudo-label: the `1 - purity`
  quantile of the distances to the nearest image of another pseudo-label. Set `classes` to the number of classes of the
  data, which a `PoolView` does not hold.

  In pools with more images than `radius_images`, that many are drawn for the estimate. A sample has wider gaps than its
  pool, so that the radius is somewhat larger. The draw and the clusters depend on no seed: with fixed embeddings, the
  radius is the same in all rounds.

  Formula: argmax |ball(x) - covered|
  Source: Yehuda et al. 2022

  Args:
    radius: radius of the balls, in 0..2; 0 estimates it.
    purity: share of balls that must be pure when the radius is estimated.
    classes: number of pseudo-labels when the radius is estimated.
    radius_images: largest number of images from which the radius is estimated.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `radius` is negative, `purity` not in (0, 1], `classes` below 2, or `radius_images` below `classes`.
  """
  if not radius >= 0:
    raise ValueError(f"radius must be positive, or 0 for an estimate, not {radius}")
  if not 0 < purity <= 1:
    raise ValueError(f"purity must be above 0 and at most 1, not {purity}")
  if classes < 2:
    raise ValueError(f"classes must be at least 2, not {classes}")
  if radius_images < classes:
    raise ValueError(f"radius_images must be at least classes={classes}, not {radius_images}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    x, in_use = normalized_embeddings(view)
    if radius:
      squared = jnp.array(radius**2, x.dtype)
    else:
      estimate = {"images": radius_images, "classes": classes, "purity": purity, "chunk_size": chunk_size}
      # A constant key of the same kind: equal embeddings and rows in use have the same radius in every round.
      data = jnp.full_like(jax.random.key_data(key), _RADIUS_SEED)
      constant = jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))
      squared = estimated_squared_radius(constant, x, in_use, **estimate)
    within = lambda among: count_within(x, among, squared, chunk_size=chunk_size)

    def pick(i, carry):
      ids, gains, uncovered, remaining = carry
      new = pool.masked_argmax(gains, remaining, tie_break=view.tie_break)
      covers = uncovered & (clustering.squared_distances_to(x, x[new]) < squared)
      # Each row becomes covered at most once, so over all picks it is subtracted once.
      return ids.at[i].set(new), gains - within(covers), uncovered & ~covers, remaining.at[new].set(False)

    uncovered = in_use & (within(view.labeled) == 0) & ~view.labeled
    gains = ball_counts(x, uncovered, squared, chunk_size=chunk_size)
    start = jnp.zeros(num, jnp.int32), gains, uncovered, view.candidates
    return jax.lax.fori_loop(0, num, pick, start)[0]

  return from_select(select, needs=types.Needs(embedding=True))
