"""Distances and k-means for `[N, F]` features, in chunks: the `[N, N]` distances are never stored."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from al_jax.chunks import map_chunks


def squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
  """Squared Euclidean distances of all pairs: `[A, F]`, `[B, F]` -> `[A, B]`, at least 0.

  Computed by one matrix product, whose rounding error grows with the distance from the origin: center the data first.
  The distance of equal rows may be about 1e-7 of their squared norm instead of 0.
  """
  chex.assert_rank([x, y], 2)

  norms = lambda z: jnp.sum(z * z, axis=1)
  # The difference of nearly equal numbers: reduced-precision products, a default of some accelerators, would lose it.
  products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(norms(x)[:, None] + norms(y)[None] - 2 * products, 0.0)


def squared_distances_to(x: jax.Array, center: jax.Array) -> jax.Array:
  """Squared Euclidean distances to one row: `[N, F]`, `[F]` -> `[N]`; exactly 0 for equal rows."""
  return jnp.sum((x - center[None]) ** 2, axis=1)


def centered(x: jax.Array, valid: jax.Array) -> jax.Array:
  """`[N, F]` rows minus the mean of the valid rows; invalid rows become 0, even if they hold NaN."""
  x = jnp.where(valid[:, None], x, 0.0)
  mean = x.sum(axis=0) / jnp.maximum(valid.sum(), 1)
  return jnp.where(valid[:, None], x - mean[None], 0.0)


def l2_normalize(x: jax.Array) -> jax.Array:
  """`[N, F]` rows scaled to length 1; rows of zeros are unchanged."""
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
  """k-means++ seeding from a distance function: `[num]` int32 distinct ids.

  The first id is uniform; each further id is drawn with probability proportional to the squared distance from the
  nearest id drawn so far. If all distances are 0, any remaining valid id is drawn, so a batch is always full.

  Args:
    key: a random key; it is consumed.
    distances_to: id `[]` -> `[N]` squared distances of every row to that row; values of invalid rows are ignored.
    valid: `[N]` bool: rows that may be drawn; true for at least as many rows as are drawn.
    num: size of the result.
    active: `[]` int32: number of ids to draw; None: `num`. The remaining positions repeat the first id.
    tie_break: `[N]` floats in [0, 1): if all distances are 0, the highest value is drawn. None: the lowest id.

  Source: Arthur & Vassilvitskii (2007), section 2.2.
  """
  size = valid.shape[0]

  def draw(i: jax.Array | int, log_weights: jax.Array, taken: jax.Array) -> jax.Array:
    # The default mode has only 23 bits, too few for the tail that decides among many rows.
    noise = jax.random.gumbel(jax.random.fold_in(key, i), (size,), mode="high")
    # Rows at distance 0 rank below all others, in the order of `tie_break`.
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

  The nearest center is found by a matrix product, so center the data first. The distance to it is computed directly,
  and is exactly 0 for a row equal to its center.
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
  """Lloyd's k-means from k-means++ seeds with a fixed number of iterations; an empty cluster keeps its center.

  Args:
    key: a random key; it is consumed.
    x: `[N, F]` floats, centered (see `squared_distances`); invalid rows are ignored.
    valid: `[N]` bool: rows to cluster; true for at least as many rows as there are clusters.
    num: largest number of clusters.
    active: `[]` int32: number of clusters; None: `num`.
    tie_break: `[N]`, as in `kmeans_plus_plus`.
    iterations: number of iterations.
    chunk_size: number of rows whose distances to all centers are stored at a time.

  Returns:
    `[num, F]` centers, of which the first `active` are valid, and `[N]` int32 nearest centers, meaningful for valid
    rows only.

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
