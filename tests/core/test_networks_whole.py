"""Networks of every kind in the whole loop: as one program, round by round, killed and resumed, as an ensemble."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import acquisition
from al_jax import inputs
from al_jax import loop
from al_jax import posterior
from al_jax import rounds
from experiments.runs import python_driver
from experiments.runs.checkpoints import Checkpoints
from tests.support.learners import changed
from tests.support.networks import NETWORKS
from tests.support.networks import data_for
from tests.support.programs import untimed

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(0)
OPTIMIZER = optax.adam(5e-3)
slow = functools.partial(pytest.param, marks=pytest.mark.slow)
by_name = pytest.mark.parametrize("name", NETWORKS)
MEMBERS = {"members": 3, "posterior": posterior.ensemble(3), "eval_posterior": posterior.ensemble(3)}

same = functools.partial(jax.tree.map, np.testing.assert_array_equal)
close = functools.partial(jax.tree.map, functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5))


def learner_for(name: str, make_learner, acq: str = "margin", **changes):
  return make_learner(acq, network=NETWORKS[name], optimizer=OPTIMIZER, **changes)


class Killed(Exception):
  """Simulates a kill."""


class Driven:
  """A run of the driver: its rows without times, the rounds trained, and the state after each row."""

  def __init__(self):
    self.rows, self.trained, self.states = [], [], []

  def go_on(self, data, learner, checkpoints=None, kill_at=None) -> "Driven":
    """Continues from the present rows to the end; raises before the row of round `kill_at` is written."""
    self.trained = []
    on_phase = lambda r, phase: self.trained.append(r) if phase == "fit" else None
    on_round = lambda row, state: self.states.append(state)
    for row in python_driver.run_python("name", 0, data, learner, list(self.rows), on_phase, on_round, checkpoints):
      if row["round"] == kill_at:
        raise Killed
      self.rows.append(untimed(row))
    return self


def killed_and_resumed(data, learner, folder, kill_at: int) -> Driven:
  """A run that is killed between writing a round's checkpoint and its row, and is resumed in a new process."""
  driven = Driven()
  with Checkpoints(folder) as checkpoints, pytest.raises(Killed):
    driven.go_on(data, learner, checkpoints, kill_at)
  with Checkpoints(folder) as checkpoints:
    return driven.go_on(data, learner, checkpoints)


def kept(variables) -> list:
  """State of a network other than its parameters."""
  return jax.tree.leaves({name: leaf for name, leaf in variables.items() if name != "params"})


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_that_is_killed_after_a_round_goes_on_from_all_that_the_network_keeps(name, data, make_learner, tmp_path):
  """Warm start: the next training starts from the previous parameters and statistics."""
  data, learner = data_for(name, data), learner_for(name, make_learner, warm_start=True, keep_optimizer=True)
  whole = Driven().go_on(data, learner)
  resumed = killed_and_resumed(data, learner, tmp_path, kill_at=1)
  assert resumed.rows == whole.rows and [row["num_labeled"] for row in whole.rows] == [10, 17, 24]
  assert resumed.trained == [1, 2], "nothing is trained again of the first round"
  same(resumed.states[-1]._replace(key=None), whole.states[-1]._replace(key=None))
  first, _, last = whole.states
  for before, after in zip(kept(first.variables), kept(last.variables), strict=True):
    assert (np.asarray(before) != after).all()
  assert bool(kept(last.variables)) == ("norm" in name)


@pytest.mark.slow
@pytest.mark.parametrize("length", [{"steps": 12}, {"epochs": 5}], ids=["steps", "epochs"])
@by_name
def test_a_run_that_is_killed_within_a_training_goes_on_with_it(
  name, length, data, make_learner, tmp_path, monkeypatch
):
  monkeypatch.setattr(python_driver, "PART", 5)
  data, learner = data_for(name, data), learner_for(name, make_learner, warm_start=True, **length)
  whole = Driven().go_on(data, learner)
  save, saved = Checkpoints.save_training, []

  def killed(self, round_, begun):
    save(self, round_, begun)
    saved.append((round_, int(begun.info.steps)))
    if saved[-1][0] == 1 and len({steps for r, steps in saved if r == 1}) == 2:
      raise Killed

  driven = Driven()
  with monkeypatch.context() as patch, Checkpoints(tmp_path) as checkpoints, pytest.raises(Killed):
    patch.setattr(Checkpoints, "save_training", killed)
    driven.go_on(data, learner, checkpoints)
  reached = saved[-1][1]
  assert len(driven.rows) == 1 and reached > 5
  advance, begun_at = python_driver._advance, []

  def told(begun, *args, **kwargs):
    begun_at.append(int(begun.info.steps))
    return advance(begun, *args, **kwargs)

  monkeypatch.setattr(python_driver, "_advance", told)
  with Checkpoints(tmp_path) as checkpoints:
    driven.go_on(data, learner, checkpoints)
  assert driven.rows == whole.rows and begun_at[0] == reached
  same(driven.states[-1].variables, whole.states[-1].variables)


@pytest.mark.slow
@pytest.mark.parametrize("length", [{"steps": 12}, {"epochs": 2}], ids=["steps", "epochs"])
@by_name
def test_one_program_its_rounds_one_by_one_and_the_driver_are_the_same_run(name, length, data, make_learner):
  """MC dropout samples in acquisition and evaluation."""
  data = data_for(name, data)
  learner = learner_for(name, make_learner, "bald", eval_posterior=posterior.mc_dropout(2), **length)
  state, info = loop.run(KEY, data, learner)
  by_round = loop.init_state(KEY, data, learner)
  driven = Driven().go_on(data, learner)
  for r, row in enumerate(driven.rows):
    by_round, one = loop.round_fn(by_round, data, learner)
    assert one.selected.tolist() == info.selected[r].tolist() and row["selected"] == [i for i in one.selected if i >= 0]
    np.testing.assert_allclose(one.metrics.test_nll, info.metrics.test_nll[r], rtol=1e-4)
    np.testing.assert_allclose(row["test_nll"], one.metrics.test_nll, rtol=1e-6)
  close(by_round.variables, state.variables)
  same(by_round.labeled, state.labeled)
  assert (info.fit.first_bad_step == -1).all()
  assert (info.scores[:-1] > 1e-4).all(), "samples disagree"


@pytest.mark.slow
@by_name
def test_an_ensembles_members_are_networks_of_their_own(name, data, make_learner, tmp_path):
  """Members have their own parameters, statistics and dropout, in one program and when killed and resumed."""
  data = data_for(name, data)
  alone = learner_for(name, make_learner, warm_start=True)
  learner = changed(alone, acquisition=acquisition.bald(), **MEMBERS)
  state, info = loop.run(KEY, data, learner)
  assert (info.scores[:-1] > 1e-4).all() and (info.fit.first_bad_step == -1).all()
  resumed = killed_and_resumed(data, learner, tmp_path, kill_at=1)
  assert resumed.rows == Driven().go_on(data, learner).rows
  assert [row["selected"] for row in resumed.rows] == [ids[ids >= 0].tolist() for ids in np.asarray(info.selected)]
  close(resumed.states[-1].variables, state.variables)

  ids, member = jnp.arange(data.pool_size), lambda i: jax.tree.map(lambda leaf: leaf[i], state.variables)
  inputs_of = functools.partial(inputs.of_pool, data)
  predict = lambda own, variables: own.predict(
    KEY, NETWORKS[name], variables, inputs_of, ids, chunk_size=30, features=False
  )
  together = predict(MEMBERS["posterior"], state.variables).log_probs
  for i in range(3):
    close(predict(posterior.deterministic(), member(i)).log_probs[:, 0], together[:, i])
    for ours, others in zip(kept(member(i)), kept(member((i + 1) % 3)), strict=True):
      assert (ours != others).all()

  # The first member equals the single network. Outputs are compared, because parameters without effect, such as a bias
  # before a norm, have gradients of pure rounding noise; after two steps, because vmap sums in another order, which
  # training amplifies.
  alone, learner = changed(alone, steps=2), changed(learner, steps=2)
  fit = lambda learner: rounds.JITTED_PHASES.fit(loop.init_state(KEY, data, learner), data, trainer=learner.trainer)
  lone, three = (fit(learner)[0].variables for learner in (alone, learner))
  log_probs_of = lambda variables: predict(posterior.deterministic(), variables).log_probs
  apart = lambda i: np.abs(log_probs_of(jax.tree.map(lambda leaf: leaf[i], three)) - log_probs_of(lone)).max()
  assert apart(0) < 0.1 * apart(1)


@pytest.mark.slow
@pytest.mark.parametrize("length", [{"steps": 250}, {"epochs": 60}], ids=["steps", "epochs"])
@by_name
def test_every_network_learns(name, length, data, make_learner):
  sizes = {"init_labels": 60, "acq_size": 10, "rounds": 1, "batch_size": 16}
  learner = learner_for(name, make_learner, **sizes, **length)
  _, info = loop.run(KEY, data_for(name, data), learner)
  assert info.metrics.test_accuracy[-1] > 0.6  # ten classes
