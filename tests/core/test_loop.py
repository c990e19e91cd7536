"""Rounds and their two drivers: equal results, no leaks, paired strategies, one compilation."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import acquisition
from al_jax import checks
from al_jax import fitting
from al_jax import from_flax
from al_jax import inputs
from al_jax import loop
from al_jax import oracle
from al_jax import pool
from al_jax import posterior
from al_jax import rounds
from al_jax import splits
from al_jax import types
from al_jax import views
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.sweep import sweep
from tests.conftest import ACQUISITIONS
from tests.conftest import TinyMLP
from tests.support.kinds import KINDS
from tests.support.kinds import kind_of
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

NAMES = list(acquisition.REGISTRY)
KEY = jax.random.key(0)
FROZEN = optax.sgd(0.0)


def by_hand(key, data, learner):
  """A run by `round_fn`: the final state and the list of the rounds' diagnostics."""
  state, infos = loop.init_state(key, data, learner), []
  for _ in range(learner.plan.rounds + 1):
    state, info = loop.round_fn(state, data, learner, rounds.JITTED_PHASES)
    infos.append(info)
  return state, infos


def stacked(infos: list[types.RoundInfo]) -> types.RoundInfo:
  """The diagnostics of all rounds, stacked as by `run`."""
  return jax.tree.map(lambda *rounds: jnp.stack(rounds), *infos)


def initial_ids(key, data, learner) -> list[int]:
  return np.flatnonzero(loop.init_state(key, data, learner).labeled).tolist()


def leaves(tree) -> list[np.ndarray]:
  """The leaves of the tree as NumPy arrays; keys as their data."""
  to_numpy = lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
  return [np.asarray(to_numpy(leaf)) for leaf in jax.tree.leaves(tree)]


def equal(a, b) -> bool:
  """Whether trees are bitwise equal; NaN equals NaN."""
  return all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in zip(leaves(a), leaves(b), strict=True))


def with_labels(data, labels=None, test_labels=None) -> types.Dataset:
  changes = {"labels": labels, "test_labels": test_labels}
  return dataclasses.replace(data, **{name: value for name, value in changes.items() if value is not None})


def test_every_strategy_is_of_a_kind_in_use():
  known = [kind_of(ACQUISITIONS[name]) for name in KINDS]
  assert len(set(known)) == len(known)
  assert {kind_of(acquisition.make(name)) for name in NAMES} == set(known)


@pytest.mark.parametrize("name", [pytest.param("random", marks=pytest.mark.slow), "margin"])
def test_both_drivers_give_the_same_run(name, data, make_learner):
  """The slow test below does this for every strategy, with a program that consists of the same parts as `run`."""
  learner = make_learner(name)
  state, info = loop.run(KEY, data, learner)
  other_state, other_infos = by_hand(KEY, data, learner)
  assert equal(state, other_state)
  assert equal(info, stacked(other_infos))


@pytest.mark.slow
@pytest.mark.parametrize("names", [NAMES[first : first + 3] for first in range(0, len(NAMES), 3)], ids=",".join)
def test_packed_by_map_every_strategy_is_its_run_round_by_round(names, data, make_learner):
  """Three strategies per program: a single program takes several times as long to compile."""
  learners = tuple(make_learner(name) for name in names)
  keys = jnp.stack([jax.random.key(7), KEY])
  packed = sweep(keys, data, learners, pack="map")
  for learner, runs in zip(learners, packed, strict=True):
    assert runs.initial[1].tolist() == initial_ids(KEY, data, learner)
    assert equal(jax.tree.map(lambda leaf: leaf[1], runs.info), stacked(by_hand(KEY, data, learner)[1]))


@pytest.mark.parametrize("name", KINDS)
def test_what_is_labeled_and_when(name, data, make_learner):
  learner = make_learner(name)
  state, infos = by_hand(KEY, data, learner)
  info = stacked(infos)
  assert info.num_labeled.tolist() == [10, 17, 24]
  assert info.fit.steps.tolist() == [12, 12, 12] and (info.fit.first_bad_step == -1).all()
  assert (info.selected[-1] == -1).all() and state.round == 3
  acquired = info.selected[:-1].ravel().tolist()
  known = initial_ids(KEY, data, learner) + acquired
  assert len(set(known)) == 24 and min(known) >= 0 and max(known) < len(data.labels)
  assert np.flatnonzero(state.labeled).tolist() == sorted(known)
  assert np.isnan(info.metrics.val_accuracy).all()


@pytest.mark.parametrize("name", KINDS)
def test_unrevealed_labels_change_nothing(name, data, make_learner):
  learner = make_learner(name)  # a random initial set does not depend on labels
  state, infos = by_hand(KEY, data, learner)
  hidden = ~np.asarray(state.labeled)
  labels = np.array(data.labels)
  labels[hidden] = np.random.default_rng(0).permutation(labels[hidden])
  assert (labels != data.labels).sum() > 20
  assert equal((state, infos), by_hand(KEY, with_labels(data, labels), learner))


@pytest.mark.parametrize("name", KINDS)
def test_test_labels_change_no_id_and_no_parameter(name, data, make_learner):
  learner = make_learner(name)
  state, infos = by_hand(KEY, data, learner)
  other_state, others = by_hand(KEY, with_labels(data, test_labels=(data.test_labels + 1) % 10), learner)
  info, other = stacked(infos), stacked(others)
  assert equal((state, info.selected, info.fit), (other_state, other.selected, other.fit))
  assert not equal(info.metrics.test_nll, other.metrics.test_nll)


def test_a_revealed_label_changes_the_parameters(data, make_learner):
  learner = make_learner("margin")
  state, info = loop.run(KEY, data, learner)
  for moved in (initial_ids(KEY, data, learner)[0], int(info.selected[0, 0])):
    labels = np.array(data.labels)
    labels[moved] = (labels[moved] + 1) % 10
    other_state, _ = loop.run(KEY, with_labels(data, labels), learner)
    assert not equal(state.variables, other_state.variables)


APART = {"init_balanced": True, "init_labels": 20, "val_size": 11}


@pytest.mark.parametrize("plan", [{}, APART], ids=str)
def test_strategies_of_one_seed_start_alike(plan, data, make_learner):
  starts = {
    name: [loop.init_state(jax.random.key(seed), data, make_learner(name, **plan)) for seed in (0, 1)]
    for name in ("random", "margin")
  }
  for seed in (0, 1):
    assert equal(starts["random"][seed], starts["margin"][seed])
  assert not equal(starts["random"][0].labeled, starts["random"][1].labeled)
  assert not equal(starts["random"][0].variables, starts["random"][1].variables)


def test_strategies_of_one_seed_share_the_first_model(data, make_learner):
  runs = {name: loop.run(KEY, data, make_learner(name))[1] for name in ("random", "margin")}
  first = {name: jax.tree.map(lambda leaf: leaf[0], (info.metrics, info.fit)) for name, info in runs.items()}
  assert equal(first["random"], first["margin"])
  assert not equal(runs["random"].selected, runs["margin"].selected)


def test_initial_set_balanced(data, make_learner):
  learner = make_learner("margin", **APART)
  ids = initial_ids(KEY, data, learner)
  assert np.bincount(data.labels[ids], minlength=10).tolist() == [2] * 10
  assert not set(ids) & set(splits.validation_ids(KEY, data, learner.plan).tolist())


@pytest.mark.slow
@pytest.mark.parametrize(
  "plan",
  [
    {},
    {"warm_start": True},
    {"epochs": 2, "val_last": 0.2},
  ],
  ids=str,
)
def test_more_rounds_keep_the_earlier_ones_whatever_the_driver(plan, data, make_learner):
  _, short = by_hand(KEY, data, make_learner("margin", rounds=1, **plan))
  _, long = loop.run(KEY, data, make_learner("margin", rounds=2, **plan))
  assert equal(short[0].selected, long.selected[0])
  for r, info in enumerate(short):
    head = jax.tree.map(lambda leaf, r=r: leaf[r], (long.num_labeled, long.metrics, long.fit))
    assert equal((info.num_labeled, info.metrics, info.fit), head)


@pytest.mark.slow
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_what_is_acquired_of_a_part_of_the_pool_does_not_depend_on_the_rounds_to_come(name, data, make_learner):
  selected = []
  for count in (2, 5):
    learner = make_learner(name, rounds=count, pool_subset=40, steps=2)
    state = loop.init_state(KEY, data, learner)
    for _ in range(2):
      state, info = loop.round_fn(state, data, learner)
      selected.append(info.selected.tolist())
  assert selected[:2] == selected[2:]


def test_seeds_differ_and_repeat(data, make_learner):
  learner = make_learner("random")
  first, again, other = (loop.run(jax.random.key(seed), data, learner)[1] for seed in (0, 0, 1))
  assert equal(first, again)
  assert not equal(first.selected, other.selected)


def test_nothing_compiles_after_the_first_rounds(data, make_learner, compilations):
  learner = make_learner("entropy", rounds=4, val_last=0.1)
  state, counts = loop.init_state(KEY, data, learner), []
  for _ in range(5):
    with compilations() as events:
      state, _ = loop.round_fn(state, data, learner, rounds.JITTED_PHASES)
    counts.append(len(events))
  assert counts[0] > 0  # the counter works
  assert counts[2:] == [0, 0, 0]
  with compilations() as events:
    by_hand(jax.random.key(1), data, learner)
  assert not events


def test_another_seed_compiles_nothing(data, make_learner, compilations):
  learner = make_learner("margin")
  loop.run(jax.random.key(0), data, learner)
  key = jax.random.key(1)
  with compilations() as events:
    jax.block_until_ready(loop.run(key, data, learner))
  assert not events


def test_strategies_share_the_compiled_training(data, make_learner, compilations):
  learner = make_learner("margin")
  state, _ = by_hand(KEY, data, learner)
  other = learner._replace(acquisition=acquisition.make("margin"))  # a strategy that no other test uses
  assert other != learner
  with compilations() as events:
    fitted, _ = rounds.JITTED_PHASES.fit(state, data, trainer=other.trainer)
    rounds.JITTED_PHASES.evaluate(fitted, data, trainer=other.trainer)
  assert not events


def test_view_holds_neither_labels_nor_test_data(data, make_learner):
  seen = []

  def select(key, view, *, num):
    seen.append(view)
    return pool.random_subset(key, view.candidates, num=num)

  spy = types.Acquisition(select, needs=types.Needs(samples=1))
  learner = make_learner("margin", **APART)
  start = loop.init_state(KEY, data, learner)
  rounds.JITTED_PHASES.acquire(start, data, learner=learner._replace(acquisition=spy))
  (view,) = seen
  given = {name: (value.shape, value.dtype) for name, value in view._asdict().items() if value is not None}
  assert given == {
    "labeled": ((97,), jnp.bool_),
    "candidates": ((97,), jnp.bool_),
    "log_probs": ((97, 1, 10), jnp.float32),
    "tie_break": ((97,), jnp.float32),
  }


view_of = jax.jit(views.pool_view, static_argnames="learner")


def by_revealed_labels(key, view, *, num):
  """Selects in an order that depends on the label of every labeled row."""
  rows = jnp.arange(view.labels.shape[0])
  mixed = jnp.sum(jnp.where(view.labeled, (view.labels + 1) * (rows % 89 + 1), 0))
  return pool.masked_top_k((rows * (1 + mixed) % 101).astype(jnp.float32), view.candidates, num=num)


@pytest.mark.parametrize("plan", [{}, pytest.param({"pool_subset": 40}, marks=pytest.mark.slow)], ids=str)
def test_a_strategy_may_read_revealed_labels_and_no_others(plan, data, make_learner):
  acquired = types.Acquisition(by_revealed_labels, needs=types.Needs(labels=True))
  learner = make_learner("random", label_noise=0.3, **plan)._replace(acquisition=acquired)
  state, infos = by_hand(KEY, data, learner)
  hidden = ~np.asarray(state.labeled)
  labels = np.array(data.labels)
  labels[hidden] = (labels[hidden] + 1) % 10
  assert equal((state, infos), by_hand(KEY, with_labels(data, labels), learner))
  known = initial_ids(KEY, data, learner)
  labels = np.array(data.labels)
  labels[known] = (labels[known] + 5) % 10
  assert not equal(infos[0].selected, by_hand(KEY, with_labels(data, labels), learner)[1][0].selected)
  view, ids = view_of(loop.init_state(KEY, data, learner), data, learner=learner)
  answers = np.asarray(oracle.noisy_labels(KEY, data, 0.3))[ids]
  np.testing.assert_array_equal(view.labels, np.where(view.labeled, answers, types.UNKNOWN))
  assert view.labeled.sum() == 10


def test_ties_are_broken_by_draws_of_seed_round_and_id_alone(data, make_learner):
  """tie_break is the same for every strategy, and for a row whether the whole pool or a subset is scored."""

  def draws(state, **changes):
    learners = [make_learner(name, **APART | changes) for name in ("random", "kcenter")]
    made = [view_of(state, data, learner=learner) for learner in learners]
    return [(np.asarray(rows), np.asarray(view.tie_break)) for view, rows in made]

  start = loop.init_state(KEY, data, make_learner("margin", **APART))
  (_, whole), (_, again) = draws(start)
  np.testing.assert_array_equal(whole, again)
  assert len(set(whole.tolist())) == 97 and whole.min() >= 0 and whole.max() < 1
  for rows, part in draws(start, pool_subset=30):
    np.testing.assert_array_equal(part, whole[rows])
  later = start._replace(round=jnp.int32(1))
  assert not (draws(later)[0][1] == whole).any()
  assert not (draws(start._replace(key=jax.random.key(99)))[0][1] == whole).any()


def test_what_is_not_needed_is_not_computed(data, make_learner):
  seen = []

  def select(key, view, *, num):
    seen.append(view.log_probs)
    return pool.random_subset(key, view.candidates, num=num)

  blind = make_learner()._replace(acquisition=types.Acquisition(select))
  start = loop.init_state(KEY, data, make_learner())
  rounds.JITTED_PHASES.acquire(start, data, learner=blind)
  assert seen == [None]


def test_last_round_asks_nothing(data, make_learner):
  start = loop.init_state(KEY, data, make_learner())
  for num, asked in [(0, False), (1, True)]:
    ids, scores = rounds.JITTED_PHASES.acquire(start, data, learner=make_learner("random", rounds=num))
    assert np.isnan(scores).all()
    assert (ids >= 0).tolist() == [asked] * 7
    assert (pool.reveal(start.labeled, ids).sum() == 10) != asked


@pytest.mark.slow
def test_the_whole_pool_can_be_acquired(data, make_learner):
  state, infos = by_hand(KEY, data, make_learner("margin", init_labels=13, acq_size=28, rounds=3))
  assert state.labeled.all() and stacked(infos).num_labeled.tolist() == [13, 41, 69, 97]


sample = jax.jit(lambda network, variables, x: network.sample(None, variables, x)[0], static_argnames="network")


def predicted_classes(learner, variables, data) -> np.ndarray:
  logits = sample(learner.trainer.network, variables, data.inputs / np.float32(16))
  return np.asarray(logits).argmax(-1).astype(np.int32)


@pytest.mark.parametrize("warm_start", [False, True])
def test_where_a_round_starts_from(warm_start, data, make_learner):
  learner = make_learner(warm_start=warm_start, epochs=1)
  frozen = changed(learner, optimizer=FROZEN)
  state = loop.init_state(KEY, data, frozen)
  variables = [state.variables]
  for _ in range(3):
    fitted, _ = rounds.JITTED_PHASES.fit(state, data, trainer=frozen.trainer)
    state = fitted._replace(round=state.round + 1)
    variables.append(fitted.variables)
  assert equal(variables[0], variables[1])  # round 0 starts from the initial weights in both cases
  same = [equal(a, b) for a, b in zip(variables[1:-1], variables[2:], strict=True)]
  assert same == [warm_start] * 2


def test_validation_set_is_apart_and_measured(data, make_learner):
  learner = make_learner("margin", **APART)
  held_out = splits.validation_ids(KEY, data, learner.plan)
  assert len(set(held_out.tolist())) == 11
  state, infos = by_hand(KEY, data, learner)
  assert not set(held_out.tolist()) & set(np.flatnonzero(state.labeled).tolist())
  expected = np.mean(predicted_classes(learner, state.variables, data)[held_out] == data.labels[held_out])
  np.testing.assert_allclose(infos[-1].metrics.val_accuracy, expected, rtol=1e-6)

  labels = np.array(data.labels)
  labels[held_out] = (labels[held_out] + 1) % 10
  other_state, other_infos = by_hand(KEY, with_labels(data, labels), learner)
  assert equal(state, other_state)
  of = lambda rounds: [info.metrics.val_accuracy for info in rounds]
  assert not equal(of(infos), of(other_infos))
  seeds = [set(splits.validation_ids(jax.random.key(seed), data, learner.plan).tolist()) for seed in (0, 1)]
  assert seeds[0] != seeds[1]


@pytest.mark.slow
def test_val_last_trains_on_the_first_rows_in_order_of_acquisition(data, make_learner):
  learner = make_learner("margin", init_labels=11, acq_size=6, epochs=2, batch_size=1, val_last=0.2)
  state = loop.init_state(KEY, data, learner)
  known = state.order[:11].tolist()
  assert sorted(known) == np.flatnonzero(state.labeled).tolist()
  for n in (11, 17, 23):
    kept = math.floor(n * 0.8)
    before = state
    state, info = loop.round_fn(state, data, learner, rounds.JITTED_PHASES)
    assert state.order[:n].tolist() == known
    assert info.fit.steps == 2 * kept  # one example per minibatch, two epochs

    held_out = np.array(known[kept:])
    expected = np.mean(predicted_classes(learner, state.variables, data)[held_out] == data.labels[held_out])
    np.testing.assert_allclose(info.metrics.val_accuracy, expected, rtol=1e-6)

    images, labels = np.array(data.inputs), np.array(data.labels)
    images[held_out], labels[held_out] = 0, (labels[held_out] + 1) % 10
    fitted = lambda other: rounds.JITTED_PHASES.fit(before, other, trainer=learner.trainer)[0].variables  # noqa: B023
    assert equal(state.variables, fitted(dataclasses.replace(data, inputs=images, labels=labels)))
    labels[known[kept - 1]] = (labels[known[kept - 1]] + 1) % 10
    assert not equal(state.variables, fitted(dataclasses.replace(data, inputs=images, labels=labels.copy())))
    known += info.selected.tolist()


@pytest.mark.parametrize(
  "share", [0.1, 0.3, 0.9, *(pytest.param(it, marks=pytest.mark.slow) for it in (0.2, 0.25, 0.5, 0.8))]
)
def test_val_last_rounds_as_keras_does_and_measures_every_held_out_row(share, data, make_learner):
  learner = make_learner(init_labels=10, acq_size=5, rounds=4, val_last=share)
  start = loop.init_state(KEY, data, make_learner(init_labels=10, acq_size=5, rounds=4))
  try:
    checks.check(learner.plan, data)
  except ValueError:
    assert math.floor(10 * (1 - share)) == 0
    return
  for r in range(5):
    n = 10 + 5 * r
    order = jnp.arange(30)
    state = start._replace(round=jnp.int32(r), order=order, labeled=jnp.arange(97) < n)
    kept = math.floor(n * (1 - share))
    assert splits.trained_count(state, learner.plan) == kept
    # Correct on the held-out rows only: the accuracy counts all of them and no other row.
    sure = np.asarray(data.labels).copy()
    predicted = predicted_classes(learner, start.variables, data)
    outside = np.setdiff1d(np.arange(97), np.arange(kept, n))
    sure[kept:n], sure[outside] = predicted[kept:n], (predicted[outside] + 1) % 10
    for wrong, expected in [(None, 1.0), (kept, 1 - 1 / (n - kept)), (n - 1, 1 - 1 / (n - kept))]:
      labels = sure.copy()
      if wrong is not None:
        labels[wrong] = (labels[wrong] + 1) % 10
      measured = rounds.JITTED_PHASES.evaluate(state, with_labels(data, labels), trainer=learner.trainer)
      np.testing.assert_allclose(measured.val_accuracy, expected, rtol=1e-6)


def test_fit_full_trains_on_everything_available(data, make_learner):
  learner = make_learner("random", epochs=30, batch_size=10)
  params, info, measured = loop.fit_full(KEY, data, learner.trainer)
  assert info.steps == 30 * 10  # ceil(97 / 10) minibatches per epoch
  assert measured.test_accuracy == np.mean(
    predicted_classes(learner, params, dataclasses.replace(data, inputs=data.test_inputs)) == data.test_labels
  )
  assert np.mean(predicted_classes(learner, params, data) == data.labels) > 0.9
  assert np.isnan(measured.val_accuracy)


@pytest.mark.slow
def test_fit_full_leaves_the_validation_set_and_the_test_set_alone(data, make_learner):
  for plan, held_out in [
    ({"val_size": 12}, splits.validation_ids(KEY, data, make_learner(val_size=12).plan)),
    ({"val_last": 0.2}, np.arange(math.floor(97 * 0.8), 97)),
  ]:
    learner = make_learner("random", epochs=1, **plan)
    params, info, measured = loop.fit_full(KEY, data, learner.trainer)
    assert info.steps == math.ceil((97 - len(held_out)) / 8)
    other = dataclasses.replace(data, test_inputs=data.test_inputs[::-1] * 0, test_labels=(data.test_labels + 1) % 10)
    assert equal((params, info), loop.fit_full(KEY, other, learner.trainer)[:2])
    labels = np.array(data.labels)
    labels[held_out] = predicted_classes(learner, params, data)[held_out]
    other_params, _, other = loop.fit_full(KEY, with_labels(data, labels), learner.trainer)
    assert equal(params, other_params)
    assert measured.val_accuracy < 1 and other.val_accuracy == 1
    labels = (np.array(data.labels) + 1) % 10
    assert not equal(params, loop.fit_full(KEY, with_labels(data, labels), learner.trainer)[0])


def checked_by(samples: int, metric: str = "accuracy") -> types.EarlyStop:
  return types.EarlyStop(patience=3, every=2, samples=samples, metric=metric)


@pytest.mark.slow
@pytest.mark.parametrize(("round", "metric"), [(0, "accuracy"), (1, "accuracy"), (1, "nll")])
def test_a_check_by_mc_dropout_takes_the_mean_of_its_samples(round, metric, data, make_learner):
  network, fit = from_flax(TinyMLP(dropout_rate=0.6)), rounds.JITTED_PHASES.fit

  def fitted(samples: int, metric: str):
    learner = make_learner(val_size=40, steps=60, early_stop=checked_by(samples, metric))
    learner = changed(learner, network=network, label_noise=0.2)
    state = loop.init_state(KEY, data, learner)
    acquired = np.flatnonzero(splits.for_labeling(KEY, data, learner.plan) & ~state.labeled)[: 7 * round]
    state = state._replace(round=jnp.int32(round), labeled=state.labeled.at[acquired].set(True))
    return learner, state, fit(state, data, trainer=learner.trainer)

  learner, state, (after, info) = fitted(20, metric)
  held_out = splits.validation_ids(KEY, data, learner.plan)
  taught = with_labels(data, oracle.noisy_labels(KEY, data, 0.2))

  def by_hand(variables):
    key, inputs_of = role_key(KEY, Role.EARLY_STOP, round), functools.partial(inputs.of_pool, data)
    out = posterior.mc_dropout(20).predict(key, network, variables, inputs_of, held_out, chunk_size=7, features=False)
    probs, labels = jnp.exp(out.log_probs).mean(axis=1), taught.labels[held_out]
    if metric == "nll":
      return jnp.log(probs[jnp.arange(len(labels)), labels]).mean()
    return jnp.mean(probs.argmax(axis=1) == labels)

  train = types.TrainPlan(batch_size=8, steps=60, early_stop=types.EarlyStop(3, 2))
  how = {"network": network, "optimizer": learner.trainer.optimizer, "plan": train, "validate": by_hand}
  fit_given = jax.jit(functools.partial(fitting.fit, **how))
  start = network.init(role_key(KEY, Role.MODEL_INIT, round), inputs.example(data))
  keys = fitting.Keys(*(role_key(KEY, role, round) for role in (Role.MINIBATCH, Role.DROPOUT, Role.AUGMENT)))
  ids = np.pad(np.flatnonzero(state.labeled), (0, learner.plan.max_labels - 10 - 7 * round))
  expected, steps = fit_given(keys, start, taught, jnp.array(ids), jnp.int32(10 + 7 * round))
  assert info.steps == steps.steps < 60
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), after.variables, expected)
  *_, (other, _) = fitted(1, "accuracy")
  assert not equal(after.variables, other.variables)


def test_checks_by_mc_dropout_need_a_network_that_drops(data, make_learner):
  learner = make_learner(val_size=20, early_stop=checked_by(20))
  checks.check_learner(learner, data)
  still = changed(learner, network=from_flax(TinyMLP(dropout_rate=0.0)))
  with pytest.raises(ValueError, match="MC dropout needs a network with dropout, and TinyMLP has none"):
    checks.check_learner(still, data)
  checks.check_learner(changed(still, early_stop=checked_by(1)), data)


@pytest.mark.slow
def test_nothing_is_tuned_stopped_or_acquired_by_test_data(data, make_learner):
  learner = make_learner("margin", val_size=20, early_stop=types.EarlyStop(1, 4), steps=40)
  state, infos = by_hand(KEY, data, learner)
  assert min(info.fit.steps for info in infos) < 40  # early stopping is active
  other = dataclasses.replace(data, test_inputs=data.test_inputs[::-1] * 0, test_labels=(data.test_labels + 1) % 10)
  other_state, other_infos = by_hand(KEY, other, learner)
  of = lambda infos: [(info.fit, info.selected, info.scores, info.metrics.val_accuracy) for info in infos]
  assert equal((state, of(infos)), (other_state, of(other_infos)))
  assert not equal(infos[-1].metrics.test_nll, other_infos[-1].metrics.test_nll)


REFUSALS = [
  ({"init_labels": 0}, "init_labels must be at least 1, not 0"),
  ({"acq_size": 0}, "acq_size must be at least 1, not 0"),
  ({"batch_size": -1}, "batch_size must be at least 1, not -1"),
  ({"chunk_size": 0}, "chunk_size must be at least 1, not 0"),
  ({"rounds": -1}, "rounds must be at least 0, not -1"),
  ({"val_size": -2}, "val_size must be at least 0, not -2"),
  ({"label_smoothing": 1.0}, "label_smoothing must be a share in"),
  ({"steps": None}, "exactly one of steps, epochs and full_batch"),
  ({"steps": 5, "epochs": 5}, "exactly one of steps, epochs and full_batch"),
  ({"steps": 0}, "steps must be at least 1"),
  ({"epochs": 0}, "epochs must be at least 1"),
  ({"epochs": -3}, "epochs must be at least 1"),
  ({"val_size": 5, "val_last": 0.1}, "val_size and val_last"),
  ({"early_stop": types.EarlyStop(3, 10)}, "early stopping needs a validation set: give val_size"),
  ({"early_stop": types.EarlyStop(0, 10), "val_size": 5}, "must be at least 1, not 0"),
  ({"early_stop": types.EarlyStop(3, -2), "val_size": 5}, "must be at least 1, not -2"),
  ({"early_stop": types.EarlyStop(3, 10, 0), "val_size": 5}, "early_stop.samples must be at least 1, not 0"),
  ({"early_stop": types.EarlyStop(3, 10, 1, "loss"), "val_size": 5}, "unknown metric of early stopping 'loss'"),
  ({"min_epoch_size": 64}, "min_epoch_size=64 has no effect on a training by steps"),
  ({"epochs": 2, "min_epoch_size": -1}, "min_epoch_size must be at least 0"),
  ({"score_dtype": "float16"}, "unknown score_dtype 'float16': choose from float32, bfloat16"),
  ({"val_last": 1.0}, "val_last must be a share"),
  ({"val_last": -0.1}, "val_last must be a share"),
  ({"val_last": 0.95}, "val_last=0.95 leaves none of the 10 initial labels"),
  ({"rounds": 13}, "10 initial labels .* 13 rounds of 7 .* = 101, but the pool holds 97"),
  ({"val_size": 74}, "74 for validation = 98, but the pool holds 97"),
  ({"init_labels": 9, "init_balanced": True}, "balanced initial set of 9 labels cannot contain all 10 classes"),
  ({"initial_ids": (1, 2)}, "2 initial ids are given, but init_labels is 10"),
  ({"initial_ids": (*range(9), 97)}, "initial id 97 is not in the pool, whose ids are 0 to 96"),
  ({"initial_ids": (*range(9), -1)}, "initial id -1 is not in the pool"),
  ({"initial_ids": (*range(9), 3)}, "initial id 3 is given more than once"),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSALS, ids=str)
def test_check_refuses(changes, sentence, data, make_learner, compilations):
  learner = make_learner(**changes)
  with pytest.raises(ValueError, match=sentence) as caught:
    checks.check(learner.plan, data)
  assert "\n" not in str(caught.value)
  with compilations() as events, pytest.raises(ValueError, match=sentence):
    loop.run(KEY, data, learner)
  assert not events


@pytest.mark.parametrize("changes", [{"rounds": 12, "val_size": 3}, {"rounds": 0}, {"val_last": 0.9}, {"epochs": 1}])
def test_check_accepts_what_just_fits(changes, data, make_learner):
  if "val_last" in changes:
    changes = {**changes, "init_labels": 11}  # floor(11 * 0.1) = 1
  checks.check(make_learner(**changes).plan, data)


def test_learners_made_alike_are_one(make_learner):
  assert make_learner("entropy") == make_learner("entropy")
  assert hash(make_learner("entropy")) == hash(make_learner("entropy"))
  assert make_learner("entropy") != make_learner("margin")
  assert make_learner(rounds=1) != make_learner(rounds=2)
