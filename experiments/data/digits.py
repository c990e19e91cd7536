"""The handwritten digits bundled with scikit-learn: real 8x8 images, no download."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from al_jax import inputs
from al_jax.types import Dataset

_NUM_TEST = 500


def load() -> Dataset:
  """Loads the 1,797 digits in a fixed split of 1,297 pool and 500 test images, stratified by class.

  Returns:
    Images `[1297, 8, 8, 1]` and `[500, 8, 8, 1]` uint8 with values 0..16, labels int32, 10 classes;
    `prepare` divides the pixels by 16.

  References:
    E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998).
  """
  bunch = load_digits()
  images = bunch.images.astype(np.uint8)[..., None]
  labels = bunch.target.astype(np.int32)
  train, test = train_test_split(np.arange(len(labels)), test_size=_NUM_TEST, stratify=labels, random_state=0)
  return Dataset(
    images[train], labels[train], images[test], labels[test], num_classes=10, prepare=inputs.images(std=16)
  )
