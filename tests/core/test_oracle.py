"""Label noise: rate, distribution of wrong classes, and the same labels everywhere in a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from al_jax import checks
from al_jax import loop
from al_jax import oracle
from al_jax import posterior
from al_jax import rounds
from al_jax import types
from tests.core.test_loop import by_hand
from tests.core.test_loop import equal
from tests.core.test_loop import initial_ids
from tests.core.test_loop import stacked
from tests.core.test_loop import with_labels
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(5)
CLASSES, MANY = 7, 40_000


def pool_of(labels) -> types.Dataset:
  """A pool with these labels and equal inputs."""
  rows = np.zeros((len(labels), 1), np.float32)
  return types.Dataset(rows, np.asarray(labels, np.int32), rows[:1], np.int32([0]), CLASSES)


def shifts(key, labels, rate) -> np.ndarray:
  """The shift of each answer from its label; 0 if correct."""
  answers = np.asarray(oracle.noisy_labels(key, pool_of(labels), rate))
  assert answers.dtype == np.int32 and answers.min() >= 0 and answers.max() < CLASSES
  return (answers - labels) % CLASSES


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.9])
def test_answers_err_at_the_rate_and_towards_every_other_class_alike(rate):
  labels = np.random.default_rng(0).integers(0, CLASSES, MANY)
  off = shifts(KEY, labels, rate)
  assert abs((off > 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / MANY)
  for c in range(CLASSES):
    wrong = np.bincount(off[labels == c], minlength=CLASSES)[1:]
    assert scipy.stats.chisquare(wrong).pvalue > 1e-4


def test_labels_of_a_small_type_do_not_wrap():
  labels = np.arange(200, dtype=np.uint8).repeat(20)
  both = [
    np.asarray(oracle.noisy_labels(KEY, types.Dataset(labels[:, None], own, labels, own, num_classes=200), 0.5))
    for own in (labels, labels.astype(np.int32))
  ]
  np.testing.assert_array_equal(*both)
  assert both[0].dtype == np.int32 and both[0].max() < 200


def test_an_oracle_that_knows_everything_takes_no_computation(data):
  assert not jax.make_jaxpr(lambda data: oracle.noisy_labels(KEY, data, 0.0))(data).eqns
  np.testing.assert_array_equal(oracle.noisy_labels(KEY, data, 0.0), data.labels)


def test_whether_and_how_an_answer_errs_is_a_matter_of_id_and_seed_alone():
  rng = np.random.default_rng(1)
  labels, others = rng.integers(0, CLASSES, (2, MANY))
  off = shifts(KEY, labels, 0.3)
  np.testing.assert_array_equal(off, shifts(KEY, others, 0.3))
  elsewhere = shifts(jax.random.key(6), labels, 0.3)
  both = ((off > 0) & (elsewhere > 0)).mean()
  assert abs(both - 0.09) < 4 * np.sqrt(0.09 * 0.91 / MANY)


def test_copies_of_a_row_err_each_for_itself():
  first, second = shifts(KEY, np.tile(np.arange(MANY // 2) % CLASSES, 2), 0.3).reshape(2, -1) > 0
  assert abs((first & second).mean() - 0.09) < 4 * np.sqrt(0.09 * 0.91 / (MANY // 2))


def test_a_traced_rate_and_packed_keys_give_the_same_answers(data):
  keys, rates = jax.vmap(jax.random.key)(jnp.arange(3, dtype=jnp.uint32)), [0.0, 0.1, 0.6]
  together = jax.jit(jax.vmap(lambda key, rate: oracle.noisy_labels(key, data, rate)))(
    keys, jnp.array(rates, jnp.float32)
  )
  for key, rate, answers in zip(keys, rates, together, strict=True):
    np.testing.assert_array_equal(answers, oracle.noisy_labels(key, data, rate))


PLANS = [
  {},
  pytest.param({"val_size": 11, "early_stop": types.EarlyStop(1, 4)}, marks=pytest.mark.slow),
  pytest.param({"val_last": 0.3}, marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_run_hears_the_answers_for_training_and_validation_and_nothing_else(plan, data, make_learner):
  """A run with label noise equals a run on the noisy labels; test labels are the true ones."""
  learner = make_learner("margin", **plan)  # a random initial set does not depend on labels
  noisy = changed(learner, label_noise=0.3)
  heard = with_labels(data, np.asarray(oracle.noisy_labels(KEY, data, 0.3)))
  run = by_hand(KEY, data, noisy)
  assert equal(run, by_hand(KEY, heard, learner))
  assert not equal(run[0].variables, by_hand(KEY, data, learner)[0].variables)


@pytest.mark.slow
def test_every_driver_and_full_supervision_hear_the_same(data, make_learner):
  learner = make_learner("margin")
  noisy, heard = changed(learner, label_noise=0.3), with_labels(data, np.asarray(oracle.noisy_labels(KEY, data, 0.3)))
  state, infos = by_hand(KEY, data, noisy)
  assert equal(loop.run(KEY, data, noisy), (state, stacked(infos)))
  assert equal(loop.fit_full(KEY, data, noisy.trainer), loop.fit_full(KEY, heard, learner.trainer))


@pytest.mark.slow
def test_an_ensembles_members_hear_the_same(data, make_learner):
  learner = changed(make_learner("bald"), posterior=posterior.ensemble(2), members=2)
  start = loop.init_state(KEY, data, learner)
  heard = with_labels(data, np.asarray(oracle.noisy_labels(KEY, data, 0.3)))
  fitted = rounds.JITTED_PHASES.fit(start, data, trainer=changed(learner, label_noise=0.3).trainer)
  assert equal(fitted, rounds.JITTED_PHASES.fit(start, heard, trainer=learner.trainer))


@pytest.mark.parametrize("name", ["margin", "badge"])
def test_unrevealed_labels_change_nothing_where_answers_err(name, data, make_learner):
  learner = changed(make_learner(name), label_noise=0.3)
  run = by_hand(KEY, data, learner)
  hidden = ~np.asarray(run[0].labeled)
  labels = np.array(data.labels)
  labels[hidden] = np.random.default_rng(0).permutation(labels[hidden])
  assert (labels != data.labels).sum() > 20
  assert equal(run, by_hand(KEY, with_labels(data, labels), learner))


def test_a_balanced_initial_set_is_of_true_classes(data, make_learner):
  learner = make_learner("margin", init_balanced=True, init_labels=20)
  ids = initial_ids(KEY, data, changed(learner, label_noise=0.9))
  assert ids == initial_ids(KEY, data, learner)
  assert np.bincount(data.labels[ids], minlength=10).tolist() == [2] * 10


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_what_is_no_probability_is_refused(rate, data, make_learner):
  learner = changed(make_learner(), label_noise=rate)
  with pytest.raises(ValueError, match=rf"label_noise must be a probability in \[0, 1\), not {rate}"):
    checks.check_learner(learner, data)
