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
from al_jax.keys import Role
from al_jax.keys import role_key


def check(protocol: types.Protocol, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a protocol that cannot be carried out on this pool."""
  size = data.images.shape[0]
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
  if protocol.max_labels + protocol.val_size > size:
    raise ValueError(
      f"{protocol.init_labels} initial labels + {protocol.rounds} rounds of {protocol.acq_size}"
      f" + {protocol.val_size} for validation = {protocol.max_labels + protocol.val_size}, but the pool holds {size}"
    )
  if protocol.init_balanced and protocol.init_labels < data.num_classes:
    raise ValueError(
      f"a balanced initial set of {protocol.init_labels} labels cannot hold all {data.num_classes} classes;"
      f" ask for at least {data.num_classes} or for a random initial set"
    )


def validation_ids(key: jax.Array, data: types.Dataset, protocol: types.Protocol) -> jax.Array:
  """`[val_size]` int32 pool ids set aside for validation; a function of the base key alone."""
  everything = jnp.ones(data.images.shape[0], bool)
  return pool.random_subset(role_key(key, Role.VALIDATION), everything, num=protocol.val_size)


def for_sale(key: jax.Array, data: types.Dataset, protocol: types.Protocol) -> jax.Array:
  """`[N]` bool: the pool without its validation images."""
  size = data.images.shape[0]
  if not protocol.val_size:
    return jnp.ones(size, bool)
  return ~pool.mask_of(validation_ids(key, data, protocol), size=size)


def init_state(key: jax.Array, data: types.Dataset, learner: types.Learner) -> types.ALState:
  """The state before round 0: the initial set is labeled, the parameters are those that round 0 starts from.

  Raises:
    ValueError: the protocol cannot be carried out on this pool (see `check`).
  """
  check(learner.protocol, data)
  return _init_state(key, data, learner.model, learner.protocol)


@functools.partial(jax.jit, static_argnames=("model", "protocol"))
def _init_state(key: jax.Array, data: types.Dataset, model, protocol: types.Protocol) -> types.ALState:
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
    params=training.init_params(role_key(key, Role.MODEL_INIT), model, data),
    labeled=pool.mask_of(ids, size=data.images.shape[0]),
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
  """Trains this round's model, from new parameters unless the protocol starts warm."""
  protocol = learner.protocol
  if protocol.warm_start:
    params = state.params
  else:
    params = training.init_params(role_key(state.key, Role.MODEL_INIT, state.round), learner.model, data)
  ids = state.order if protocol.val_last else pool.labeled_ids(state.labeled, size=protocol.max_labels)
  return training.fit(
    role_key(state.key, Role.MINIBATCH, state.round),
    role_key(state.key, Role.DROPOUT, state.round),
    params,
    data,
    ids,
    num_trained(state, protocol),
    model=learner.model,
    optimizer=learner.optimizer,
    batch_size=protocol.batch_size,
    train_steps=protocol.train_steps,
    epochs=protocol.epochs,
  )


def evaluate_round(
  params: types.PyTree, state: types.ALState, data: types.Dataset, learner: types.Learner
) -> types.Metrics:
  """Measures a fitted model on the test set and, where there is one, the validation set."""
  protocol = learner.protocol
  predict = functools.partial(inference.predict, learner.model, params, data=data, chunk_size=protocol.chunk_size)
  test = predict(data.test_images)[:, 0]

  val_accuracy = jnp.float32(jnp.nan)
  if protocol.val_size or protocol.val_last:
    if protocol.val_size:
      ids, weights = validation_ids(state.key, data, protocol), None
    else:
      most = max(held - trained for held, trained in _held_and_trained(protocol))
      places = num_trained(state, protocol) + jnp.arange(most)
      ids = state.order.at[places].get(mode="fill", fill_value=0)
      weights = (places < num_labeled(state, protocol)).astype(jnp.float32)
    val_accuracy = metrics.accuracy(predict(data.images[ids])[:, 0], data.labels[ids], weights)

  return types.Metrics(
    test_accuracy=metrics.accuracy(test, data.test_labels),
    test_nll=metrics.negative_log_likelihood(test, data.test_labels),
    test_ece=metrics.expected_calibration_error(test, data.test_labels),
    val_accuracy=val_accuracy,
  )


def acquire_round(params: types.PyTree, state: types.ALState, data: types.Dataset, learner: types.Learner):
  """Chooses what to label next: `[acq_size]` int32 ids, or -1 throughout in the last round, which scores nothing."""
  protocol, acquisition = learner.protocol, learner.acquisition

  def select() -> jax.Array:
    view = types.PoolView(
      labeled=state.labeled,
      candidates=for_sale(state.key, data, protocol) & ~state.labeled,
      log_probs=inference.predict(learner.model, params, data.images, data, chunk_size=protocol.chunk_size)
      if "samples" in acquisition.needs
      else None,
    )
    return acquisition.select(role_key(state.key, Role.ACQUISITION, state.round), view, num=protocol.acq_size)

  nothing = jnp.full(protocol.acq_size, -1, jnp.int32)
  return lax.cond(state.round < protocol.rounds, select, lambda: nothing)


class Phases(NamedTuple):
  """The three costly parts of a round. A driver may pass compiled or timed versions of them to `round_fn`."""

  fit: Callable = fit_round  # (state, data, learner) -> (params, FitInfo)
  evaluate: Callable = evaluate_round  # (params, state, data, learner) -> Metrics
  acquire: Callable = acquire_round  # (params, state, data, learner) -> `[acq_size]` int32


def _jit_without_acquisition(phase: Callable) -> Callable:
  compiled = jax.jit(phase, static_argnames="learner")
  return lambda *args, learner: compiled(*args, learner=learner._replace(acquisition=None))


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
    learner: model, optimizer, acquisition and protocol.
    phases: how the parts are called.

  Returns:
    The next round's state and this round's diagnostics. The last round acquires nothing.
  """
  protocol = learner.protocol
  params, fit_info = phases.fit(state, data, learner=learner)
  measured = phases.evaluate(params, state, data, learner=learner)
  selected = phases.acquire(params, state, data, learner=learner)

  info = types.RoundInfo(num_labeled(state, protocol), measured, fit_info, selected)
  return label(state._replace(params=params), selected, protocol), info


@functools.partial(jax.jit, static_argnames="learner")
def run(key: jax.Array, data: types.Dataset, learner: types.Learner) -> tuple[types.ALState, types.RoundInfo]:
  """A whole run as one compiled program: `rounds + 1` trainings, `rounds` acquisitions.

  Args:
    key: the run's base key, `jax.random.key(seed)`.
    data: the pool, its oracle and the test set.
    learner: model, optimizer, acquisition and protocol.

  Returns:
    The final state, and a `RoundInfo` whose arrays have a leading axis of `rounds + 1`.

  Raises:
    ValueError: the protocol cannot be carried out on this pool (see `check`).
  """
  state = init_state(key, data, learner)
  step = lambda state, _: round_fn(state, data, learner)
  return lax.scan(step, state, length=learner.protocol.rounds + 1)


@functools.partial(jax.jit, static_argnames="learner")
def fit_full(
  key: jax.Array, data: types.Dataset, learner: types.Learner
) -> tuple[types.PyTree, types.FitInfo, types.Metrics]:
  """Trains once on every label for sale: full supervision, the line that active learning is held against.

  Takes what `run` takes. `init_labels`, `acq_size` and `rounds` play no part; with `val_last`, the pool's last rows are
  held out. Returns the parameters, how the training went, and the metrics; raises what `run` raises.
  """
  size = data.images.shape[0] - learner.protocol.val_size
  protocol = dataclasses.replace(learner.protocol, init_labels=size, rounds=0)
  check(protocol, data)
  learner = learner._replace(protocol=protocol)
  state = types.ALState(
    params=training.init_params(role_key(key, Role.MODEL_INIT), learner.model, data),
    labeled=for_sale(key, data, protocol),
    key=key,
    round=jnp.int32(0),
    order=jnp.arange(size, dtype=jnp.int32) if protocol.val_last else None,
  )
  params, info = fit_round(state, data, learner)
  return params, info, evaluate_round(params, state, data, learner)
