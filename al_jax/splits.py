"""Splits of the pool into rows for validation, training and acquisition. Counts come from the labeled mask."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import pool
from al_jax import types
from al_jax.keys import Role
from al_jax.keys import role_key


def is_known(data: types.Dataset) -> jax.Array:
  """`[N]` bool: rows whose label is known."""
  return jnp.ones(data.pool_size, bool) if data.known is None else jnp.asarray(data.known)


def is_available(data: types.Dataset) -> jax.Array:
  """`[N]` bool: rows that may be drawn and acquired."""
  return jnp.ones(data.pool_size, bool) if data.available is None else jnp.asarray(data.available)


def may_validate(data: types.Dataset, plan: types.Plan) -> jax.Array | np.ndarray:
  """`[O]` bool: originals with all copies available and no copy in `plan.initial_ids`.

  UNUSABLE and SKIPPED rows count as available, so the result is constant throughout a run. NumPy arrays give a NumPy
  array.
  """
  originals = data.num_originals
  may = np.ones(originals, bool)
  may[np.array(plan.initial_ids or (), int) % originals] = False
  if data.available is None:
    return may
  at_first = data.available | (data.labels < types.UNKNOWN)
  return at_first.reshape(data.copies, originals).all(axis=0) & may


def validation_ids(key: jax.Array, data: types.Dataset, plan: types.Plan) -> jax.Array:
  """`[val_size]` int32 ids of the originals held out for validation, drawn with the base key from `may_validate`."""
  may = jnp.asarray(may_validate(data, plan))
  return pool.random_subset(role_key(key, Role.VALIDATION), may, num=plan.val_size)


def validation_weights(data: types.Dataset, ids: jax.Array) -> jax.Array | None:
  """`[val_size]` floats, 0 for validation rows without a label or unusable; None if the data set has no masks."""
  if data.known is None and data.available is None:
    return None
  return (is_known(data) & is_available(data))[ids].astype(jnp.float32)


def for_labeling(key: jax.Array, data: types.Dataset, plan: types.Plan) -> jax.Array:
  """`[N]` bool: the available rows except the validation rows and their copies."""
  rows = is_available(data)
  if not plan.val_size:
    return rows
  held_out = pool.mask_of(validation_ids(key, data, plan), size=data.num_originals)
  return rows & ~jnp.tile(held_out, data.copies)


def num_labeled(state: types.ALState) -> jax.Array:
  """`[]` int32: size of the labeled set in this round."""
  return state.labeled.sum()


def num_trained(held: int, plan: types.Plan) -> int:
  """Number of training rows among `held` labeled ones; rounded down like `validation_split` in Keras."""
  return math.floor(held * (1 - plan.val_last))


def trained_count(state: types.ALState, plan: types.Plan) -> jax.Array:
  """`[]` int32: number of training rows in this round."""
  held = num_labeled(state)
  if not plan.val_last:
    return held
  return jnp.array([num_trained(n, plan) for n in range(plan.max_labels + 1)], jnp.int32)[held]


def trained_ids(state: types.ALState, plan: types.Plan) -> jax.Array:
  """`[max_labels]` int32 ids; the first `trained_count` are the training rows."""
  if plan.val_last:
    assert state.order is not None
    return state.order
  return pool.labeled_ids(state.labeled, size=plan.max_labels)
