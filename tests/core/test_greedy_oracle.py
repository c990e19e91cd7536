"""The greedy oracle compared with a search by hand over trainings, its fallback, drivers, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import al_jax
from al_jax import checks
from al_jax import loop
from al_jax import rounds
from al_jax.greedy_oracle import greedy_oracle
from al_jax.sweep import sweep
from tests.core.test_loop import by_hand
from tests.core.test_loop import equal
from tests.core.test_loop import stacked
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(4)
ALL = 97  # rows of the pool: each candidate is tried


def oracle_of(make_learner, trials: int = 5, **changes):
  settings = {"acq_size": 1, "steps": 6, "warm_start": True} | changes
  return changed(make_learner("margin"), acquire=greedy_oracle(trials), **settings)


def accuracy_with(state, data, learner, ids: list[int]) -> float:
  """Test accuracy measured by a round of the loop that begins with `ids` labeled."""
  labeled = rounds.label(state, jnp.array(ids, jnp.int32), learner.plan)
  fitted, _ = rounds.JITTED_PHASES.fit(labeled, data, trainer=learner.trainer)
  return float(rounds.JITTED_PHASES.evaluate(fitted, data, trainer=learner.trainer).test_accuracy)


def fitted_state(data, learner):
  state = loop.init_state(KEY, data, learner)
  state, _ = rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer)
  return state, float(rounds.JITTED_PHASES.evaluate(state, data, trainer=learner.trainer).test_accuracy)


@pytest.mark.slow
def test_with_all_candidates_tried_the_best_of_a_search_by_hand_is_acquired(data, make_learner):
  learner = oracle_of(make_learner, trials=ALL)
  state, before = fitted_state(data, learner)
  ids, scores = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
  after = {i: accuracy_with(state, data, learner, [i]) for i in np.flatnonzero(~np.asarray(state.labeled)).tolist()}
  best = max(after.values())
  assert best > before and after[int(ids[0])] == best
  np.testing.assert_allclose(scores[0], best - before, atol=1e-6)


@pytest.mark.slow
def test_two_labels_are_two_searches(data, make_learner):
  learner = oracle_of(make_learner, trials=ALL, acq_size=2)
  state, before = fitted_state(data, learner)
  ids, scores = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
  first, second = ids.tolist()
  one, both = (accuracy_with(state, data, learner, chosen) for chosen in ([first], [first, second]))
  np.testing.assert_allclose(scores, [one - before, both - one], atol=1e-6)
  others = [i for i in range(ALL) if not state.labeled[i] and i != first]
  best = max(accuracy_with(state, data, learner, [first, i]) for i in others)
  assert both == best or one >= best


@pytest.mark.slow
def test_the_next_round_measures_the_score(data, make_learner):
  learner = oracle_of(make_learner, rounds=3)
  _, info = loop.run(KEY, data, learner)
  np.testing.assert_allclose(np.diff(info.metrics.test_accuracy), info.scores[:-1, 0], atol=1e-6)
  assert len(set(info.selected[:-1, 0].tolist())) == 3 and info.selected[-1, 0] == -1


@pytest.mark.slow
def test_where_no_label_helps_the_smallest_margin_of_the_pool_is_acquired(data, make_learner):
  frozen = oracle_of(make_learner, steps=1, optimizer=optax.sgd(0.0))
  state, _ = fitted_state(data, frozen)
  ids, scores = rounds.JITTED_PHASES.acquire(state, data, learner=frozen)
  by_margin, _ = rounds.JITTED_PHASES.acquire(state, data, learner=frozen._replace(acquire=None))
  assert ids.tolist() == by_margin.tolist() and scores.tolist() == [0.0]


@pytest.mark.slow
def test_all_drivers_give_the_same_run(data, make_learner):
  learner = oracle_of(make_learner, trials=3)
  _, info = loop.run(KEY, data, learner)
  assert equal(info, stacked(by_hand(KEY, data, learner)[1]))
  (packed,) = sweep(jnp.stack([KEY, KEY]), data, (learner,), pack="map")
  assert equal(jax.tree.map(lambda leaf: leaf[1], packed.info), info)


def test_it_depends_on_the_labels_of_the_test_set(data, make_learner):
  learner = oracle_of(make_learner, trials=ALL)
  state, _ = fitted_state(data, learner)
  other = dataclasses.replace(data, test_labels=(data.test_labels + 1) % 10)
  ids = [int(rounds.JITTED_PHASES.acquire(state, given, learner=learner)[0][0]) for given in (data, other)]
  assert ids[0] != ids[1]


@pytest.mark.slow
def test_fewer_candidates_than_trials(data, make_learner):
  learner = oracle_of(make_learner, trials=50, init_labels=ALL - 2, acq_size=2, rounds=1)
  state, _ = fitted_state(data, learner)
  ids, _ = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
  assert sorted(ids.tolist()) == np.flatnonzero(~np.asarray(state.labeled)).tolist()


def test_refusals(data, make_learner):
  for trials in (0, 2.5, True):
    with pytest.raises(ValueError, match="trials must be an integer of at least 1"):
      greedy_oracle(trials)
  assert greedy_oracle(7) is greedy_oracle(trials=7)
  learner = oracle_of(make_learner)
  with pytest.raises(ValueError, match="selects by test accuracy, and these data have no test set"):
    untested = dataclasses.replace(data, test_inputs=data.test_inputs[:0], test_labels=data.test_labels[:0])
    checks.check_learner(learner, untested)
  with pytest.raises(ValueError, match="draws candidates itself: leave out pool_subset"):
    checks.check_learner(changed(learner, pool_subset=20), data)
  with pytest.raises(ValueError, match="reads labels that nobody has given yet"):
    al_jax.start(KEY, data, learner)
  with pytest.raises(ValueError, match="return ids and scores"):
    checks.check_learner(learner._replace(acquire=lambda key, state, data, trainer, *, num: jnp.zeros(num)), data)
