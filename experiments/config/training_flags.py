"""Resolves the flags of network, optimizer and training, and refuses those that contradict each other.

Each function takes all values by flag and the names of the flags that are on the command line, and returns the values
that it settles. It raises UsageError.
"""

from typing import Any

from al_jax import inputs
from al_jax import models
from experiments.common.errors import UsageError
from experiments.config.optimizers import NEWTON
from experiments.config.optimizers import OPTIMIZERS

# Flags that full-batch training has no use for.
_OF_MINIBATCHES = (
  "learning_rate",
  "momentum",
  "nesterov",
  "schedule",
  "weight_decay",
  "decay_layers",
  "decay_over_labels",
  "batch_size",
  "train_steps",
  "epochs",
  "first_epochs",
  "epoch_draws",
  "drop_last",
  "full_train_steps",
  "early_stop",
  "first_early_stop",
  "label_smoothing",
  "warm_start",
  "keep_optimizer",
  "augment",
)


def optimizer(values: dict[str, Any], typed: set[str]) -> dict[str, Any]:
  """The optimizer and, for newton, the settings of a training without minibatches."""
  linear = values["model"] == "linear"
  name = values["optimizer"] or (NEWTON if linear else "adam")
  if linear and ("dropout_rate" in typed or "dropout_rate" in dict(values["vmap_over"])):
    raise UsageError("--dropout_rate: --model=linear has no dropout: omit the flag or use --model=mlp")
  dropout_rate = None if linear else values["dropout_rate"]  # a preset's rate is for its network
  if name != NEWTON:
    if "l2" in typed:
      raise UsageError(f"--l2 is the penalty of newton, and the optimizer is {name}: use --weight_decay")
    return {"optimizer": name, "dropout_rate": dropout_rate}
  if not linear:
    raise UsageError(f"--optimizer={NEWTON} is for --model=linear, and --model is {values['model']}: choose another")
  for flag in _OF_MINIBATCHES:
    if flag in typed or flag in dict(values["vmap_over"]):
      raise UsageError(
        f"--{flag} is for training on minibatches, and --model=linear is fitted to all labels at once: omit the flag,"
        " or give an --optimizer such as sgd"
      )
  return {"optimizer": name, "train_steps": None, "epochs": None, "early_stop": None, "augment": None} | {
    "dropout_rate": None,
    "label_smoothing": 0.0,
    "warm_start": False,
    "keep_optimizer": False,
    "first_epochs": None,
    "first_early_stop": None,
    "epoch_draws": 0,
    "drop_last": False,
  }


def network(values: dict[str, Any], typed: set[str]) -> dict[str, Any]:
  """The settings that only some networks have; those of a preset are left out if another network is typed."""
  found = {}
  for name, what in {"norm": "normalization", "hidden": "hidden layers", "kernel_init": "initial weights"}.items():
    if values[name] is not None and name not in models.NETWORKS[values["model"]].__dataclass_fields__:
      if name in typed:
        raise UsageError(f"--{name}={values[name]}: --model={values['model']} offers no choice of {what}: omit it")
      found[name] = None
  if values["kernel_init"] == "zeros" and values["model"] == "mlp":
    raise UsageError("--kernel_init=zeros gives the hidden layers of --model=mlp no gradient: use glorot or torch")
  if values["hidden"] is None or "hidden" in found:
    return found
  widths = values["hidden"].split(",")
  if not all(width.strip().isdecimal() and 0 < int(width) <= 65_536 for width in widths):
    raise UsageError(f"--hidden={values['hidden']} must be widths of hidden layers, such as 128,128")
  return found | {"hidden": tuple(map(int, widths))}


def training(values: dict[str, Any], typed: set[str]) -> dict[str, Any]:
  """The length of training; refuses settings that have no effect."""
  if values["learning_rate"] == 0:
    raise UsageError("--learning_rate=0 trains nothing: give a positive learning rate")
  for name, needed in [("nesterov", values["optimizer"] == "sgd"), ("keep_optimizer", values["warm_start"])]:
    if values[name] and not needed:
      of = {"nesterov": "--optimizer=sgd", "keep_optimizer": "--warm_start"}[name]
      raise UsageError(f"--{name} has no effect without {of}: give both or neither")
  if values["decay_over_labels"] and values["optimizer"] != NEWTON and OPTIMIZERS[values["optimizer"]].decays:
    raise UsageError(
      f"--decay_over_labels divides an L2 penalty, but {values['optimizer']} uses decoupled weight decay: use another"
      " optimizer or omit the flag"
    )
  if values["augment"] is not None:
    for name in values["augment"].split(","):
      if name not in inputs.AUGMENTATIONS:
        raise UsageError(f"--augment: unknown {name!r}; choose from {', '.join(inputs.AUGMENTATIONS)}")
  if values["first_early_stop"] is not None and values["early_stop"] is None:
    raise UsageError("--first_early_stop has no effect without --early_stop: give both or neither")
  if {"train_steps", "first_epochs"} <= typed or (values["first_epochs"] and values["epochs"] is None):
    raise UsageError("--first_epochs needs --epochs: give both, without --train_steps")
  decays = values["weight_decay"] or "weight_decay" in dict(values["vmap_over"])
  for name in ("decay_layers", "decay_over_labels"):
    if values[name] and name in typed and not decays:
      raise UsageError(f"--{name} has no effect with --weight_decay=0: give both or neither")
  if {"train_steps", "epochs"} <= typed:
    raise UsageError("--train_steps and --epochs both set the length of training: give only one")
  for name, what in {"epoch_draws": "sets the size", "drop_last": "leaves out the last minibatch"}.items():
    if {"train_steps", name} <= typed:
      raise UsageError(f"--{name} {what} of an epoch, and --train_steps trains without epochs: give only one")
  if values["optimizer"] == NEWTON:
    return {}
  if "train_steps" in typed:
    return {"epochs": None, "epoch_draws": 0, "first_epochs": None, "drop_last": False}
  return {} if values["epochs"] is None else {"train_steps": None}
