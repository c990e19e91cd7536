"""Reads frozen features, which stand in for the inputs of a data set."""

import dataclasses
from pathlib import Path

import numpy as np

from al_jax import inputs
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.own import Loaded


def apply(text: str, found: Loaded) -> Loaded:
  """The data set with features, as float32 and unscaled, in place of its inputs.

  Args:
    text: TRAIN.npy,TEST.npy, or one file that holds all rows: the training rows before the test rows or, for data
      given as a path, one row per row of the source.
    found: the data set.

  Raises:
    DataError: a file cannot be read, or does not hold one row of finite numbers per row of the data.
  """
  paths = [Path(word).expanduser() for word in text.split(",")]
  if len(paths) > 2 or not all(word for word in text.split(",")):
    raise DataError(f"--features={text} must be one file, or TRAIN.npy,TEST.npy.")
  with np.errstate(over="ignore"):  # of float64 numbers: the check below reports them
    arrays = [read(path).astype(np.float32) for path in paths]
  train, test = _parts(arrays, paths, found)
  if train.shape[1] != test.shape[1]:
    raise DataError(
      f"--features={text}: training rows have {train.shape[1]} features, but test rows have {test.shape[1]}."
    )
  for part, path in ((train, paths[0]), (test, paths[-1])):
    finite = np.isfinite(part).all(axis=1)
    if not finite.all():
      raise DataError(f"{path}: row {int((~finite).argmax())} has a value that is not finite in float32.")
  if not train.any():
    raise DataError(f"{paths[0]}: all features are 0.")
  data = dataclasses.replace(found.data, inputs=train, test_inputs=test, prepare=inputs.as_they_are)
  return found._replace(data=data, remarks=(*found.remarks, f"features: {train.shape[1]} per row, from {text}"))


def read(path: Path) -> np.ndarray:
  """An array `[N, F]` of floats from a .npy file.

  Raises:
    DataError: it cannot be read, or is not such an array.
  """
  try:
    found = np.load(path, allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
    raise DataError(f"{path} cannot be read as a .npy file of features ({one_line(error)}).") from error
  if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind != "f" or not found.size:
    given = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else "several arrays"
    raise DataError(f"{path} must hold floats of shape [N, F], not {given}.")
  return found


def _parts(arrays: list[np.ndarray], paths: list[Path], found: Loaded) -> tuple[np.ndarray, np.ndarray]:
  """The rows of the pool and of the test set."""
  sizes = len(found.data.inputs), len(found.data.test_inputs)
  if len(arrays) == 2:
    for array, path, size, of in zip(arrays, paths, sizes, ("training", "test"), strict=True):
      if len(array) != size:
        raise DataError(f"{path} has {len(array):,} rows, but the data set has {size:,} {of} rows: give one per row.")
    return arrays[0], arrays[1]
  (rows,) = arrays
  if found.rows is not None and found.test_rows is not None and found.num_rows is not None:
    if len(rows) != found.num_rows:
      raise DataError(f"{paths[0]} has {len(rows):,} rows, but the data have {found.num_rows:,}: give one per row.")
    return rows[found.rows], rows[found.test_rows]
  if len(rows) != sum(sizes):
    raise DataError(
      f"{paths[0]} has {len(rows):,} rows, but the data set has {sizes[0]:,} training and {sizes[1]:,} test rows: give"
      " all of them in this order, or TRAIN.npy,TEST.npy."
    )
  return rows[: sizes[0]], rows[sizes[0] :]
