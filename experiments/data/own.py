"""Loads the user's own data by path: a folder of images, arrays or a table."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from al_jax import checks
from al_jax import inputs
from al_jax.types import UNKNOWN
from al_jax.types import Dataset
from experiments.common.places import SUFFIXES
from experiments.data import cache
from experiments.data import classes
from experiments.data.errors import DataError
from experiments.data.rows import Options
from experiments.data.rows import Progress
from experiments.data.rows import Read
from experiments.data.rows import Rows

_OF_TABLES = ("label_column", "ignore_columns", "missing")
_APPLIES_TO = {"image_size": "folders of images", "scale": "numbers in a file"} | dict.fromkeys(_OF_TABLES, "tables")


class Loaded(NamedTuple):
  """A data set with the names of its classes and rows."""

  data: Dataset
  class_names: tuple[str, ...] | None = None
  num_rows: int | None = None  # rows in the source; None if it is not a path
  rows: np.ndarray | None = None  # `[N]` index in the source of each row of the pool
  row_names: tuple[str, ...] | None = None  # `[N]` names in the source, if rows have names
  remarks: tuple[str, ...] = ()  # sentences on how the source was read
  test_rows: np.ndarray | None = None  # `[T]` index in the source of each row of the test set


def _rows(path: Path, options: Options, progress: Progress) -> Rows:
  # Imported here because pandas and Pillow are slow to import.
  if path.is_dir():
    from experiments.data import image_folder
    from experiments.data import labeled_folder

    _refuse(path, options, "scale", *_OF_TABLES)
    source = labeled_folder if labeled_folder.workdir(path) else image_folder
    return source.rows(path, options, progress)
  if not path.is_file():
    raise DataError(f"{str(path)!r} does not exist.")
  if path.suffix.lower() in (".npz", ".npy"):
    from experiments.data import arrays

    _refuse(path, options, "image_size", *_OF_TABLES)
    return arrays.rows(path, options)
  if path.suffix.lower() in (".csv", ".parquet"):
    from experiments.data import tables

    _refuse(path, options, "image_size")
    return tables.rows(path, options)
  raise DataError(f"{str(path)!r} is neither a folder of images nor a file of type {', '.join(SUFFIXES)}.")


def _stamp(path: Path) -> str:
  """The state of the files that rows are read from."""
  from experiments.data import labeled_folder  # imported here for the same reason

  return labeled_folder.stamp(path) if labeled_folder.workdir(path) else cache.stamp(path)


def _refuse(path: Path, options: Options, *others: str) -> None:
  """Raises DataError if one of the options `others`, which are for other kinds of data, is set."""
  for name in others:
    if getattr(options, name) != getattr(Options(), name):
      raise DataError(f"--{name} does not apply to {path}: it is for {_APPLIES_TO[name]}.")


def load(name: str, options: Options, progress: Progress = lambda text: None) -> Loaded:
  """Reads a path, splits off a test set if the source has none, and numbers the classes.

  Raises:
    DataError: the path does not hold a usable data set; the message is one sentence.
  """
  path = Path(name).expanduser()
  before = _stamp(path)
  found = _rows(path, options, progress)
  known = classes.of_labels(found.labels, found.labels_in, keep_unlabeled=options.unlabeled == "keep")
  is_test, split_remark = _test_rows(found, known.labels, options)
  pool, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
  if (known.labels[test] == UNKNOWN).any():
    row = int(test[(known.labels[test] == UNKNOWN).argmax()])
    raise DataError(
      f"{found.labels_in}: row {row} is in the test set but has no label: label it or move it to the pool."
    )
  read = _read(path, before, found, options, pool, test)
  left = [np.setdiff1d(part, read.unreadable, assume_unique=True) for part in (pool, test)]
  x, x_test = read.inputs, read.test_inputs
  if read.unreadable:
    x, x_test = x[np.isin(pool, left[0])], x_test[np.isin(test, left[1])]
  pool, test = left
  labels = known.labels[pool]
  counts = np.bincount(labels[labels >= 0], minlength=len(known.names))
  if not counts.all():
    raise DataError(
      f"{path}: no row of class {classes.format_names([known.names[counts.argmin()]])} is left for the pool."
    )
  masks = {}
  if (labels < 0).any():
    masks = {"known": labels >= 0, "available": labels >= 0}
  data = Dataset(x, labels, x_test, known.labels[test], len(known.names), read.prepare, **masks)
  try:
    checks.check_values(data)
  except ValueError as error:
    raise DataError(f"{path}: {error}.") from error
  remarks = [*read.remarks, split_remark]
  if len(test) and (absent := np.setdiff1d(np.arange(len(known.names)), known.labels[test])).size:
    remarks.append(f"the test set has no row of class {classes.format_names([known.names[c] for c in absent])}")
  if masks:
    remarks.append(f"{int((labels < 0).sum()):,} rows without a label stay in the pool and are never queried")
  names = None if found.names is None else tuple(found.names[i] for i in pool)
  return Loaded(data, known.names, len(known.labels), pool, names, tuple(remarks), test)


def _test_rows(found: Rows, labels: np.ndarray, options: Options) -> tuple[np.ndarray, str]:
  """`[N]` bool: the rows of the test set; and a sentence on how they were chosen."""
  size = len(labels)
  if found.num_test is not None:
    for name in ("test_rows", "test_size"):
      if getattr(options, name) != getattr(Options(), name):
        given = f"--{name}={getattr(options, name)}"
        raise DataError(f"{given} is for data without a test set, but {found.labels_in} has one: omit the flag.")
    return np.arange(size) >= size - found.num_test, f"the data include a test set of {found.num_test:,} rows"
  if options.test_rows is not None:
    return classes.named_rows(options.test_rows, size), f"the test set is rows {options.test_rows}"
  if not options.test_size:
    return np.zeros(size, bool), "no test set: --test_size=0"
  out = classes.held_out(labels, options.test_size, options.test_seed)
  share = f"{options.test_size:g} of each class, drawn with --test_seed={options.test_seed}"
  return out, f"the data include no test set: {out.sum():,} rows were split off, {share}"


def _read(path: Path, stamp: str, found: Rows, options: Options, pool: np.ndarray, test: np.ndarray) -> Read:
  """The rows as arrays; images come from the cache if it has them. `stamp` is that of the source before reading.

  Raises:
    DataError: the source changed while it was read.
  """
  made_from = hashlib.sha256(json.dumps([stamp, options, found.key]).encode()).hexdigest()
  names = ["inputs", "test_inputs", "std", "remarks", "unreadable"]
  cached = cache.read_parts(path, made_from, names) if found.cacheable else None
  if cached is not None:
    prepare = inputs.images(std=float(cached["std"]))
    return Read(
      cached["inputs"], cached["test_inputs"], prepare, cached["remarks"].tolist(), cached["unreadable"].tolist()
    )
  read = found.read(pool, test)
  if _stamp(path) != stamp:
    raise DataError(f"{path} changed while it was read: run again.")
  if found.cacheable:
    facts = {"std": read.prepare.std, "remarks": np.array(read.remarks), "unreadable": np.array(read.unreadable, int)}
    cache.write_parts(path, made_from, {"inputs": read.inputs, "test_inputs": read.test_inputs, **facts})
  return read
