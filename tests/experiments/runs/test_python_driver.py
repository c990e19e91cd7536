"""The driver from Python: rows that resume bit for bit, and what is not finite."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import acquisition
from al_jax import loop
from al_jax.types import Learner
from al_jax.types import Posterior
from al_jax.types import Protocol
from experiments import data as data_sources
from experiments.common.errors import UsageError
from experiments.runs import python_driver
from experiments.runs.rows import rows_of
from tests.conftest import ACQUISITIONS


class MLP(nn.Module):
  """Small and quick, with dropout."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.relu(nn.Dense(32)(x.reshape((x.shape[0], -1))))
    return nn.Dense(10)(nn.Dropout(0.2, deterministic=not train)(x))


@pytest.fixture(scope="module", autouse=True)
def quick(fast_compilation):
  """Programs of this process are compiled without optimisations."""


@pytest.fixture(scope="module")
def data():
  digits = data_sources.load("digits")
  return jax.device_put(
    dataclasses.replace(digits, images=digits.images[:301], labels=digits.labels[:301])  # odd on purpose
  )


def learner(name, optimizer=None, **plan):
  plan = {"init_labels": 10, "acq_size": 7, "rounds": 3, "train_steps": 40, "batch_size": 16, "chunk_size": 64} | plan
  acquired = ACQUISITIONS[name]
  posterior = Posterior("dropout", 3) if "posterior" in acquired.needs else Posterior()
  return Learner(MLP(), optimizer or optax.adam(3e-3), acquired, Protocol(**plan), posterior)


def by_round(learner, data, done=(), seed=0):
  return list(python_driver.run_python("name", seed, data, learner, list(done), lambda *_: None))


def as_one(learner, data, seed=0):
  (runs,) = jax.device_get(loop.sweep(jax.random.key(seed)[None], data, (learner,), pack="map"))
  alone = jax.tree.map(lambda leaf: leaf[0], runs)
  initial, scored = alone.initial.tolist(), learner.acquisition.score is not None
  return list(rows_of("name", seed, alone.info, np.asarray(data.labels), initial, 0.5, {}, scored))


@pytest.mark.parametrize("plan", [{}, {"warm_start": True}, {"val_last": 0.2, "init_balanced": False}])
@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_resumed_run_continues_bit_for_bit(plan, kept, data):
  it = learner("entropy", **plan)
  whole = by_round(it, data)
  rest = by_round(it, data, done=whole[:kept])
  fields = ("round", "selected", "test_accuracy", "test_nll", "num_labeled", "val_accuracy")
  assert [[row[f] for f in fields] for row in rest] == [[row[f] for f in fields] for row in whole[kept:]]


def test_rows_of_another_seed_are_not_resumed(data):
  it = learner("entropy")
  with pytest.raises(UsageError, match="another initial set"):
    by_round(it, data, done=by_round(it, data)[:1], seed=1)


@pytest.mark.parametrize("driven", [by_round, as_one])
def test_scores_that_are_not_finite_are_told_from_none(driven, data):
  """A score of the first class's images is infinite, of the others not a number: neither is JSON."""
  top = lambda log_probs: jnp.where(log_probs.argmax() == 0, jnp.inf, jnp.nan)
  made = learner("entropy", rounds=1)._replace(acquisition=acquisition.from_score(top))
  first, last = driven(made, data)
  assert first["selected_scores"] == [None] * 7 and last["selected_scores"] is None
  json.dumps(first, allow_nan=False)
  assert driven(learner("random", rounds=1), data)[0]["selected_scores"] is None
  assert all(score > 0 for score in driven(learner("entropy", rounds=1), data)[0]["selected_scores"])


@pytest.mark.parametrize("driven", [by_round, as_one])
def test_a_loss_that_is_not_finite_ends_the_run_with_its_round_and_step(driven, data):
  (row,) = driven(learner("entropy", optimizer=optax.sgd(1e30)), data)
  assert row["round"] == 0 and "step" in row["error"]
  json.dumps(row, allow_nan=False)


def test_nothing_compiles_after_the_second_round(data):
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **__: compiled.append(event) if event == "/jax/core/compile/backend_compile_duration" else None
  )
  it = learner("margin", acq_size=5, rounds=4)
  counts = []
  for _ in python_driver.run_python("margin", 0, data, it, [], lambda *_: None):
    counts.append(len(compiled))
  assert counts[0] > 0, "the listener hears nothing"
  assert counts[1] == counts[-1] == counts[0], counts
  before = len(compiled)
  by_round(it, data, seed=1)
  assert len(compiled) == before
