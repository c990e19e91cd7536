"""What a source of one's own gives: rows with labels of any kind, read into arrays once a test set is split off."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Progress = Callable[[str], None]  # told what is being done


class Options(NamedTuple):
  """The flags that say how a path is read; each is the flag of its name."""

  image_size: tuple[int, int] | None = None  # height and width
  scale: str | None = None
  label_column: str | None = None
  ignore_columns: tuple[str, ...] = ()
  missing: str = "median"
  test_size: float = 0.2
  test_rows: str | None = None
  test_seed: int = 0
  unlabeled: str = "refuse"


class Read(NamedTuple):
  """Rows as arrays."""

  inputs: np.ndarray  # `[P, ...]` of the pool
  test_inputs: np.ndarray  # `[T, ...]`
  prepare: Callable  # as `Dataset.prepare`
  remarks: Sequence[str] = ()
  unreadable: Sequence[int] = ()  # rows that are not to be used


class Rows(NamedTuple):
  """What a source holds; those of the test set that it brings come last."""

  labels: np.ndarray  # `[N]` of any kind
  labels_in: str  # what holds them, for a sentence
  read: Callable[[np.ndarray, np.ndarray], Read]  # (pool rows `[P]`, test rows `[T]`), ascending
  num_test: int | None  # rows of the test set that the source brings; None where it brings none
  names: Sequence[str] | None = None  # `[N]` what people call a row; None: its number
  kept: bool = False  # whether the arrays are images, and worth a place in the cache
