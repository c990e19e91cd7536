"""Presets: immutable, complete enough to run, and with their source."""

import dataclasses

import jax
import numpy as np
import pytest

from al_jax import checks
from al_jax import from_flax
from al_jax import inputs
from al_jax import models
from al_jax import types
from al_jax.types import Dataset
from experiments.config.presets import PRESETS
from experiments.config.resolve import Config
from experiments.data import initial_sets
from experiments.papers.base import Preset
from experiments.papers.registry import PUBLISHED
from experiments.runs import build

_ANY = {"seeds": 2, "val_size": 3, "acq": ("margin",)}
_MINIBATCHES = _ANY | {"batch_size": 17, "learning_rate": 0.125, "dropout_rate": 0.375}
_FULL_BATCH = _ANY | {"l2": 2.5}
_LINEAR = _ANY | {"batch_size": 17, "learning_rate": 0.125}
BROUGHT = {"features": "--features=train.npy,test.npy", "dataset": "--dataset=table.csv"}


def typed_over(preset: Preset) -> dict:
  """Flags that differ from those of a preset, by name."""
  if preset.values.get("model") != "linear":
    return _MINIBATCHES
  return _LINEAR if "optimizer" in preset.values else _FULL_BATCH


def line_of(name: str, values: dict) -> list[str]:
  """A command line with a preset, the files that it needs, and further flags."""
  typed = [f"--{field}={','.join(value) if isinstance(value, tuple) else value}" for field, value in values.items()]
  return [f"--preset={name}", *([BROUGHT[own.sets]] if (own := PRESETS[name].brings) else []), *typed]


def config_of(fields: dict) -> Config:
  """The Config that was printed as JSON, rebuilt."""
  return Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


@pytest.fixture(scope="module")
def configs(resolve) -> dict[str, list[Config]]:
  """For each preset: its Config alone, and with the flags of `typed_over`."""
  lines = [line_of(name, values) for name, preset in PRESETS.items() for values in ({}, typed_over(preset))]
  found = resolve(*lines)
  assert not [it for it in found if isinstance(it, str)]
  return {name: [config_of(found[2 * i]), config_of(found[2 * i + 1])] for i, name in enumerate(PRESETS)}


@pytest.mark.parametrize(
  "name",
  [name if name in ("study", "blog", "gal2017") else pytest.param(name, marks=pytest.mark.slow) for name in PRESETS],
)
def test_a_preset_is_carried_out_as_it_stands(name, configs):
  config, values = configs[name][0], PRESETS[name].values
  for field, value in values.items():
    if field == "hidden":
      assert config.hidden == tuple(map(int, value.split(",")))
    elif field != "acq" and not (field == "dataset" and PRESETS[name].brings):
      assert getattr(config, field) == value, field
  assert ",".join(config.acq) == values.get("acq", "entropy")
  assert config.preset == name
  assert (config.epochs is None) + (config.train_steps is None) == 1 + (config.optimizer == "newton")
  if config.init == "batchbald":
    config = dataclasses.replace(config, init_ids=initial_sets.BATCHBALD)
  originals, test = (46_900, 23_100) if config.split == "blog" else (60_000, 10_000)
  shape = (32, 32, 3) if config.dataset == "cifar10" else (28, 28, 1)
  image = lambda num: np.broadcast_to(np.zeros((1, *shape), np.uint8), (num, *shape))
  labels, classes = np.zeros(originals * config.pool_copies, np.int32), min(10, config.init_labels)
  data = Dataset(
    image(originals), labels, image(test), labels[:test], num_classes=classes, prepare=inputs.images(std=255)
  )
  noise = {"noise": config.pool_noise, "noise_key": jax.random.key(0)}
  data = dataclasses.replace(data, copies=config.pool_copies, **noise)
  learners = build.learners(config, classes)
  assert tuple(learners) == config.acq
  for learner in learners.values():
    checks.check_learner(learner, data)
  checks.check_trainer(build.full_data_trainer(config, classes), data)


@pytest.mark.parametrize("name", PRESETS)
def test_typed_flags_win_over_a_preset(name, configs):
  (plain, typed), values = configs[name], typed_over(PRESETS[name])
  assert {field: getattr(typed, field) for field in values} == values
  changed = {field for field in plain.__dict__ if getattr(plain, field) != getattr(typed, field)}
  assert changed <= values.keys()


def test_a_preset_of_features_is_refused_without_them_and_names_their_source(resolve):
  (message,) = resolve(["--preset=vae_features"])
  assert "needs --features=DIR/vae_train.npy,DIR/vae_test.npy: get" in message
  assert "github.com/fbickfordsmith/vae-embeddings" in message


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_cannot_be_changed(name):
  preset = PRESETS[name]
  with pytest.raises(TypeError):
    preset.values["rounds"] = 1
  with pytest.raises(dataclasses.FrozenInstanceError):
    preset.values = {}
  with pytest.raises(dataclasses.FrozenInstanceError):
    preset.cost = "nothing"


def test_a_preset_does_not_share_the_callers_values():
  values = {"rounds": 3}
  preset = dataclasses.replace(PRESETS["study"], values=values)
  values["rounds"] = 4
  assert preset.values == {"rounds": 3}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_what_it_is_and_one_with_a_source_what_it_costs_and_should_come_to(name):
  preset = PRESETS[name]
  assert preset.summary and "\n" not in preset.summary and len(preset.summary) <= 120
  assert isinstance(preset.departures, tuple) and all(text.endswith(".") for text in preset.departures)
  if preset.source:
    assert preset.cost and preset.expect


def test_what_was_published_is_of_presets_with_a_source_and_within_their_labels(configs):
  for name, publication in PUBLISHED.items():
    preset = name.partition(",")[0]
    config = configs[preset][0]
    assert PRESETS[preset].source
    most = config.init_labels + config.rounds * config.acq_size
    for curve in publication.curves.values():
      assert all(config.init_labels <= labels <= most for labels in curve.accuracy)


def test_the_figures_of_dna_in_cdalbench(configs):
  config = configs["cdalbench_dna"][0]
  assert (config.pool_size, config.val_size, config.init_labels, config.acq_size, config.rounds) == (
    1400,
    280,
    3,
    1,
    300,
  )
  assert (config.hidden, config.kernel_init, config.dropout_rate) == ((24, 24, 12), "torch", 0.0)
  assert (config.optimizer, config.momentum, config.batch_size, config.drop_last) == ("sgd", 0.0, 64, True)
  assert round(config.learning_rate, 4) == 0.0338 and round(1e6 * config.weight_decay, 1) == 1.8
  plan = build.plan(config)
  assert (plan.train.first_epochs, plan.train.epochs, plan.train.warm_start, plan.train.keep_optimizer) == (
    50,
    100,
    True,
    True,
  )
  assert plan.train.early_stop == types.EarlyStop(1, 50, 1, "nll", "last", first_patience=50)


def test_the_figures_of_the_batchbald_paper(configs):
  config = configs["batchbald"][0]
  assert (config.model, config.dataset, config.split, config.pool_size) == ("batchbald", "mnist", "standard", None)
  assert (config.init, config.init_labels, config.acq_size, config.rounds) == ("batchbald", 20, 10, 28)
  assert (config.optimizer, config.learning_rate, config.weight_decay) == ("adam", 1e-3, 0.0)
  assert (config.batch_size, config.epochs, config.epoch_draws, config.train_steps) == (64, 30, 5056, None)
  assert config.epoch_draws == 79 * config.batch_size
  assert (config.early_stop, config.early_stop_metric, config.val_size) == (3, "nll", 1024)
  assert (config.mc_samples, config.eval_posterior, config.dropout_masks) == (100, "dropout", "consistent")
  assert (config.input_mean, config.input_std) == (0.1307, 0.3081)
  learners = build.learners(config, 10)
  assert set(learners) == {"batchbald(max_configs=40000)", "bald", "random"}
  assert all(learner.trainer.eval_posterior.samples == 100 for learner in learners.values())
  assert learners["bald"].posterior.samples == learners["batchbald(max_configs=40000)"].posterior.samples == 100
  assert learners["bald"].trainer.network == from_flax(models.NETWORKS["batchbald"](num_classes=10))
  assert learners["bald"].plan.train.early_stop == types.EarlyStop(3, 50, 1, "nll")


def test_the_figures_of_repeated_mnist_in_both_papers(configs):
  batchbald, three = configs["batchbald"][0], configs["repeated_batchbald"][0]
  changed = {field for field in batchbald.__dict__ if getattr(batchbald, field) != getattr(three, field)}
  assert changed == {"preset", "pool_copies", "pool_noise", "mc_samples", "epochs", "val_size"}
  assert (three.pool_copies, three.pool_noise, three.mc_samples, three.epochs, three.val_size) == (3, 0.1, 10, 40, 3072)
  four, one = configs["repeated_mnist"][0], configs["stochastic_mnist"][0]
  changed = {field for field in four.__dict__ if getattr(four, field) != getattr(one, field)}
  assert changed == {"preset", "acq", "pool_copies"} and one.pool_copies == 1 and one.pool_noise == 0.1


def test_the_figures_of_repeated_mnist_and_of_gals_paper(configs):
  repeated, gal, table = (configs[name][0] for name in ("repeated_mnist", "gal2017", "gal2017_table1"))
  assert (repeated.pool_copies, repeated.pool_noise, repeated.weight_decay) == (4, 0.1, 5e-4)
  assert (repeated.early_stop, repeated.early_stop_samples, repeated.val_size) == (20, 20, 4096)
  assert repeated.early_stop_metric == "accuracy"
  assert (repeated.epochs, repeated.epoch_draws, repeated.init) == (500, 1024, "batchbald")
  assert (gal.model, gal.init, gal.epochs, gal.batch_size, gal.epoch_draws) == ("gal", "balanced", 50, 128, 0)
  assert (gal.init_labels, gal.acq_size, gal.init_labels + gal.rounds * gal.acq_size) == (20, 10, 1000)
  assert (table.init_labels, table.acq_size, table.init_labels + table.rounds * table.acq_size) == (100, 5, 1100)
  for config in (gal, table):
    assert (config.weight_decay, config.decay_layers, config.decay_over_labels) == (2 * 3.5, "Dense_0", True)
  assert {repeated.mc_samples, gal.mc_samples, table.mc_samples} == {100}


def test_a_typed_number_of_steps_takes_a_presets_epochs_and_draws_away(resolve):
  (steps, smaller, drawn) = resolve(
    ["--preset=batchbald", "--train_steps=9"],
    ["--preset=batchbald", "--epoch_draws=640"],
    ["--preset=batchbald", "--init=balanced", "--init_labels=30"],
  )
  assert (steps["train_steps"], steps["epochs"], steps["epoch_draws"]) == (9, None, 0)
  assert (smaller["epochs"], smaller["epoch_draws"]) == (30, 640)
  assert (drawn["init"], drawn["init_labels"], drawn["init_ids"]) == ("balanced", 30, [])
