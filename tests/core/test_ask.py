"""Ask and tell: the same ids as a run, and answers that are late, missing or unusable."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

import al_jax
from al_jax import loop
from al_jax import splits
from al_jax import types
from tests.core.test_loop import by_hand
from tests.core.test_loop import equal
from tests.core.test_loop import initial_ids

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(0)
slow = functools.partial(pytest.param, marks=pytest.mark.slow)


def hidden(data, known=()) -> types.Dataset:
  """The pool with labels of the `known` rows only."""
  mask = np.isin(np.arange(data.pool_size), known)
  return dataclasses.replace(data, labels=np.where(mask, data.labels, types.UNKNOWN).astype(np.int32), known=mask)


def by_asking(data, learner, *, rounds: int, parts=lambda ids: [ids]):
  """The ids asked for in each round, when all labels are known and answers are given in parts."""
  pool = hidden(data)
  state, asked = al_jax.start(KEY, pool, learner), []
  for _ in range(rounds):
    question = al_jax.ask(state, pool, learner)
    asked.append(question)
    state = question.state
    for part in parts(question.ids):
      state, pool = al_jax.tell(state, pool, learner, part, np.asarray(data.labels)[part])
  return asked, state, pool


@pytest.mark.parametrize(
  ("name", "plan"),
  [
    ("margin", {}),
    slow("bald", {"pool_subset": 40}),
    slow("kcenter", {"epochs": 3, "val_size": 11, "early_stop": types.EarlyStop(2, 1)}),
    slow("margin", {"val_last": 0.2, "warm_start": True, "keep_optimizer": True}),
  ],
  ids=str,
)
def test_ids_are_those_of_a_run_on_the_labeled_pool(name, plan, data, make_learner):
  learner = make_learner(name, **plan)
  asked, state, _ = by_asking(data, learner, rounds=3)
  _, infos = by_hand(KEY, data, learner)  # equal to `run`: both drivers give the same run
  held_out = splits.validation_ids(KEY, data, learner.plan).tolist() if plan.get("val_size") else []
  first, *others = asked
  assert sorted(first.ids.tolist()) == sorted(initial_ids(KEY, data, learner) + held_out)
  assert first.metrics is None and first.fit is None
  for question, info in zip(others, infos, strict=False):
    assert question.ids.tolist() == info.selected.tolist()
    assert question.metrics.test_accuracy == info.metrics.test_accuracy
  assert state.round == 2 and state.labeled.sum() == 24


def test_answers_may_come_in_parts_skipped_or_of_no_use(data, make_learner):
  learner = make_learner("margin")
  labels, pool = np.asarray(data.labels), hidden(data)
  state = al_jax.start(KEY, pool, learner)
  first = al_jax.ask(state, pool, learner)
  answers = labels[first.ids].copy()
  answers[0], answers[1] = al_jax.SKIPPED, al_jax.UNUSABLE
  state, pool = al_jax.tell(state, pool, learner, first.ids, answers)
  assert state.labeled.sum() == 8 and state.round == 0
  seen = []
  for size in (3, 5, 1):
    question = al_jax.ask(state, pool, learner, num=size)
    assert len(set(question.ids.tolist())) == size and question.fit.steps == 12
    assert not set(question.ids.tolist()) & {*first.ids.tolist(), *seen}
    seen += question.ids.tolist()
    state, pool = al_jax.tell(question.state, pool, learner, question.ids[::-1], labels[question.ids[::-1]])
  assert state.labeled.sum() == 8 + 9 and state.round == 3
  assert not np.asarray(pool.available)[first.ids[1]] and np.asarray(pool.available)[first.ids[0]]
  assert (np.asarray(pool.labels)[np.asarray(state.labeled)] == labels[np.asarray(state.labeled)]).all()


def test_skipped_rows_are_asked_for_again_when_no_others_are_left(data, make_learner):
  learner = make_learner("random", rounds=12)
  ids = np.arange(data.pool_size)
  pool = dataclasses.replace(hidden(data, range(20)), available=ids < 24)
  state = al_jax.start(KEY, pool, learner)
  question = al_jax.ask(state, pool, learner)
  assert sorted(question.ids.tolist()) == [20, 21, 22, 23]  # all that are left
  told = [al_jax.SKIPPED, al_jax.SKIPPED, *np.asarray(data.labels)[question.ids[2:]]]
  state, pool = al_jax.tell(question.state, pool, learner, question.ids, told)
  again = al_jax.ask(state, pool, learner)
  assert sorted(again.ids.tolist()) == sorted(question.ids[:2].tolist())
  told = [al_jax.UNUSABLE, int(data.labels[again.ids[1]])]
  state, pool = al_jax.tell(again.state, pool, learner, again.ids, told)
  last = al_jax.ask(state, pool, learner)
  assert last.ids.size == 0 and last.metrics.test_accuracy > 0 and state.labeled.sum() == 23


def test_known_labels_are_the_first_to_train_on(data, make_learner):
  learner = make_learner("margin")
  pool = hidden(data, range(15))
  state = al_jax.start(KEY, pool, learner)
  assert np.flatnonzero(state.labeled).tolist() == list(range(15))
  question = al_jax.ask(state, pool, learner)
  assert min(question.ids) >= 15 and len(question.ids) == 7


def test_labels_that_are_not_known_change_nothing(data, make_learner):
  learner = make_learner("margin", label_noise=0.3)
  pool = hidden(data, range(15))
  other = dataclasses.replace(pool, labels=np.where(pool.known, pool.labels, (np.asarray(data.labels) + 1) % 10))
  asked = [al_jax.ask(al_jax.start(KEY, it, learner), it, learner) for it in (pool, other)]
  assert asked[0].ids.tolist() == asked[1].ids.tolist()
  assert asked[0].metrics.test_nll == asked[1].metrics.test_nll


@pytest.mark.parametrize("name", ["margin", *(pytest.param(n, marks=pytest.mark.slow) for n in ("epig", "kcenter"))])
def test_draws_and_acquisitions_take_available_rows_alone(name, data, make_learner):
  some = dataclasses.replace(data, available=np.arange(data.pool_size) % 2 == 0)
  learner = make_learner(name, val_size=9, init_labels=5)
  state, infos = by_hand(KEY, some, learner)
  assert (np.flatnonzero(state.labeled) % 2 == 0).all() and state.labeled.sum() == 19
  assert all((info.selected % 2 == 0).all() for info in infos[:-1])
  assert (splits.validation_ids(KEY, some, learner.plan) % 2 == 0).all()


@pytest.mark.slow
def test_masks_of_all_rows_change_nothing(data, make_learner):
  everything = dataclasses.replace(data, available=np.ones(97, bool), known=np.ones(97, bool))
  learner = make_learner("epig", val_size=9)
  assert equal(by_hand(KEY, everything, learner), by_hand(KEY, data, learner))


def test_full_supervision_is_of_the_available_rows(data, make_learner):
  some = dataclasses.replace(data, available=np.arange(data.pool_size) % 2 == 0)
  _, fit, _ = loop.fit_full(KEY, some, make_learner(epochs=1).trainer)
  assert fit.steps == -(-49 // 8)


@pytest.mark.slow
def test_validation_rows_of_no_use_are_left_out_of_the_accuracy(data, make_learner):
  learner = make_learner("margin", val_size=6)
  labels, pool = np.asarray(data.labels), hidden(data)
  state = al_jax.start(KEY, pool, learner)
  first = al_jax.ask(state, pool, learner)
  answers = labels[first.ids].copy()
  answers[-1] = al_jax.UNUSABLE
  state, told = al_jax.tell(state, pool, learner, first.ids, answers)
  assert state.labeled.sum() == 10
  assert (
    splits.validation_ids(KEY, told, learner.plan).tolist() == splits.validation_ids(KEY, pool, learner.plan).tolist()
  )
  question = al_jax.ask(state, told, learner)
  assert len(question.ids) == 7 and float(question.metrics.val_accuracy * 5) % 1 < 1e-5


@pytest.mark.parametrize(
  ("ids", "answers", "sentence"),
  [
    ([97], [1], "id 97 is not in the pool, whose ids are 0 to 96"),
    ([-1], [1], "id -1 is not in the pool"),
    ([3], [1], "id 3 is already labeled"),
    ([20, 20], [1, 1], "id 20 is given more than once"),
    ([20], [10], "the answer for id 20 is 10: give a class from 0 to 9"),
    ([20], [-1], "the answer for id 20 is -1: give a class"),
    ([20], [1.0], "1 ids need 1 integer answers"),
    ([20, 21], [1], "2 ids need 2 integer answers"),
    ([90], [1], "id 90 is not available"),
    (range(20, 45), [1] * 25, "40 labels exceed the plan's budget of 24"),
  ],
)
def test_what_cannot_be_told(ids, answers, sentence, data, make_learner):
  learner = make_learner("margin")
  pool = dataclasses.replace(hidden(data, range(15)), available=np.arange(97) != 90)
  state = al_jax.start(KEY, pool, learner)
  with pytest.raises(ValueError, match=sentence):
    al_jax.tell(state, pool, learner, list(ids), answers)


def test_what_cannot_be_asked(data, make_learner):
  pool = hidden(data)
  with pytest.raises(ValueError, match="a balanced initial set needs known labels"):
    al_jax.start(KEY, pool, make_learner("margin", init_balanced=True))
  with pytest.raises(ValueError, match="30 labels exceed the plan's budget of 24"):
    al_jax.start(KEY, hidden(data, range(30)), make_learner("margin"))
  with pytest.raises(ValueError, match=r"row 0 is available but its label is not known"):
    al_jax.run(KEY, pool, make_learner("margin"))
  learner = make_learner("margin", val_size=5, early_stop=types.EarlyStop(2, 4))
  known = hidden(data, [i for i in range(40) if i not in splits.validation_ids(KEY, pool, learner.plan)][:12])
  state = al_jax.start(KEY, known, learner)
  with pytest.raises(ValueError, match="early stopping checks the validation set, but none of its rows is labeled"):
    al_jax.ask(state, known, learner)
