"""The state before the first round."""

import functools

import jax
import jax.numpy as jnp

from al_jax import pool
from al_jax import splits
from al_jax import training
from al_jax import types
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.learner import Trainer


@functools.partial(jax.jit, static_argnames=("plan", "num"))
def initial_set(key: jax.Array, data: types.Dataset, plan: types.Plan, *, num: int) -> jax.Array:
  """`[num]` int32 ids of the initial set: the plan's `initial_ids`, or drawn, balanced or uniformly."""
  rows, key_initial = splits.for_labeling(key, data, plan), role_key(key, Role.INITIAL_SET)
  if plan.initial_ids:
    return jnp.array(plan.initial_ids[:num], jnp.int32)
  if plan.init_balanced:
    return pool.balanced_subset(key_initial, data.labels, rows, num=num, num_classes=data.num_classes)
  return pool.random_subset(key_initial, rows, num=num)


def labeled_state(key: jax.Array, data: types.Dataset, trainer: Trainer, labeled: jax.Array) -> types.ALState:
  """The state before round 0 with the rows `labeled` `[N]` bool; `order` has them in ascending order."""
  plan, size = trainer.plan, trainer.plan.max_labels
  variables = training.init_variables(role_key(key, Role.MODEL_INIT), data, trainer)
  return types.ALState(
    variables=variables,
    labeled=labeled,
    key=key,
    round=jnp.int32(0),
    order=pool.labeled_ids(labeled, size=size) if plan.val_last else None,
    opt_state=training.init_opt_state(variables, trainer),
  )


# `initial` does not call this: in a sweep, a trainer holds traced numbers and cannot be a static argument.
jitted_labeled_state = jax.jit(labeled_state, static_argnames="trainer")


def initial(key: jax.Array, data: types.Dataset, trainer: Trainer) -> types.ALState:
  """`init_state` without its checks, as a pure function for use inside jit."""
  plan = trainer.plan
  ids = initial_set(key, data, plan, num=plan.init_labels)
  state = labeled_state(key, data, trainer, pool.mask_of(ids, size=data.pool_size))
  if plan.val_last:
    state = state._replace(order=jnp.zeros(plan.max_labels, jnp.int32).at[: plan.init_labels].set(ids))
  return state


def initial_ids(state: types.ALState, plan: types.Plan) -> jax.Array:
  """`[init_labels]` int32 ids of the initial set, for a state before the first acquisition.

  In the order drawn or given if the state keeps `order`, else ascending.
  """
  if state.order is not None:
    return state.order[: plan.init_labels]
  return pool.labeled_ids(state.labeled, size=plan.init_labels)
