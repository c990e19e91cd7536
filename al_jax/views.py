"""Builds the `PoolView` of an acquisition: candidate mask, optional random subset, and network outputs."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from al_jax import evaluation
from al_jax import inputs
from al_jax import network as networks
from al_jax import oracle
from al_jax import pool
from al_jax import posterior as posteriors
from al_jax import splits
from al_jax import types
from al_jax.chunks import map_chunks
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.learner import Learner


def _subsample_pool(
  state: types.ALState, candidates: jax.Array, learner: Learner
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The part of the pool that this round scores: `[M]` ids, and their `labeled` and `candidates` masks.

  The ids start with `pool_subset` random candidates in ascending order. If fewer are left, other rows fill up the
  shape, masked out as neither labeled nor candidates. If the acquisition reads labeled rows, they follow.
  """
  plan, needs = learner.plan, learner.acquisition.needs
  assert plan.pool_subset is not None
  key = role_key(state.key, Role.POOL_SUBSET, state.round)
  drawn = jnp.sort(pool.random_subset(key, candidates, num=plan.pool_subset))
  if not (needs.features or needs.embedding or needs.labels):
    return drawn, jnp.zeros(drawn.shape, bool), candidates[drawn]
  held = pool.labeled_ids(state.labeled, size=plan.max_labels)
  present = jnp.arange(plan.max_labels) < state.labeled.sum()
  ids = jnp.concatenate([drawn, held])
  labeled = jnp.concatenate([jnp.zeros(drawn.shape, bool), present])
  return ids, labeled, jnp.concatenate([candidates[drawn], jnp.zeros(held.shape, bool)])


def tie_breaks(state: types.ALState, data: types.Dataset) -> jax.Array:
  """`[N]` draws in [0, 1) of this round, for the whole pool: a row's draw does not depend on the scored subset."""
  return jax.random.uniform(role_key(state.key, Role.TIES, state.round), (data.pool_size,))


def pool_view(state: types.ALState, data: types.Dataset, learner: Learner) -> tuple[types.PoolView, jax.Array]:
  """The view of this round's acquisition with the fitted model in `state`, and the `[N]` int32 pool ids of its rows.

  With `pool_subset`, the view holds a random subset of the candidates, drawn anew each round, and the labeled rows if
  the acquisition reads them.
  """
  trainer, acquisition = learner.trainer, learner.acquisition
  plan, needs = trainer.plan, acquisition.needs
  labeled, candidates = state.labeled, splits.for_labeling(state.key, data, plan) & ~state.labeled
  ids = jnp.arange(data.pool_size)
  if plan.pool_subset is not None:
    ids, labeled, candidates = _subsample_pool(state, candidates, learner)
  view = types.PoolView(labeled, candidates, tie_break=tie_breaks(state, data)[ids])
  if needs.labels:
    answers = oracle.noisy_labels(state.key, data, trainer.label_noise)[ids]
    view = view._replace(labels=jnp.where(labeled, answers, types.UNKNOWN))

  fields = _fields(state, data, learner)
  pointwise = acquisition.pointwise
  if pointwise is None:
    view = fields(view, ids)
  else:
    scores = lambda rows: pointwise(fields(*rows))
    view = view._replace(scores=map_chunks(scores, (view, ids), chunk_size=plan.chunk_size))
  return view, ids.astype(jnp.int32)


def _fields(state: types.ALState, data: types.Dataset, learner: Learner) -> Callable:
  """A function that completes a view of the pool rows `ids` `[K]` by what the acquisition needs."""
  trainer, needs = learner.trainer, learner.acquisition.needs
  posterior = learner.posterior if needs.samples else posteriors.deterministic()
  plan, network = trainer.plan, trainer.network
  own_embedding = data.embedding is not None
  features = needs.features or (needs.embedding and not own_embedding)
  cast = functools.partial(evaluation.in_dtype, plan.score_dtype)
  inputs_of = lambda ids: cast(inputs.of_pool(data, ids))
  variables = cast(evaluation.variables_for(posterior, state, data, trainer))

  def predict(ids: jax.Array, *, features: bool) -> types.Outputs:
    key = evaluation.posterior_key(state)
    return posterior.predict(key, network, variables, inputs_of, ids, chunk_size=plan.chunk_size, features=features)

  target_log_probs = None
  if needs.targets:
    key = role_key(state.key, Role.TARGETS, state.round)
    target_ids = pool.random_subset(key, splits.is_available(data), num=needs.targets)
    target_log_probs = predict(target_ids, features=False).log_probs

  val_log_probs, val_labels = None, None
  if needs.validation and plan.val_size:
    val_ids = splits.validation_ids(state.key, data, plan)
    val_log_probs = predict(val_ids, features=False).log_probs
    weights = splits.validation_weights(data, val_ids)
    val_labels = oracle.noisy_labels(state.key, data, trainer.label_noise)[val_ids]
    val_labels = val_labels if weights is None else jnp.where(weights > 0, val_labels, types.UNKNOWN)

  head = None
  if needs.head:
    # Not in `score_dtype`: the head costs nothing to apply.
    fitted = evaluation.variables_for(posteriors.deterministic(), state, data, trainer)
    of_row = lambda ids: posteriors.only_features(network, fitted, inputs_of, ids, chunk_size=1)
    num_features = jax.eval_shape(of_row, jnp.arange(1)).shape[1]
    head = networks.dense_head(network, fitted, num_features=num_features)

  def complete(view: types.PoolView, ids: jax.Array) -> types.PoolView:
    log_probs, found = None, None
    if needs.samples:
      log_probs, found = predict(ids, features=features)
    elif features:
      found = posteriors.only_features(network, variables, inputs_of, ids, chunk_size=plan.chunk_size)
    embedding = None
    if needs.embedding:
      embedding = jnp.asarray(data.embedding, jnp.float32)[ids % data.num_originals] if own_embedding else found
    return view._replace(
      log_probs=log_probs,
      features=found if needs.features else None,
      embedding=embedding,
      target_log_probs=target_log_probs,
      val_log_probs=val_log_probs,
      val_labels=val_labels,
      head=head,
    )

  return complete
