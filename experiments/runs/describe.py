"""Lines that describe a study, printed before it starts."""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import math

import jax
import numpy as np

from al_jax import acquisition
from al_jax import inputs
from al_jax import types
from al_jax.learner import Learner
from experiments.common import spelling
from experiments.config import acquisitions
from experiments.config.optimizers import NEWTON
from experiments.config.resolve import Config
from experiments.data import Loaded
from experiments.runs import build
from experiments.runs import pools

_MANY_FEATURES = 4096
# Multiply-adds of 0.3 s at the pace of the default network's forward passes on two CPU cores (docs/performance.md).
_LITTLE = 2.5e10


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
  """Says of the greedy oracle that it cheats and what it takes, if it is among the strategies."""
  if config.full_data or not any(map(spelling.is_oracle, config.acq)):
    return []
  return [f"{spelling.ORACLE_REMARK} Each label takes a training per candidate."]


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


def selection_lines(config: Config, data: types.Dataset) -> list[str]:
  """A line per strategy whose selections take longer than a forward pass over the pool and than 0.3 s."""
  if config.full_data:
    return []
  lines = []
  for name, learner in build.learners(config, data.num_classes).items():
    known = [part for part in acquisitions.parse(name).parts if part.base in acquisition.REGISTRY]
    parts = [(acquisition.REGISTRY[part.base], dict(part.hyper)) for part in known]
    with_hyper = [(entry.operations, entry.hyper_parameters | hyper) for entry, hyper in parts]
    costs = [functools.partial(operations, **hyper) for operations, hyper in with_hyper if operations]
    if costs:
      lines += _selection_lines(name, costs, learner, data)
  return lines


def _selection_lines(name: str, costs: list[Callable], learner: Learner, data: types.Dataset) -> list[str]:
  per_row, sizes = _sizes(learner, data)
  rows, least = learner.plan.pool_subset or data.pool_size, learner.plan.acq_size

  def ratio(rows: int) -> float:
    return max(cost(N=rows, **sizes) for cost in costs) / max(rows * per_row, _LITTLE)

  if ratio(rows) <= 1:
    return []
  unit = "a forward pass over them" if rows * per_row > _LITTLE else "0.3 s on two CPU cores"
  line = f"{name}: selecting {least} of {rows:,} images takes about {ratio(rows):.1f} times {unit}"
  if ratio(least) > 1:
    return [f"{line}, and no --pool_subset makes it as cheap"]
  fitting = _largest(lambda rows: ratio(rows) <= 1, least, rows)
  return [f"{line}; with --pool_subset={fitting} or less it takes no longer"]


def _sizes(learner: Learner, data: types.Dataset) -> tuple[float, dict[str, int]]:
  """Multiply-adds of a forward pass per row, and the sizes of an `acquisition.Entry` but for N."""
  needs, plan, network = learner.acquisition.needs, learner.plan, learner.trainer.network
  example = jax.eval_shape(inputs.example, data)
  variables = jax.eval_shape(network.init, jax.eval_shape(jax.random.key, 0), example)
  forward = jax.jit(lambda variables, example: network.sample(None, variables, example))
  features = jax.eval_shape(forward, variables, example)[1]
  own = data.embedding is not None and not needs.features
  shape = data.embedding.shape if own else (1, 1) if features is None else features.shape
  cost = forward.lower(variables, example).cost_analysis() or {}
  return cost.get("flops", 0) / 2, {
    "S": learner.posterior.samples if needs.samples else 1,
    "C": data.num_classes,
    "F": shape[1],
    "T": needs.targets,
    "L": plan.max_labels - plan.acq_size,
    "num": plan.acq_size,
  }


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int:
  """The largest number between `low`, which fits, and `high`, which does not, rounded down to two digits."""
  lowest = low
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle) else (low, middle)
  unit = 10 ** max(len(str(low)) - 2, 0)
  return max(low // unit * unit, lowest)


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
