"""Reads arrays: an .npz file with x and y, or a pair of .npy files."""

import math
from pathlib import Path
import zipfile

import numpy as np

from al_jax import inputs
from experiments.data import scaling
from experiments.data.errors import DAMAGE
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.rows import Options
from experiments.data.rows import Read
from experiments.data.rows import Rows

_NAMES = (("x", "x_train"), ("y", "y_train"), ("x_test",), ("y_test",))


def rows(path: Path, options: Options) -> Rows:
  """Reads an .npz file with arrays x, y and optionally x_test, y_test; or `x.npy` with `y.npy` in the same folder.

  Raises:
    DataError: the file is damaged, lacks an array, or has arrays that do not match.
  """
  x, y, x_test, y_test = _from_npz(path) if path.suffix.lower() == ".npz" else _from_pair(path)
  for name, array, labels in (("x", x, y), ("x_test", x_test, y_test)):
    if array is None and labels is None:
      continue
    if array is None:
      raise DataError(f"{path} has labels y_test but no x_test: give both or neither.")
    if not 2 <= array.ndim <= 4 or array.dtype.kind not in "fiub" or not math.prod(array.shape[1:]):
      raise DataError(
        f"{path}: {name} is {array.dtype} of shape {array.shape}: give numbers, [N, F], [N, H, W] or [N, H, W, C]."
      )
    if name == "x" and not len(array):
      raise DataError(f"{path}: x has no rows.")
    if labels is None or labels.ndim == 0 or len(labels) != len(array):
      held = "no labels" if labels is None else f"{labels.size:,} labels"
      raise DataError(f"{path}: {name} has {len(array):,} rows but {held}: give one label per row.")
    finite = np.isfinite(array).reshape(len(array), math.prod(array.shape[1:])).all(axis=1)
    if not finite.all():
      raise DataError(
        f"{path}: row {int((~finite).argmax())} of {name} has a value that is not finite: replace it or drop the row."
      )
  if x_test is not None and (x_test.shape[1:] != x.shape[1:] or x_test.dtype != x.dtype):
    raise DataError(
      f"{path}: rows of x are {x.dtype} {x.shape[1:]}, but rows of x_test are {x_test.dtype} {x_test.shape[1:]}:"
      " make them alike."
    )
  _check_scale(path, x, options.scale)
  whole = lambda array: array[..., None] if array.ndim == 3 else array

  def read(pool: np.ndarray, test: np.ndarray) -> Read:
    both = (x[pool], x[test]) if x_test is None else (x[pool], x_test[test - len(x)])
    return _interpret(*map(whole, both), options.scale)

  flat = lambda labels: labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
  labels = [flat(own) for own in (y, y_test) if own is not None]
  if labels[-1].ndim != labels[0].ndim:
    raise DataError(f"{path}: y has shape {y.shape} but y_test has {y_test.shape}: make them alike.")
  labels = np.concatenate(labels)
  return Rows(labels, f"y of {path}", read, None if y_test is None else len(y_test))


def _check_scale(path: Path, x: np.ndarray, scale: str | None) -> None:
  if x.ndim > 2 and x.dtype.kind in "iu" and x.dtype != np.uint8 and scaling.divisor(scale) is None:
    raise DataError(
      f"{path}: x holds {x.dtype} images, whose value for white is unknown: give it as a divisor, such as --scale=4095."
    )


def _interpret(x: np.ndarray, x_test: np.ndarray, scale: str | None) -> Read:
  """Interprets the arrays as images, features or tokens, and scales them."""
  white, whole = scaling.divisor(scale), x.dtype.kind in "iu"
  if x.dtype.kind == "b":
    x, x_test, whole = x.astype(np.float32), x_test.astype(np.float32), False
  if x.ndim > 2 and whole:
    white = white or 255.0
    return Read(x, x_test, inputs.images(std=white), [f"images of {x.shape[1]} x {x.shape[2]}, divided by {white:g}"])
  if whole and x.dtype == np.uint8 and scale is None:
    return Read(x, x_test, inputs.images(std=255), [f"rows of {x.shape[1]} bytes, divided by 255"])
  if whole and scale is None:
    for part in (x, x_test):
      if part.size and not 0 <= part.min() <= part.max() < 2**31:
        odd = part.min() if part.min() < 0 else part.max()
        raise DataError(
          f"token {odd} is not from 0 to {2**31 - 1}: use --scale=standard if x holds numbers, not tokens."
        )
    tokens = x.astype(np.int32), x_test.astype(np.int32)
    return Read(*tokens, inputs.as_they_are, [f"rows of {x.shape[1]} tokens; use --scale=standard if they are numbers"])
  what = f"rows of {x.shape[1]} numbers" if x.ndim == 2 else f"images of {x.shape[1]} x {x.shape[2]}"
  if (x.dtype.kind == "f" and x.dtype.itemsize > 4) or whole:
    x, x_test = x.astype(np.float32), x_test.astype(np.float32)
  x, x_test, remark = scaling.scaled(x, x_test, scale or ("standard" if x.ndim == 2 else "none"))
  return Read(x, x_test, inputs.as_they_are, [f"{what}, {remark}"])


def _from_npz(path: Path) -> list[np.ndarray | None]:
  if not zipfile.is_zipfile(path):
    raise DataError(f"{path} cannot be read as .npz: it is not an archive of arrays.")
  try:
    with np.load(path, allow_pickle=False) as file:
      keys = [next((name for name in names if name in file.files), None) for names in _NAMES]
      if keys[0] is None or keys[1] is None:
        raise DataError(f"{path} has the arrays {', '.join(file.files) or 'none'}: name the inputs x and the labels y.")
      return [None if key is None else file[key] for key in keys]
  except DataError:
    raise
  except DAMAGE as error:
    if "allow_pickle" in str(error):
      raise DataError(f"{path} holds Python objects, which are never loaded: save plain arrays.") from error
    raise DataError(f"{path} cannot be read as .npz ({one_line(error)}).") from error


def _from_pair(path: Path) -> list[np.ndarray | None]:
  if not path.name.startswith("x"):
    raise DataError(f"{path}: name the inputs x.npy and the labels y.npy, or x_NAME.npy and y_NAME.npy.")
  labels_path = path.with_name(f"y{path.name[1:]}")
  if not labels_path.is_file():
    raise DataError(f"{path} needs {labels_path.name} in the same folder, with one label per row.")
  found = []
  for one in (path, labels_path):
    try:
      found.append(np.load(one, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
      objects = "allow_pickle" in str(error)
      why = "holds Python objects, which are never loaded" if objects else f"cannot be read ({one_line(error)})"
      raise DataError(f"{one} {why}: save a plain array.") from error
  return [*found, None, None]
