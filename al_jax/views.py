"""What an acquisition sees of the pool: who is for sale, which part is looked at, and the network's outputs for it."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from al_jax import inference
from al_jax import pool
from al_jax import types
from al_jax import uncertainty
from al_jax.keys import Role
from al_jax.keys import role_key


def validation_ids(key: jax.Array, data: types.Dataset, protocol: types.Protocol) -> jax.Array:
  """`[val_size]` int32 ids of originals set aside for validation, none of which is among `protocol.initial_ids`.

  A function of the base key and those alone.
  """
  originals = data.images.shape[0]
  given = pool.mask_of(jnp.array(protocol.initial_ids, jnp.int32) % originals, size=originals)
  return pool.random_subset(role_key(key, Role.VALIDATION), ~given, num=protocol.val_size)


def for_sale(key: jax.Array, data: types.Dataset, protocol: types.Protocol) -> jax.Array:
  """`[N]` bool: the pool without its validation images, of which no copy is for sale either."""
  if not protocol.val_size:
    return jnp.ones(data.pool_size, bool)
  originals = data.images.shape[0]
  held_out = pool.mask_of(validation_ids(key, data, protocol), size=originals)
  return ~jnp.tile(held_out, data.pool_size // originals)


def posterior_key(state: types.ALState) -> jax.Array:
  """The key that decides this round's dropout masks outside training."""
  return role_key(state.key, Role.POSTERIOR, state.round)


def in_pool(data: types.Dataset) -> Callable[[jax.Array], jax.Array]:
  """Pool ids -> images as the network takes them."""
  return functools.partial(inference.pool_inputs, data)


def _looked_at(
  state: types.ALState, candidates: jax.Array, learner: types.Learner
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The part of the pool that this round looks at: `[M]` ids, and their masks of labeled ones and of candidates.

  First `pool_subset` candidates in ascending order; where fewer are left, others fill the places and are neither
  labeled nor candidates. Strategies that compare images see the labeled ones behind them.
  """
  protocol = learner.protocol
  assert protocol.pool_subset is not None
  key = role_key(state.key, Role.POOL_SUBSET, state.round)
  drawn = jnp.sort(pool.random_subset(key, candidates, num=protocol.pool_subset))
  if not learner.acquisition.needs & {"features", "embedding"}:
    return drawn, jnp.zeros(drawn.shape, bool), candidates[drawn]
  held = pool.labeled_ids(state.labeled, size=protocol.max_labels)
  present = jnp.arange(protocol.max_labels) < state.labeled.sum()
  ids = jnp.concatenate([drawn, held])
  labeled = jnp.concatenate([jnp.zeros(drawn.shape, bool), present])
  return ids, labeled, jnp.concatenate([candidates[drawn], jnp.zeros(held.shape, bool)])


def pool_view(
  params: types.PyTree, state: types.ALState, data: types.Dataset, learner: types.Learner
) -> tuple[types.PoolView, jax.Array]:
  """What this round's acquisition looks at, and the `[N]` int32 pool ids of its rows.

  With `pool_subset`, a part of the pool: a fresh random draw of the candidates, and the labeled images where the
  acquisition compares images.
  """
  protocol, acquisition = learner.protocol, learner.acquisition
  needs, targets = acquisition.needs, acquisition.targets
  labeled, candidates = state.labeled, for_sale(state.key, data, protocol) & ~state.labeled
  ids = jnp.arange(data.pool_size)
  if protocol.pool_subset is not None:
    ids, labeled, candidates = _looked_at(state, candidates, learner)

  predict = functools.partial(
    inference.outputs,
    posterior_key(state),
    learner.model,
    params,
    in_pool(data),
    chunk_size=protocol.chunk_size,
    posterior=learner.posterior,
    dtype=protocol.score_dtype,
  )
  own_embedding = data.embedding is not None
  out = inference.Outputs(None, None)
  features = "features" in needs or ("embedding" in needs and not own_embedding)
  samples = any(types.NEEDS[need] == "log_probs" for need in needs)
  if samples or features:
    out = predict(ids, samples=samples, features=features)
  embedding = None
  if "embedding" in needs:
    embedding = jnp.asarray(data.embedding, jnp.float32)[ids % data.images.shape[0]] if own_embedding else out.features
  target_log_probs = None
  if targets:
    everything = jnp.ones(data.pool_size, bool)
    target_ids = pool.random_subset(role_key(state.key, Role.TARGETS, state.round), everything, num=targets)
    target_log_probs = predict(target_ids).log_probs
  # Drawn for the whole pool: an image's draw does not depend on which part of it is scored.
  ties = jax.random.uniform(role_key(state.key, Role.TIES, state.round), (data.pool_size,))
  view = types.PoolView(
    labeled=labeled,
    candidates=candidates,
    log_probs=out.log_probs,
    features=out.features if "features" in needs else None,
    embedding=embedding,
    target_log_probs=target_log_probs,
    tie_break=ties[ids],
  )
  return view, ids.astype(jnp.int32)


def predict_pool(state: types.ALState, data: types.Dataset, ids: jax.Array, learner: types.Learner) -> jax.Array:
  """`[K, C]` log-probabilities of the pool images `ids` `[K]`: the mean of the samples that this round's acquisition
  looked at, given the round's fitted model in `state.params`; deterministic where it looked at none.
  """
  out = inference.outputs(
    posterior_key(state),
    learner.model,
    state.params,
    in_pool(data),
    ids,
    chunk_size=learner.protocol.chunk_size,
    posterior=learner.posterior,
  )
  assert out.log_probs is not None
  return jax.vmap(uncertainty.log_mean)(out.log_probs)
