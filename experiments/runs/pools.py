"""The pool of a study: a subset of the training images, long-tailed, copied, with noise or with an embedding."""

from collections.abc import Callable
import dataclasses

import jax
import numpy as np

from al_jax import inputs
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.types import Dataset
from experiments.common.errors import UsageError
from experiments.config.resolve import Config
from experiments.data import Loaded
from experiments.data import features
from experiments.data import scaling


def original_ids(config: Config, data: Dataset) -> np.ndarray | None:
  """`[O]` ascending ids of the training images that are the pool's originals; None if it has all of them.

  Depends only on `--pool_seed` and, for a long-tailed pool, on the labels: every seed and every study of the pool uses
  the same images.

  Raises:
    UsageError: there are too few training images.
  """
  size = len(data.inputs)
  if config.pool_size is not None and config.pool_size > size:
    raise UsageError(f"--pool_size={config.pool_size} exceeds the {size} training images of {config.dataset}")
  if config.imbalance > 1:
    return _long_tailed_ids(config, data)
  if config.pool_size is None:
    return None
  key = role_key(jax.random.key(config.pool_seed), Role.POOL)
  return np.sort(np.asarray(jax.random.choice(key, size, (config.pool_size,), replace=False)))


def _long_tailed_ids(config: Config, data: Dataset) -> np.ndarray:
  """Ascending ids of a pool whose class sizes decay exponentially; the first is `--imbalance` times the last.

  The class of rank c has n_max * imbalance^(-c / (C - 1)) images (Cui et al. 2019). The ranks of the classes are a
  random permutation, and the images that a class keeps are a random draw. The sizes add up to `--pool_size`, or without
  it to the largest pool that the classes have images for. Sizes are rounded down; the remainder goes to the largest
  fractions.

  Raises:
    UsageError: a class has too few images for its size, or the rarest class is left with none.
  """
  key_ranks, key_images = jax.random.split(role_key(jax.random.key(config.pool_seed), Role.POOL_IMBALANCE))
  labels, num_classes = np.asarray(data.labels), data.num_classes
  if data.known is not None:
    raise UsageError(
      "--imbalance needs the class of every row, and --unlabeled=keep keeps rows without one: leave one of them out"
    )
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
    raise UsageError(f"{asked} needs {sizes[c]} of class {c}, which has {held[c]}: give --pool_size={most} or less")
  if not sizes.all():
    raise UsageError(f"{asked} leaves no image of class {sizes.argmin()}: give a smaller --imbalance or a larger pool")
  shuffled = np.asarray(jax.random.permutation(key_images, len(labels)))
  return np.sort(np.concatenate([shuffled[labels[shuffled] == c][: sizes[c]] for c in range(num_classes)]))


def class_counts(data: Dataset) -> list[int]:
  """The pool's rows of each class, copies included."""
  return np.bincount(data.labels[data.labels >= 0], minlength=data.num_classes).tolist()


def apply(config: Config, data: Dataset, source: Loaded | None = None) -> Dataset:
  """The data set with the pool that the flags describe. Id `i` is copy `i // O` of original `i % O` of O originals.

  Features (`--features`) are scaled on the pool.

  Raises:
    UsageError: the pool cannot be built.
    DataError: `--embedding` does not fit (`data.features.load`).
  """
  embedding = None
  if config.embedding is not None:
    embedding, _ = features.load("embedding", config.embedding, source or Loaded(data), tested=False)
  ids = original_ids(config, data)
  images, labels = data.inputs, data.labels
  masks = {name: getattr(data, name) for name in ("known", "available") if getattr(data, name) is not None}
  if ids is not None:
    images, labels, masks = images[ids], labels[ids], {name: mask[ids] for name, mask in masks.items()}
    embedding = None if embedding is None else embedding[ids]
  tests = data.test_inputs
  if config.features is not None:
    images, tests, _ = scaling.scaled(images, tests, config.scale or "standard")
    images, tests = (_stored(part, config.features_dtype) for part in (images, tests))
  return dataclasses.replace(
    data,
    inputs=images,
    test_inputs=tests,
    labels=np.tile(labels, config.pool_copies),
    prepare=_prepare(config, data),
    copies=config.pool_copies,
    embedding=embedding,
    noise=config.pool_noise,
    noise_key=role_key(jax.random.key(config.pool_seed), Role.POOL_NOISE) if config.pool_noise else None,
    **{name: np.tile(mask, config.pool_copies) for name, mask in masks.items()},
  )


def _stored(scaled: np.ndarray, dtype: str) -> np.ndarray:
  """Scaled features as `dtype`. Raises UsageError if it cannot hold them."""
  with np.errstate(over="ignore"):
    stored = scaled.astype(dtype)
  if not np.isfinite(stored).all():
    raise UsageError(
      f"--features_dtype={dtype} cannot hold the scaled feature {np.abs(scaled).max():g}: use float32 or a --scale"
    )
  return stored


def scaled(config: Config, data: Dataset) -> Dataset:
  """The data set with the scaling that the flags describe, and all its rows.

  Raises:
    UsageError: the flags scale images, and the rows are not images.
  """
  return dataclasses.replace(data, prepare=_prepare(config, data))


def _prepare(config: Config, data: Dataset) -> Callable:
  """For images: scales to 0..1 as the data set does, then standardizes by `--input_mean` and `--input_std`."""
  own = data.prepare
  if not isinstance(own, inputs.Images):
    if (config.input_mean, config.input_std) != (0, 1):
      raise UsageError(
        "--input_mean and --input_std apply to images, and these data are numbers or tokens: leave them out"
      )
    return own
  assert isinstance(own.mean, float) and isinstance(own.std, float)
  return inputs.images(mean=own.mean + config.input_mean * own.std, std=own.std * config.input_std)
