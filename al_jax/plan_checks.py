"""Checks that a plan can run on a pool. Every error is one sentence."""

from collections.abc import Iterable
import math
from typing import Any

import numpy as np

from al_jax import types


def describe(value: object) -> str:
  """Describes an argument of the wrong type, for messages."""
  if value is None or isinstance(value, str | int | float):
    return repr(value)
  if isinstance(value, type):
    return f"the class {value.__name__}"
  name = getattr(value, "__name__", None)
  return f"the function {name}" if name else f"{type(value).__name__}"


def require_integer(name: str, value: Any, *, least: int | None = None) -> None:
  """Raises ValueError if `value` is not an integer, or is below `least`."""
  if isinstance(value, bool) or not isinstance(value, int | np.integer):
    raise ValueError(f"{name} must be an integer, not {value!r}")
  if least is not None and value < least:
    bound = f"be at least {least}, not" if least else "be at least 0, not"
    raise ValueError(f"{name} must {bound} {value}")


def require_fraction(name: str, value: Any, what: str) -> None:
  """Raises ValueError if `value` is not a number in [0, 1)."""
  if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < 1:
    raise ValueError(f"{name} must be a {what} in [0, 1), not {value!r}")


def require_hashable(name: str, value: Any, instead: str = "a function or a frozen dataclass") -> None:
  """Raises ValueError if `value` is unhashable, because compiled programs are cached by hash."""
  try:
    hash(value)
  except TypeError:
    given = "an array" if hasattr(value, "shape") else describe(value)
    raise ValueError(f"{name} is {given}, which has no hash: give {instead}") from None


def _require_bools(plan: Any, names: Iterable[str]) -> None:
  """Raises ValueError if a field is not a bool, because any non-empty string would count as True."""
  for name in names:
    if not isinstance(getattr(plan, name), bool | np.bool_):
      raise ValueError(f"{name} must be True or False, not {getattr(plan, name)!r}")


def check(plan: types.Plan, data: types.Dataset) -> None:
  """Raises ValueError if the plan cannot run on this pool."""
  size, originals = data.pool_size, data.num_originals
  for name, least in {"init_labels": 1, "acq_size": 1, "chunk_size": 1, "rounds": 0, "val_size": 0}.items():
    require_integer(name, getattr(plan, name), least=least)
  if plan.pool_subset is not None:
    require_integer("pool_subset", plan.pool_subset)
  _require_bools(plan, ("init_balanced",))
  require_fraction("val_last", plan.val_last, "share of the labeled rows")
  if plan.val_size and plan.val_last:
    raise ValueError("val_size and val_last are two kinds of validation set: give only one")
  check_training(plan)
  if plan.score_dtype not in types.SCORE_DTYPES:
    raise ValueError(f"unknown score_dtype {plan.score_dtype!r}: choose from {', '.join(types.SCORE_DTYPES)}")
  if math.floor(plan.init_labels * (1 - plan.val_last)) < 1:
    raise ValueError(
      f"val_last={plan.val_last} leaves none of the {plan.init_labels} initial labels to train: lower it"
    )
  held_out = plan.val_size * (size // originals)
  if plan.max_labels + held_out > size:
    raise ValueError(
      f"{plan.init_labels} initial labels + {plan.rounds} rounds of {plan.acq_size}"
      f" + {held_out} for validation = {plan.max_labels + held_out}, but the pool holds {size}"
    )
  check_initial(plan, data)
  if plan.pool_subset is not None and not plan.acq_size <= plan.pool_subset <= size:
    raise ValueError(
      f"pool_subset={plan.pool_subset} must be between acq_size={plan.acq_size} and the pool size, {size}"
    )
  if plan.init_balanced and not plan.initial_ids and plan.init_labels < data.num_classes:
    raise ValueError(
      f"a balanced initial set of {plan.init_labels} labels cannot contain all {data.num_classes} classes:"
      f" give init_labels of at least {data.num_classes} or init_balanced=False"
    )


def check_training(plan: types.Plan) -> None:
  """Raises ValueError if the training plan is invalid."""
  train = plan.train
  if not isinstance(train, types.TrainPlan):
    raise ValueError(f"train must be a TrainPlan, not {describe(train)}: give Plan(..., train=TrainPlan(steps=200))")
  require_integer("batch_size", train.batch_size, least=1)
  lengths = {name: getattr(train, name) for name in ("steps", "epochs", "full_batch")}
  given = [name for name, length in lengths.items() if length is not None]
  if len(given) != 1:
    raise ValueError("give exactly one of steps, epochs and full_batch")
  if train.full_batch is None:
    require_integer(given[0], lengths[given[0]], least=1)
  else:
    _check_full_batch(train)
  if train.first_epochs is not None:
    require_integer("first_epochs", train.first_epochs, least=1)
  require_integer("min_epoch_size", train.min_epoch_size, least=0)
  _require_bools(train, ("warm_start", "keep_optimizer", "drop_last"))
  if train.augment is not None and not callable(train.augment):
    given = describe(train.augment)
    raise ValueError(f"augment is {given}: give a function of a key and a batch, such as al_jax.inputs.Flip()")
  require_hashable("augment", train.augment)
  for name in ("first_epochs", "min_epoch_size", "drop_last"):
    if getattr(train, name) and train.epochs is None:
      raise ValueError(f"{name}={getattr(train, name)} has no effect on a training by {given[0]}: give epochs")
  require_fraction("label_smoothing", train.label_smoothing, "share")
  if train.keep_optimizer and not train.warm_start:
    raise ValueError("keep_optimizer continues the previous round's training: set warm_start too")
  if train.early_stop is None:
    return
  if not plan.val_size:
    raise ValueError("early stopping needs a validation set: give val_size")
  if not isinstance(train.early_stop, types.EarlyStop):
    raise ValueError(f"early_stop is {describe(train.early_stop)}: give an EarlyStop(patience=3, every=50)")
  for name in ("patience", "every", "samples", "first_patience"):
    value = getattr(train.early_stop, name)
    if name != "first_patience" or value is not None:
      require_integer(f"early_stop.{name}", value, least=1)
  for name, value, known in [
    ("metric", train.early_stop.metric, types.STOP_METRICS),
    ("keep", train.early_stop.keep, types.KEPT),
  ]:
    if value not in known:
      raise ValueError(f"unknown {name} of early stopping {value!r}: choose from {', '.join(known)}")


def _check_full_batch(train: types.TrainPlan) -> None:
  """Raises ValueError if the plan of a full-batch training is invalid or has fields of minibatch training."""
  full_batch = train.full_batch
  if not isinstance(full_batch, types.FullBatch):
    raise ValueError(f"full_batch is {describe(full_batch)}: give FullBatch(l2=1.0)")
  for name in ("l2", "tolerance"):
    value = getattr(full_batch, name)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < math.inf:
      raise ValueError(f"{name} of full_batch must be a positive number, not {value!r}")
  require_integer("max_iterations of full_batch", full_batch.max_iterations, least=1)
  for name in ("early_stop", "augment", "label_smoothing", "warm_start"):
    if getattr(train, name):
      raise ValueError(f"{name} is for training on minibatches: leave it out with full_batch")


def check_initial(plan: types.Plan, data: types.Dataset) -> None:
  """Raises ValueError if `initial_ids` cannot be the initial set of this pool."""
  ids, size, originals = plan.initial_ids, data.pool_size, data.num_originals
  if ids is None or (isinstance(ids, tuple) and not ids):
    return
  if not isinstance(ids, tuple):
    raise ValueError(f"initial_ids is {describe(ids)}: give a tuple, which is hashable, such as tuple(map(int, ids))")
  if len(ids) != plan.init_labels:
    raise ValueError(f"{len(ids)} initial ids are given, but init_labels is {plan.init_labels}: give equally many")
  for i in ids:
    if isinstance(i, bool) or not isinstance(i, int | np.integer):
      raise ValueError(f"initial id {i!r} is not an integer")
    if not 0 <= i < size:
      raise ValueError(f"initial id {i} is not in the pool, whose ids are 0 to {size - 1}")
  if len(set(ids)) < len(ids):
    raise ValueError(f"initial id {next(i for i in ids if ids.count(i) > 1)} is given more than once")
  free = originals - len({i % originals for i in ids})
  if plan.val_size > free:
    raise ValueError(f"val_size={plan.val_size}, but the initial ids leave {free} images for validation")


def check_initial_available(data: types.Dataset, plan: types.Plan) -> None:
  """Raises ValueError if an initial id is not available."""
  if data.available is None:
    return
  available = np.asarray(data.available)
  for i in plan.initial_ids or ():
    if not available[i]:
      raise ValueError(f"initial id {i} is not available")
