"""One round of active learning, and the loop over rounds as one compiled program.

`round_fn` trains on the labeled part of the pool, evaluates, scores the rest and labels the most promising. It is used
as it is by `run` (`lax.scan`, inside one jit), by `sweep` (many runs as one program) and by any driver that calls it
round by round.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from al_jax import checks
from al_jax import pool
from al_jax import rounds
from al_jax import types
from al_jax import views
from al_jax.keys import Role
from al_jax.keys import role_key


def init_state(key: jax.Array, data: types.Dataset, learner: types.Learner) -> types.ALState:
  """The state before round 0: the initial set is labeled, the parameters are those that round 0 starts from.

  Raises:
    ValueError: the run cannot be carried out on this pool (see `checks.check_learner`).
  """
  checks.check_learner(learner, data)
  checks.check_key(key, learner, data)
  return _jitted_init_state(key, data, learner.model, learner.protocol, rounds.num_members(learner))


def _init_state(key: jax.Array, data: types.Dataset, model, protocol, members: int | None) -> types.ALState:
  available = views.for_sale(key, data, protocol)
  key_initial = role_key(key, Role.INITIAL_SET)
  if protocol.initial_ids:
    ids = jnp.array(protocol.initial_ids, jnp.int32)
  elif protocol.init_balanced:
    ids = pool.balanced_subset(
      key_initial, data.labels, available, num=protocol.init_labels, num_classes=data.num_classes
    )
  else:
    ids = pool.random_subset(key_initial, available, num=protocol.init_labels)
  order = None
  if protocol.val_last:
    order = jnp.zeros(protocol.max_labels, jnp.int32).at[: protocol.init_labels].set(ids)
  return types.ALState(
    params=rounds.init_params(role_key(key, Role.MODEL_INIT), model, data, members),
    labeled=pool.mask_of(ids, size=data.pool_size),
    key=key,
    round=jnp.int32(0),
    order=order,
  )


_jitted_init_state = jax.jit(_init_state, static_argnames=("model", "protocol", "members"))


def initial_ids(state: types.ALState, protocol: types.Protocol) -> jax.Array:
  """`[init_labels]` int32 ids of the initial set: as drawn or given where the state keeps an order, else ascending.

  Of a state before its first acquisition.
  """
  if state.order is not None:
    return state.order[: protocol.init_labels]
  return pool.labeled_ids(state.labeled, size=protocol.init_labels)


def label(state: types.ALState, ids: jax.Array, protocol: types.Protocol) -> types.ALState:
  """The next round's state after the oracle has answered for `ids` `[acq_size]`, -1 throughout asking for nothing."""
  order = state.order
  if protocol.val_last:
    assert order is not None
    order = order.at[rounds.num_labeled(state, protocol) + jnp.arange(protocol.acq_size)].set(ids, mode="drop")
  return state._replace(labeled=pool.reveal(state.labeled, ids), order=order, round=state.round + 1)


def round_fn(
  state: types.ALState,
  data: types.Dataset,
  learner: types.Learner,
  phases: rounds.Phases = rounds.PURE_PHASES,
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

  info = types.RoundInfo(rounds.num_labeled(state, protocol), measured, fit_info, selected, scores)
  return label(state._replace(params=params), selected, protocol), info


def _whole_run(
  key: jax.Array, data: types.Dataset, learner: types.Learner
) -> tuple[types.ALState, types.ALState, types.RoundInfo]:
  """The first state, the last one, and the diagnostics of all rounds."""
  checks.check_learner(learner, data)
  checks.check_key(key, learner, data)
  first = _init_state(key, data, learner.model, learner.protocol, rounds.num_members(learner))
  step = lambda state, _: round_fn(state, data, learner)
  return first, *lax.scan(step, first, length=learner.protocol.rounds + 1)


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
    ValueError: the run cannot be carried out on this pool (see `checks.check_learner`).
  """
  _, last, info = _whole_run(key, data, learner)
  return last, info


class Runs(NamedTuple):
  """K runs of one strategy."""

  initial: jax.Array  # `[K, init_labels]` int32: ids of the initial sets
  info: types.RoundInfo  # arrays of `[K, rounds + 1, ...]`


@functools.partial(jax.jit, static_argnames=("learners", "pack", "mesh"))
def sweep(
  keys: jax.Array,
  data: types.Dataset,
  learners: tuple[types.Learner | Callable[[types.PyTree], types.Learner], ...],
  *,
  pack: str,
  points: types.PyTree = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[Runs, ...]:
  """A whole ablation as one compiled program: every strategy on every key, all rounds.

  Strategies are unrolled, because each is another computation; keys share one. Nothing is read from the host and
  nothing returned to it before the end; the pool is held once.

  Args:
    keys: `[K]` base keys, one a seed.
    data: the pool, its oracle and the test set, shared by all runs.
    learners: one a strategy; or, with `points`, functions of a point that return one.
    pack: `"map"` runs one key after another and gives each run's ids bit for bit as `run` does, on CPU. `"vmap"` runs
      all at once, as accelerators like it: draws are the same bit for bit, but sums may be taken in another order.
    points: hyper-parameters that the learners' numbers depend on (learning rate, dropout rate, coldness); arrays of
      `[K, ...]`, one point a key. A function must be hashable, and equal where its learners are.
    mesh: devices of one axis that the keys are split over, each working on its own; K is a multiple of their number.
      None is the one device that the data lie on.

  Returns:
    `Runs` for each strategy.

  Raises:
    ValueError: a run cannot be carried out on this pool (see `checks.check_learner`), or `pack` is unknown.
  """
  if pack not in PACKS:
    raise ValueError(f"unknown packing {pack!r}; choose from {', '.join(PACKS)}")

  checks.check_packing(keys, pack)

  def every_strategy(key: jax.Array, point: types.PyTree, data: types.Dataset) -> tuple[Runs, ...]:
    out = []
    for learner in learners:
      made = learner if isinstance(learner, types.Learner) else learner(point)
      first, _, info = _whole_run(key, data, made)
      out.append(Runs(initial_ids(first, made.protocol), info))
    return tuple(out)

  def all_runs(keys: jax.Array, points: types.PyTree, data: types.Dataset) -> tuple[Runs, ...]:
    return PACKS[pack](lambda packed: every_strategy(packed[0], packed[1], data), (keys, points))

  if mesh is not None:
    split, same = PartitionSpec(mesh.axis_names), PartitionSpec()
    all_runs = jax.shard_map(all_runs, mesh=mesh, in_specs=(split, split, same), out_specs=split, check_vma=False)
  return all_runs(keys, points, data)


PACKS = {"map": lax.map, "vmap": lambda f, xs: jax.vmap(f)(xs)}


@functools.partial(jax.jit, static_argnames="learner")
def fit_full(
  key: jax.Array, data: types.Dataset, learner: types.Learner
) -> tuple[types.PyTree, types.FitInfo, types.Metrics]:
  """Trains once on the labels of all that is for sale: full supervision, the line that active learning is held against.

  The labels are the same oracle's answers that a run with this key gets. Takes what `run` takes; the acquisition,
  `init_labels`, `acq_size` and `rounds` play no part; with `val_last`, the pool's last rows are held out. Returns the
  parameters, how the training went, and the metrics; raises what `run` raises.
  """
  size = data.pool_size - learner.protocol.val_size * (data.pool_size // data.images.shape[0])
  protocol = dataclasses.replace(learner.protocol, init_labels=size, rounds=0, pool_subset=None)
  learner = learner._replace(acquisition=None, protocol=protocol)
  # Given initial ids count no more than a drawn initial set; they only say which images are not for validation.
  checks.check_learner(learner._replace(protocol=dataclasses.replace(protocol, initial_ids=())), data)
  checks.check_key(key, learner, data)
  state = types.ALState(
    params=rounds.init_params(role_key(key, Role.MODEL_INIT), learner.model, data, rounds.num_members(learner)),
    labeled=views.for_sale(key, data, protocol),
    key=key,
    round=jnp.int32(0),
    order=jnp.arange(size, dtype=jnp.int32) if protocol.val_last else None,
  )
  params, info = rounds.fit_round(state, data, learner)
  return params, info, rounds.evaluate_round(params, state, data, learner)
