"""SimCLR features: resuming, refusals, and linear probes on the pool."""

import dataclasses
import json

import numpy as np
import pytest

from al_jax import inputs
from al_jax import simclr as core
from experiments.common.errors import UsageError
from experiments.data import digits
from experiments.encoders import epochs_file
from experiments.encoders import flags
from experiments.encoders import probe
from experiments.encoders import simclr
from experiments.encoders.base import Task

pytestmark = pytest.mark.usefixtures("fast_compilation")


class Lines(list):
  """A display that keeps its lines."""

  def line(self, text):
    self.append(text)

  def phase(self, text): ...

  def expect(self, total): ...

  def advance(self, rounds=1): ...


SMALL = ("--model=mlp", "--outputs=8", "--batch_size=16", "--epochs=3", "--block_size=0")


def settings_of(*words):
  values, _ = flags.parse(["features", "--method=simclr", "--out=x.npy", "--dataset=digits", *words], "")
  return flags.settings(values)


@pytest.fixture
def task(tmp_path):
  """`(*words, **changes) -> Task`: 60 digits of the pool, a small MLP and steps of 16 images."""
  data = digits.load()
  data = dataclasses.replace(
    data, inputs=data.inputs[:80], labels=data.labels[:80], test_inputs=data.test_inputs[:7], test_labels=None
  )

  def make(*words, **changes):
    given = {word.partition("=")[0]: word for word in (*SMALL, *words)}
    settings = settings_of(*given.values())
    fit_ids = np.arange(60)
    return Task(data, fit_ids, settings, {"data": "digits"}, tmp_path / "x.part", False, Lines())._replace(**changes)

  return make


@pytest.fixture
def killed_after(monkeypatch):
  """Ends the pretraining as Ctrl-C does, after the nth epoch is written."""

  def arrange(nth):
    save, saved = epochs_file.save, []

    def faulty(*args):
      save(*args)
      saved.append(args)
      if len(saved) == nth:
        raise KeyboardInterrupt

    monkeypatch.setattr(epochs_file, "save", faulty)

  return arrange


@pytest.mark.slow
def test_a_killed_pretraining_continues_with_the_same_bits(task, killed_after, tmp_path):
  whole = simclr.encode(task(part=tmp_path / "whole.part"))
  killed_after(1)
  with pytest.raises(KeyboardInterrupt):
    simclr.encode(task())
  # Neither the rest of the command's flags nor the labels of the probe belong to the encoder.
  again = task("--probe=10")
  continued = simclr.encode(again)
  np.testing.assert_array_equal(continued.train, whole.train)
  np.testing.assert_array_equal(continued.test, whole.test)
  assert continued.train.shape == (80, 8) and continued.test.shape == (7, 8)
  assert continued.facts["loss_per_epoch"] == whole.facts["loss_per_epoch"]
  assert len(whole.facts["loss_per_epoch"]) == 3 and whole.facts["steps"] == 9
  assert again.display[0].startswith("1 of 3 epochs are in")
  assert "leaves out 12 of 60 images" in again.display[1]
  assert sum(line.startswith("epoch ") for line in again.display) == 2
  assert continued.facts["probe"]["accuracy"][0]["labels"] == 10 and "linear probe, 10 labels" in again.display[-1]
  assert simclr.curve_path(again.part).read_bytes().startswith(b"\x89PNG")
  json.dumps(continued.facts, allow_nan=False)

  other = task("--temperature=0.5")
  with pytest.raises(UsageError, match="other settings, data or versions"):
    simclr.encode(other)
  again.part.write_bytes(again.part.read_bytes()[:5000])
  with pytest.raises(UsageError, match="is damaged: delete it"):
    simclr.encode(task())
  state = epochs_file.load(again.part, {}, (np.zeros(1),), overwrite=True)
  assert state is None


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_it(task):
  with pytest.raises(UsageError, match=r"the loss is nan in step \d of epoch 1: give a smaller --learning_rate"):
    simclr.encode(task("--learning_rate=1e30", "--schedule=constant"))


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--batch_size=61"], "batch_size=61 is larger than the pool of 60 images"),
    (["--model=batchbald"], "BatchBALDNet does not take images of 8 x 8 x 1"),
    (["--warmup_steps=9"], "--warmup_steps=9 must be less than the 9 steps"),
    (["--crop=0.6"], "--crop=0.6 must be two numbers"),
    (["--crop=1.5,0.5"], "low before high"),
    (["--aspect=1"], "aspect must be at least 0 and below 1"),
    (["--probe=15"], "--probe=15 must be a multiple of the 10 classes, such as 100"),
    (["--probe=100"], "leaves no rows to test on: the smallest class has"),
  ],
)
def test_wrong_flags_are_refused(task, words, message):
  with pytest.raises(UsageError, match=message):
    simclr.encode(task(*words))


def test_rows_that_are_not_images_are_refused(task):
  own = task()
  flat = dataclasses.replace(own.data, inputs=own.data.inputs.reshape(80, 64), prepare=inputs.as_they_are)
  with pytest.raises(UsageError, match=r"the pool is an array of shape \[60, 64\]"):
    simclr.encode(own._replace(data=flat))


def test_the_flags_default_to_the_plan():
  assert simclr.plan(settings_of()) == core.Plan()
  assert simclr.plan(settings_of("--erase=0.5", "--block_size=7")).views.erase_probability == 0.5


def test_learning_rates():
  def rates(*words):
    state = (chained := simclr.optimizer(settings_of(*words), 10)).init(np.zeros(1, np.float32))
    found = []
    for _ in range(10):
      update, state = chained.update(np.ones(1, np.float32), state)  # Adam's update is the rate: all gradients equal
      found.append(-float(update[0]))
    return np.array(found)

  np.testing.assert_allclose(rates("--schedule=constant"), 1e-3, rtol=1e-4)
  steps = np.arange(10)
  np.testing.assert_allclose(rates(), 5e-4 * (1 + np.cos(np.pi * steps / 10)), rtol=1e-3, atol=1e-9)
  warm = rates("--schedule=constant", "--warmup_steps=4")
  np.testing.assert_allclose(warm, 1e-3 * np.minimum(steps / 4, 1), rtol=1e-3, atol=1e-9)


def test_probes_read_the_pool_alone():
  rng = np.random.default_rng(0)
  labels = np.concatenate([np.tile([0, 1, 2], 40), [-1] * 30])
  features = np.concatenate([np.eye(3)[labels[:120]] * 4, rng.normal(0, 1e3, (30, 3))])
  features = np.column_stack([features + rng.normal(size=features.shape), np.ones(150)])  # one constant feature
  budgets = probe.budgets(["3", "30"], labels)
  few, many = probe.accuracies(features, labels, budgets)
  assert (few.labels, many.labels) == (3, 30) and 0.6 < few.mean < many.mean <= 1 and many.mean > 0.9
  shuffled, _ = probe.accuracies(rng.permutation(features), labels, budgets)
  assert shuffled.mean < 0.6
