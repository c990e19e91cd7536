"""The three costly parts of a round: training, evaluating, acquiring."""

from collections.abc import Callable
import functools
import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from al_jax import inference
from al_jax import metrics
from al_jax import pool
from al_jax import training
from al_jax import types
from al_jax import uncertainty
from al_jax import views
from al_jax.keys import Role
from al_jax.keys import role_key


def num_members(learner: types.Learner) -> int | None:
  """Networks of an ensemble; None where parameters are those of one network."""
  return learner.posterior.samples if learner.posterior.kind == "ensemble" else None


def init_params(key: jax.Array, model, data: types.Dataset, members: int | None) -> types.PyTree:
  """New parameters, with a leading axis of members for an ensemble."""
  init = functools.partial(training.init_params, model=model, data=data)
  return init(key) if members is None else jax.vmap(init)(training.member_keys(key, members))


def num_labeled(state: types.ALState, protocol: types.Protocol) -> jax.Array:
  """`[]` int32: labels held in this round."""
  return protocol.init_labels + state.round * protocol.acq_size


def _held_and_trained(protocol: types.Protocol) -> list[tuple[int, int]]:
  """Labels held and labels trained on, by round; rounded down as Keras rounds its `validation_split`."""
  held = [protocol.init_labels + r * protocol.acq_size for r in range(protocol.rounds + 1)]
  return [(n, math.floor(n * (1 - protocol.val_last))) for n in held]


def num_trained(state: types.ALState, protocol: types.Protocol) -> jax.Array:
  """`[]` int32: labels trained on in this round."""
  return jnp.array([trained for _, trained in _held_and_trained(protocol)], jnp.int32)[state.round]


@functools.partial(jax.named_call, name="train")
def fit_round(state: types.ALState, data: types.Dataset, learner: types.Learner) -> tuple[types.PyTree, types.FitInfo]:
  """Trains this round's model, or ensemble, from new parameters unless the protocol starts warm.

  Of an ensemble, the loss and the steps are the members' means and the first bad step that of the first member to
  have one.
  """
  protocol, members = learner.protocol, num_members(learner)
  if protocol.warm_start:
    params = state.params
  else:
    params = init_params(role_key(state.key, Role.MODEL_INIT, state.round), learner.model, data, members)
  ids = state.order if protocol.val_last else pool.labeled_ids(state.labeled, size=protocol.max_labels)
  count = num_trained(state, protocol)

  def fit(key_batches: jax.Array, key_dropout: jax.Array, params: types.PyTree):
    return training.fit(
      key_batches,
      key_dropout,
      params,
      data,
      ids,
      count,
      model=learner.model,
      optimizer=learner.optimizer,
      batch_size=protocol.batch_size,
      train_steps=protocol.train_steps,
      epochs=protocol.epochs,
      early_stop=protocol.early_stop,
      validate=validate,
    )

  def validate(params: types.PyTree) -> jax.Array:
    ids = views.validation_ids(state.key, data, protocol)
    out = inference.outputs(None, learner.model, params, views.in_pool(data), ids, chunk_size=protocol.chunk_size)
    return metrics.accuracy(out.log_probs[:, 0], jnp.asarray(data.labels)[ids])

  keys = [role_key(state.key, role, state.round) for role in (Role.MINIBATCH, Role.DROPOUT)]
  if members is None:
    return fit(*keys, params)
  params, info = jax.vmap(fit)(*(training.member_keys(key, members) for key in keys), params)
  bad = info.first_bad_step
  first_bad = jnp.where((bad < 0).all(), -1, jnp.where(bad < 0, info.steps, bad).min())
  return params, types.FitInfo(info.loss.mean(), info.steps.sum() // members, first_bad)


@functools.partial(jax.named_call, name="evaluate")
def evaluate_round(
  params: types.PyTree, state: types.ALState, data: types.Dataset, learner: types.Learner
) -> types.Metrics:
  """Measures a fitted model on the test set and, where there is one, the validation set.

  By `eval_posterior`: the mean prediction of its samples. An ensemble evaluated deterministically is its first member.
  """
  protocol = learner.protocol
  if num_members(learner) is not None and learner.eval_posterior.kind != "ensemble":
    params = inference.first_member(params)

  def predict(inputs, ids: jax.Array) -> jax.Array:
    key, posterior = views.posterior_key(state), learner.eval_posterior
    out = inference.outputs(
      key, learner.model, params, inputs, ids, chunk_size=protocol.chunk_size, posterior=posterior
    )
    return jax.vmap(uncertainty.log_mean)(out.log_probs)

  test_size = data.test_images.shape[0]
  test = predict(lambda ids: inference.normalize(jnp.asarray(data.test_images)[ids], data), jnp.arange(test_size))

  val_accuracy = jnp.float32(jnp.nan)
  if protocol.val_size or protocol.val_last:
    if protocol.val_size:
      ids, weights = views.validation_ids(state.key, data, protocol), None
    else:
      most = max(held - trained for held, trained in _held_and_trained(protocol))
      places = num_trained(state, protocol) + jnp.arange(most)
      ids = state.order.at[places].get(mode="fill", fill_value=0)
      weights = (places < num_labeled(state, protocol)).astype(jnp.float32)
    val_accuracy = metrics.accuracy(predict(views.in_pool(data), ids), jnp.asarray(data.labels)[ids], weights)

  return types.Metrics(
    test_accuracy=metrics.accuracy(test, data.test_labels),
    test_nll=metrics.negative_log_likelihood(test, data.test_labels),
    test_ece=metrics.expected_calibration_error(test, data.test_labels),
    val_accuracy=val_accuracy,
  )


def _scores_of(chosen: jax.Array, view: types.PoolView, acquisition: types.Acquisition) -> jax.Array:
  """Scores of the rows `chosen` `[num]`, worked out for them alone: the whole pool's may be costly to have twice."""
  if acquisition.score is None:
    return jnp.full(chosen.shape, jnp.nan, jnp.float32)
  rows = {name: x[chosen] for name, x in view._asdict().items() if x is not None and name != "target_log_probs"}
  return acquisition.score(view._replace(**rows))


def acquire_round(
  params: types.PyTree, state: types.ALState, data: types.Dataset, learner: types.Learner
) -> tuple[jax.Array, jax.Array]:
  """Chooses what to label next.

  Returns:
    `[acq_size]` int32 pool ids, best first, and their `[acq_size]` float scores, NaN where the acquisition gives none.
    In the last round, which scores nothing: -1 and NaN throughout.
  """
  protocol, acquisition = learner.protocol, learner.acquisition

  def select() -> tuple[jax.Array, jax.Array]:
    with jax.named_scope("score"):
      view, ids = views.pool_view(params, state, data, learner)
    key = role_key(state.key, Role.ACQUISITION, state.round)
    with jax.named_scope("select"):
      chosen = acquisition.select(key, view, num=protocol.acq_size)
      return ids[chosen], _scores_of(chosen, view, acquisition)

  nothing = jnp.full(protocol.acq_size, -1, jnp.int32), jnp.full(protocol.acq_size, jnp.nan, jnp.float32)
  return lax.cond(state.round < protocol.rounds, select, lambda: nothing)


class Phases(NamedTuple):
  """The three costly parts of a round. A driver may pass compiled or timed versions of them to `round_fn`."""

  fit: Callable = fit_round  # (state, data, learner) -> (params, FitInfo)
  evaluate: Callable = evaluate_round  # (params, state, data, learner) -> Metrics
  acquire: Callable = acquire_round  # (params, state, data, learner) -> ids and scores, `[acq_size]`


def _jit_without_acquisition(phase: Callable) -> Callable:
  compiled = jax.jit(phase, static_argnames="learner")

  def call(*args, learner: types.Learner):
    posterior = learner.posterior if learner.posterior.kind == "ensemble" else types.Posterior()
    return compiled(*args, learner=learner._replace(acquisition=None, posterior=posterior))

  return call


PURE_PHASES = Phases()


# Each compiled on its own: what a round-by-round driver calls. Same ids as in one program, on CPU. Only `acquire`
# depends on the acquisition, so the others compile once for all strategies of a study.
JITTED_PHASES = Phases(
  fit=_jit_without_acquisition(fit_round),
  evaluate=_jit_without_acquisition(evaluate_round),
  acquire=jax.jit(acquire_round, static_argnames="learner"),
)
