"""The plan and the data of `--suite=heads`, the same for every side.

Imports no JAX, so that the memory of the other sides does not contain it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

SIDES = {
  "jax": "JAX",
  "sklearn": "scikit-learn",
  "torch": "PyTorch tensors",
  "loader": "PyTorch DataLoader",
}  # the names of the sides in flags and in tables
STRATEGIES = ("entropy", "margin")
PER_CLASS, ACQ_SIZE = 2, 10  # labels of each class in the initial set, and acquired per round


class Plan(NamedTuple):
  """The plan of a run, the same on every side; a run trains `rounds + 1` heads."""

  rounds: int  # acquisitions of `ACQ_SIZE` rows
  epochs: int  # of a training by SGD
  batch_size: int  # of a training by SGD
  chunk_size: int  # rows per forward pass of scoring


class Data(NamedTuple):
  """Features standardized on the pool, labels, and the initial set of each seed."""

  features: np.ndarray  # `[P, F]` float32
  labels: np.ndarray  # `[P]` int32
  test_features: np.ndarray  # `[T, F]` float32
  test_labels: np.ndarray  # `[T]` int32
  initial: np.ndarray  # `[S, PER_CLASS * C]` int32: ids; those that `al_jax` draws with the key of the seed

  @property
  def num_classes(self) -> int:
    """Classes of the pool's labels, which are 0 to C - 1."""
    return int(self.labels.max()) + 1


def save(data: Data, path: Path) -> None:
  """Writes the data to a file that `read` reads in another process."""
  np.savez(path, **data._asdict())


def read(path: Path) -> Data:
  """Reads a file that `save` wrote."""
  with np.load(path) as file:
    return Data(*(file[name] for name in Data._fields))
