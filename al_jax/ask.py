"""Ask and tell: active learning where labels come from outside, in batches of any size.

`start`, and then in turn `ask` for ids and `tell` what was answered. Where everything is answered in full, the ids are
those of a `run` on the labeled pool.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import checks
from al_jax import plan_checks
from al_jax import programs
from al_jax import rounds
from al_jax import splits
from al_jax import states
from al_jax import types
from al_jax.learner import Learner

_select = jax.jit(rounds.select, static_argnames=("learner", "num"))


class Question(NamedTuple):
  """What to label next."""

  ids: np.ndarray  # `[K]` int pool ids, best first; validation rows that have no label come last
  state: types.ALState  # with the model that chose them
  scores: np.ndarray | None  # `[K]` floats, NaN where there is none; None before the first training
  metrics: types.Metrics | None  # of that model; None before the first training
  fit: types.FitInfo | None  # how its training went; None before the first


def start(key: jax.Array, data: types.Dataset, learner: Learner) -> types.ALState:
  """The state before the first question: every available row whose label is known is labeled.

  Args:
    key: the base key, `jax.random.key(seed)`.
    data: the pool; `known` says which labels are known, `available` which rows may be asked for.
    learner: what trains and asks.

  Raises:
    ValueError: the learner cannot run on this pool, or `init_balanced` would read labels that are not known.
  """
  checks.check_learner(learner, data)
  checks.check_key(key, data, learner.trainer, learner)
  checks.check_hash(learner)
  checks.check_values(data, learner.plan, all_known=False, targets=learner.acquisition.needs.targets)
  plan = learner.plan
  labeled = splits.for_labeling(key, data, plan) & splits.is_known(data)
  count = int(labeled.sum())
  if not count and plan.init_balanced and not plan.initial_ids:
    raise ValueError(
      "a balanced initial set reads labels that are not known: give Plan(init_balanced=False), or initial_ids"
    )
  _check_room(count, plan)
  return states.jitted_labeled_state(key, data, programs.shared_trainer(key, data, learner.trainer), labeled)


def _check_room(count: int, plan: types.Plan) -> None:
  if count > plan.max_labels:
    raise ValueError(f"{count} labels are more than the plan has room for, {plan.max_labels}: give more rounds")


def ask(state: types.ALState, data: types.Dataset, learner: Learner, *, num: int | None = None) -> Question:
  """Trains on the labeled rows and chooses what to label next.

  While nothing is labeled, nothing is trained: the ids are the initial set. Rows that were skipped are asked for again
  when no others are left.

  Args:
    state: of `start` or `tell`.
    data: of `tell`.
    learner: what trains and asks.
    num: how many; by default the plan's `acq_size`, and `init_labels` at first. Fewer where fewer are left.

  Returns:
    A `Question`; without ids where every available row is labeled.

  Raises:
    ValueError: early stopping has a validation set without labels, the state is of another pool, `num` is no size, or
      a strategy of one's own chose rows that are no candidates.
  """
  checks.check_state(state, data, learner)
  if num is not None:
    plan_checks.whole("num", num, least=1)
  _check_told(state, data, learner.plan)
  trainer, learner = programs.shared(state.key, data, learner)
  plan = learner.plan
  labels, available = np.asarray(data.labels), np.asarray(splits.is_available(data))
  free = np.asarray(splits.for_labeling(state.key, data, plan) & ~state.labeled)
  if (free & (labels != types.SKIPPED)).any():
    data = dataclasses.replace(data, available=available & (labels != types.SKIPPED))
    free = free & (labels != types.SKIPPED)
  asked_first = not bool(state.labeled.any())
  num = min(num or (plan.init_labels if asked_first else plan.acq_size), int(free.sum()))
  validation = np.zeros(0, np.int32)
  if plan.val_size:
    held_out = np.asarray(splits.validation_ids(state.key, data, plan))
    validation = held_out[labels[held_out] == types.UNKNOWN]
  if asked_first:
    ids = np.zeros(0, np.int32) if not num else np.asarray(states.initial_set(state.key, data, plan, num=num))
    return Question(np.concatenate([ids, validation]), state, None, None, None)
  if plan.train.early_stop is not None and not (labels[held_out] >= 0).any():
    raise ValueError("early stopping checks a validation set of which no row is labeled yet")
  state, fit = rounds.JITTED_PHASES.fit(state, data, trainer=trainer)
  metrics = rounds.JITTED_PHASES.evaluate(state, data, trainer=trainer)
  ids, scores = np.zeros(0, np.int32), np.zeros(0, np.float32)
  if num:
    ids, scores = map(np.asarray, _select(state, data, learner=learner, num=num))
    wrong = [i for i in ids.tolist() if i < 0 or not free[i]]
    if wrong or len(set(ids.tolist())) < num:
      what = f"{wrong[0]}, which is no candidate" if wrong else "the same row twice"
      raise ValueError(f"select chooses {what}: give distinct ids of view.candidates")
  scores = np.concatenate([scores, np.full(len(validation), np.nan, np.float32)])
  return Question(np.concatenate([ids, validation]), state, scores, metrics, fit)


def _check_told(state: types.ALState, data: types.Dataset, plan: types.Plan) -> None:
  """Raises ValueError where a state and a data set are not of the same answers."""
  labeled, known = np.asarray(state.labeled), np.asarray(splits.is_known(data))
  if (lost := labeled & ~known).any():
    raise ValueError(
      f"row {lost.argmax()} is labeled in the state and not in the data: give the data that tell returned"
    )
  missed = known & np.asarray(splits.for_labeling(state.key, data, plan)) & ~labeled
  if missed.any():
    raise ValueError(
      f"row {missed.argmax()} is labeled in the data and not in the state: give the state that tell returned"
    )


def tell(
  state: types.ALState, data: types.Dataset, learner: Learner, ids, answers
) -> tuple[types.ALState, types.Dataset]:
  """Enters what was answered for `ids`, all of a question's or some of them, in any order.

  Args:
    state: of the question.
    data: the pool.
    learner: what asks.
    ids: `[K]` pool ids.
    answers: `[K]` ints: a class, or `SKIPPED`, or `UNUSABLE` for a row that is to be available no more.

  Returns:
    The state and the data of the next question.

  Raises:
    ValueError: an id is not in the pool, not available, labeled already or given twice, or an answer is none of these.
  """
  checks.check_state(state, data, learner)
  _check_told(state, data, learner.plan)
  ids, answers = np.asarray(ids).reshape(-1), np.asarray(answers)
  if not ids.size and not answers.size:
    return state, data
  if len(ids) and not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(f"ids are {ids.dtype}: give whole numbers, those of a question")
  ids = ids.astype(np.int64)
  size, classes, plan = data.pool_size, data.num_classes, learner.plan
  if answers.shape != ids.shape or not np.issubdtype(answers.dtype, np.integer):
    raise ValueError(f"{len(ids)} ids need as many whole numbers as answers, not {answers.dtype} of {answers.shape}")
  labels = np.array(data.labels, np.int32)
  known, available = np.array(splits.is_known(data)), np.array(splits.is_available(data))
  for i, answer in zip(ids.tolist(), answers.tolist(), strict=True):
    if not 0 <= i < size:
      raise ValueError(f"id {i} is not in the pool, whose ids are 0 to {size - 1}")
    if known[i] or not available[i]:
      raise ValueError(f"id {i} is {'labeled already' if known[i] else 'not available'}")
    if not (0 <= answer < classes or answer in (types.SKIPPED, types.UNUSABLE)):
      raise ValueError(
        f"the answer for id {i} is {answer}: give a class, 0 to {classes - 1}, {types.SKIPPED} for a row that is"
        f" skipped or {types.UNUSABLE} for one that cannot be used"
      )
  if len(set(ids.tolist())) < len(ids):
    raise ValueError(f"id {next(i for i in ids.tolist() if ids.tolist().count(i) > 1)} is given more than once")
  labels[ids] = answers
  known[ids], available[ids] = answers >= 0, answers != types.UNUSABLE
  told = dataclasses.replace(data, labels=labels, known=known, available=available)
  new = ids[(answers >= 0) & np.asarray(splits.for_labeling(state.key, told, plan))[ids]]
  count = int(state.labeled.sum())
  _check_room(count + len(new), plan)
  after = rounds.label(state, jnp.asarray(new, jnp.int32), plan)
  # The first answers are the initial set of round 0.
  return after._replace(round=state.round if not count else after.round), told
