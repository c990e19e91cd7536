"""Resolves flags and preset into one frozen Config; refuses contradictory flags."""

import dataclasses
import math
import os
from typing import Any

from al_jax import types
from experiments import data as data_sources
from experiments.analysis import grid
from experiments.common.errors import UsageError
from experiments.common.spelling import split
from experiments.config import acquisitions
from experiments.config import flags
from experiments.config import presets
from experiments.config import training_flags
from experiments.config.flags import FLAGS
from experiments.config.flags import HYPER
from experiments.data import initial_sets

PATH_OPTIONS = data_sources.Options._fields  # flags of data given as a path


@dataclasses.dataclass(frozen=True)
class Config:
  """All resolved flags, one field per flag of the same name. Hashable; `dataclasses.asdict` makes it JSON-serializable.

  Hyper-parameters of acquisitions are part of the strategies' spelling in `acq`. `init_ids` holds the ids of
  `init_file`, or those found by `initial_sets.resolve`.
  """

  acq: tuple[str, ...]
  seeds: int
  seed: int
  preset: str | None
  full_data: bool
  dataset: str
  data_dir: str | None
  split: str
  image_size: str | None
  scale: str | None
  label_column: str | None
  ignore_columns: tuple[str, ...]
  missing: str
  test_size: float
  test_rows: str | None
  test_seed: int
  unlabeled: str
  input_mean: float
  input_std: float
  val_size: int
  pool_size: int | None
  pool_copies: int
  pool_noise: float
  imbalance: float
  pool_seed: int
  features: str | None
  features_dtype: str
  embedding: str | None
  val_last: float
  full_val_last: float
  init_labels: int
  init: str
  init_file: str | None
  init_ids: tuple[int, ...]
  acq_size: int
  rounds: int
  label_noise: float
  pool_subset: int | None
  posterior: str | None
  mc_samples: int
  ensemble_size: int
  dropout_masks: str
  eval_posterior: str
  model: str
  dropout_rate: float | None
  norm: str | None
  vocabulary: int | None
  hidden: tuple[int, ...] | None
  kernel_init: str | None
  optimizer: str
  l2: float
  learning_rate: float
  momentum: float
  nesterov: bool
  schedule: str
  weight_decay: float
  decay_layers: str | None
  decay_over_labels: bool
  batch_size: int
  train_steps: int | None
  epochs: int | None
  first_epochs: int | None
  epoch_draws: int
  drop_last: bool
  full_train_steps: int
  early_stop: int | None
  first_early_stop: int | None
  eval_every: int
  early_stop_samples: int
  early_stop_metric: str
  early_stop_keep: str
  label_smoothing: float
  warm_start: bool
  keep_optimizer: bool
  augment: str | None
  chunk_size: int
  precision: str
  pack: str | None
  seeds_per_program: int | None
  cpu_devices: int | None
  vmap_over: tuple[tuple[str, tuple[float, ...]], ...]
  describe: bool
  inspect: bool
  driver: str
  platform: str | None
  compilation_cache: str
  profile: bool
  tensorboard: bool
  log_level: str
  workdir: str | None
  resume: bool
  overwrite: bool


def resolve() -> Config:
  """The Config of the parsed flags; the preset supplies the flags that are not on the command line.

  Raises:
    UsageError: an unknown name, or flags that contradict each other.
  """
  values = {field.name: FLAGS[field.name].value for field in dataclasses.fields(Config) if field.name in FLAGS}
  typed = {name for name in values if FLAGS[name].present}
  if values["preset"] is not None:
    if values["preset"] not in presets.PRESETS:
      raise UsageError(f"unknown preset {values['preset']!r}; choose from {', '.join(presets.PRESETS)}")
    preset = presets.PRESETS[values["preset"]]
    values |= {k: v for k, v in preset.values.items() if k not in typed}
    own = preset.brings
    if own is not None and own.sets not in typed and not os.path.exists(values[own.sets] or ""):
      files = ",".join(own.files("DIR"))
      raise UsageError(f"--preset={values['preset']} needs --{own.sets}={files}: get {own.source}")
  for name, value in values.items():
    if isinstance(value, float) and not math.isfinite(value):
      raise UsageError(f"--{name}={value:g} must be a finite number")
  for name in ("data_dir", "workdir", "features", "embedding", "init_file"):
    if values[name] is not None:
      if not values[name]:
        raise UsageError(f"--{name} is empty: give a path or omit the flag")
      values[name] = os.path.expanduser(values[name])
  if values["resume"] and values["overwrite"]:
    raise UsageError("--resume keeps the results in --workdir and --overwrite deletes them: give only one")
  if values["seed"] + values["seeds"] > 2**32:
    raise UsageError(f"--seed={values['seed']} and --seeds={values['seeds']} exceed the largest seed, {2**32 - 1}")
  if values["inspect"] and values["driver"] == "scan":
    raise UsageError("--inspect needs each round's model, which --driver=scan does not keep: use --driver=python")
  values["ignore_columns"] = tuple(values["ignore_columns"])
  values |= _path_data(values, typed)
  values["vmap_over"] = grid.parse(values["vmap_over"])
  if values["chunk_size"] is None:
    values["chunk_size"] = flags.LINEAR_CHUNK if values["model"] == "linear" else types.Plan.chunk_size
  values |= training_flags.optimizer(values, typed)
  values |= training_flags.network(values, typed)
  values |= training_flags.training(values, typed)
  values |= _strategies(values, typed)
  values |= _initial(values, typed)
  _check_switches(values)
  return Config(**values)


def _path_data(values: dict[str, Any], typed: set[str]) -> dict[str, Any]:
  """Refuses flags that apply to paths only if --dataset is a name, and vice versa; expands `~` in a path."""
  path = data_sources.is_path(values["dataset"])
  for name in PATH_OPTIONS:
    if name == "scale" and values["features"] is not None:
      continue
    if name in typed and not path:
      raise UsageError(f"--{name} applies only to a path, but --dataset={values['dataset']} is a name: omit the flag")
  if not path:
    return {}
  for name in ("data_dir", "split"):
    if name in typed:
      raise UsageError(f"--{name} applies only to a name, but --dataset={values['dataset']} is a path: omit the flag")
  if {"test_size", "test_rows"} <= typed:
    raise UsageError("--test_size and --test_rows both choose the test set: give only one")
  return {"dataset": os.path.expanduser(values["dataset"])}


def image_size(text: str | None) -> tuple[int, int] | None:
  """Height and width of `--image_size`.

  Raises:
    UsageError: it is not a size.
  """
  if text is None:
    return None
  words = text.lower().split("x")
  if len(words) > 2 or not all(word.isdecimal() and len(word) < 5 and 0 < int(word) <= 4096 for word in words):
    raise UsageError(f"--image_size={text} must be a size such as 64 or 64x48 (height x width), each at most 4096")
  return int(words[0]), int(words[-1])


def path_options(config: Config) -> data_sources.Options:
  """The options with which a path is read. Raises UsageError as `image_size`."""
  given = {name: getattr(config, name) for name in PATH_OPTIONS} | {"image_size": image_size(config.image_size)}
  if config.features is not None:  # --scale is that of the features
    given["scale"] = None
  return data_sources.Options(**given)


def _strategies(values: dict[str, Any], typed: set[str]) -> dict[str, Any]:
  typed_hyper = {name: FLAGS[name].value for name in HYPER if FLAGS[name].present}
  chosen = [acquisitions.with_flags(acquisitions.parse(text), typed_hyper) for text in split(values["acq"])]
  parts = [part for strategy in chosen for part in strategy.parts]
  for name in typed_hyper:
    if not any(name in dict(part.hyper) for part in parts):
      raise UsageError(f"--{name} is for {', '.join(HYPER[name][1])}, but --acq={values['acq']} names none of them")
  spelled = tuple(map(acquisitions.canonical, chosen))
  if len(set(spelled)) < len(spelled):
    raise UsageError(f"--acq={values['acq']} names a strategy twice")
  for name, _ in values["vmap_over"]:
    if name in typed | set(typed_hyper):
      raise UsageError(f"--{name} and --vmap_over={name} set the same value: give only one")
    if name in HYPER and all(
      name not in acquisitions.hyper_parameters(part) or name in dict(part.hyper) for part in parts
    ):
      raise UsageError(f"--vmap_over={name} has no effect: no strategy of --acq={','.join(spelled)} leaves it unset")
  if "dropout_rate" in dict(values["vmap_over"]) and values["model"] == "transformer":
    raise UsageError("--vmap_over=dropout_rate cannot set a transformer's attention dropout: run one study per rate")
  if values["vmap_over"] and values["driver"] != "scan":
    raise UsageError("--vmap_over runs a grid as one program: use --driver=scan or experiments.ablation")
  return {"acq": spelled}


def _check_switches(values: dict[str, Any]) -> None:
  """Raises UsageError if a strategy switches where one of its parts would select nothing."""
  first = values["init_labels"]
  last = first + (values["rounds"] - 1) * values["acq_size"]
  for text in () if values["full_data"] else values["acq"]:
    labels = acquisitions.parse(text).labels
    if labels is not None and not first < labels <= last:
      acquires = f"the run acquires with {first} to {last}" if values["rounds"] else "--rounds=0 acquires nothing"
      way = f"give a number from {first + 1} to {last}" if first < last else "give more --rounds or one acquisition"
      raise UsageError(f"{text!r} switches at {labels} labels, but {acquires}: {way}")


def _initial(values: dict[str, Any], typed: set[str]) -> dict[str, Any]:
  if (values["init"] == "file") != (values["init_file"] is not None):
    raise UsageError("--init=file and --init_file=PATH go together: give both or neither")
  if values["init"] == "batchbald":
    if values["dataset"].partition(":")[0] != "mnist":
      raise UsageError(f"--init=batchbald is a set of MNIST images: use --dataset=mnist, not {values['dataset']}")
    if values["features"] is not None:
      raise UsageError("--init=batchbald finds its images by content, which --features replace: give --init_file")
    if values["init_labels"] != len(initial_sets.BATCHBALD):
      raise UsageError(
        f"--init=batchbald has {len(initial_sets.BATCHBALD)} images, but --init_labels is {values['init_labels']}"
      )
  ids = () if values["init_file"] is None else initial_sets.read(values["init_file"])
  labels = len(ids) if ids and "init_labels" not in typed else values["init_labels"]
  return {"init_ids": ids, "init_labels": labels}
