"""Herding: images whose kernels cover the pool (MaxHerding), or its uncertain images (UHerding)."""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax import uncertainty
from al_jax.acquisition._embeddings import distances_to_labeled
from al_jax.acquisition._embeddings import normalized_embeddings
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field
from al_jax.chunks import map_chunks

# Candidates whose gains are computed exactly at a time.
_REFRESHED = 32
_GAIN_BITS = 12  # of the mantissa: gains that differ by less than about 1e-4 of their size are ties
_ROUNDING = 1e-3  # of a gain, relative: more than these bits and sums in another order make of it
_KERNEL_ROUNDING = 1e-6  # of a kernel
_EQUAL = 1e-6  # squared distance of rows of unit length that may be equal but for rounding
_BISECTIONS = 40
_TEMPERATURES = 0.1, 100.0


def _kernel(x: jax.Array, y: jax.Array, radius: jax.Array | float) -> jax.Array:
  """Gaussian kernel of all pairs: `[A, F]`, `[B, F]` -> `[A, B]` in 0..1."""
  return jnp.exp(clustering.squared_distances(x, y) * (-1 / radius**2))


def coverage_gains(
  x: jax.Array, covered: jax.Array, weights: jax.Array, *, radius: jax.Array | float, chunk_size: int
) -> jax.Array:
  """How much each row would add to the weighted coverage of all rows: `[M]`.

  The kernel of two rows serves both: blocks below the diagonal are not computed.

  Args:
    x: `[M, F]`.
    covered: `[M]` coverage of each row so far, in 0..1.
    weights: `[M]` of the rows as targets, at least 0.
    radius: of the kernel.
    chunk_size: rows and columns of a block of kernels.
  """
  size = x.shape[0]
  chunk = min(chunk_size, size)
  blocks = -(-size // chunk)
  # Rows of the padding have weight 0; what they would gain is cut off.
  x, covered, weights = (
    jnp.pad(leaf, [(0, blocks * chunk - size), *[(0, 0)] * (leaf.ndim - 1)]) for leaf in (x, covered, weights)
  )
  pairs = [(a, b) for a in range(blocks) for b in range(a, blocks)]
  first, second = (jnp.array(places, jnp.int32) * chunk for places in zip(*pairs, strict=True))

  def add(i: jax.Array, gains: jax.Array) -> jax.Array:
    a, b = first[i], second[i]
    block = lambda leaf, start: jax.lax.dynamic_slice_in_dim(leaf, start, chunk)
    kernel = _kernel(block(x, a), block(x, b), radius)
    of = lambda start, own: jax.lax.dynamic_update_slice_in_dim(gains, block(gains, start) + own, start, 0)
    gains = of(a, jnp.maximum(kernel - block(covered, b)[None], 0) @ block(weights, b))
    below = block(weights, a) @ jnp.maximum(kernel - block(covered, a)[:, None], 0)
    return of(b, jnp.where(a == b, 0.0, below))

  return jax.lax.fori_loop(0, len(pairs), add, jnp.zeros(blocks * chunk, x.dtype))[:size]


def greedy_coverage(
  x: jax.Array,
  covered: jax.Array,
  weights: jax.Array,
  candidates: jax.Array,
  tie_break: jax.Array,
  *,
  num: int,
  radius: jax.Array | float,
  chunk_size: int,
) -> jax.Array:
  """The positions that greedily add most to the weighted coverage, by lazy evaluation (Minoux, 1978): `[num]` int32.

  Gains never grow while rows are picked, so that earlier ones are bounds: only candidates whose bound is the largest
  are computed again. If nothing is gained, one of the candidates left is taken at random.

  Args:
    x: `[M, F]`.
    covered: `[M]` coverage of each row by the labeled rows, in 0..1.
    weights: `[M]` of the rows as targets, at least 0.
    candidates: `[M]` bool.
    tie_break: `[M]` floats in [0, 1); the highest wins.
    num: number of picks.
    radius: of the kernel.
    chunk_size: rows and columns of a block of kernels.
  """
  width = min(_REFRESHED, x.shape[0])
  gains = coverage_gains(x, covered, weights, radius=radius, chunk_size=chunk_size)
  bounds = gains + _ROUNDING * gains + _KERNEL_ROUNDING * weights.sum()

  def pick(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    ids, bounds, covered = carry

    def is_open(state: tuple[jax.Array, jax.Array]) -> jax.Array:
      bounds, is_exact = state
      stale, best = jnp.max(jnp.where(is_exact, -jnp.inf, bounds)), jnp.max(jnp.where(is_exact, bounds, -jnp.inf))
      return (stale > best) | ((stale == best) & (stale > 0))

    def refresh(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
      bounds, is_exact = state
      _, places = jax.lax.top_k(jnp.where(is_exact, -jnp.inf, bounds), width)
      exact = jnp.maximum(_kernel(x[places], x, radius) - covered[None], 0) @ weights
      # Two rows that are each other's nearest gain the same, but for rounding.
      exact = jax.lax.reduce_precision(exact, exponent_bits=8, mantissa_bits=_GAIN_BITS)
      return bounds.at[places].min(exact), is_exact.at[places].set(True)

    bounds, _ = jax.lax.while_loop(is_open, refresh, (bounds, jnp.zeros(bounds.shape, bool)))
    new = pool.masked_argmax(bounds, bounds >= 0, tie_break=tie_break)
    covered = jnp.maximum(covered, _kernel(x[new][None], x, radius)[0])
    return ids.at[i].set(new), bounds.at[new].set(-jnp.inf), covered

  start = jnp.zeros(num, jnp.int32), jnp.where(candidates, bounds, -jnp.inf), covered
  return jax.lax.fori_loop(0, num, pick, start)[0]


def _herd(
  key: jax.Array,
  view: types.PoolView,
  x: jax.Array,
  weigh: Callable[[jax.Array], jax.Array],
  *,
  num: int,
  radius: jax.Array | float,
  candidates: int,
  chunk_size: int,
) -> jax.Array:
  """The picks among at most `candidates` candidates, drawn at random, which are the targets too: `[num]` int32.

  `weigh` gives the weights `[M]` of targets at the positions `[M]`.
  """
  size = view.labeled.shape[0]
  if num > min(candidates, size):
    raise ValueError(f"candidates={candidates} are too few to select {num} images: give at least {num}")
  places = jnp.arange(size, dtype=jnp.int32)
  if candidates < size:
    places = pool.random_subset(key, view.candidates, num=candidates)
  drawn, is_candidate = x[places], view.candidates[places]
  to_labeled = distances_to_labeled(drawn, x, view.labeled, chunk_size=chunk_size)
  ids = greedy_coverage(
    drawn,
    jnp.exp(to_labeled * (-1 / radius**2)),
    jnp.where(is_candidate, weigh(places), 0.0),
    is_candidate,
    require_field(view, "tie_break")[places],
    num=num,
    radius=radius,
    chunk_size=chunk_size,
  )
  return places[ids]


def _check(radius: float, candidates: int, *, lowest: str) -> None:
  if not 0 <= radius < math.inf or (lowest == "positive" and not radius):
    raise ValueError(f"radius must be {lowest}, not {radius}")
  if candidates < 1:
    raise ValueError(f"candidates must be at least 1, not {candidates}")


@factory
def maxherding(*, radius: float = 1.0, candidates: int = 10_000, chunk_size: int = 1024) -> types.Acquisition:
  """Greedily the image that adds most to the generalized coverage of the pool.

  The coverage of an image is its largest kernel with a labeled or selected image; the generalized coverage is its mean
  over the pool. The kernel is Gaussian, exp(-(|x - y| / radius)^2), of embeddings of unit length. ProbCover is the same
  with a kernel that is 1 within a radius and 0 outside.

  In pools with more candidates than `candidates`, that many are drawn at random, as in the authors' code, and are both
  the images that may be selected and those that are to be covered. (There their number falls with the labels, from
  35,000; here it is fixed.) Each round draws anew. The paper uses self-supervised embeddings that are fixed for the
  run: to do the same, set `Dataset.embedding`. Without it, the features of each round's network are used.

  Formula: argmax_x mean_y max(k(x, y) - max_c k(c, y), 0), c labeled or chosen
  Source: Bae et al. 2024

  Args:
    radius: width of the kernel; 1 as in the authors' code.
    candidates: largest number of images that one selection compares.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `radius` is not positive or not finite, or `candidates` is below 1 or below the number of picks.
  """
  _check(radius, candidates, lowest="positive")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    x, _ = normalized_embeddings(view)
    options = {"radius": radius, "candidates": candidates, "chunk_size": chunk_size}
    return _herd(key, view, x, lambda places: jnp.ones(places.shape, x.dtype), num=num, **options)

  return from_select(select, needs=types.Needs(embedding=True))


def smallest_distance(x: jax.Array, labeled: jax.Array, *, chunk_size: int) -> jax.Array:
  """Smallest distance `[]` of two different labeled rows of unit length `[N, F]`; 1 if there are none."""
  size = labeled.shape[0]
  chunk = min(chunk_size, size)
  ids, count = jnp.pad(pool.labeled_ids(labeled, size=size), (0, chunk)), labeled.sum()

  def block(i: jax.Array) -> tuple[jax.Array, jax.Array]:
    start = i * chunk
    return x[jax.lax.dynamic_slice_in_dim(ids, start, chunk)], start + jnp.arange(chunk) < count

  def compare(i: jax.Array, smallest: jax.Array) -> jax.Array:
    rows, present = block(i)

    def nearest(j: jax.Array, smallest: jax.Array) -> jax.Array:
      others, others_present = block(j)
      distances = clustering.squared_distances(rows, others)
      differ = present[:, None] & others_present[None] & (distances > _EQUAL)
      return jnp.minimum(smallest, jnp.min(jnp.where(differ, distances, jnp.inf)))

    return jax.lax.fori_loop(0, i + 1, nearest, smallest)

  squared = jax.lax.fori_loop(0, -(-count // chunk), compare, jnp.float32(jnp.inf))
  return jnp.where(jnp.isinf(squared), 1.0, jnp.sqrt(squared))


def fitted_temperature(log_probs: jax.Array, labels: jax.Array) -> jax.Array:
  """The temperature `[]` at which predictions have the lowest negative log-likelihood, within 0.1..100.

  The likelihood of `softmax(log_probs / temperature)` is concave in the inverse temperature, so that its derivative is
  bisected. With no label it is 1.

  Source: Guo et al. (2017), *On Calibration of Modern Neural Networks*, section 4.2.

  Args:
    log_probs: `[V, C]`.
    labels: `[V]` int32, negative where there is none.
  """
  known = labels >= 0
  # Predictions of 0 would make sums infinite; a label with such a prediction asks for the highest temperature.
  log_probs = jnp.maximum(log_probs, -1e4)
  own = jnp.take_along_axis(log_probs, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]

  def halve(_, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    low, high = bounds
    middle = (low + high) / 2
    probs = jax.nn.softmax(log_probs * jnp.exp(-middle), axis=1)
    # The derivative by the inverse temperature: where it is positive, predictions should be sharper.
    slope = jnp.sum(jnp.where(known, own - jnp.sum(probs * log_probs, axis=1), 0.0))
    return jnp.where(slope > 0, low, middle), jnp.where(slope > 0, middle, high)

  low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, tuple(jnp.float32(math.log(bound)) for bound in _TEMPERATURES))
  return jnp.where(known.any(), jnp.exp((low + high) / 2), 1.0)


@factory
def uherding(*, radius: float = 0.0, candidates: int = 10_000, chunk_size: int = 1024) -> types.Acquisition:
  """Greedily the image that adds most to the coverage of the pool's uncertain images.

  As `maxherding`, with each image to be covered weighted by its uncertainty: 1 minus the difference between its two
  highest probabilities. Probabilities are those of the mean prediction at a temperature that is fitted to the
  validation rows (`--val_size`, `Plan.val_size`); without them it is 1. The radius is the smallest distance of two
  labeled images that differ, so that it shrinks as labels are acquired: first the images that cover the pool, then the
  uncertain ones. With fewer than two different labeled images it is 1.

  Formula: argmax_x mean_y u(y) max(k(x, y) - max_c k(c, y), 0), c labeled or chosen
  Source: Bae et al. 2025

  Args:
    radius: width of the kernel; 0: the smallest distance of two labeled images.
    candidates: largest number of images that one selection compares.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `radius` is negative or not finite, or `candidates` is below 1 or below the number of picks.
  """
  _check(radius, candidates, lowest="positive, or 0 for an estimate")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    x, _ = normalized_embeddings(view)
    mean = lambda log_probs: jax.nn.logsumexp(log_probs, axis=1) - math.log(log_probs.shape[1])
    temperature = 1.0
    if view.val_log_probs is not None:
      temperature = fitted_temperature(mean(view.val_log_probs), require_field(view, "val_labels"))

    def weigh(places: jax.Array) -> jax.Array:
      scaled = jax.nn.log_softmax(mean(require_field(view, "log_probs")[places]) / temperature, axis=1)
      return map_chunks(jax.vmap(uncertainty.margin), scaled[:, None], chunk_size=chunk_size)

    own_radius = radius or smallest_distance(x, view.labeled, chunk_size=chunk_size)
    options = {"radius": own_radius, "candidates": candidates, "chunk_size": chunk_size}
    return _herd(key, view, x, weigh, num=num, **options)

  return from_select(select, needs=types.Needs(samples=1, embedding=True, validation=True))
