"""Distances and k-means on many rows without ever holding all pairs: `[N, F]` features, a chunk at a time."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from al_jax.chunks import map_chunks


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
  """Squared Euclidean distances of all pairs: `[A, F]`, `[B, F]` -> `[A, B]`, at least 0.

  One matrix product, whose rounding grows with the distance from the origin: centre the data first. The distance of
  equal rows comes out as about 1e-7 of their squared norm, not always as 0.
  """
  chex.assert_rank([x, y], 2)

  norms = lambda z: jnp.sum(z * z, axis=1)
  # What is left of two almost equal numbers: the shorter products of some accelerators would leave nothing.
  products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(norms(x)[:, None] + norms(y)[None] - 2 * products, 0.0)


def squared_distances_to(x: jax.Array, center: jax.Array) -> jax.Array:
  """Squared Euclidean distances to one row: `[N, F]`, `[F]` -> `[N]`; exactly 0 for equal rows."""
  return jnp.sum((x - center[None]) ** 2, axis=1)


def centered(x: jax.Array, valid: jax.Array) -> jax.Array:
  """`[N, F]` rows minus the mean of the valid ones; rows that are not valid become 0, whatever they held."""
  x = jnp.where(valid[:, None], x, 0.0)
  mean = x.sum(axis=0) / jnp.maximum(valid.sum(), 1)
  return jnp.where(valid[:, None], x - mean[None], 0.0)


def l2_normalize(x: jax.Array) -> jax.Array:
  """`[N, F]` rows scaled to length 1; a row of zeros stays as it is."""
  norm = jnp.linalg.norm(x, axis=1, keepdims=True)
  return x / jnp.where(norm > 0, norm, 1.0)


def kmeans_plus_plus(
  key: jax.Array,
  distances_to: Callable[[jax.Array], jax.Array],
  valid: jax.Array,
  *,
  num: int,
  active: jax.Array | None = None,
  tie_break: jax.Array | None = None,
) -> jax.Array:
  """k-means++ seeding by distances alone, so that a row may be anything: `[num]` int32 distinct ids.

  The first is uniform, each next one is drawn in proportion to the squared distance from the nearest one drawn. Where
  all distances are 0, any valid id that is left is taken: a batch is always full.

  Args:
    key: a random key; it is consumed.
    distances_to: id `[]` -> `[N]` squared distances of every row to that one; those of invalid rows may be anything.
    valid: `[N]` bool, true in at least as many places as are drawn: rows that may be.
    num: how many there is room for.
    active: `[]` int32: how many are drawn, all where None; the places behind them repeat the first.
    tie_break: `[N]` floats in [0, 1): where all distances are 0, the highest comes first. None: the lowest id does.

  Source: Arthur & Vassilvitskii (2007), section 2.2.
  """
  size = valid.shape[0]

  def draw(i: jax.Array | int, log_weights: jax.Array, taken: jax.Array) -> jax.Array:
    # The default mode has 23 bits for the tail that decides among many rows.
    noise = jax.random.gumbel(jax.random.fold_in(key, i), (size,), mode="high")
    # Below whatever is drawn, and in order.
    lowest = jnp.finfo(jnp.float32).min if tie_break is None else (tie_break - 2) * 1e37
    perturbed = jnp.where(jnp.isneginf(log_weights), lowest, log_weights + noise)
    return jnp.argmax(jnp.where(valid & ~taken, perturbed, -jnp.inf)).astype(jnp.int32)

  def step(i, carry):
    ids, nearest, taken = carry
    new = draw(i, jnp.log(nearest), taken)
    nearest = jnp.minimum(nearest, distances_to(new))
    return ids.at[i].set(new), nearest, taken.at[new].set(True)

  first = draw(0, jnp.zeros(size), jnp.zeros(size, bool))
  carry = jnp.full(num, first), distances_to(first), jnp.zeros(size, bool).at[first].set(True)
  ids, _, _ = jax.lax.fori_loop(1, num if active is None else active, step, carry)
  return ids


def nearest_center(
  x: jax.Array, centers: jax.Array, active: jax.Array, *, chunk_size: int
) -> tuple[jax.Array, jax.Array]:
  """Each row's nearest active center: `[N, F]`, `[K, F]`, `[K]` bool -> `[N]` int32 and `[N]` squared distances.

  A matrix product finds the center, so centre the data first; the distance to it is then taken directly, and is 0 for
  a row that equals it.
  """

  def chunk(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    distances = jnp.where(active[None], squared_distances(rows, centers), jnp.inf)
    nearest = distances.argmin(axis=1).astype(jnp.int32)
    return nearest, jnp.sum((rows - centers[nearest]) ** 2, axis=1)

  return map_chunks(chunk, x, chunk_size=chunk_size)


def kmeans(
  key: jax.Array,
  x: jax.Array,
  valid: jax.Array,
  *,
  num: int,
  active: jax.Array | None = None,
  tie_break: jax.Array | None = None,
  iterations: int = 20,
  chunk_size: int = 1024,
) -> tuple[jax.Array, jax.Array]:
  """Lloyd's k-means from k-means++ seeds, a fixed number of iterations; an empty cluster keeps its center.

  Args:
    key: a random key; it is consumed.
    x: `[N, F]` floats, centred (see `squared_distances`); invalid rows may hold anything.
    valid: `[N]` bool, true in at least as many places as there are clusters: rows that take part.
    num: most clusters there can be.
    active: `[]` int32: how many of them there are; all of them where None.
    tie_break: `[N]`, as in `kmeans_plus_plus`.
    iterations: of assigning rows and moving centers.
    chunk_size: rows whose distances to all centers are held at a time.

  Returns:
    `[num, F]` centers, of which the first `active` count, and `[N]` int32 nearest centers, of valid rows only.

  Source: Lloyd (1982); Arthur & Vassilvitskii (2007).
  Memory: 18 * N + 3 * num * F + chunk * (num + 4 * F) floats.
  """
  seeds = kmeans_plus_plus(
    key, lambda i: squared_distances_to(x, x[i]), valid, num=num, active=active, tie_break=tie_break
  )
  is_active = jnp.arange(num) < (num if active is None else active)

  def step(_, centers: jax.Array) -> jax.Array:
    assigned, _ = nearest_center(x, centers, is_active, chunk_size=chunk_size)
    clusters = jnp.where(valid, assigned, num)  # out of range is dropped
    sums = jax.ops.segment_sum(x, clusters, num_segments=num)
    counts = jax.ops.segment_sum(jnp.ones(valid.shape), clusters, num_segments=num)
    return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], centers)

  centers = jax.lax.fori_loop(0, iterations, step, x[seeds])
  return centers, nearest_center(x, centers, is_active, chunk_size=chunk_size)[0]
