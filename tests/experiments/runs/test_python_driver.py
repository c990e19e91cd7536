"""The Python driver: runs resume bit for bit, non-finite values are reported, and nothing compiles after round 0."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import acquisition
from al_jax.sweep import sweep
from experiments.common.errors import UsageError
from experiments.runs import python_driver
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.rows import rows_of
from tests.support.programs import untimed

pytestmark = pytest.mark.usefixtures("fast_compilation")

slow = functools.partial(pytest.param, marks=pytest.mark.slow)
DIVERGENT = optax.sgd(1e30)
# Scores are infinite for images predicted as class 0, and not a number for the others.
NOT_FINITE = acquisition.from_score(lambda log_probs: jnp.where(log_probs.argmax() == 0, jnp.inf, jnp.nan))


def by_round(learner, data, done=(), seed=0):
  return list(python_driver.run_python("name", seed, data, learner, list(done), lambda *_: None))


def as_one(learner, data):
  (runs,) = jax.device_get(sweep(jax.random.key(0)[None], data, (learner,), pack="map"))
  alone = jax.tree.map(lambda leaf: leaf[0], runs)
  initial, scored = alone.initial.tolist(), learner.acquisition.score is not None
  return list(rows_of("name", 0, alone.info, np.asarray(data.labels), initial, 0.5, {}, scored))


@pytest.mark.parametrize("kept", [1, 2, 3])
@pytest.mark.parametrize(
  "plan", [{}, *(pytest.param(it, marks=pytest.mark.slow) for it in ({"warm_start": True}, {"val_last": 0.2}))], ids=str
)
def test_a_resumed_run_continues_bit_for_bit(plan, kept, data, make_learner):
  it = make_learner("entropy", rounds=3, **plan)
  whole = by_round(it, data)
  rest = by_round(it, data, done=whole[:kept])
  fields = ("round", "selected", "test_accuracy", "test_nll", "num_labeled", "val_accuracy")
  assert [[row[f] for f in fields] for row in rest] == [[row[f] for f in fields] for row in whole[kept:]]
  assert len(rest) == 4 - kept


@pytest.mark.slow
@pytest.mark.parametrize(
  "plan",
  [{}, {"warm_start": True, "keep_optimizer": True}, {"val_last": 0.2}, {"pool_subset": 40, "epochs": 2}],
  ids=str,
)
def test_a_run_that_ended_after_fewer_rounds_is_that_of_more(plan, data, make_learner, tmp_path):
  short, it = make_learner("entropy", rounds=1, **plan), make_learner("entropy", rounds=3, **plan)
  whole, trained = list(map(untimed, by_round(it, data))), []
  on_phase = lambda r, phase: trained.append(r) if phase == "fit" else None
  with Checkpoints(tmp_path / "kept") as checkpoints:
    rows = list(python_driver.run_python("name", 0, data, short, [], lambda *_: None, checkpoints=checkpoints))
  assert rows[-1]["selected"] == [] and rows[0]["selected"] == whole[0]["selected"]
  with Checkpoints(tmp_path / "kept") as checkpoints:
    grown = list(
      python_driver.run_python("name", 0, data, it, rows[:1], on_phase, checkpoints=checkpoints, end=rows[1])
    )
  assert list(map(untimed, [rows[0], *grown])) == whole
  assert trained == ([1, 2, 3] if "val_last" in plan else [2, 3])
  assert grown[0]["seconds_total"] >= grown[0]["seconds_train"] > 0
  replayed = python_driver.run_python(
    "name", 0, data, it, rows[:1], lambda *_: None, end=rows[1]
  )  # without a checkpoint
  assert list(map(untimed, replayed)) == whole[1:]


def test_rows_of_another_seed_are_not_resumed(data, make_learner):
  it = make_learner("entropy", rounds=3)
  with pytest.raises(UsageError, match="another initial set"):
    by_round(it, data, done=by_round(it, data)[:1], seed=1)


@pytest.mark.parametrize("driven", [by_round, slow(as_one)])
def test_scores_that_are_not_finite_are_told_from_none(driven, data, make_learner):
  made = make_learner("entropy", rounds=3)
  first, *_, last = driven(made._replace(acquisition=NOT_FINITE), data)
  assert first["selected_scores"] == [None] * 7 and last["selected_scores"] is None
  assert driven(make_learner("random", rounds=3), data)[0]["selected_scores"] is None
  assert all(score > 0 for score in driven(made, data)[0]["selected_scores"])


@pytest.mark.parametrize("driven", [by_round, slow(as_one)])
def test_a_loss_that_is_not_finite_ends_the_run_with_its_round_and_step(driven, data, make_learner):
  (row,) = driven(make_learner("entropy", rounds=3, optimizer=DIVERGENT), data)
  assert row["round"] == 0 and "step" in row["error"]


def test_nothing_compiles_after_the_first_round(data, make_learner, compilations):
  it, counts = make_learner("margin", rounds=3), []
  with compilations() as compiled:
    for _ in python_driver.run_python("margin", 0, data, it, [], lambda *_: None):
      counts.append(len(compiled))
    assert counts[0] > 0, "the listener records no compilation"
    assert counts[1] == counts[-1] == counts[0], counts
    by_round(it, data, seed=1)
    assert len(compiled) == counts[0]
