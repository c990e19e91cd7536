"""Reads features of the rows of a data set: `--features`, which stand in for its inputs, and `--embedding`."""

import dataclasses
from pathlib import Path

import numpy as np

from al_jax import inputs
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.own import Loaded


def apply(text: str, found: Loaded) -> Loaded:
  """The data set with the features that `text` names, unscaled, in place of its inputs. Errors as in `load`."""
  train, test = load("features", text, found)
  data = dataclasses.replace(found.data, inputs=train, test_inputs=test, prepare=inputs.as_they_are)
  return found._replace(data=data, remarks=(*found.remarks, f"features: {train.shape[1]} per row, from {text}"))


def load(flag: str, text: str, found: Loaded, *, tested: bool = True) -> tuple[np.ndarray, np.ndarray]:
  """Features `[N, F]` of the training rows and `[T, F]` of the test rows, float32.

  Args:
    flag: the flag that names the files, for messages.
    text: TRAIN.npy,TEST.npy, or one file that holds all rows: the training rows before the test rows or, for data
      given as a path, one row per row of the source.
    found: the data set.
    tested: whether features of the test rows are needed; if not, one file may hold the training rows alone.

  Raises:
    DataError: a file cannot be read, or does not hold one row of finite numbers per row of the data.
  """
  paths = [Path(word).expanduser() for word in text.split(",")]
  if len(paths) > 2 or not all(word for word in text.split(",")):
    raise DataError(f"--{flag}={text} must be one file, or TRAIN.npy,TEST.npy.")
  names = [f"--{flag}: {path}" for path in paths]
  train, test = _parts([_read(path, name) for path, name in zip(paths, names, strict=True)], names, found, tested)
  if test.size and train.shape[1] != test.shape[1]:
    raise DataError(
      f"--{flag}={text}: training rows have {train.shape[1]} features, but test rows have {test.shape[1]}."
    )
  for part, name in ((train, names[0]), (test, names[-1])):
    finite = np.isfinite(part).all(axis=1)
    if not finite.all():
      raise DataError(f"{name}: row {int((~finite).argmax())} has a value that is not finite in float32.")
  if not train.any():
    raise DataError(f"{names[0]}: all features are 0.")
  return train, test


def _read(path: Path, name: str) -> np.ndarray:
  try:
    found = np.load(path, allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
    raise DataError(f"{name} cannot be read as a .npy file of features ({one_line(error)}).") from error
  if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "fiu" or not found.size:
    given = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else "several arrays"
    raise DataError(f"{name} must hold numbers of shape [N, F], not {given}.")
  with np.errstate(over="ignore"):  # of float64 numbers: reported as not finite
    return found.astype(np.float32)


def _parts(arrays: list[np.ndarray], names: list[str], found: Loaded, tested: bool) -> tuple[np.ndarray, np.ndarray]:
  """The rows of the training set and of the test set."""
  sizes = len(found.data.inputs), len(found.data.test_inputs)
  if len(arrays) == 2:
    for array, name, size, of in zip(arrays, names, sizes, ("training", "test"), strict=True):
      if len(array) != size:
        raise DataError(f"{name} has {len(array):,} rows, but the data set has {size:,} {of} rows: give one per row.")
    return arrays[0], arrays[1]
  (rows,) = arrays
  if found.rows is not None and found.test_rows is not None and found.num_rows is not None:
    if len(rows) != found.num_rows:
      raise DataError(f"{names[0]} has {len(rows):,} rows, but the data have {found.num_rows:,}: give one per row.")
    return rows[found.rows], rows[found.test_rows]
  if len(rows) != sum(sizes) and (tested or len(rows) != sizes[0]):
    raise DataError(
      f"{names[0]} has {len(rows):,} rows, but the data set has {sizes[0]:,} training and {sizes[1]:,} test rows: give"
      " all of them in this order, or TRAIN.npy,TEST.npy."
    )
  return rows[: sizes[0]], rows[sizes[0] :]
