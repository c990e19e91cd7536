"""Predictions of a fitted model and their metrics."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from al_jax import inputs
from al_jax import metrics
from al_jax import network as networks
from al_jax import oracle
from al_jax import splits
from al_jax import types
from al_jax import uncertainty
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.learner import Learner
from al_jax.learner import Trainer


def posterior_key(state: types.ALState) -> jax.Array:
  """The key of this round's posterior samples outside training, such as dropout masks."""
  return role_key(state.key, Role.POSTERIOR, state.round)


def variables_for(
  posterior: types.Posterior, state: types.ALState, data: types.Dataset, trainer: Trainer
) -> types.PyTree:
  """The variables that a posterior reads: all members of an ensemble or the first, extended by `posterior.fit`."""
  variables = state.variables
  if trainer.members > 1 and posterior.members == 1:
    variables = networks.first_member(variables)
  if posterior.fit is None:
    return variables
  ids = splits.trained_ids(state, trainer.plan)
  weights = (jnp.arange(ids.shape[0]) < splits.trained_count(state, trainer.plan)).astype(jnp.float32)
  inputs_of, chunk_size = functools.partial(inputs.of_pool, data), trainer.plan.chunk_size
  return posterior.fit(trainer.network, variables, inputs_of, ids, weights, chunk_size=chunk_size)


def in_dtype(dtype: str, tree: types.PyTree) -> types.PyTree:
  """Casts the floats of a tree to `dtype`; integers, such as tokens, are unchanged."""
  return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def mean_prediction(
  key: jax.Array,
  network: types.Network,
  variables: types.PyTree,
  inputs_of: Callable[[jax.Array], types.PyTree],
  ids: jax.Array,
  *,
  posterior: types.Posterior,
  chunk_size: int,
) -> jax.Array:
  """`[K, C]` log of the mean prediction over posterior samples, for the inputs `inputs_of(ids)`."""
  out = posterior.predict(key, network, variables, inputs_of, ids, chunk_size=chunk_size, features=False)
  return jax.vmap(uncertainty.log_mean)(out.log_probs)


def predict_pool(state: types.ALState, data: types.Dataset, ids: jax.Array, learner: Learner) -> jax.Array:
  """`[K, C]` log of the mean prediction of the learner's posterior for the pool rows `ids` `[K]`.

  Uses the fitted model in `state.variables` and, if this round's acquisition read posterior samples, the same samples.
  """
  return mean_prediction(
    posterior_key(state),
    learner.trainer.network,
    variables_for(learner.posterior, state, data, learner.trainer),
    functools.partial(inputs.of_pool, data),
    ids,
    posterior=learner.posterior,
    chunk_size=learner.plan.chunk_size,
  )


def _validation_accuracy(
  predict: Callable[[jax.Array], jax.Array], state: types.ALState, data: types.Dataset, plan: types.Plan
) -> jax.Array:
  """`[]` accuracy against the oracle's labels in `data`; NaN without a validation set, or if none of it is labeled."""
  if plan.val_size:
    ids = splits.validation_ids(state.key, data, plan)
    weights = splits.validation_weights(data, ids)
  elif plan.val_last:
    most = max(held - splits.num_trained(held, plan) for held in range(plan.max_labels + 1))
    places = splits.trained_count(state, plan) + jnp.arange(most)
    assert state.order is not None
    ids = state.order.at[places].get(mode="fill", fill_value=0)
    weights = (places < splits.num_labeled(state)).astype(jnp.float32)
  else:
    return jnp.float32(jnp.nan)
  return metrics.accuracy(predict(ids), jnp.asarray(data.labels)[ids], weights)


@functools.partial(jax.named_call, name="evaluate")
def evaluate_round(state: types.ALState, data: types.Dataset, trainer: Trainer) -> types.Metrics:
  """Evaluates the model in `state` on the test set and, if there is one, on the validation set.

  Metrics are computed from the mean prediction of `eval_posterior`. With a deterministic `eval_posterior`, an ensemble
  is evaluated by its first member.
  """
  data = oracle.answered(state.key, data, trainer.label_noise)
  posterior, chunk_size = trainer.eval_posterior, trainer.plan.chunk_size

  variables = variables_for(posterior, state, data, trainer)

  def predict(inputs_of: Callable, ids: jax.Array) -> jax.Array:
    return mean_prediction(
      posterior_key(state), trainer.network, variables, inputs_of, ids, posterior=posterior, chunk_size=chunk_size
    )

  of_test, of_pool = functools.partial(inputs.of_test, data), functools.partial(inputs.of_pool, data)
  nothing = jnp.float32(jnp.nan)
  measured = types.Metrics(nothing, nothing, nothing, nothing, jnp.full(data.num_classes, jnp.nan))
  if data.test_size:
    test = predict(of_test, jnp.arange(data.test_size))
    measured = measured._replace(
      test_accuracy=metrics.accuracy(test, data.test_labels),
      test_nll=metrics.negative_log_likelihood(test, data.test_labels),
      test_ece=metrics.expected_calibration_error(test, data.test_labels),
      test_class_accuracy=metrics.class_accuracy(test, data.test_labels),
    )
  val_accuracy = _validation_accuracy(functools.partial(predict, of_pool), state, data, trainer.plan)
  return measured._replace(val_accuracy=val_accuracy)
