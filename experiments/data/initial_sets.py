"""Initial sets that are not drawn at random: from a file, from a publication, or chosen by a strategy."""

from collections.abc import Sequence
import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import acquisition
from al_jax import inputs
from al_jax import types
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.types import Dataset
from experiments.common.errors import UsageError

CHOOSERS = ("typiclust", "kcenter", "probcover", "maxherding")  # acquisitions that need no labels
# The 20 images from which every run of Kirsch, van Amersfoort & Gal (2019) starts: indices into MNIST's training
# images in the order of the IDX files, from the authors' code.
BATCHBALD = (
  *(38043, 40091, 17418, 2094, 39879, 3133, 5011, 40683, 54379, 24287),
  *(9849, 59305, 39508, 39356, 8758, 52579, 13655, 7636, 21562, 41329),
)


def read(path: str) -> tuple[int, ...]:
  """Reads the ids in a file: a JSON list, or numbers separated by white space or commas.

  `al_jax.checks.check_initial` checks later that they are ids of the pool.

  Raises:
    UsageError: the file cannot be read, is empty, or holds anything other than ids.
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
      raise UsageError(
        f"--init_file={path}: {word!r} is not an id: write one list of pool ids, the same for every seed"
      )
  if not words:
    raise UsageError(f"--init_file={path} holds no ids")
  return tuple(int(word) for word in words)


def find_images(wanted: np.ndarray, images: np.ndarray) -> list[int | None]:
  """Finds the index of each `wanted` image `[K, ...]` among `images` `[O, ...]` by content; None if it is not there.

  Among equal images, the first that is not taken yet.
  """
  rows, out = images.reshape(len(images), -1), []
  for image in wanted.reshape(len(wanted), -1):
    places = np.flatnonzero(rows[:, image.argmax()] == image.max())
    places = places[(rows[places] == image).all(1)]
    out.append(next((int(place) for place in places if place not in out), None))
  return out


def select_ids(name: str, data: Dataset, num: int, seed: int) -> tuple[int, ...]:
  """Chooses `num` ids by a strategy that needs no labels, best first, from the data's embedding or else its inputs.

  Args:
    name: one of `CHOOSERS`.
    data: the pool; only first copies are candidates.
    num: number of ids.
    seed: seed of the strategy's random draws.

  Raises:
    UsageError: fewer than `num` rows are available, or the inputs are tokens.
  """
  size = data.num_originals
  rows = np.asarray(
    data.embedding if data.embedding is not None else jax.jit(data.prepare or inputs.as_they_are)(data.inputs)
  )
  if not np.issubdtype(rows.dtype, np.floating):
    raise UsageError(f"--init={name} compares numeric rows, but these are tokens: give --embedding")
  candidates = np.ones(size, bool) if data.available is None else np.asarray(data.available)[:size]
  if num > candidates.sum():
    raise UsageError(
      f"--init={name} cannot choose {num} of {candidates.sum()} available rows: give fewer --init_labels"
    )
  hyper = {"classes": data.num_classes} if name == "probcover" else {}
  view = types.PoolView(
    labeled=jnp.zeros(size, bool),
    candidates=jnp.asarray(candidates),
    embedding=jnp.asarray(rows.reshape(size, -1), jnp.float32),
  )
  select = jax.jit(acquisition.make(name, **hyper).select, static_argnames="num")
  return tuple(select(role_key(jax.random.key(seed), Role.INITIAL_SET), view, num=num).tolist())


def resolve(config, loaded: Dataset, data: Dataset):
  """Fills in the ids of `--init=batchbald` (found by content) or of a strategy; other configs are returned unchanged.

  Args:
    config: a `Config`.
    loaded: the data set in the order of its source.
    data: the data set with the pool of the flags.

  Raises:
    UsageError: the pool lacks one of the images, or as `select_ids` raises.
    DataError: the data are not those that the initial set refers to.
  """
  if config.init in CHOOSERS:
    return dataclasses.replace(config, init_ids=select_ids(config.init, data, config.init_labels, config.pool_seed))
  if config.init != "batchbald":
    return config
  from experiments.data import idx_order

  wanted: Sequence[int] = BATCHBALD
  found = find_images(idx_order.to_idx_order(loaded, config.dataset).inputs[list(wanted)], data.inputs)
  if None in found:
    missing = wanted[found.index(None)]
    raise UsageError(
      f"--init=batchbald: image {missing} of the IDX files is not in this pool: omit the flags that shrink the pool"
    )
  return dataclasses.replace(config, init_ids=tuple(found))
