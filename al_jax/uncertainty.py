"""Uncertainty of ONE example: `[S, C]` log-probabilities of its posterior samples -> `[]`. Use vmap for several.

A deterministic network is the case S = 1. Higher values mean higher uncertainty. Computations are in log space:
`1 - p` of a confident example keeps its precision, and a probability of exactly 0 contributes exactly 0.
"""

import chex
import jax
import jax.numpy as jnp


def log_mean(log_probs: jax.Array) -> jax.Array:
  """Log of the posterior mean probability: `[S, C]` -> `[C]`."""
  chex.assert_rank(log_probs, 2)
  chex.assert_type(log_probs, float)

  if log_probs.shape[0] == 1:
    return log_probs[0]
  highest = log_probs.max(axis=0, keepdims=True)
  highest = jnp.where(jnp.isneginf(highest), 0.0, highest)
  below = log_probs - highest
  # Adding and subtracting log S would round away the small distance of a confident mean from 0. Far from 0, log is
  # precise enough.
  change = jnp.expm1(below).mean(axis=0)
  return highest[0] + jnp.where(change > -0.5, jnp.log1p(change), jnp.log(jnp.exp(below).mean(axis=0)))


def relative(log_probs: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The mean prediction `m` `[C]` and the relative deviation `p / m - 1` `[S, C]` of each sample from it.

  The deviations are exactly 0 if all samples agree, and below 1e-37 where m is 0.
  """
  chex.assert_rank(log_probs, 2)
  chex.assert_type(log_probs, float)

  probs = jnp.exp(log_probs)
  mean = probs.mean(axis=0, keepdims=True)
  mean += (probs - mean).mean(axis=0, keepdims=True)  # corrects rounding: the mean of equal numbers is that number
  return mean[0], (probs - mean) / jnp.where(mean > 0, mean, 1.0)


def phi(excess: jax.Array) -> jax.Array:
  """`r log r - (r - 1)` with `r = 1 + excess`, elementwise: `sum_c m_c phi(p_c / m_c - 1)` is `KL(p || m)`.

  Every term is at least 0, is 0 if p = m, and is precise near 0.
  """
  ratio = jnp.maximum(1 + excess, jnp.finfo(jnp.float32).tiny)
  return ratio * jnp.log(ratio) - (ratio - 1)


def _entropy(log_probs: jax.Array) -> jax.Array:
  """Entropy over the last axis, `[..., C]` -> `[...]` nats; a probability of 0 contributes 0."""
  probs = jnp.exp(log_probs)
  return -jnp.sum(probs * jnp.where(probs > 0, log_probs, 0.0), axis=-1)


def least_confidence(log_probs: jax.Array) -> jax.Array:
  """`1 - max_c p_c` of the mean prediction, in 0..1.

  Source: Lewis & Gale (1994); Settles (2009), "Active Learning Literature Survey", section 3.1.
  """
  return -jnp.expm1(log_mean(log_probs).max())


def margin(log_probs: jax.Array) -> jax.Array:
  """`1 - (p_1 - p_2)` with the two highest mean probabilities, in 0..1; 1 if they are equal.

  Source: Scheffer, Decomain & Wrobel (2001); Settles (2009), section 3.1.
  """
  mean = log_mean(log_probs)
  highest = mean.max()
  # Two reductions; top_k would sort the classes of every row.
  second = mean.max(where=jnp.arange(mean.shape[0]) != mean.argmax(), initial=-jnp.inf)
  return -jnp.expm1(highest) + jnp.exp(second)


def entropy(log_probs: jax.Array) -> jax.Array:
  """Predictive entropy `-sum_c p_c log p_c` of the mean prediction, in nats: 0..log C.

  Source: Shannon (1948); Settles (2009), section 3.1.
  """
  return _entropy(log_mean(log_probs))


def expected_entropy(log_probs: jax.Array) -> jax.Array:
  """Mean entropy of the samples, `E_s H[p_s]`, in nats: the uncertainty that more labels cannot reduce."""
  chex.assert_rank(log_probs, 2)

  return _entropy(log_probs).mean()


def mutual_information(log_probs: jax.Array) -> jax.Array:
  """BALD: `I[y; w] = H[E_s p_s] - E_s H[p_s]` in nats, 0..log min(S, C).

  Computed as the mean KL divergence of the samples from their mean, `sum_c m phi(p / m - 1)`: finite for any class
  probability, and exactly 0 if the samples agree.

  Source: Houlsby, Huszar, Ghahramani & Lengyel (2011), equation 2; for MC dropout Gal, Islam & Ghahramani (2017).
  """
  mean, excess = relative(log_probs)
  return jnp.maximum(jnp.sum(mean[None] * phi(excess), axis=-1).mean(), 0.0)


def votes(log_probs: jax.Array) -> jax.Array:
  """Fraction of samples that vote for each class: `[S, C]` -> `[C]`. Ties go to the lowest class."""
  chex.assert_rank(log_probs, 2)

  return jax.nn.one_hot(log_probs.argmax(axis=-1), log_probs.shape[-1]).mean(axis=0)


def variation_ratio(log_probs: jax.Array) -> jax.Array:
  """1 minus the fraction of samples that vote for the most frequent class, in 0..1 - 1/S.

  Source: Freeman (1965). For MC dropout Gal, Islam & Ghahramani (2017), section 4, define `1 - max_c` of the mean
  prediction instead, which is `least_confidence` here.
  """
  return 1 - votes(log_probs).max()


def mean_std(log_probs: jax.Array) -> jax.Array:
  """Standard deviation of class probabilities over samples, averaged over classes, in 0..1/2.

  Source: Kampffmeyer, Salberg & Jenssen (2016); Gal, Islam & Ghahramani (2017), section 4.
  """
  chex.assert_rank(log_probs, 2)

  return jnp.exp(log_probs).std(axis=0).mean()


def vote_entropy(log_probs: jax.Array) -> jax.Array:
  """Vote entropy `-sum_c v_c log v_c` in nats, where v_c is the fraction of votes for class c: 0..log min(S, C).

  Source: Dagan & Engelson (1995), without their normalizer 1 / log min(S, C), which does not change the ranking;
  Settles (2009), section 3.2.
  """
  return jax.scipy.special.entr(votes(log_probs)).sum()
