"""What an encoder is given and returns, and the rows that several encoders read."""

from collections.abc import Mapping
import math
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np

from al_jax import inputs
from al_jax.types import Dataset
from experiments.common.console import Display
from experiments.common.errors import UsageError


class Task(NamedTuple):
  """The features that a command asks for."""

  data: Dataset  # all training and test rows as stored; `prepare` scales them
  fit_ids: np.ndarray | None  # ids of the training rows that are the pool, on which an encoder is fitted; None: all
  settings: Mapping[str, Any]  # the flags of the method by name
  identity: Mapping[str, Any]  # JSON: all that determines the features; unfinished work of another one is not continued
  part: Path  # file or folder for unfinished work; the program deletes it when it has written the features
  overwrite: bool  # whether unfinished work of another identity may be deleted
  display: Display


class Encoded(NamedTuple):
  """Features, one row per row of the data, in its order."""

  train: np.ndarray  # `[N, F]` float32
  test: np.ndarray  # `[M, F]` float32
  facts: dict[str, Any]  # JSON: what a reader needs to know about the encoder


def flat_rows(data: Dataset, chunk_size: int = 1000) -> tuple[np.ndarray, np.ndarray]:
  """The prepared rows of both sets, flattened: `[N, D]` and `[M, D]` float32.

  Raises:
    UsageError: the rows are tokens.
  """
  if data.prepare is inputs.as_they_are and data.inputs.dtype.kind in "iu":
    raise UsageError("these rows are tokens, whose numbers have no distances: give --scale if they are numbers")

  def flat(rows: np.ndarray) -> np.ndarray:
    out = np.empty((len(rows), math.prod(rows.shape[1:])), np.float32)
    for start in range(0, len(rows), chunk_size):
      batch = inputs.prepared(data, rows[start : start + chunk_size])
      out[start : start + chunk_size] = np.asarray(batch).reshape(-1, out.shape[1])
    return out

  return flat(data.inputs), flat(data.test_inputs)
