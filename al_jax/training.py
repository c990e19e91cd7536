"""Trains the network or ensemble of a trainer on the labeled rows of a state.

Call `begin`, `advance` and `result`, or `fit` for all three. Each uses `fitting` for every network.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from al_jax import evaluation
from al_jax import fitting
from al_jax import full_batch
from al_jax import inputs
from al_jax import metrics
from al_jax import oracle
from al_jax import posterior as posteriors
from al_jax import splits
from al_jax import types
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.learner import Trainer

_MEMBERS = 2**32 - 1  # no step or epoch has this number, so members' keys never coincide with those of steps and epochs


def member_keys(key: jax.Array, members: int) -> jax.Array:
  """`[members]` keys of an ensemble. The first is `key`, so the first member equals the network without an ensemble."""
  others = jax.vmap(functools.partial(jax.random.fold_in, jax.random.fold_in(key, _MEMBERS)))
  return jnp.concatenate([key[None], others(jnp.arange(1, members))])


def init_variables(key: jax.Array, data: types.Dataset, trainer: Trainer) -> types.PyTree:
  """New variables for the pool's inputs, with a leading axis of members for an ensemble. Consumes the key."""
  init = lambda key: trainer.network.init(key, inputs.example(data))
  return init(key) if trainer.members == 1 else jax.vmap(init)(member_keys(key, trainer.members))


def init_opt_state(variables: types.PyTree, trainer: Trainer) -> types.PyTree:
  """Initial optimizer state of a run with `keep_optimizer`; None without, since every round then makes a new one."""
  if not trainer.plan.train.keep_optimizer:
    return None
  init = trainer.optimizer.init
  return (init if trainer.members == 1 else jax.vmap(init))(variables["params"])


def _axes(trainer: Trainer) -> fitting.Training:
  """vmap axes of an ensemble's `Training`. Without early stopping, `stretch` is the same for all members."""
  axes: list[Any] = [None if trainer.plan.train.early_stop is None else 0, 0, 0, 0, 0]
  return fitting.Training(*axes)


def begin(state: types.ALState, data: types.Dataset, trainer: Trainer) -> fitting.Training:
  """This round's training before its first step, from new variables unless the plan continues from the last ones."""
  plan = trainer.plan.train
  variables = state.variables
  if not plan.continues:
    variables = init_variables(role_key(state.key, Role.MODEL_INIT, state.round), data, trainer)
  one = lambda variables, opt_state: fitting.begin(
    variables, optimizer=trainer.optimizer, plan=plan, opt_state=opt_state
  )
  if trainer.members == 1:
    return one(variables, state.opt_state)
  return jax.vmap(one, out_axes=_axes(trainer))(variables, state.opt_state)


def _validate(variables: types.PyTree, state: types.ALState, data: types.Dataset, trainer: Trainer) -> jax.Array:
  """`[]` validation score of one network against the oracle's labels in `data`; higher is better."""
  early_stop = trainer.plan.train.early_stop
  assert early_stop is not None
  ids = splits.validation_ids(state.key, data, trainer.plan)
  log_probs = evaluation.mean_prediction(
    role_key(state.key, Role.EARLY_STOP, state.round),
    trainer.network,
    variables,
    functools.partial(inputs.of_pool, data),
    ids,
    posterior=posteriors.mc_dropout(early_stop.samples) if early_stop.samples > 1 else posteriors.deterministic(),
    chunk_size=trainer.plan.chunk_size,
  )
  labels, weights = jnp.asarray(data.labels)[ids], splits.validation_weights(data, ids)
  if early_stop.metric == "nll":
    return -metrics.negative_log_likelihood(log_probs, labels, weights)
  return metrics.accuracy(log_probs, labels, weights)


def advance(
  begun: fitting.Training, state: types.ALState, data: types.Dataset, trainer: Trainer, *, max_steps: int | None = None
) -> fitting.Training:
  """Continues this round's training to its end, or to the first check or epoch end after `max_steps` steps."""
  plan = trainer.plan
  answered = oracle.answered(state.key, data, trainer.label_noise)
  if plan.train.full_batch is not None:
    return _solve(begun, state, answered, trainer)

  def one(keys: fitting.Keys, begun: fitting.Training) -> fitting.Training:
    return fitting.advance(
      keys,
      begun,
      answered,
      splits.trained_ids(state, plan),
      splits.trained_count(state, plan),
      network=trainer.network,
      optimizer=trainer.optimizer,
      plan=plan.train,
      round=state.round,
      validate=functools.partial(_validate, state=state, data=answered, trainer=trainer),
      max_steps=max_steps,
    )

  keys = fitting.Keys(
    *(role_key(state.key, role, state.round) for role in (Role.MINIBATCH, Role.DROPOUT, Role.AUGMENT))
  )
  if trainer.members == 1:
    return one(keys, begun)
  keys = fitting.Keys(*(member_keys(key, trainer.members) for key in keys))
  return jax.vmap(one, in_axes=(0, _axes(trainer)), out_axes=_axes(trainer))(keys, begun)


def _solve(begun: fitting.Training, state: types.ALState, data: types.Dataset, trainer: Trainer) -> fitting.Training:
  """`advance` of a full-batch training. Members of an ensemble but the first train on bootstrap resamples."""
  plan, settings = trainer.plan, trainer.plan.train.full_batch
  assert settings is not None
  ids, count = splits.trained_ids(state, plan), splits.trained_count(state, plan)
  one = lambda begun, weights: full_batch.solve(begun, data, ids, weights, plan=settings)
  all_once = (jnp.arange(ids.shape[0]) < count).astype(jnp.float32)
  if trainer.members == 1:
    return one(begun, all_once)
  keys = member_keys(role_key(state.key, Role.MINIBATCH, state.round), trainer.members)[1:]
  drawn = jax.vmap(functools.partial(full_batch.bootstrap_weights, count=count, size=ids.shape[0]))(keys)
  return jax.vmap(one, in_axes=(_axes(trainer), 0), out_axes=_axes(trainer))(
    begun, jnp.concatenate([all_once[None], drawn])
  )


def unfinished(begun: fitting.Training, state: types.ALState, trainer: Trainer) -> jax.Array:
  """`[]` bool: whether this round's training, or that of any ensemble member, has steps left."""
  plan = trainer.plan
  return fitting.unfinished(begun, splits.trained_count(state, plan), plan=plan.train, round=state.round).any()


def result(begun: fitting.Training, state: types.ALState, trainer: Trainer) -> tuple[types.ALState, types.FitInfo]:
  """The state with the fitted variables (an ensemble's have a leading axis of members), and the training diagnostics.

  For an ensemble, `loss` and `steps` are means over members (`steps` rounded down), and `first_bad_step` is the
  smallest of the members that have one.
  """
  plan = trainer.plan.train
  opt_state = begun.opt_state if plan.keep_optimizer else None
  if trainer.members == 1:
    variables, info = fitting.result(begun, plan=plan)
    return state._replace(variables=variables, opt_state=opt_state), info
  variables, info = jax.vmap(functools.partial(fitting.result, plan=plan), in_axes=(_axes(trainer),))(begun)
  bad = info.first_bad_step
  first_bad = jnp.where((bad < 0).all(), -1, jnp.where(bad < 0, jnp.iinfo(jnp.int32).max, bad).min())
  info = types.FitInfo(info.loss.mean(), info.steps.sum() // trainer.members, first_bad)
  return state._replace(variables=variables, opt_state=opt_state), info


@functools.partial(jax.named_call, name="train")
def fit(state: types.ALState, data: types.Dataset, trainer: Trainer) -> tuple[types.ALState, types.FitInfo]:
  """Trains this round's model or ensemble: `begin`, `advance` to the end, `result`."""
  return result(advance(begin(state, data, trainer), state, data, trainer), state, trainer)
