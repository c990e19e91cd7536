"""Networks of every kind through the whole loop: one program, round by round, killed and resumed, as an ensemble."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import acquisition
from al_jax import from_flax
from al_jax import inputs
from al_jax import loop
from al_jax import posterior
from al_jax import rounds
from al_jax import types
from experiments.runs import python_driver
from experiments.runs.checkpoints import Checkpoints
from tests.core.test_network import NETWORKS
from tests.support.learners import changed

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.slow]

KEY = jax.random.key(0)
OPTIMIZER = optax.adam(5e-3)


class Transformer(nn.Module):
  """Tokens with their places, one block of attention whose weights are dropped, the mean over tokens."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.Embed(17, 12)(x) + self.param("places", nn.initializers.normal(0.1), (1, 64, 12))
    attend = nn.MultiHeadDotProductAttention(num_heads=2, dropout_rate=0.2, deterministic=not train)
    x = nn.LayerNorm()(x + attend(x))
    x = nn.LayerNorm()(x + nn.Dense(12)(nn.relu(nn.Dense(24)(x))))
    return nn.Dense(10)(x.reshape((x.shape[0], -1)))


WHOLE = {name: NETWORKS[name] for name in ("batch norm", "nnx", "nnx batch norm", "lstm", "functions", "dict")}
WHOLE["tokens"] = from_flax(Transformer())


def data_for(name: str, data: types.Dataset) -> types.Dataset:
  """The digits as the network takes them: images, images beside sums of their rows, or their 64 values as tokens."""
  if name == "tokens":
    tokens = lambda images: np.asarray(images, np.int32).reshape((len(images), 64))
    given = {"inputs": tokens(data.inputs), "test_inputs": tokens(data.test_inputs)}
    return dataclasses.replace(data, **given, prepare=inputs.as_they_are)
  if name == "dict":
    both = lambda images: {"image": images, "table": np.asarray(images, np.float32).sum((2, 3))[:, :5] / 64}
    scale = inputs.by_name(image=inputs.images(std=16), table=inputs.as_they_are)
    given = {"inputs": both(data.inputs), "test_inputs": both(data.test_inputs)}
    return dataclasses.replace(data, **given, prepare=scale)
  return data


def learner_for(name: str, make_learner, acq: str = "bald", **changes):
  return make_learner(acq, network=WHOLE[name], optimizer=OPTIMIZER, **changes)


def same(one, other) -> None:
  jax.tree.map(np.testing.assert_array_equal, one, other)


def without_times(row: dict) -> dict:
  return {name: value for name, value in row.items() if not name.startswith("seconds") and name != "peak_bytes"}


def rows_of(data, learner, done=(), checkpoints=None) -> list[dict]:
  driven = python_driver.run_python("name", 0, data, learner, list(done), lambda *_: None, checkpoints=checkpoints)
  return [without_times(row) for row in driven]


@pytest.mark.parametrize("name", WHOLE)
def test_one_program_and_the_driver_give_the_same_run(name, data, make_learner):
  """By samples of MC dropout."""
  data, learner = data_for(name, data), learner_for(name, make_learner)
  _, info = loop.run(KEY, data, learner)
  rows = rows_of(data, learner)
  assert [row["selected"] for row in rows] == [ids[ids >= 0].tolist() for ids in np.asarray(info.selected)]
  np.testing.assert_allclose([row["test_nll"] for row in rows], info.metrics.test_nll, rtol=1e-4)
  assert (info.scores[:-1] > 0).all()  # samples disagree


@pytest.mark.parametrize("name", WHOLE)
def test_a_run_that_is_killed_is_resumed_to_the_same_rows(name, data, make_learner, tmp_path, monkeypatch):
  """Between rounds, and within a training: warm, so that all that a network keeps travels."""
  monkeypatch.setattr(python_driver, "PART", 5)
  data, learner = data_for(name, data), learner_for(name, make_learner, "margin", warm_start=True)
  whole = rows_of(data, learner)
  done: list[dict] = []
  for cut in (1, None):
    with Checkpoints(tmp_path) as checkpoints:
      driven = python_driver.run_python("name", 0, data, learner, list(done), lambda *_: None, checkpoints=checkpoints)
      for row in driven:
        done.append(row)
        if len(done) == cut:
          break
  assert list(map(without_times, done)) == whole
  (tmp_path / "within").mkdir()
  saved = []
  save = Checkpoints.save_training

  def cut_within(self, *args):
    save(self, *args)
    saved.append(args)
    if len(saved) == 2:
      raise KeyboardInterrupt

  monkeypatch.setattr(Checkpoints, "save_training", cut_within)
  with Checkpoints(tmp_path / "within") as checkpoints, pytest.raises(KeyboardInterrupt):
    rows_of(data, learner, checkpoints=checkpoints)
  with Checkpoints(tmp_path / "within") as checkpoints:
    assert rows_of(data, learner, checkpoints=checkpoints) == whole


@pytest.mark.parametrize("name", WHOLE)
def test_an_ensembles_members_are_networks_of_their_own(name, data, make_learner):
  """The first is the lone network, what it keeps included; the others differ."""
  data = data_for(name, data)
  own = posterior.ensemble(3)
  alone = learner_for(name, make_learner, "margin")
  learner = changed(alone, members=3, posterior=own, eval_posterior=own, acquisition=acquisition.bald())
  state, info = loop.run(KEY, data, learner)
  assert (info.scores[:-1] > 0).all() and (info.fit.first_bad_step == -1).all()
  # Two steps, for vmap takes sums in another order, which training amplifies; and outputs, for what moves
  # none, such as a bias ahead of a norm, has a gradient of noise alone.
  alone, learner = changed(alone, steps=2), changed(learner, steps=2)
  start = loop.init_state(KEY, data, alone)
  lone, _ = rounds.JITTED_PHASES.fit(start, data, trainer=alone.trainer)
  three, _ = rounds.JITTED_PHASES.fit(loop.init_state(KEY, data, learner), data, trainer=learner.trainer)
  first, second = (jax.tree.map(lambda leaf, m=m: leaf[m], three.variables) for m in (0, 1))
  x = inputs.of_test(data, jnp.arange(data.test_size))
  logits = jax.jit(lambda variables: WHOLE[name].sample(None, variables, x)[0])
  apart = lambda member: float(np.abs(logits(member) - logits(lone.variables)).max())
  assert apart(first) < 0.1 * apart(second)
  for leaf in jax.tree.leaves(state.variables):
    if leaf[0].size > 10 and jnp.issubdtype(leaf.dtype, jnp.floating):
      assert np.abs(np.asarray(leaf[0]) - leaf[1]).max() > 1e-5


@pytest.mark.parametrize("length", [{"steps": 250}, {"epochs": 60}], ids=["steps", "epochs"])
@pytest.mark.parametrize("name", WHOLE)
def test_every_network_learns(name, length, data, make_learner):
  sizes = {"init_labels": 60, "acq_size": 10, "rounds": 1, "batch_size": 16}
  learner = learner_for(name, make_learner, "margin", **sizes, **length)
  _, info = loop.run(KEY, data_for(name, data), learner)
  assert info.metrics.test_accuracy[-1] > 0.5  # of ten classes
