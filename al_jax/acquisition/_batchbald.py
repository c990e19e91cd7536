"""BatchBALD: a batch chosen for what its labels say together; and the divergence that it shares with EPIG.

Both ask how far the labels of some images move the prediction of another. A configuration j of their labels turns the
samples' equal weights into `omega[j, s] = p(w_s | y_j)`, and so the image's prediction `m = mean_s p_s` into
`q_j = sum_s omega[j, s] p_s`. Averaged over configurations, `KL(q_j || m)` is the mutual information of the image's
label and those.

Divergences are added up as `m phi(p / m - 1)` (`uncertainty.phi`), never as a difference of entropies.
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

# By what share of what an image said before its gain may now lie above it: from rounding, and over the root of the
# number of sampled configurations.
_ROUNDING, _SAMPLING = 1e-3, 4.0
# A first look is by so many times fewer configurations, but at least so many, and trusts their mean but for so many
# standard errors.
_FEWER, _FEWEST, _ERRORS = 64, 256, 4.0
# Stands for the logarithm of 0: sums and differences of a hundred of them are still numbers.
_LOG_ZERO = -1e30


def relative(log_probs: jax.Array) -> tuple[jax.Array, jax.Array]:
  """`uncertainty.relative` of many images: `[B, S, C]` -> `[B, C]` and `[B, S, C]`."""
  chex.assert_rank(log_probs, 3)

  return jax.vmap(uncertainty.relative)(log_probs)


def _divergences(mean: jax.Array, excess: jax.Array) -> jax.Array:
  """`KL(p_s || m)` `[B, S]` in nats: how far each sample is from the mean prediction."""
  return jnp.sum(mean[:, None] * uncertainty.phi(excess), axis=2)


def _moved(excess: jax.Array, tilt: jax.Array) -> jax.Array:
  """`q_j / m - 1` `[B, C, J]`: by what share configurations raise the mean prediction."""
  return jnp.einsum("bsc,js->bcj", excess, tilt)


def information_from_labels(mean: jax.Array, excess: jax.Array, tilt: jax.Array, weights: jax.Array) -> jax.Array:
  """Mutual information of each image's label and the configurations': `sum_j w_j KL(q_j || m)` `[B]`, in nats.

  Args:
    mean: `[B, C]`, from `relative`.
    excess: `[B, S, C]`, from `relative`.
    tilt: `[J, S]` `omega - 1 / S`: what a configuration adds to the samples' weights.
    weights: `[J]` probabilities of the configurations, which add up to 1.

  Memory: 2 B J C floats.
  """
  chex.assert_rank([mean, excess, tilt, weights], [2, 3, 2, 1])

  return jnp.sum(mean * (uncertainty.phi(_moved(excess, tilt)) @ weights), axis=1)


def gains(log_probs: jax.Array, log_likelihoods: jax.Array, weights: jax.Array) -> jax.Array:
  """Mutual information of each image's label and the parameters once the labels of others are known, in nats.

  `sum_j w_j sum_s omega[j, s] KL(p_s || q_j)`: BALD under each configuration's posterior, averaged over configurations.
  What rounding could have made counts as 0, so that ids and not noise decide between images that say nothing new.

  Args:
    log_probs: `[B, S, C]`.
    log_likelihoods: `[J, S]` of the configurations under each sample, finite.
    weights: `[J]` probabilities of the configurations, which add up to 1.

  Returns:
    `[B]`, at least 0.

  Source: Kirsch, van Amersfoort & Gal (2019), section 3; as a conditional mutual information, by its chain rule.
  """
  omega = jax.nn.softmax(log_likelihoods, axis=1)
  mean, excess = relative(log_probs)
  unknown = _divergences(mean, excess) @ (weights @ omega)
  left = unknown - information_from_labels(mean, excess, omega - 1 / omega.shape[1], weights)
  rounding = 4 * len(weights) ** 0.5 * jnp.finfo(jnp.float32).eps * unknown  # of sums over configurations
  return jnp.where(left > rounding, left, 0.0)


def draw_telling(
  key: jax.Array, log_likelihoods: jax.Array, weights: jax.Array, *, num: int
) -> tuple[jax.Array, jax.Array]:
  """Draws configurations in proportion to how much an image can still say under each, times their weights.

  That is at most the entropy over samples, which is next to nothing under most configurations once a few labels tell
  the samples apart. One is drawn from each of `num` equal shares, so that one of high share comes several times.

  Args:
    key: PRNG key.
    log_likelihoods: `[J, S]`, as in `gains`.
    weights: `[J]`, as in `gains`.
    num: how many to draw, F.

  Returns:
    `[F, S]` log-likelihoods of those drawn, and `[F]` what to multiply by under each so that the mean over F is that by
    `weights` over J in expectation.
  """
  omega = jax.nn.softmax(log_likelihoods, axis=1)
  open_nats = jnp.maximum(jax.scipy.special.entr(omega).sum(axis=1), jnp.finfo(jnp.float32).eps)
  up_to = jnp.cumsum(weights * open_nats)
  at = (jnp.arange(num) + jax.random.uniform(key, (num,))) / num * up_to[-1]
  drawn = jnp.minimum(jnp.searchsorted(up_to, at, side="right"), len(weights) - 1)
  return log_likelihoods[drawn], up_to[-1] / open_nats[drawn]


def rough_gains(log_probs: jax.Array, log_likelihoods: jax.Array, factors: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Between which bounds `gains` lies, by a few configurations.

  Four standard errors below their mean, and as many above it with Bernstein's term for what few of them show: where
  an image says something under rare configurations alone, few have seen few of these.

  Args:
    log_probs: `[B, S, C]`.
    log_likelihoods: `[F, S]` and
    factors: `[F]`, from `draw_telling`.

  Returns:
    `[B]` and `[B]`, in nats: the lower bounds and the upper ones.
  """
  omega = jax.nn.softmax(log_likelihoods, axis=1)
  mean, excess = relative(log_probs)
  told = jnp.einsum("bc,bcj->bj", mean, uncertainty.phi(_moved(excess, omega - 1 / omega.shape[1])))
  left = (_divergences(mean, excess) @ omega.T - told) * factors[None]  # `[B, F]`
  error = _ERRORS * left.std(axis=1) / len(omega) ** 0.5
  rare = _ERRORS**2 / 2 * left.max(axis=1) / len(omega)
  return left.mean(axis=1) - error, left.mean(axis=1) + error + rare


def extend_by_all(log_likelihoods: jax.Array, image: jax.Array) -> jax.Array:
  """Each configuration once with every label of one more image `[S, C]`: `[J, S]` -> `[J * C, S]` log-likelihoods."""
  extended = log_likelihoods[:, None] + jnp.maximum(image.T, _LOG_ZERO)[None]
  return extended.reshape(-1, image.shape[0])


def extend_by_drawn(key: jax.Array, log_likelihoods: jax.Array, image: jax.Array) -> jax.Array:
  """Each sampled configuration with a drawn label of one more image `[S, C]`: `[M, S]` -> `[M, S]` log-likelihoods.

  Configurations fall into S equal shares, and each draws from the prediction of the sample that its share belongs to.
  """
  samples = image.shape[0]
  drawn_from = jnp.repeat(jnp.arange(samples), len(log_likelihoods) // samples)
  labels = jax.random.categorical(key, image[drawn_from])
  return log_likelihoods + jnp.maximum(image.T, _LOG_ZERO)[labels]


def best_of(
  images: jax.Array,
  candidates: jax.Array,
  most: jax.Array,
  log_likelihoods: jax.Array,
  weights: jax.Array,
  few: tuple[jax.Array, jax.Array] | None = None,
  *,
  slack: float,
  chunk_size: int,
  tie_break: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
  """The candidate of highest gain, looking at those alone that may have it.

  Labels are independent given the parameters, so that an image never says more once further labels are known: what it
  said before is the most that it can say now. Images are looked at in that order, until the next one could not be the
  best even if it said all of that (Minoux, 1978). With `few`, a first look by these alone lowers what most images can
  say, and all configurations are for those that may be the best even so.

  Args:
    images: `[N, S, C]` log-probabilities.
    candidates: `[N]` bool.
    most: `[N]` what each image said when it was last looked at; NaN is as minus infinity.
    log_likelihoods: `[J, S]`, as in `gains`.
    weights: `[J]`, as in `gains`.
    few: `[F, S]` and `[F]`, from `draw_telling`.
    slack: share of `most` by which a gain may lie above it, from rounding or sampling.
    chunk_size: images at a time.
    tie_break: `[N]`, as in `pool.masked_top_k`.

  Returns:
    `[]` int32 id, and the most that each can say, as it is known now.
  """
  total = len(images)

  def look(most: jax.Array, bounds_of: Callable, size: int) -> jax.Array:
    """Upper bounds of those that may be the best; of others -inf."""
    size, order = min(size, total), jnp.argsort(-most)

    def may_be_better(carry: tuple) -> jax.Array:
      start, best, _ = carry
      next_most = most[order[jnp.minimum(start, total - 1)]]
      return (start < total) & (next_most > 0) & (next_most * (1 + slack) >= best)

    def look_at_next(carry: tuple) -> tuple:
      start, best, now = carry
      ids = jax.lax.dynamic_slice_in_dim(order, jnp.minimum(start, total - size), size)
      low, high = (jnp.where(candidates[ids], bound, -jnp.inf) for bound in bounds_of(images[ids]))
      return start + size, jnp.maximum(best, low.max()), now.at[ids].set(high)

    known = jnp.where(most == 0, 0.0, -jnp.inf)  # who had nothing to say has not now
    return jax.lax.while_loop(may_be_better, look_at_next, (jnp.int32(0), jnp.float32(-jnp.inf), known))[2]

  most = jnp.where(candidates & (most >= 0), most, -jnp.inf)
  if few is not None:
    roughly = look(most, lambda chunk: rough_gains(chunk, *few), chunk_size * len(weights) // len(few[1]))
    most = jnp.where(roughly > 0, jnp.minimum(most, roughly), most)
  now = look(most, lambda chunk: (gains(chunk, log_likelihoods, weights),) * 2, chunk_size)
  return pool.masked_argmax(now, candidates, tie_break=tie_break), jnp.where(now > -jnp.inf, now, most)


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
  """`[num]` int32 ids; see `batchbald`. Jitted by itself so that direct calls share one program."""
  _, samples, classes = images.shape
  num_exact = next(k for k in range(num + 1) if k == num or classes**k > max_configs)

  def pick(k, ids, candidates, most, log_likelihoods, weights, *, slack):
    total = len(weights)
    num_few = max(total // _FEWER, _FEWEST)
    few = None
    if 2 * num_few <= total:
      few = draw_telling(jax.random.fold_in(key, num + k), log_likelihoods, weights, num=num_few)
    how = {"slack": slack, "chunk_size": chunk_size, "tie_break": tie_break}
    new, most = best_of(images, candidates, most, log_likelihoods, weights, few, **how)
    return ids.at[k].set(new), candidates.at[new].set(False), most

  extend = lambda k, drawn, ids: extend_by_drawn(jax.random.fold_in(key, k), drawn, images[ids[k]])
  drawn = jnp.zeros((samples * max(max_configs // samples, 1), samples))
  ids = jnp.zeros(num, jnp.int32)
  exact = jnp.zeros((1, samples))
  alone = functools.partial(gains, log_likelihoods=exact, weights=jnp.ones(1))
  most = map_chunks(alone, images, chunk_size=chunk_size)
  for k in range(num_exact):
    if k:
      exact, drawn = extend_by_all(exact, images[ids[k - 1]]), extend(k - 1, drawn, ids)
    ids, candidates, most = pick(k, ids, candidates, most, exact, jnp.exp(exact).mean(axis=1), slack=_ROUNDING)

  def step(k, carry):
    ids, candidates, most, drawn = carry
    drawn = extend(k - 1, drawn, ids)
    weights = jnp.full(len(drawn), 1 / len(drawn))
    return *pick(k, ids, candidates, most, drawn, weights, slack=_SAMPLING / len(drawn) ** 0.5), drawn

  return jax.lax.fori_loop(num_exact, num, step, (ids, candidates, most, drawn))[0]


@factory
def batchbald(*, max_configs: int = 10_000, chunk_size: int = 8) -> types.Acquisition:
  """Greedily the images whose labels together have the highest mutual information with the parameters, in nats.

  The first is the one of highest BALD, each next one that of highest BALD given the labels of those picked, averaged
  over what these labels may be. The average is exact while there are at most `max_configs` configurations of them.
  Beyond, it is taken over `max_configs` sampled ones (rounded down to a multiple of S, but at least S), equally many
  from each posterior sample, which every pick extends. Images that say nothing new are ties.

  Lazy greedy: an image whose gain was too small before to be the largest now is skipped. The others are first screened
  on a sixty-fourth of the configurations, at least 256, drawn by the entropy they leave, and dropped where they are
  four standard errors behind. The lazy bound is exact up to rounding while configurations are enumerated; with sampled
  ones, and where 512 or more are screened, it is statistical. Samples must be one function each for the whole pool:
  per-example dropout masks are refused.

  Formula: argmax_n mean_j (H[q_jn] - sum_s omega_js H[p_ns]), q_jn = sum_s omega_js p_ns, j the labels of those picked
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
