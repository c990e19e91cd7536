"""Lines that describe a study, printed before it starts."""

from collections.abc import Sequence
import math

import numpy as np

from al_jax import types
from experiments.common import spelling
from experiments.config.optimizers import NEWTON
from experiments.config.resolve import Config
from experiments.data import Loaded
from experiments.runs import build
from experiments.runs import pools

_MANY_FEATURES = 4096


def data_lines(title: str, data: types.Dataset, found: Loaded) -> list[str]:
  """Describes the data: rows of pool and test set, shape, memory, and the counts of each class."""
  shape = " x ".join(map(str, data.inputs.shape[1:]))
  counts, tested = pools.class_counts(data), np.bincount(data.test_labels, minlength=data.num_classes).tolist()
  names = found.class_names or tuple(map(str, range(data.num_classes)))
  size = data.inputs.nbytes + data.test_inputs.nbytes
  lines = [
    f"{title}: {data.pool_size:,} rows in the pool, {data.test_size:,} in the test set",
    *found.remarks,
    f"each row has shape {shape} and type {data.inputs.dtype}; all rows take {size / 2**20:,.1f} MiB",
    f"{data.num_classes} classes, with their rows in the pool and in the test set:",
  ]
  width = max(map(len, map(repr, names)))
  return lines + [
    f"  {name!r:<{width}} {own:>9,} {of:>9,}" for name, own, of in zip(names, counts, tested, strict=True)
  ]


def oracle_lines(config: Config) -> list[str]:
  """Says of the greedy oracle that it cheats, if it is among the strategies."""
  return [spelling.ORACLE_REMARK] if any(map(spelling.is_oracle, config.acq)) else []


def posterior_lines(config: Config, num_classes: int) -> list[str]:
  """The posterior of each strategy that does not use the deterministic one."""
  if config.full_data:
    return []
  samples = {"dropout": "samples of MC dropout", "ensemble": "networks of an ensemble"}
  by_posterior: dict[str, list[str]] = {}
  for name, learner in build.learners(config, num_classes).items():
    if learner.posterior.name != "deterministic" and learner.acquisition.needs.samples:
      kind = samples.get(learner.posterior.name, f"samples of {learner.posterior.name}")
      text = f"{learner.posterior.samples} {kind}"
      by_posterior.setdefault(text, []).append(name)
  return [f"{', '.join(names)}: scored on {text}" for text, names in by_posterior.items()]


def memory_lines(config: Config, data: types.Dataset) -> list[str]:
  """What a linear head on many features costs, if it is much."""
  features = math.prod(data.inputs.shape[1:])
  needed = build.head_bytes(config, data)
  if needed == 0 or features <= _MANY_FEATURES:
    return []
  return [
    f"{features:,} features: the matrices of newton and Laplace take {needed / 2**30:.1f} GiB, and a Laplace posterior"
    f" {10 * features**3 / 1e12:,.0f} TFLOP per round"
  ]


def training_line(config: Config) -> str:
  """How networks are trained, including the values of a grid."""
  on = " on the whole pool" if config.full_data else " per round, the same for every strategy"
  if config.optimizer == NEWTON:
    return f"logistic regression with an L2 penalty of {config.l2:g}, to convergence{on}"
  varied = dict(config.vmap_over)
  values = lambda name: varied.get(name, (getattr(config, name),))
  spell = lambda name: f"{name.replace('_', ' ')} {' or '.join(f'{value:g}' for value in values(name))}"
  parts = [config.optimizer, spell("learning_rate")]
  parts += [spell("momentum")] if config.optimizer == "sgd" else []
  if any(values("weight_decay")):
    over = " divided by the number of labels" if config.decay_over_labels else ""
    parts.append(spell("weight_decay") + over + (f" on {config.decay_layers}" if config.decay_layers else ""))
  steps = config.full_train_steps if config.full_data else config.train_steps
  draws = f" of at least {config.epoch_draws} draws" if config.epoch_draws else ""
  length = f"{config.epochs} epochs{draws}" if config.epochs else f"{steps} steps"
  parts += ["cosine schedule"] * (config.schedule == "cosine")
  parts += [f"augmentation {config.augment.replace(',', ', ')}"] if config.augment else []
  parts += [f"batch {config.batch_size}", f"{'at most ' * (config.early_stop is not None)}{length}"]
  return ", ".join(parts) + on


def convergence_lines(config: Config, rows: Sequence[dict]) -> list[str]:
  """A line if trainings of a linear head ended before they converged."""
  limit = types.FullBatch().max_iterations
  short = sum(row.get("train_steps") == limit for row in rows)
  if config.optimizer != NEWTON or not short:
    return []
  return [f"{short} of {len(rows)} trainings ended at {limit} Newton steps without converging: give a larger --l2"]
