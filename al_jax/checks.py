"""Whether a run can be carried out: every mistake is refused in one sentence before anything compiles."""

import math

import jax

from al_jax import inference
from al_jax import types


def check(protocol: types.Protocol, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a protocol that cannot be carried out on this pool."""
  size, originals = data.pool_size, data.images.shape[0]
  if data.num_classes < 2:
    raise ValueError(f"num_classes must be at least 2, not {data.num_classes}")
  if size % originals:
    raise ValueError(f"{size} labels are no whole number of copies of {originals} images")
  if data.noise and data.noise_key is None:
    raise ValueError(f"a pool with noise {data.noise} needs a noise_key")
  if data.embedding is not None and data.embedding.shape[0] != originals:
    raise ValueError(f"the embedding has {data.embedding.shape[0]} rows, but there are {originals} images")
  for name in ("init_labels", "acq_size", "batch_size", "chunk_size"):
    if getattr(protocol, name) < 1:
      raise ValueError(f"{name} must be at least 1, not {getattr(protocol, name)}")
  for name in ("rounds", "val_size"):
    if getattr(protocol, name) < 0:
      raise ValueError(f"{name} must not be negative, but is {getattr(protocol, name)}")
  lengths = [length for length in (protocol.train_steps, protocol.epochs) if length is not None]
  if len(lengths) != 1:
    raise ValueError("exactly one of train_steps and epochs must be given")
  if lengths[0] < 1:
    raise ValueError("train_steps or epochs must be at least 1")
  if protocol.epoch_draws < 0 or (protocol.epoch_draws and protocol.epochs is None):
    raise ValueError(f"epoch_draws={protocol.epoch_draws} is the least length of an epoch: give epochs, and 0 or more")
  if protocol.val_size and protocol.val_last:
    raise ValueError("val_size and val_last are two kinds of validation set: give one of them")
  if protocol.early_stop is not None:
    if not protocol.val_size:
      raise ValueError("early stopping looks at a validation set: give val_size")
    least = min(protocol.early_stop[:3])
    if least < 1:
      raise ValueError(f"patience, steps between looks and samples of a look must be at least 1, not {least}")
    if protocol.early_stop.metric not in types.STOP_METRICS:
      known = ", ".join(types.STOP_METRICS)
      raise ValueError(f"unknown metric of early stopping {protocol.early_stop.metric!r}; choose from {known}")
  if protocol.score_dtype not in types.SCORE_DTYPES:
    raise ValueError(f"unknown score_dtype {protocol.score_dtype!r}; choose from {', '.join(types.SCORE_DTYPES)}")
  if not 0 <= protocol.val_last < 1:
    raise ValueError(f"val_last is a share of the labeled rows in [0, 1), not {protocol.val_last}")
  if math.floor(protocol.init_labels * (1 - protocol.val_last)) < 1:
    raise ValueError(f"val_last={protocol.val_last} leaves none of the {protocol.init_labels} initial labels to train")
  held_out = protocol.val_size * (size // originals)
  if protocol.max_labels + held_out > size:
    raise ValueError(
      f"{protocol.init_labels} initial labels + {protocol.rounds} rounds of {protocol.acq_size}"
      f" + {held_out} for validation = {protocol.max_labels + held_out}, but the pool holds {size}"
    )
  check_initial(protocol, data)
  if protocol.pool_subset is not None and not protocol.acq_size <= protocol.pool_subset <= size:
    raise ValueError(
      f"pool_subset={protocol.pool_subset} must lie between acq_size, {protocol.acq_size}, and the pool's {size} images"
    )
  if protocol.init_balanced and not protocol.initial_ids and protocol.init_labels < data.num_classes:
    raise ValueError(
      f"a balanced initial set of {protocol.init_labels} labels cannot hold all {data.num_classes} classes;"
      f" ask for at least {data.num_classes} or for a random initial set"
    )


def check_initial(protocol: types.Protocol, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for given initial ids that cannot be this pool's initial set."""
  ids, size, originals = protocol.initial_ids, data.pool_size, data.images.shape[0]
  if not ids:
    return
  if len(ids) != protocol.init_labels:
    raise ValueError(f"{len(ids)} initial ids are given, but init_labels is {protocol.init_labels}")
  for i in ids:
    if not 0 <= i < size:
      raise ValueError(f"initial id {i} is not in the pool, whose ids are 0 to {size - 1}")
  if len(set(ids)) < len(ids):
    raise ValueError(f"initial id {next(i for i in ids if ids.count(i) > 1)} is given more than once")
  free = originals - len({i % originals for i in ids})
  if protocol.val_size > free:
    raise ValueError(f"val_size={protocol.val_size}, but the initial ids leave {free} images for validation")


def check_learner(learner: types.Learner, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a learner whose parts do not fit together or not this pool."""
  check(learner.protocol, data)
  if not isinstance(learner.label_noise, jax.Array) and not 0 <= learner.label_noise < 1:
    raise ValueError(f"label_noise is a probability in [0, 1), not {learner.label_noise}")
  acquisition, posterior, evaluated = learner.acquisition, learner.posterior, learner.eval_posterior
  if acquisition is not None:
    if unknown := acquisition.needs - set(types.NEEDS):
      raise ValueError(f"unknown need {sorted(unknown)[0]!r} of an acquisition; choose from {', '.join(types.NEEDS)}")
    if acquisition.needs & {"posterior", "joint"} and posterior.samples < 2:
      raise ValueError(
        "this acquisition compares posterior samples and has one: choose a dropout or ensemble posterior of 2 or more"
      )
    if "joint" in acquisition.needs and posterior.kind == "dropout" and posterior.per_example:
      raise ValueError(
        "this acquisition compares predictions of several images under one sample, which per-example dropout masks do"
        " not give: choose consistent ones"
      )
    if acquisition.targets > data.pool_size:
      raise ValueError(f"{acquisition.targets} targets are more than the pool's {data.pool_size} images")
  if evaluated.kind == "ensemble" and evaluated != posterior:
    raise ValueError("an ensemble can be evaluated only where it is the acquisition's posterior")
  name = type(learner.model).__name__
  try:
    samples_differ = inference.samples_differ(learner.model, data)
  except (TypeError, ValueError, ZeroDivisionError) as error:
    shape = " x ".join(str(size) for size in data.images.shape[1:])
    raise ValueError(f"{name} cannot take images of {shape}: {str(error).splitlines()[0]}") from error
  early_stop = learner.protocol.early_stop
  looks_by_dropout = early_stop is not None and early_stop.samples > 1
  if (looks_by_dropout or "dropout" in (posterior.kind, evaluated.kind)) and not samples_differ:
    raise ValueError(f"MC dropout needs a network with dropout, and {name} drops nothing: its samples would all agree")


def check_key(key: jax.Array, learner: types.Learner, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a kind of key whose draws would not be what they are taken for."""
  kinds = {str(jax.random.key_impl(k)) for k in (key, data.noise_key) if k is not None}
  if "unsafe_rbg" in kinds:
    raise ValueError("keys of unsafe_rbg are not independent by role: use threefry2x32 or rbg")
  posteriors = learner.posterior, learner.eval_posterior
  by_id = data.noise or any(p.kind == "dropout" and p.per_example for p in posteriors)
  if "rbg" in kinds and (by_id or any(p.kind == "ensemble" for p in posteriors)):
    raise ValueError(
      "keys of rbg give no image (noise, per-example masks) and no network (ensembles) draws of its own where several"
      " are drawn together: use threefry2x32"
    )


def check_packing(key: jax.Array, pack: str) -> None:
  """Raises ValueError, in one sentence, for a kind of key by which packed runs would not draw as each does alone."""
  if pack == "vmap" and str(jax.random.key_impl(key)) == "rbg":
    raise ValueError("runs packed by vmap would share their draws under keys of rbg: pack by map, or use threefry2x32")
