"""Random keys by role: every draw of a run is derived from its base key, a role and a round.

Therefore the draws of one strategy never affect the curve of another, all strategies of a seed share the initial set
and the initial weights, and adding a role at the end changes no earlier result.
"""

import enum

import jax

# Version of the draws, stored with result rows. Incremented whenever equal flags give different ids, so that rows of
# different versions are never combined.
DRAWS = 3


class Role(enum.IntEnum):
  """Purpose of a random draw. Published results depend on these values: add new ones at the end, change none."""

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
  """The key of one role in one round. Does not consume the base `key`, which is used throughout the run."""
  return jax.random.fold_in(jax.random.fold_in(key, role), round)
