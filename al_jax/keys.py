"""Randomness by role: every draw of a run comes from its base key, its role and its round.

So one strategy's use of randomness never moves another's curve, all strategies of one seed share the initial set and
the initial weights, and a role added at the end leaves every old result as it was.
"""

import enum

import jax

# Which draws a row is of. Raised whenever equal flags come to give other ids: rows of two numbers are never joined.
DRAWS = 2


class Role(enum.IntEnum):
  """What a random draw is for. Values are part of every published result: add at the end, change none."""

  INITIAL_SET = 0
  MODEL_INIT = 1
  MINIBATCH = 2
  DROPOUT = 3
  ACQUISITION = 4
  LABEL_NOISE = 5
  VALIDATION = 6
  POOL = 7
  POOL_NOISE = 8
  POOL_SUBSET = 9
  TARGETS = 10
  POSTERIOR = 11
  POOL_IMBALANCE = 12
  EARLY_STOP = 13
  TIES = 14
  AUGMENT = 15


def role_key(key: jax.Array, role: Role, round: jax.Array | int = 0) -> jax.Array:
  """The key of one role in one round. The base `key` is not consumed: it serves the whole run."""
  return jax.random.fold_in(jax.random.fold_in(key, role), round)
