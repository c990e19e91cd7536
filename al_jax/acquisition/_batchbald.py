"""BatchBALD: a batch with high joint mutual information; also the mutual information that EPIG uses.

Both measure how much the labels of some images change the prediction of another. A configuration j of these labels
changes the samples' equal weights to `omega[j, s] = p(w_s | y_j)`, and the image's prediction from `m = mean_s p_s` to
`q_j = sum_s omega[j, s] p_s`. The mean of `KL(q_j || m)` over configurations is the mutual information between the
image's label and the labels of the others.

Divergences are computed as sums of `m phi(p / m - 1)` (`uncertainty.phi`), never as differences of entropies.
"""

from collections.abc import Callable
import functools

import chex
import jax
import jax.numpy as jnp

from al_jax import pool
from al_jax import types
from al_jax import uncertainty
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.chunks import map_chunks

# Relative slack by which a gain may exceed its previous upper bound: from rounding, and from sampling (divided by the
# square root of the number of configurations).
_ROUNDING_SLACK, _SAMPLING_SLACK = 1e-3, 4.0
# Screening pass: subsampling factor, minimum number of configurations, width of the bounds in standard errors.
_SCREENING_FACTOR, _MIN_SCREENING, _STANDARD_ERRORS = 64, 256, 4.0
# Stands for log 0: sums and differences of a hundred of them are still finite.
_LOG_ZERO = -1e30


def relative(log_probs: jax.Array) -> tuple[jax.Array, jax.Array]:
  """`uncertainty.relative` of each image: `[B, S, C]` -> `[B, C]` and `[B, S, C]`."""
  chex.assert_rank(log_probs, 3)

  return jax.vmap(uncertainty.relative)(log_probs)


def _divergences(mean: jax.Array, excess: jax.Array) -> jax.Array:
  """`KL(p_s || m)` `[B, S]` of each sample from the mean prediction, in nats."""
  return jnp.sum(mean[:, None] * uncertainty.phi(excess), axis=2)


def _relative_shift(excess: jax.Array, tilt: jax.Array) -> jax.Array:
  """`q_j / m - 1` `[B, C, J]`: relative change of the mean prediction under each configuration."""
  return jnp.einsum("bsc,js->bcj", excess, tilt)


def information_from_labels(mean: jax.Array, excess: jax.Array, tilt: jax.Array, weights: jax.Array) -> jax.Array:
  """Mutual information between each image's label and the configuration: `sum_j w_j KL(q_j || m)` `[B]`, in nats.

  Args:
    mean: `[B, C]`, from `relative`.
    excess: `[B, S, C]`, from `relative`.
    tilt: `[J, S]` `omega - 1 / S`: change of the samples' weights under each configuration.
    weights: `[J]` probabilities of the configurations, which add up to 1.

  Memory: 2 B J C floats.
  """
  chex.assert_rank([mean, excess, tilt, weights], [2, 3, 2, 1])

  return jnp.sum(mean * (uncertainty.phi(_relative_shift(excess, tilt)) @ weights), axis=1)


def gains(log_probs: jax.Array, log_likelihoods: jax.Array, weights: jax.Array) -> jax.Array:
  """Mutual information between each image's label and the parameters, given the labels of other images, in nats.

  `sum_j w_j sum_s omega[j, s] KL(p_s || q_j)`: BALD under each configuration's posterior, averaged over configurations.
  Gains within rounding error are set to 0, so that images without new information are exact ties.

  Args:
    log_probs: `[B, S, C]`.
    log_likelihoods: `[J, S]` log-likelihood of each configuration under each sample, finite.
    weights: `[J]` probabilities of the configurations, which add up to 1.

  Returns:
    `[B]`, at least 0.

  Source: Kirsch, van Amersfoort & Gal (2019), section 3; as a conditional mutual information, by its chain rule.
  """
  omega = jax.nn.softmax(log_likelihoods, axis=1)
  mean, excess = relative(log_probs)
  divergence = _divergences(mean, excess) @ (weights @ omega)
  remaining = divergence - information_from_labels(mean, excess, omega - 1 / omega.shape[1], weights)
  rounding = 4 * len(weights) ** 0.5 * jnp.finfo(jnp.float32).eps * divergence  # error of sums over configurations
  return jnp.where(remaining > rounding, remaining, 0.0)


def sample_informative_configs(
  key: jax.Array, log_likelihoods: jax.Array, weights: jax.Array, *, num: int
) -> tuple[jax.Array, jax.Array]:
  """Importance-samples configurations in proportion to weight times posterior entropy over samples.

  The entropy bounds an image's gain under a configuration. It is near 0 under most configurations once a few labels
  distinguish the samples. Sampling is stratified: one draw from each of `num` equal shares of the total, so that a
  configuration with a large share is drawn several times.

  Args:
    key: PRNG key.
    log_likelihoods: `[J, S]`, as in `gains`.
    weights: `[J]`, as in `gains`.
    num: number of draws, F.

  Returns:
    `[F, S]` log-likelihoods of the drawn configurations, and `[F]` importance weights: the mean over F of weight times
    value is an unbiased estimate of the mean over J by `weights`.
  """
  omega = jax.nn.softmax(log_likelihoods, axis=1)
  entropies = jnp.maximum(jax.scipy.special.entr(omega).sum(axis=1), jnp.finfo(jnp.float32).eps)
  cumulative = jnp.cumsum(weights * entropies)
  positions = (jnp.arange(num) + jax.random.uniform(key, (num,))) / num * cumulative[-1]
  drawn = jnp.minimum(jnp.searchsorted(cumulative, positions, side="right"), len(weights) - 1)
  return log_likelihoods[drawn], cumulative[-1] / entropies[drawn]


def gain_bounds(log_probs: jax.Array, log_likelihoods: jax.Array, factors: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Confidence bounds of `gains`, estimated from a sample of the configurations.

  The bounds are four standard errors below and above the mean. The upper bound also has Bernstein's range term: an
  image may be informative only under rare configurations, of which the sample holds few.

  Args:
    log_probs: `[B, S, C]`.
    log_likelihoods: `[F, S]`, from `sample_informative_configs`.
    factors: `[F]`, from `sample_informative_configs`.

  Returns:
    `[B]` lower and `[B]` upper bounds, in nats.
  """
  omega = jax.nn.softmax(log_likelihoods, axis=1)
  mean, excess = relative(log_probs)
  information = jnp.einsum("bc,bcj->bj", mean, uncertainty.phi(_relative_shift(excess, omega - 1 / omega.shape[1])))
  remaining = (_divergences(mean, excess) @ omega.T - information) * factors[None]  # `[B, F]`
  error = _STANDARD_ERRORS * remaining.std(axis=1) / len(omega) ** 0.5
  bernstein = _STANDARD_ERRORS**2 / 2 * remaining.max(axis=1) / len(omega)
  return remaining.mean(axis=1) - error, remaining.mean(axis=1) + error + bernstein


def extend_by_all(log_likelihoods: jax.Array, image: jax.Array) -> jax.Array:
  """Extends each configuration by every label of one more image `[S, C]`: `[J, S]` -> `[J * C, S]` log-likelihoods."""
  extended = log_likelihoods[:, None] + jnp.maximum(image.T, _LOG_ZERO)[None]
  return extended.reshape(-1, image.shape[0])


def extend_by_drawn(key: jax.Array, log_likelihoods: jax.Array, image: jax.Array) -> jax.Array:
  """Extends each sampled configuration by a drawn label of one more image `[S, C]`: `[M, S]` -> `[M, S]`.

  The configurations form S equal groups, one for each sample; a group draws labels from its sample's prediction.
  """
  samples = image.shape[0]
  drawn_from = jnp.repeat(jnp.arange(samples), len(log_likelihoods) // samples)
  labels = jax.random.categorical(key, image[drawn_from])
  return log_likelihoods + jnp.maximum(image.T, _LOG_ZERO)[labels]


def lazy_argmax(
  images: jax.Array,
  candidates: jax.Array,
  upper_bounds: jax.Array,
  log_likelihoods: jax.Array,
  weights: jax.Array,
  screening: tuple[jax.Array, jax.Array] | None = None,
  *,
  slack: float,
  chunk_size: int,
  tie_break: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """The candidate of highest gain, found by lazy greedy evaluation (Minoux, 1978).

  Labels are independent given the parameters, so an image's gain never increases as more labels are known: its previous
  gain is an upper bound. Images are scored in descending order of their bounds, until the next bound is below the
  best gain found. With `screening`, bounds are first lowered on a sample of the configurations; only images that may
  still be the best are then scored on all configurations.

  Args:
    images: `[N, S, C]` log-probabilities.
    candidates: `[N]` bool.
    upper_bounds: `[N]` upper bound of each image's gain; NaN counts as minus infinity.
    log_likelihoods: `[J, S]`, as in `gains`.
    weights: `[J]`, as in `gains`.
    screening: `[F, S]` and `[F]`, from `sample_informative_configs`.
    slack: fraction by which a gain may exceed its upper bound, due to rounding or sampling.
    chunk_size: number of images scored at a time.
    tie_break: `[N]`, as in `pool.masked_top_k`.

  Returns:
    `[]` int32 id, and `[N]` updated upper bounds.
  """
  total = len(images)

  def refresh_bounds(upper_bounds: jax.Array, bounds_of: Callable, size: int) -> jax.Array:
    """New upper bounds of the images that may be the best; -inf for the others, but 0 if the bound was 0."""
    size, order = min(size, total), jnp.argsort(-upper_bounds)

    def may_improve(carry: tuple) -> jax.Array:
      start, best, _ = carry
      next_bound = upper_bounds[order[jnp.minimum(start, total - 1)]]
      return (start < total) & (next_bound > 0) & (next_bound * (1 + slack) >= best)

    def score_next(carry: tuple) -> tuple:
      start, best, scores = carry
      ids = jax.lax.dynamic_slice_in_dim(order, jnp.minimum(start, total - size), size)
      low, high = (jnp.where(candidates[ids], bound, -jnp.inf) for bound in bounds_of(images[ids]))
      return start + size, jnp.maximum(best, low.max()), scores.at[ids].set(high)

    zero_bounds = jnp.where(upper_bounds == 0, 0.0, -jnp.inf)  # a gain of 0 stays 0
    return jax.lax.while_loop(may_improve, score_next, (jnp.int32(0), jnp.float32(-jnp.inf), zero_bounds))[2]

  upper_bounds = jnp.where(candidates & (upper_bounds >= 0), upper_bounds, -jnp.inf)
  if screening is not None:
    screened = refresh_bounds(
      upper_bounds, lambda chunk: gain_bounds(chunk, *screening), chunk_size * len(weights) // len(screening[1])
    )
    upper_bounds = jnp.where(screened > 0, jnp.minimum(upper_bounds, screened), upper_bounds)
  scores = refresh_bounds(upper_bounds, lambda chunk: (gains(chunk, log_likelihoods, weights),) * 2, chunk_size)
  return pool.masked_argmax(scores, candidates, tie_break=tie_break), jnp.where(scores > -jnp.inf, scores, upper_bounds)


@functools.partial(jax.jit, static_argnames=("num", "max_configs", "chunk_size"))
def _greedy(
  key: jax.Array,
  images: jax.Array,
  candidates: jax.Array,
  tie_break: jax.Array,
  *,
  num: int,
  max_configs: int,
  chunk_size: int,
) -> jax.Array:
  """`[num]` int32 ids; see `batchbald`. Jitted separately so that direct calls share one program."""
  _, samples, classes = images.shape
  num_exact = next(k for k in range(num + 1) if k == num or classes**k > max_configs)

  def pick(k, ids, candidates, upper_bounds, log_likelihoods, weights, *, slack):
    total = len(weights)
    num_screening = max(total // _SCREENING_FACTOR, _MIN_SCREENING)
    screening = None
    if 2 * num_screening <= total:
      screening = sample_informative_configs(
        jax.random.fold_in(key, num + k), log_likelihoods, weights, num=num_screening
      )
    options = {"slack": slack, "chunk_size": chunk_size, "tie_break": tie_break}
    new, upper_bounds = lazy_argmax(images, candidates, upper_bounds, log_likelihoods, weights, screening, **options)
    return ids.at[k].set(new), candidates.at[new].set(False), upper_bounds

  extend = lambda k, drawn, ids: extend_by_drawn(jax.random.fold_in(key, k), drawn, images[ids[k]])
  drawn = jnp.zeros((samples * max(max_configs // samples, 1), samples))
  ids = jnp.zeros(num, jnp.int32)
  exact = jnp.zeros((1, samples))
  gains_alone = functools.partial(gains, log_likelihoods=exact, weights=jnp.ones(1))
  upper_bounds = map_chunks(gains_alone, images, chunk_size=chunk_size)
  for k in range(num_exact):
    if k:
      exact, drawn = extend_by_all(exact, images[ids[k - 1]]), extend(k - 1, drawn, ids)
    ids, candidates, upper_bounds = pick(
      k, ids, candidates, upper_bounds, exact, jnp.exp(exact).mean(axis=1), slack=_ROUNDING_SLACK
    )

  def step(k, carry):
    ids, candidates, upper_bounds, drawn = carry
    drawn = extend(k - 1, drawn, ids)
    weights = jnp.full(len(drawn), 1 / len(drawn))
    return *pick(k, ids, candidates, upper_bounds, drawn, weights, slack=_SAMPLING_SLACK / len(drawn) ** 0.5), drawn

  return jax.lax.fori_loop(num_exact, num, step, (ids, candidates, upper_bounds, drawn))[0]


@factory
def batchbald(*, max_configs: int = 10_000, chunk_size: int = 8) -> types.Acquisition:
  """Greedy batch whose labels have the highest joint mutual information with the parameters, in nats.

  The first image has the highest BALD. Each next one has the highest BALD given the labels of the images picked so far,
  averaged over the possible values j of these labels. The average is exact while there are at most `max_configs` label
  configurations. Beyond that, it is taken over `max_configs` sampled configurations (rounded down to a multiple of S,
  but at least S), the same number from each posterior sample; every pick extends each of them by one label. Images
  without new information are ties.

  The gain of an image is the information that it adds to the batch. It never increases from one pick to the next, so an
  image whose earlier gain is below the best gain found for this pick is not scored again. With 512
  configurations or more, the other images are first scored on a sample of 1/64 of the configurations (at least 256),
  which favors those that leave the posterior samples uncertain. An image is dropped if this estimate is more than four
  standard errors below the best one. With fewer configurations, all enumerated, the selection is exact up to rounding;
  otherwise a better image is missed with a small probability. Per-example dropout masks are refused.

  Formula: argmax_n mean_j (H[q_jn] - sum_s omega_js H[p_ns]), q_jn = sum_s omega_js p_ns, omega_js = p(s | j)
  Source: Kirsch et al. 2019

  Raises:
    ValueError: `max_configs` is below 1.
  """
  if max_configs < 1:
    raise ValueError(f"max_configs must be at least 1, not {max_configs}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    sizes = {"max_configs": max_configs, "chunk_size": chunk_size}
    return _greedy(key, view.log_probs, view.candidates, view.tie_break, num=num, **sizes)

  return from_select(select, needs=types.Needs(samples=2, joint=True))
