"""A study in a few lines, printed before it starts."""

import numpy as np

from al_jax import types
from experiments.config.resolve import Config
from experiments.data import Loaded
from experiments.runs import build
from experiments.runs import pools


def data_lines(title: str, data: types.Dataset, found: Loaded) -> list[str]:
  """What would be used of the data: rows, shapes, classes with counts, split and memory."""
  shape = " x ".join(map(str, data.inputs.shape[1:]))
  counts, tested = pools.class_counts(data), np.bincount(data.test_labels, minlength=data.num_classes).tolist()
  names = found.class_names or tuple(map(str, range(data.num_classes)))
  size = data.inputs.nbytes + data.test_inputs.nbytes
  lines = [
    f"{title}: a pool of {data.pool_size:,} rows and {data.test_size:,} to test on",
    *found.remarks,
    f"a row is {shape} of {data.inputs.dtype}; all take {size / 2**20:,.1f} MiB",
    f"{data.num_classes} classes, rows in the pool and to test on:",
  ]
  width = max(map(len, map(repr, names)))
  return lines + [
    f"  {name!r:<{width}} {own:>9,} {of:>9,}" for name, own, of in zip(names, counts, tested, strict=True)
  ]


def posterior_lines(config: Config, num_classes: int) -> list[str]:
  """What the strategies look at, where that is not the network as it is."""
  if config.full_data:
    return []
  samples = {"dropout": "samples of MC dropout", "ensemble": "networks of an ensemble"}
  by_posterior: dict[str, list[str]] = {}
  for name, learner in build.learners(config, num_classes).items():
    if learner.posterior.name != "deterministic" and learner.acquisition.needs.samples:
      kind = samples.get(learner.posterior.name, f"samples of {learner.posterior.name}")
      text = f"{learner.posterior.samples} {kind}"
      by_posterior.setdefault(text, []).append(name)
  return [f"{', '.join(names)}: on {text}" for text, names in by_posterior.items()]


def training_line(config: Config) -> str:
  """How networks are trained, with the values of a grid."""
  varied = dict(config.vmap_over)
  values = lambda name: varied.get(name, (getattr(config, name),))
  said = lambda name: f"{name.replace('_', ' ')} {' or '.join(f'{value:g}' for value in values(name))}"
  parts = [config.optimizer, said("learning_rate")]
  parts += [said("momentum")] if config.optimizer == "sgd" else []
  if any(values("weight_decay")):
    over = " over the number of labels" if config.decay_over_labels else ""
    parts.append(said("weight_decay") + over + (f" on {config.decay_layers}" if config.decay_layers else ""))
  steps = config.full_train_steps if config.full_data else config.train_steps
  draws = f" of {config.epoch_draws} draws or more" if config.epoch_draws else ""
  length = f"{config.epochs} epochs{draws}" if config.epochs else f"{steps} steps"
  parts += ["falling by a cosine"] * (config.schedule == "cosine")
  parts += [f"augmented by {config.augment.replace(',', ', ')}"] if config.augment else []
  parts += [f"batch {config.batch_size}", f"{'at most ' * (config.early_stop is not None)}{length}"]
  return ", ".join(parts) + (" on the whole pool" if config.full_data else " a round: the same for every strategy")
