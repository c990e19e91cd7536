"""The pool a study buys from: a part of the training images, copied, with noise, or with features of the user's."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.types import Dataset
from experiments.errors import UsageError
from experiments.flags import Config


def original_ids(config: Config, size: int) -> np.ndarray | None:
  """`[pool_size]` ascending ids, into the `size` training images, of the pool's originals; None where it has all.

  A function of `--pool_seed` alone, so that every seed and every study of that pool draws on the same images.

  Raises:
    UsageError: there are not as many.
  """
  if config.pool_size is None:
    return None
  if config.pool_size > size:
    raise UsageError(f"--pool_size={config.pool_size} is more than the {size} training images of {config.dataset}")
  key = role_key(jax.random.key(config.pool_seed), Role.POOL)
  return np.sort(np.asarray(jax.random.choice(key, size, (config.pool_size,), replace=False)))


def apply(config: Config, data: Dataset) -> Dataset:
  """The data set with the pool that the flags ask for. Id `i` is copy `i // O` of original `i % O` of O.

  Raises:
    UsageError: the pool cannot be made.
  """
  embedding = None if config.embedding is None else load_embedding(Path(config.embedding), len(data.images))
  ids = original_ids(config, len(data.images))
  images, labels = data.images, data.labels
  if ids is not None:
    images, labels = images[ids], labels[ids]
    embedding = None if embedding is None else embedding[ids]
  return dataclasses.replace(
    data,
    images=images,
    labels=np.tile(labels, config.pool_copies),
    embedding=embedding,
    noise=config.pool_noise,
    noise_key=role_key(jax.random.key(config.pool_seed), Role.POOL_NOISE) if config.pool_noise else None,
  )


def load_embedding(path: Path, size: int) -> np.ndarray:
  """`[size, E]` float32 features from a .npy file.

  Raises:
    UsageError: the file cannot be read or does not fit the training images.
  """
  try:
    found = np.load(path, allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
    raise UsageError(f"--embedding={path} cannot be read as a .npy file: {error}") from error
  if not isinstance(found, np.ndarray) or found.ndim != 2 or len(found) != size:
    raise UsageError(
      f"--embedding={path} must be one array of shape [{size}, E], not {getattr(found, 'shape', 'many')}"
    )
  if not np.issubdtype(found.dtype, np.number) or not np.isfinite(found).all():
    raise UsageError(f"--embedding={path} holds values that are not finite numbers")
  return found.astype(np.float32)
