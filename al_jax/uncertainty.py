"""Uncertainty of ONE example: maths on its posterior samples, `[S, C]` log-probabilities -> `[]`; vmap for more.

A deterministic network is the case S = 1. Everything is higher for what is less certain. In log space throughout:
`1 - p` of a confident example keeps its digits, and a probability of exactly 0 contributes exactly 0.
"""

import chex
import jax
import jax.numpy as jnp


def log_mean(log_probs: jax.Array) -> jax.Array:
  """Log of the posterior mean probability: `[S, C]` -> `[C]`."""
  chex.assert_rank(log_probs, 2)
  chex.assert_type(log_probs, float)

  return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(log_probs.shape[0])


def least_confidence(log_probs: jax.Array) -> jax.Array:
  """`1 - max_c p_c` of the mean prediction, in 0..1.

  Source: Lewis & Gale (1994); Settles (2009), "Active Learning Literature Survey", section 3.1.
  """
  return -jnp.expm1(log_mean(log_probs).max())


def margin(log_probs: jax.Array) -> jax.Array:
  """`1 - (p_1 - p_2)` of the two highest mean probabilities, in 0..1: 1 where they are equal.

  Source: Scheffer, Decomain & Wrobel (2001); Settles (2009), section 3.1.
  """
  highest, second = jax.lax.top_k(log_mean(log_probs), 2)[0]
  return -jnp.expm1(highest) + jnp.exp(second)


def entropy(log_probs: jax.Array) -> jax.Array:
  """Predictive entropy `-sum_c p_c log p_c` of the mean prediction, in nats: 0..log C.

  Source: Shannon (1948); Settles (2009), section 3.1.
  """
  logs = log_mean(log_probs)
  probs = jnp.exp(logs)
  return -jnp.sum(probs * jnp.where(probs > 0, logs, 0.0))
