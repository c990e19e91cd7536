"""An initial set that is given, by a file or by name, in place of a draw."""

from collections.abc import Sequence
import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import acquisition
from al_jax import types
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.types import Dataset
from experiments.common.errors import UsageError

CHOOSERS = ("typiclust", "kcenter", "probcover")  # strategies that need no labels
# The 20 images from which every run of Kirsch, van Amersfoort & Gal (2019) starts: indices into MNIST's training
# images in the order of the IDX files, from the authors' code.
BATCHBALD = (
  *(38043, 40091, 17418, 2094, 39879, 3133, 5011, 40683, 54379, 24287),
  *(9849, 59305, 39508, 39356, 8758, 52579, 13655, 7636, 21562, 41329),
)


def read(path: str) -> tuple[int, ...]:
  """The ids in a file, the same for every seed: a JSON list, or numbers with white space or commas between them.

  Whether they are ids of the pool is for `al_jax.checks.check_initial` to say.

  Raises:
    UsageError: the file cannot be read, or holds something else, or nothing.
  """
  try:
    text = Path(path).read_text()
  except (OSError, UnicodeDecodeError) as error:
    raise UsageError(f"--init_file={path} cannot be read: {error}") from error
  try:
    found = json.loads(text)
  except ValueError:
    found = None
  words = found if isinstance(found, list) else text.replace(",", " ").split()
  for word in words:
    if not str(word).isdecimal():
      raise UsageError(f"--init_file={path}: {word!r} is no id; write a list of pool ids, the same for every seed")
  if not words:
    raise UsageError(f"--init_file={path} holds no ids")
  return tuple(int(word) for word in words)


def places_of(wanted: np.ndarray, images: np.ndarray) -> list[int | None]:
  """Where each of the `wanted` `[K, ...]` images stands among `images` `[O, ...]`, by content; None where it does not.

  The first of equals, each place at most once.
  """
  rows, out = images.reshape(len(images), -1), []
  for image in wanted.reshape(len(wanted), -1):
    places = np.flatnonzero(rows[:, image.argmax()] == image.max())
    places = places[(rows[places] == image).all(1)]
    out.append(next((int(place) for place in places if place not in out), None))
  return out


def chosen(name: str, data: Dataset, num: int, seed: int) -> tuple[int, ...]:
  """`num` ids that a strategy chooses where nothing is labeled, best first: by the data's embedding, or the inputs.

  Args:
    name: one of `CHOOSERS`.
    data: the pool; of copies the first.
    num: how many.
    seed: decides the strategy's draws.

  Raises:
    UsageError: `num` rows are not available, or the inputs are tokens.
  """
  size = data.num_originals
  rows = np.asarray(data.embedding if data.embedding is not None else jax.jit(data.prepare)(data.inputs))
  if not np.issubdtype(rows.dtype, np.floating):
    raise UsageError(f"--init={name} compares rows of numbers, and these are tokens: give --embedding")
  candidates = np.ones(size, bool) if data.available is None else np.asarray(data.available)[:size]
  if num > candidates.sum():
    raise UsageError(f"--init={name} is to choose {num} of {candidates.sum()} rows")
  known = {"classes": data.num_classes} if name == "probcover" else {}
  view = types.PoolView(
    labeled=jnp.zeros(size, bool),
    candidates=jnp.asarray(candidates),
    embedding=jnp.asarray(rows.reshape(size, -1), jnp.float32),
  )
  select = jax.jit(acquisition.make(name, **known).select, static_argnames="num")
  return tuple(select(role_key(jax.random.key(seed), Role.INITIAL_SET), view, num=num).tolist())


def resolve(config, loaded: Dataset, data: Dataset):
  """The config with the ids of a named initial set, found by content in the pool, or chosen by a strategy; as it is
  where `--init` names neither.

  Args:
    config: a `Config`.
    loaded: the data set as its source has it.
    data: the data set with the pool that the flags ask for.

  Raises:
    UsageError: the pool lacks one of the images.
    DataError: the data are not those that the set is of.
  """
  if config.init in CHOOSERS:
    return dataclasses.replace(config, init_ids=chosen(config.init, data, config.init_labels, config.pool_seed))
  if config.init != "batchbald":
    return config
  from experiments.data import idx_order

  wanted: Sequence[int] = BATCHBALD
  found = places_of(idx_order.to_idx_order(loaded, config.dataset).inputs[list(wanted)], data.inputs)
  if None in found:
    missing = wanted[found.index(None)]
    raise UsageError(
      f"--init=batchbald: image {missing} of the IDX files is not in this pool: leave out what makes it smaller"
    )
  return dataclasses.replace(config, init_ids=tuple(found))
