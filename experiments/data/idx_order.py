"""Restores the order of the IDX files, to which published indices refer.

tensorflow-datasets sorts a split by the MD5 of the split's name followed by the index of the example. This module
inverts that order and accepts the result only if it has the published checksums.
"""

import dataclasses
import hashlib

import numpy as np

from al_jax.types import Dataset
from experiments.data import idx
from experiments.data.errors import DataError
from experiments.data.names import PUBLISHED_MD5


def shuffled_order(split: str, num: int) -> np.ndarray:
  """The IDX index of each example of a split as tensorflow-datasets stores it, `[num]` int64."""
  salt = hashlib.md5(split.encode(), usedforsecurity=False)

  def key(i: int) -> bytes:
    digest = salt.copy()
    digest.update(str(i).encode())
    return digest.digest()

  return np.array(sorted(range(num), key=key), np.int64)


def to_idx_order(dataset: Dataset, name: str) -> Dataset:
  """Puts `mnist` or `fashion_mnist` into the order of the IDX files, whatever the source.

  Args:
    dataset: the complete data set, NumPy arrays, images `[N, H, W, 1]` uint8 and labels `[N]`.
    name: `mnist` or `fashion_mnist`.

  Returns:
    The same examples in IDX order; `dataset` itself if it is in that order already.

  Raises:
    DataError: another name, or examples that match the published checksums in no known order.
  """
  base = name.partition(":")[0]
  if base not in PUBLISHED_MD5:
    raise DataError(f"The IDX order is known for {' and '.join(PUBLISHED_MD5)} only, not for {name!r}.")
  published = PUBLISHED_MD5[base]
  train = _restore(dataset.inputs, dataset.labels, "train", published["train-images"], published["train-labels"])
  test = _restore(dataset.test_inputs, dataset.test_labels, "test", published["t10k-images"], published["t10k-labels"])
  for split, restored in (("train", train), ("test", test)):
    if restored is None:
      raise DataError(f"The {split} examples given as {name} match its published IDX files in no known order.")
  if train[0] is dataset.inputs and test[0] is dataset.test_inputs:
    return dataset
  return dataclasses.replace(dataset, inputs=train[0], labels=train[1], test_inputs=test[0], test_labels=test[1])


def _restore(images, labels, split: str, images_md5: str, labels_md5: str):
  """`(images, labels)` in the order that has these checksums (the arguments themselves if they have it), or None."""
  if len(images) != len(labels):
    return None
  if idx.md5(images) == images_md5 and idx.md5(labels) == labels_md5:
    return images, labels
  back = np.argsort(shuffled_order(split, len(images)))
  images, labels = np.asarray(images)[back], np.asarray(labels)[back]
  if idx.md5(images) == images_md5 and idx.md5(labels) == labels_md5:
    return images, labels
  return None
