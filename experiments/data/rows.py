"""The interface of sources given as a path: rows with labels, read into arrays after the test set is chosen."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Progress = Callable[[str], None]  # called with a description of the current activity


class Options(NamedTuple):
  """How a path is read; each field is the flag of the same name."""

  image_size: tuple[int, int] | None = None  # (height, width)
  scale: str | None = None
  label_column: str | None = None
  ignore_columns: tuple[str, ...] = ()
  missing: str = "median"
  test_size: float = 0.2
  test_rows: str | None = None
  test_seed: int = 0
  unlabeled: str = "refuse"


class Read(NamedTuple):
  """The inputs of pool and test set as arrays."""

  inputs: np.ndarray  # `[P, ...]`: the pool's
  test_inputs: np.ndarray  # `[T, ...]`: the test set's
  prepare: Callable  # as `Dataset.prepare`
  remarks: Sequence[str] = ()
  unreadable: Sequence[int] = ()  # rows that could not be read, by index in the source


class Rows(NamedTuple):
  """The rows of a source. Rows of an included test set come last."""

  labels: np.ndarray  # `[N]` of any type
  labels_in: str  # what holds them, for messages
  read: Callable[[np.ndarray, np.ndarray], Read]  # (pool rows `[P]`, test rows `[T]`), ascending
  num_test: int | None  # rows of the source's own test set; None if it has none
  names: Sequence[str] | None = None  # `[N]` names of the rows; None if they have none
  cacheable: bool = False  # whether to cache the arrays: decoded images
  key: str = ""  # what the arrays depend on besides the files
