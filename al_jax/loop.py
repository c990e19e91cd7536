"""One round of active learning, and the loop over rounds as one compiled program.

`round_fn` trains on the labeled part of the pool, evaluates, scores the rest and labels the most promising. It is used
as it is by `run` (`lax.scan`, inside one jit) and by any driver that calls it round by round.
"""

from collections.abc import Callable
import dataclasses
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
from al_jax.keys import Role
from al_jax.keys import role_key


def check(protocol: types.Protocol, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a protocol that cannot be carried out on this pool."""
  size, originals = data.pool_size, data.images.shape[0]
  if size % originals:
    raise ValueError(f"{size} labels are no whole number of copies of {originals} images")
  if data.noise and data.noise_key is None:
    raise ValueError(f"a pool with noise {data.noise} needs a noise_key")
  if data.embedding is not None and data.embedding.shape[0] != originals:
    raise ValueError(f"the embedding has {data.embedding.shape[0]} rows, but there are {originals} images")
  for name in ("init_labels", "acq_size", "batch_size", "chunk_size"):
    if getattr(protocol, name) < 1:
      raise ValueError(f"{name} must be at least 1, not {getattr(protocol, name)}")
  for name in ("rounds", "val_size"):
    if getattr(protocol, name) < 0:
      raise ValueError(f"{name} must not be negative, but is {getattr(protocol, name)}")
  if (protocol.train_steps is None) == (protocol.epochs is None):
    raise ValueError("exactly one of train_steps and epochs must be given")
  if (protocol.epochs if protocol.train_steps is None else protocol.train_steps) < 1:
    raise ValueError("train_steps or epochs must be at least 1")
  if protocol.val_size and protocol.val_last:
    raise ValueError("val_size and val_last are two kinds of validation set: give one of them")
  if not 0 <= protocol.val_last < 1:
    raise ValueError(f"val_last is a share of the labeled rows in [0, 1), not {protocol.val_last}")
  if math.floor(protocol.init_labels * (1 - protocol.val_last)) < 1:
    raise ValueError(f"val_last={protocol.val_last} leaves none of the {protocol.init_labels} initial labels to train")
  held_out = protocol.val_size * (size // originals)
  if protocol.max_labels + held_out > size:
    raise ValueError(
      f"{protocol.init_labels} initial labels + {protocol.rounds} rounds of {protocol.acq_size}"
      f" + {held_out} for validation = {protocol.max_labels + held_out}, but the pool holds {size}"
    )
  if protocol.pool_subset is not None and not protocol.acq_size <= protocol.pool_subset <= size:
    raise ValueError(
      f"pool_subset={protocol.pool_subset} must lie between acq_size, {protocol.acq_size}, and the pool's {size} images"
    )
  if protocol.init_balanced and protocol.init_labels < data.num_classes:
    raise ValueError(
      f"a balanced initial set of {protocol.init_labels} labels cannot hold all {data.num_classes} classes;"
      f" ask for at least {data.num_classes} or for a random initial set"
    )


def check_learner(learner: types.Learner, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a learner whose parts do not fit together or not this pool."""
  check(learner.protocol, data)
  acquisition, posterior, evaluated = learner.acquisition, learner.posterior, learner.eval_posterior
  if acquisition is not None:
    if unknown := acquisition.needs - set(types.NEEDS):
      raise ValueError(f"unknown need {sorted(unknown)[0]!r} of an acquisition; choose from {', '.join(types.NEEDS)}")
    if "posterior" in acquisition.needs and posterior.samples < 2:
      raise ValueError(
        "this acquisition compares posterior samples and has one: choose a dropout or ensemble posterior of 2 or more"
      )
    if acquisition.targets > data.pool_size:
      raise ValueError(f"{acquisition.targets} targets are more than the pool's {data.pool_size} images")
  if evaluated.kind == "ensemble" and evaluated != posterior:
    raise ValueError("an ensemble can be evaluated only where it is the acquisition's posterior")
  name = type(learner.model).__name__
  try:
    num_dropouts = inference.num_dropouts(learner.model, data)
  except (TypeError, ValueError, ZeroDivisionError) as error:
    shape = " x ".join(str(size) for size in data.images.shape[1:])
    raise ValueError(f"{name} cannot take images of {shape}: {str(error).splitlines()[0]}") from error
  if "dropout" in (posterior.kind, evaluated.kind) and not num_dropouts:
    raise ValueError(f"MC dropout needs a network with dropout, and {name} has none that drops")


def validation_ids(key: jax.Array, data: types.Dataset, protocol: types.Protocol) -> jax.Array:
  """`[val_size]` int32 ids of originals set aside for validation; a function of the base key alone."""
  everything = jnp.ones(data.images.shape[0], bool)
  return pool.random_subset(role_key(key, Role.VALIDATION), everything, num=protocol.val_size)


def for_sale(key: jax.Array, data: types.Dataset, protocol: types.Protocol) -> jax.Array:
  """`[N]` bool: the pool without its validation images, of which no copy is for sale either."""
  if not protocol.val_size:
    return jnp.ones(data.pool_size, bool)
  originals = data.images.shape[0]
  held_out = pool.mask_of(validation_ids(key, data, protocol), size=originals)
  return ~jnp.tile(held_out, data.pool_size // originals)


def init_state(key: jax.Array, data: types.Dataset, learner: types.Learner) -> types.ALState:
  """The state before round 0: the initial set is labeled, the parameters are those that round 0 starts from.

  Raises:
    ValueError: the run cannot be carried out on this pool (see `check_learner`).
  """
  check_learner(learner, data)
  return _init_state(key, data, learner.model, learner.protocol, _members(learner))


def _members(learner: types.Learner) -> int | None:
  """Networks of an ensemble; None where parameters are those of one network."""
  return learner.posterior.samples if learner.posterior.kind == "ensemble" else None


def _init_params(key: jax.Array, model, data: types.Dataset, members: int | None) -> types.PyTree:
  """New parameters, with a leading axis of members for an ensemble."""
  init = functools.partial(training.init_params, model=model, data=data)
  return init(key) if members is None else jax.vmap(init)(training.member_keys(key, members))


@functools.partial(jax.jit, static_argnames=("model", "protocol", "members"))
def _init_state(key: jax.Array, data: types.Dataset, model, protocol, members: int | None) -> types.ALState:
  available = for_sale(key, data, protocol)
  key_initial = role_key(key, Role.INITIAL_SET)
  if protocol.init_balanced:
    ids = pool.balanced_subset(
      key_initial, data.labels, available, num=protocol.init_labels, num_classes=data.num_classes
    )
  else:
    ids = pool.random_subset(key_initial, available, num=protocol.init_labels)
  order = None
  if protocol.val_last:
    order = jnp.zeros(protocol.max_labels, jnp.int32).at[: protocol.init_labels].set(ids)
  return types.ALState(
    params=_init_params(role_key(key, Role.MODEL_INIT), model, data, members),
    labeled=pool.mask_of(ids, size=data.pool_size),
    key=key,
    round=jnp.int32(0),
    order=order,
  )


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


def fit_round(state: types.ALState, data: types.Dataset, learner: types.Learner) -> tuple[types.PyTree, types.FitInfo]:
  """Trains this round's model, or ensemble, from new parameters unless the protocol starts warm.

  Of an ensemble, the loss is the members' mean and the first bad step that of the first member to have one.
  """
  protocol, members = learner.protocol, _members(learner)
  if protocol.warm_start:
    params = state.params
  else:
    params = _init_params(role_key(state.key, Role.MODEL_INIT, state.round), learner.model, data, members)
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
    )

  keys = [role_key(state.key, role, state.round) for role in (Role.MINIBATCH, Role.DROPOUT)]
  if members is None:
    return fit(*keys, params)
  params, info = jax.vmap(fit)(*(training.member_keys(key, members) for key in keys), params)
  bad = info.first_bad_step
  first_bad = jnp.where((bad < 0).all(), -1, jnp.where(bad < 0, info.steps, bad).min())
  return params, types.FitInfo(info.loss.mean(), info.steps[0], first_bad)


def _posterior_key(state: types.ALState) -> jax.Array:
  return role_key(state.key, Role.POSTERIOR, state.round)


def _in_pool(data: types.Dataset) -> Callable[[jax.Array], jax.Array]:
  return functools.partial(inference.pool_inputs, data)


def evaluate_round(
  params: types.PyTree, state: types.ALState, data: types.Dataset, learner: types.Learner
) -> types.Metrics:
  """Measures a fitted model on the test set and, where there is one, the validation set.

  By `eval_posterior`: the mean prediction of its samples. An ensemble evaluated deterministically is its first member.
  """
  protocol = learner.protocol
  if _members(learner) is not None and learner.eval_posterior.kind != "ensemble":
    params = jax.tree.map(lambda leaf: leaf[0], params)

  def predict(inputs, ids: jax.Array) -> jax.Array:
    key, posterior = _posterior_key(state), learner.eval_posterior
    out = inference.outputs(
      key, learner.model, params, inputs, ids, chunk_size=protocol.chunk_size, posterior=posterior
    )
    return jax.vmap(uncertainty.log_mean)(out.log_probs)

  test_size = data.test_images.shape[0]
  test = predict(lambda ids: inference.normalize(jnp.asarray(data.test_images)[ids], data), jnp.arange(test_size))

  val_accuracy = jnp.float32(jnp.nan)
  if protocol.val_size or protocol.val_last:
    if protocol.val_size:
      ids, weights = validation_ids(state.key, data, protocol), None
    else:
      most = max(held - trained for held, trained in _held_and_trained(protocol))
      places = num_trained(state, protocol) + jnp.arange(most)
      ids = state.order.at[places].get(mode="fill", fill_value=0)
      weights = (places < num_labeled(state, protocol)).astype(jnp.float32)
    val_accuracy = metrics.accuracy(predict(_in_pool(data), ids), jnp.asarray(data.labels)[ids], weights)

  return types.Metrics(
    test_accuracy=metrics.accuracy(test, data.test_labels),
    test_nll=metrics.negative_log_likelihood(test, data.test_labels),
    test_ece=metrics.expected_calibration_error(test, data.test_labels),
    val_accuracy=val_accuracy,
  )


def _looked_at(
  state: types.ALState, candidates: jax.Array, learner: types.Learner
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The part of the pool that this round looks at: `[M]` ids, and their masks of labeled ones and of candidates.

  First `pool_subset` candidates in ascending order; where fewer are left, others fill the places and are neither
  labeled nor candidates. Strategies that compare images see the labeled ones behind them.
  """
  protocol = learner.protocol
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
    _posterior_key(state),
    learner.model,
    params,
    _in_pool(data),
    chunk_size=protocol.chunk_size,
    posterior=learner.posterior,
  )
  own_embedding = data.embedding is not None
  out = inference.Outputs(None, None)
  features = "features" in needs or ("embedding" in needs and not own_embedding)
  samples = bool(needs & {"samples", "posterior"})
  if samples or features:
    out = predict(ids, samples=samples, features=features)
  embedding = None
  if "embedding" in needs:
    embedding = jnp.asarray(data.embedding)[ids % data.images.shape[0]] if own_embedding else out.features
  target_log_probs = None
  if targets:
    everything = jnp.ones(data.pool_size, bool)
    target_ids = pool.random_subset(role_key(state.key, Role.TARGETS, state.round), everything, num=targets)
    target_log_probs = predict(target_ids).log_probs
  view = types.PoolView(
    labeled=labeled,
    candidates=candidates,
    log_probs=out.log_probs,
    features=out.features if "features" in needs else None,
    embedding=embedding,
    target_log_probs=target_log_probs,
  )
  return view, ids.astype(jnp.int32)


def predict_pool(state: types.ALState, data: types.Dataset, ids: jax.Array, learner: types.Learner) -> jax.Array:
  """`[K, C]` log-probabilities of the pool images `ids` `[K]`: the mean of the samples that this round's acquisition
  looked at, given the round's fitted model in `state.params`; deterministic where it looked at none.
  """
  out = inference.outputs(
    _posterior_key(state),
    learner.model,
    state.params,
    _in_pool(data),
    ids,
    chunk_size=learner.protocol.chunk_size,
    posterior=learner.posterior,
  )
  return jax.vmap(uncertainty.log_mean)(out.log_probs)


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
    view, ids = pool_view(params, state, data, learner)
    key = role_key(state.key, Role.ACQUISITION, state.round)
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


def label(state: types.ALState, ids: jax.Array, protocol: types.Protocol) -> types.ALState:
  """The next round's state after the oracle has answered for `ids` `[acq_size]`, -1 throughout asking for nothing."""
  order = state.order
  if protocol.val_last:
    order = order.at[num_labeled(state, protocol) + jnp.arange(protocol.acq_size)].set(ids, mode="drop")
  return state._replace(labeled=pool.reveal(state.labeled, ids), order=order, round=state.round + 1)


def round_fn(
  state: types.ALState, data: types.Dataset, learner: types.Learner, phases: Phases = PURE_PHASES
) -> tuple[types.ALState, types.RoundInfo]:
  """One round: train on the labeled part, evaluate, score the rest, label the most promising.

  Args:
    state: the state that the last round, or `init_state`, returned.
    data: the pool, its oracle and the test set. Test data reach neither the state nor the acquisition.
    learner: model, optimizer, acquisition, protocol and posteriors.
    phases: how the parts are called.

  Returns:
    The next round's state and this round's diagnostics. The last round acquires nothing.
  """
  protocol = learner.protocol
  params, fit_info = phases.fit(state, data, learner=learner)
  measured = phases.evaluate(params, state, data, learner=learner)
  selected, scores = phases.acquire(params, state, data, learner=learner)

  info = types.RoundInfo(num_labeled(state, protocol), measured, fit_info, selected, scores)
  return label(state._replace(params=params), selected, protocol), info


@functools.partial(jax.jit, static_argnames="learner")
def run(key: jax.Array, data: types.Dataset, learner: types.Learner) -> tuple[types.ALState, types.RoundInfo]:
  """A whole run as one compiled program: `rounds + 1` trainings, `rounds` acquisitions.

  Args:
    key: the run's base key, `jax.random.key(seed)`.
    data: the pool, its oracle and the test set.
    learner: model, optimizer, acquisition, protocol and posteriors.

  Returns:
    The final state, and a `RoundInfo` whose arrays have a leading axis of `rounds + 1`.

  Raises:
    ValueError: the run cannot be carried out on this pool (see `check_learner`).
  """
  state = init_state(key, data, learner)
  step = lambda state, _: round_fn(state, data, learner)
  return lax.scan(step, state, length=learner.protocol.rounds + 1)


@functools.partial(jax.jit, static_argnames="learner")
def fit_full(
  key: jax.Array, data: types.Dataset, learner: types.Learner
) -> tuple[types.PyTree, types.FitInfo, types.Metrics]:
  """Trains once on every label for sale: full supervision, the line that active learning is held against.

  Takes what `run` takes; the acquisition, `init_labels`, `acq_size` and `rounds` play no part; with `val_last`, the
  pool's last rows are held out. Returns the parameters, how the training went, and the metrics; raises what `run`
  raises.
  """
  size = data.pool_size - learner.protocol.val_size * (data.pool_size // data.images.shape[0])
  protocol = dataclasses.replace(learner.protocol, init_labels=size, rounds=0, pool_subset=None)
  learner = learner._replace(acquisition=None, protocol=protocol)
  check_learner(learner, data)
  state = types.ALState(
    params=_init_params(role_key(key, Role.MODEL_INIT), learner.model, data, _members(learner)),
    labeled=for_sale(key, data, protocol),
    key=key,
    round=jnp.int32(0),
    order=jnp.arange(size, dtype=jnp.int32) if protocol.val_last else None,
  )
  params, info = fit_round(state, data, learner)
  return params, info, evaluate_round(params, state, data, learner)
