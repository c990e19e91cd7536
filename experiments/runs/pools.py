"""The pool a study buys from: a part of the training images, long-tailed, copied, noisy, with the user's features."""

from collections.abc import Callable
import dataclasses
from pathlib import Path

import jax
import numpy as np

from al_jax import inputs
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.types import Dataset
from experiments.common.errors import UsageError
from experiments.config.resolve import Config
from experiments.data import Loaded


def original_ids(config: Config, data: Dataset) -> np.ndarray | None:
  """`[O]` ascending ids, into the training images, of the pool's originals; None where it has all.

  A function of `--pool_seed` and, for a long-tailed pool, the labels, so that every seed and every study of that pool
  draws on the same images.

  Raises:
    UsageError: there are not as many.
  """
  size = len(data.inputs)
  if config.pool_size is not None and config.pool_size > size:
    raise UsageError(f"--pool_size={config.pool_size} is more than the {size} training images of {config.dataset}")
  if config.imbalance > 1:
    return _long_tailed_ids(config, data)
  if config.pool_size is None:
    return None
  key = role_key(jax.random.key(config.pool_seed), Role.POOL)
  return np.sort(np.asarray(jax.random.choice(key, size, (config.pool_size,), replace=False)))


def _long_tailed_ids(config: Config, data: Dataset) -> np.ndarray:
  """Ascending ids of a pool whose class sizes fall off exponentially, `--imbalance` times from the first to the last.

  The class of rank c has n_max * imbalance^(-c / (C - 1)) images (Cui et al. 2019). Which class has which rank is a
  random permutation, and which of its images stay is a random draw. The sizes add up to `--pool_size`, or without it
  to the most that the classes have images for; what rounding down leaves goes to the largest fractions.

  Raises:
    UsageError: a class has too few images for its size, or none is left of the rarest.
  """
  key_ranks, key_images = jax.random.split(role_key(jax.random.key(config.pool_seed), Role.POOL_IMBALANCE))
  labels, num_classes = np.asarray(data.labels), data.num_classes
  if data.known is not None:
    raise UsageError("--imbalance needs every row's class, and --unlabeled=keep leaves rows without one")
  ranks = np.asarray(jax.random.permutation(key_ranks, num_classes))
  profile = config.imbalance ** (-ranks / (num_classes - 1))
  held = np.bincount(labels, minlength=num_classes)
  most = int((held / profile).min() * profile.sum())
  size = most if config.pool_size is None else config.pool_size
  exact = size * profile / profile.sum()
  sizes = exact.astype(int)
  sizes[np.argsort(sizes - exact, kind="stable")[: size - sizes.sum()]] += 1
  asked = f"--imbalance={config.imbalance:g} of {size} images"
  if (sizes > held).any():
    c = int((sizes - held).argmax())
    raise UsageError(f"{asked} takes {sizes[c]} of class {c}, which has {held[c]}: give --pool_size={most} or less")
  if not sizes.all():
    raise UsageError(f"{asked} leaves none of class {sizes.argmin()}: give a smaller --imbalance or more images")
  shuffled = np.asarray(jax.random.permutation(key_images, len(labels)))
  return np.sort(np.concatenate([shuffled[labels[shuffled] == c][: sizes[c]] for c in range(num_classes)]))


def class_counts(data: Dataset) -> list[int]:
  """The pool's rows of each class, copies included."""
  return np.bincount(data.labels[data.labels >= 0], minlength=data.num_classes).tolist()


def apply(config: Config, data: Dataset, source: Loaded | None = None) -> Dataset:
  """The data set with the pool that the flags ask for. Id `i` is copy `i // O` of original `i % O` of O.

  Of a `source` that is a path an embedding has all rows.

  Raises:
    UsageError: the pool cannot be made.
  """
  embedding = None
  if config.embedding is not None:
    all_rows = source is not None and source.rows is not None
    embedding = load_embedding(Path(config.embedding), source.num_rows if all_rows else len(data.inputs))
    embedding = embedding[source.rows] if all_rows else embedding
  ids = original_ids(config, data)
  images, labels = data.inputs, data.labels
  masks = {name: getattr(data, name) for name in ("known", "available") if getattr(data, name) is not None}
  if ids is not None:
    images, labels, masks = images[ids], labels[ids], {name: mask[ids] for name, mask in masks.items()}
    embedding = None if embedding is None else embedding[ids]
  return dataclasses.replace(
    data,
    inputs=images,
    labels=np.tile(labels, config.pool_copies),
    prepare=_prepare(config, data),
    copies=config.pool_copies,
    embedding=embedding,
    noise=config.pool_noise,
    noise_key=role_key(jax.random.key(config.pool_seed), Role.POOL_NOISE) if config.pool_noise else None,
    **{name: np.tile(mask, config.pool_copies) for name, mask in masks.items()},
  )


def _prepare(config: Config, data: Dataset) -> Callable:
  """Of images the data set's own scale to 0..1, and then the mean and the deviation of the flags."""
  own = data.prepare
  if not isinstance(own, inputs.Images):
    if (config.input_mean, config.input_std) != (0, 1):
      raise UsageError("--input_mean and --input_std are of pixels, and these are numbers or tokens: --scale is theirs")
    return own
  assert isinstance(own.mean, float) and isinstance(own.std, float)
  return inputs.images(mean=own.mean + config.input_mean * own.std, std=own.std * config.input_std)


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
