"""The three costly parts of a round: training, evaluating, acquiring."""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from al_jax import inference
from al_jax import metrics
from al_jax import oracle
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


def _answered(state: types.ALState, data: types.Dataset, learner: types.Learner) -> types.Dataset:
  """The data set with the oracle's answers for the pool's labels."""
  return dataclasses.replace(data, labels=oracle.answers(state.key, data, learner.label_noise))


def _mean_prediction(
  key: jax.Array,
  params: types.PyTree,
  inputs: Callable[[jax.Array], jax.Array],
  ids: jax.Array,
  learner: types.Learner,
  posterior: types.Posterior,
) -> jax.Array:
  """`[K, C]` log of the mean over the posterior's samples, for the images that `inputs` has under `ids` `[K]`."""
  chunk_size = learner.protocol.chunk_size
  out = inference.outputs(key, learner.model, params, inputs, ids, chunk_size=chunk_size, posterior=posterior)
  assert out.log_probs is not None
  return jax.vmap(uncertainty.log_mean)(out.log_probs)


def _how_to_fit(state: types.ALState, data: types.Dataset, learner: types.Learner) -> dict[str, Any]:
  """The arguments of `training.advance` that a round's data and protocol decide."""
  protocol = learner.protocol
  data = _answered(state, data, learner)

  def validate(params: types.PyTree) -> jax.Array:
    assert protocol.early_stop is not None
    ids = views.validation_ids(state.key, data, protocol)
    samples = protocol.early_stop.samples
    log_probs = _mean_prediction(
      role_key(state.key, Role.EARLY_STOP, state.round),
      params,
      views.in_pool(data),
      ids,
      learner,
      types.Posterior("dropout", samples) if samples > 1 else types.Posterior(),
    )
    labels = jnp.asarray(data.labels)[ids]
    if protocol.early_stop.metric == "nll":
      return -metrics.negative_log_likelihood(log_probs, labels)
    return metrics.accuracy(log_probs, labels)

  return {
    "data": data,
    "ids": state.order if protocol.val_last else pool.labeled_ids(state.labeled, size=protocol.max_labels),
    "count": num_trained(state, protocol),
    "model": learner.model,
    "optimizer": learner.optimizer,
    "validate": validate,
    **_how_long(protocol),
  }


def _how_long(protocol: types.Protocol) -> dict[str, Any]:
  names = ("batch_size", "train_steps", "epochs", "epoch_draws", "early_stop")
  return {name: getattr(protocol, name) for name in names}


def _training_axes(protocol: types.Protocol) -> training.Training:
  """Where the trainings of an ensemble have their axis of members. Without early stopping all are equally far."""
  axes: list[Any] = [None if protocol.early_stop is None else 0, 0, 0, 0, 0]
  return training.Training(*axes)


def begin_fit(state: types.ALState, data: types.Dataset, learner: types.Learner) -> training.Training:
  """This round's training before its first step: from new parameters unless the protocol starts warm."""
  protocol, members = learner.protocol, num_members(learner)
  if protocol.warm_start:
    params = state.params
  else:
    params = init_params(role_key(state.key, Role.MODEL_INIT, state.round), learner.model, data, members)
  begin = functools.partial(training.begin, optimizer=learner.optimizer, early_stop=protocol.early_stop)
  return begin(params) if members is None else jax.vmap(begin, out_axes=_training_axes(protocol))(params)


def advance_fit(
  begun: training.Training, state: types.ALState, data: types.Dataset, learner: types.Learner, *, limit: int | None
) -> training.Training:
  """Goes on with this round's training: to its end, or so many steps and to the next look or epoch."""
  how = _how_to_fit(state, data, learner)
  batches, dropout = (role_key(state.key, role, state.round) for role in (Role.MINIBATCH, Role.DROPOUT))
  members = num_members(learner)
  one = lambda batches, dropout, begun: training.advance(batches, dropout, begun, **how, limit=limit)
  if members is None:
    return one(batches, dropout, begun)
  axes = _training_axes(learner.protocol)
  batches, dropout = (training.member_keys(key, members) for key in (batches, dropout))
  return jax.vmap(one, in_axes=(0, 0, axes), out_axes=axes)(batches, dropout, begun)


def fit_unfinished(begun: training.Training, state: types.ALState, learner: types.Learner) -> jax.Array:
  """`[]` bool: whether this round's training, or that of a member of the ensemble, has steps to take."""
  return training.unfinished(begun, num_trained(state, learner.protocol), **_how_long(learner.protocol)).any()


def end_fit(begun: training.Training, learner: types.Learner) -> tuple[types.PyTree, types.FitInfo]:
  """The fitted parameters, with a leading axis of members for an ensemble, and how the training went.

  Of an ensemble, the loss and the steps are the members' means and the first bad step that of the first member to
  have one.
  """
  members = num_members(learner)
  if members is None:
    return training.result(begun)
  axes = _training_axes(learner.protocol)
  params, info = jax.vmap(training.result, in_axes=(axes,))(begun)
  bad = info.first_bad_step
  first_bad = jnp.where((bad < 0).all(), -1, jnp.where(bad < 0, jnp.iinfo(jnp.int32).max, bad).min())
  return params, types.FitInfo(info.loss.mean(), info.steps.sum() // members, first_bad)


@functools.partial(jax.named_call, name="train")
def fit_round(state: types.ALState, data: types.Dataset, learner: types.Learner) -> tuple[types.PyTree, types.FitInfo]:
  """Trains this round's model, or ensemble: `begin_fit`, `advance_fit` to the end, `end_fit`."""
  begun = begin_fit(state, data, learner)
  return end_fit(advance_fit(begun, state, data, learner, limit=None), learner)


@functools.partial(jax.named_call, name="evaluate")
def evaluate_round(
  params: types.PyTree, state: types.ALState, data: types.Dataset, learner: types.Learner
) -> types.Metrics:
  """Measures a fitted model on the test set and, where there is one, the validation set.

  By `eval_posterior`: the mean prediction of its samples. An ensemble evaluated deterministically is its first member.
  """
  protocol = learner.protocol
  data = _answered(state, data, learner)
  if num_members(learner) is not None and learner.eval_posterior.kind != "ensemble":
    params = inference.first_member(params)

  def predict(inputs, ids: jax.Array) -> jax.Array:
    return _mean_prediction(views.posterior_key(state), params, inputs, ids, learner, learner.eval_posterior)

  test_size = data.test_images.shape[0]
  test = predict(lambda ids: inference.normalize(jnp.asarray(data.test_images)[ids], data), jnp.arange(test_size))

  val_accuracy = jnp.float32(jnp.nan)
  if protocol.val_size or protocol.val_last:
    if protocol.val_size:
      ids, weights = views.validation_ids(state.key, data, protocol), None
    else:
      most = max(held - trained for held, trained in _held_and_trained(protocol))
      places = num_trained(state, protocol) + jnp.arange(most)
      assert state.order is not None
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


def jit_without_acquisition(phase: Callable, **options) -> Callable:
  """The phase, compiled once for all learners that differ in what they acquire alone."""
  defaults: dict[str, Any] = {"static_argnames": "learner"}
  compiled = jax.jit(phase, **defaults | options)

  def call(*args, learner: types.Learner, **kwargs):
    posterior = learner.posterior if learner.posterior.kind == "ensemble" else types.Posterior()
    return compiled(*args, learner=learner._replace(acquisition=None, posterior=posterior), **kwargs)

  return call


PURE_PHASES = Phases()


# Each compiled on its own: what a round-by-round driver calls. Same ids as in one program, on CPU. Only `acquire`
# depends on the acquisition, so the others compile once for all strategies of a study.
JITTED_PHASES = Phases(
  fit=jit_without_acquisition(fit_round),
  evaluate=jit_without_acquisition(evaluate_round),
  acquire=jax.jit(acquire_round, static_argnames="learner"),
)
