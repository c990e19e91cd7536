"""What the synthetic data sets have in common."""

import numpy as np

from al_jax import inputs
from al_jax.types import Dataset
from experiments.data import scaling

_TEST_SHARE = 5  # one row in five


def split(rng: np.random.Generator, points: np.ndarray, labels: np.ndarray) -> Dataset:
  """A data set of `points` `[N, F]` with `labels` `[N]`, shuffled, scaled to 0..1, a fifth of them the test set."""
  order = rng.permutation(len(points))
  points, labels = points[order].astype(np.float32), labels[order].astype(np.int32)
  held = len(points) // _TEST_SHARE
  train, test, _ = scaling.scaled(points[held:], points[:held], "minmax")
  return Dataset(train, labels[held:], test, labels[:held], int(labels.max()) + 1, prepare=inputs.as_they_are)
