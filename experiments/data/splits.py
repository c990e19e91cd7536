"""Train/test splits of protocols."""

import dataclasses

import numpy as np

from al_jax.types import Dataset


def apply(split: str, data: Dataset, name: str) -> Dataset:
  """Applies `--split`: `standard` is the published split, `blog` the split of the blog in `--preset=blog`.

  The blog concatenates training and test images in IDX order and holds out a random 33% as the test set.

  Raises:
    DataError: `blog` is asked for data whose IDX order is not known.
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
