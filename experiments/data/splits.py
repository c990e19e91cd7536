"""Train / test splits that a protocol asks for."""

import dataclasses

import numpy as np

from al_jax.types import Dataset


def apply(split: str, data: Dataset, name: str) -> Dataset:
  """The data set under a split of `--split`: `standard` as published, `blog` as the blog of `--preset=blog` split it.

  The blog concatenates training and test images in IDX order and keeps a random third for testing.

  Raises:
    DataError: the split needs the IDX order and the data cannot be brought into it.
  """
  if split == "standard":
    return data
  from sklearn.model_selection import train_test_split

  from experiments.data import idx_order
  from experiments.data import names

  data = idx_order.to_idx_order(data, names.parse(name).dataset)
  images = np.concatenate([data.inputs, data.test_inputs])
  labels = np.concatenate([data.labels, data.test_labels])
  train, test = train_test_split(np.arange(len(labels)), test_size=0.33, random_state=42)
  return dataclasses.replace(
    data, inputs=images[train], labels=labels[train], test_inputs=images[test], test_labels=labels[test]
  )
