"""Ask and tell: active learning with labels from outside, in batches of any size.

Call `start` once, then alternate `ask` for ids and `tell` with their labels. If every question is
answered at once and in full, the ids are those of `run` on the labeled pool.
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
  """The rows to label next, and the model that chose them."""

  ids: np.ndarray  # `[K]` int pool ids, best first; unlabeled validation rows come last
  state: types.ALState  # state with the model that chose the ids
  scores: np.ndarray | None  # `[K]` floats, NaN for ids without a score; None before the first training
  metrics: types.Metrics | None  # metrics of the model; None before the first training
  fit: types.FitInfo | None  # diagnostics of its training; None before the first training


def start(key: jax.Array, data: types.Dataset, learner: Learner) -> types.ALState:
  """Returns the state before the first question.

  Its labeled set holds the available rows whose label is known, except the validation rows.

  Args:
    key: the base key, `jax.random.key(seed)`.
    data: the pool; `known` marks rows whose label is known, `available` rows that may be asked for.
    learner: the learner that trains and selects.

  Raises:
    ValueError: the learner cannot run on this pool or has `acquire`, the known labels exceed the plan's budget, or
      `init_balanced` is set but no label is known.
  """
  checks.check_learner(learner, data)
  if learner.acquire is not None:
    raise ValueError("`acquire` reads labels that nobody has given yet: leave it out, and give an acquisition")
  checks.check_key(key, data, learner.trainer, learner)
  checks.check_hash(learner)
  checks.check_values(data, learner.plan, all_known=False, targets=learner.acquisition.needs.targets)
  plan = learner.plan
  labeled = splits.for_labeling(key, data, plan) & splits.is_known(data)
  count = int(labeled.sum())
  if not count and plan.init_balanced and not plan.initial_ids:
    raise ValueError(
      "a balanced initial set needs known labels, and there are none: set Plan(init_balanced=False) or initial_ids"
    )
  _check_room(count, plan)
  return states.jitted_labeled_state(key, data, programs.shared_trainer(key, data, learner.trainer), labeled)


def _check_room(count: int, plan: types.Plan) -> None:
  if count > plan.max_labels:
    raise ValueError(f"{count} labels exceed the plan's budget of {plan.max_labels}: give more rounds")


def ask(state: types.ALState, data: types.Dataset, learner: Learner, *, num: int | None = None) -> Question:
  """Trains on the labeled rows and selects the rows to label next.

  As long as nothing is labeled, nothing is trained and the ids are the initial set. Skipped rows are returned again
  when no other rows are left.

  Args:
    state: the state returned by `start` or `tell`.
    data: the data set given to `start` or returned by `tell`.
    learner: the learner that trains and selects.
    num: number of ids; default: `init_labels` for the initial set, then `acq_size`. Fewer are returned if fewer are
      left. Unlabeled validation rows come in addition.

  Returns:
    A `Question`; its `ids` are empty if every available row is labeled.

  Raises:
    ValueError: early stopping has a validation set without labels, the state and the data do not match, `num` is not a
      positive integer, or the acquisition selected rows that are not candidates.
  """
  checks.check_state(state, data, learner)
  if num is not None:
    plan_checks.require_integer("num", num, least=1)
  _check_in_sync(state, data, learner.plan)
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
    raise ValueError("early stopping checks the validation set, but none of its rows is labeled: label some first")
  state, fit = rounds.JITTED_PHASES.fit(state, data, trainer=trainer)
  metrics = rounds.JITTED_PHASES.evaluate(state, data, trainer=trainer)
  ids, scores = np.zeros(0, np.int32), np.zeros(0, np.float32)
  if num:
    ids, scores = map(np.asarray, _select(state, data, learner=learner, num=num))
    wrong = [i for i in ids.tolist() if i < 0 or not free[i]]
    if wrong or len(set(ids.tolist())) < num:
      what = f"{wrong[0]}, which is not a candidate" if wrong else "the same row twice"
      raise ValueError(f"select returns {what}: return distinct ids of view.candidates")
  scores = np.concatenate([scores, np.full(len(validation), np.nan, np.float32)])
  return Question(np.concatenate([ids, validation]), state, scores, metrics, fit)


def _check_in_sync(state: types.ALState, data: types.Dataset, plan: types.Plan) -> None:
  """Raises ValueError if the state and the data set do not hold the same labels."""
  labeled, known = np.asarray(state.labeled), np.asarray(splits.is_known(data))
  if (lost := labeled & ~known).any():
    raise ValueError(
      f"row {lost.argmax()} is labeled in the state but not in the data: pass the data that tell returned"
    )
  missed = known & np.asarray(splits.for_labeling(state.key, data, plan)) & ~labeled
  if missed.any():
    raise ValueError(
      f"row {missed.argmax()} is labeled in the data but not in the state: pass the state that tell returned"
    )


def tell(
  state: types.ALState, data: types.Dataset, learner: Learner, ids, answers
) -> tuple[types.ALState, types.Dataset]:
  """Records the answers for `ids`: all ids of a question or some of them, in any order.

  A call with at least one id advances the round, even if all its rows are skipped, and with it the random draws of the
  next training. If nothing was labeled before the call, the round stays 0, because these answers are the initial set.

  Args:
    state: `question.state`, or the state that `tell` returned if the answers of a question come in parts.
    data: the data set given to `start` or returned by `tell`.
    learner: the learner that asked.
    ids: `[K]` available pool ids, as a rule those of the question.
    answers: `[K]` ints: a class, `SKIPPED`, or `UNUSABLE` for a row to remove from the available rows.

  Returns:
    `(state, data)` for the next `ask`.

  Raises:
    ValueError: an id is not in the pool, not available, already labeled or given twice, an answer is not one of the
      above, or the labels exceed the plan's budget.
  """
  checks.check_state(state, data, learner)
  _check_in_sync(state, data, learner.plan)
  ids, answers = np.asarray(ids).reshape(-1), np.asarray(answers)
  if not ids.size and not answers.size:
    return state, data
  if len(ids) and not np.issubdtype(ids.dtype, np.integer):
    raise ValueError(f"ids are {ids.dtype}: give integers, the ids of a question")
  ids = ids.astype(np.int64)
  size, classes, plan = data.pool_size, data.num_classes, learner.plan
  if answers.shape != ids.shape or not np.issubdtype(answers.dtype, np.integer):
    raise ValueError(f"{len(ids)} ids need {len(ids)} integer answers, not {answers.dtype} of shape {answers.shape}")
  labels = np.array(data.labels, np.int32)
  known, available = np.array(splits.is_known(data)), np.array(splits.is_available(data))
  for i, answer in zip(ids.tolist(), answers.tolist(), strict=True):
    if not 0 <= i < size:
      raise ValueError(f"id {i} is not in the pool, whose ids are 0 to {size - 1}")
    if known[i] or not available[i]:
      raise ValueError(f"id {i} is {'already labeled' if known[i] else 'not available'}")
    if not (0 <= answer < classes or answer in (types.SKIPPED, types.UNUSABLE)):
      raise ValueError(
        f"the answer for id {i} is {answer}: give a class from 0 to {classes - 1}, {types.SKIPPED} to skip the row, or"
        f" {types.UNUSABLE} if it cannot be used"
      )
  if len(set(ids.tolist())) < len(ids):
    raise ValueError(f"id {next(i for i in ids.tolist() if ids.tolist().count(i) > 1)} is given more than once")
  labels[ids] = answers
  known[ids], available[ids] = answers >= 0, answers != types.UNUSABLE
  updated = dataclasses.replace(data, labels=labels, known=known, available=available)
  new = ids[(answers >= 0) & np.asarray(splits.for_labeling(state.key, updated, plan))[ids]]
  count = int(state.labeled.sum())
  _check_room(count + len(new), plan)
  after = rounds.label(state, jnp.asarray(new, jnp.int32), plan)
  # The first answers are the initial set, which belongs to round 0.
  return after._replace(round=state.round if not count else after.round), updated
