"""All runs of a sweep, round by round: what runs have in common is computed once.

The runs of strategies with the same trainer form a group. In every round, the group's models are trained and evaluated
in one loop, and then each strategy selects for its runs. All strategies of a key share the initial set and, until they
first select, the model: round 0 is trained once per key.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from al_jax import checks
from al_jax import evaluation
from al_jax import rounds
from al_jax import states
from al_jax import training
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer


class Runs(NamedTuple):
  """K runs of one strategy."""

  initial: jax.Array  # `[K, init_labels]` int32: ids of the initial sets
  info: types.RoundInfo  # arrays `[K, rounds + 1, ...]`


class Packing(NamedTuple):
  """How many runs are computed at once, by vmap; None: all keys of a strategy. With 1, there is no vmap."""

  training: int | None
  scoring: int | None  # also of evaluation


PACKS = {"map": Packing(1, 1), "vmap": Packing(None, None), "heads": Packing(1, 10)}

Make = Callable[[types.PyTree], tuple[Learner, ...]]  # point -> one learner per strategy


def _in_chunks(
  one: Callable[[types.PyTree], types.PyTree], jobs: types.PyTree, *, at_once: int, count: jax.Array | int
) -> types.PyTree:
  """`one` of the first `count` jobs, `at_once` at a time; the results of all other jobs are undefined.

  Jobs and results are pytrees of arrays with a leading axis of J jobs. The last chunk overlaps the one before it.
  """
  total = jax.tree.leaves(jobs)[0].shape[0]
  at_once = min(at_once, total)
  each = jax.vmap(one) if at_once > 1 else lambda job: _stacked(one(jax.tree.map(lambda leaf: leaf[0], job)))
  chunk_at = lambda start: jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, at_once), jobs)
  shapes = jax.eval_shape(lambda: each(chunk_at(0)))
  nothing = jax.tree.map(lambda leaf: jnp.zeros((total, *leaf.shape[1:]), leaf.dtype), shapes)

  def step(i: jax.Array, out: types.PyTree) -> types.PyTree:
    start = jnp.minimum(i * at_once, total - at_once)
    put = lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, start, 0)
    return jax.tree.map(put, out, each(chunk_at(start)))

  return lax.fori_loop(0, (count + at_once - 1) // at_once, step, nothing)


def _stacked(tree: types.PyTree) -> types.PyTree:
  return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], tree)


def groups(learners: tuple[Learner, ...]) -> list[list[int]]:
  """Positions of the learners, grouped by trainer; in order of their first members."""
  found: list[list[int]] = []
  for i, learner in enumerate(learners):
    for group in found:
      if _same(learners[group[0]].trainer, learner.trainer):
        group.append(i)
        break
    else:
      found.append([i])
  return found


def _same(a: Trainer, b: Trainer) -> bool:
  """Whether two trainers have the same parts; traced numbers are the same only as the same object."""

  def same(x, y) -> bool:
    try:
      return x is y or (hash(x) == hash(y) and bool(x == y))
    except TypeError:  # unhashable
      return False

  return all(map(same, a, b))


def run_all(
  keys: jax.Array, points: types.PyTree, data: types.Dataset, make: Make, packing: Packing
) -> tuple[Runs, ...]:
  """All runs: `[K]` keys and points -> the runs of each strategy."""
  first_point = jax.tree.map(lambda leaf: leaf[0], points)
  made = []
  jax.eval_shape(lambda point: made.append(groups(make(point))), first_point)
  out: dict[int, Runs] = {}
  for group in made[0]:
    out |= zip(group, _run_group(keys, points, data, make, packing, group), strict=True)
  return tuple(out[i] for i in range(len(out)))


def _run_group(
  keys: jax.Array, points: types.PyTree, data: types.Dataset, make: Make, packing: Packing, group: list[int]
) -> list[Runs]:
  num_keys, strategies = keys.shape[0], len(group)
  learner_of = lambda point, i=group[0]: make(point)[i]
  plan = learner_of(jax.tree.map(lambda leaf: leaf[0], points)).plan
  train_at_once, score_at_once = (num_keys if size is None else size for size in packing)

  def begin(job):
    key, point = job
    for i in group:
      learner = learner_of(point, i)
      checks.check_learner(learner, data)
      checks.check_key(key, data, learner.trainer, learner)
    state = states.initial(key, data, learner_of(point).trainer)
    # Typed keys cannot be written into the results of a loop.
    return state._replace(key=None, round=None), states.initial_ids(state, plan)

  first, initial = _in_chunks(begin, (keys, points), at_once=train_at_once, count=num_keys)
  repeated = lambda tree: jax.tree.map(lambda leaf: jnp.concatenate([leaf] * strategies), tree)
  of_strategy = lambda tree, a: jax.tree.map(lambda leaf: leaf[a * num_keys : (a + 1) * num_keys], tree)
  all_keys, all_points = repeated((keys, points))

  def one_round(state: types.ALState, round: jax.Array) -> tuple[types.ALState, types.RoundInfo]:
    def train(job):
      state, key, point = job
      state, info = training.fit(state._replace(key=key, round=round), data, learner_of(point).trainer)
      return state.variables, state.opt_state, info

    def evaluate(job):
      state, key, point = job
      return evaluation.evaluate_round(state._replace(key=key, round=round), data, learner_of(point).trainer)

    def acquire(i: int, job):
      state, key, point = job
      state = state._replace(key=key, round=round)
      selected, scores = rounds.acquire_round(state, data, learner_of(point, i))
      state = rounds.label(state, selected, plan)
      return selected, scores, state.labeled, state.order

    # In round 0 the runs of a key are all the same: those of the first strategy are trained, and all take the model.
    count = jnp.where(round == 0, num_keys, num_keys * strategies)
    held = state.labeled.sum(axis=1)
    jobs = state, all_keys, all_points
    variables, opt_state, fit = _in_chunks(train, jobs, at_once=train_at_once, count=count)
    fitted = state._replace(variables=variables, opt_state=opt_state)
    metrics = _in_chunks(evaluate, (fitted, all_keys, all_points), at_once=score_at_once, count=count)
    share = lambda tree: repeated(of_strategy(tree, 0))
    fitted, metrics, fit = lax.cond(round == 0, share, lambda tree: tree, (fitted, metrics, fit))
    parts = []
    for a, i in enumerate(group):
      own = of_strategy((fitted, all_keys, all_points), a)
      parts.append(_in_chunks(functools.partial(acquire, i), own, at_once=score_at_once, count=num_keys))
    selected, scores, labeled, order = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return fitted._replace(labeled=labeled, order=order), types.RoundInfo(held, metrics, fit, selected, scores)

  start = repeated(first)
  _, info = lax.scan(one_round, start, jnp.arange(plan.rounds + 1, dtype=jnp.int32))
  by_run = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), info)
  return [Runs(initial, of_strategy(by_run, a)) for a in range(strategies)]
