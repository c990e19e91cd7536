"""Decoded arrays kept in the user's cache folder, because decoding 60,000 PNG images takes many seconds.

An entry belongs to one source folder and carries the names, sizes and times of change of the files it was made from.
Losing or damaging the cache costs time and never changes a result.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import hashlib
import json
import os
from pathlib import Path
import tempfile

from absl import logging
import numpy as np

from al_jax import inputs
from al_jax.types import Dataset
from experiments.common import user_cache
from experiments.data.errors import DAMAGE
from experiments.data.errors import one_line

_FORMAT = 1
# By the names in the file: fields of a data set.
_ARRAYS = {"images": "inputs", "labels": "labels", "test_images": "test_inputs", "test_labels": "test_labels"}


def folder() -> Path:
  """`data` in the user's cache."""
  return user_cache.folder() / "data"


def entry(source: Path) -> Path:
  """The file that holds the arrays decoded from the folder `source`; one per source, so a new one replaces the old."""
  digest = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:32]
  return folder() / f"{source.parent.name}-{digest}.npz"


def stamp(source: Path) -> str:
  """What has to be unchanged for an entry to count: the name, size and time of change of a file, or all in a folder."""
  files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
  told = [[str(path.relative_to(source)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
  return json.dumps([_FORMAT, told])


def read(source: Path) -> Dataset | None:
  """The cached data set of `source`, or None where there is none, it is out of date or it is damaged."""
  parts = read_parts(source, stamp(source), [*_ARRAYS, "num_classes", "mean", "std"])
  if parts is None:
    return None
  arrays = {field: parts[name] for name, field in _ARRAYS.items()}
  prepare = inputs.images(mean=float(parts["mean"]), std=float(parts["std"]))
  return Dataset(**arrays, num_classes=int(parts["num_classes"]), prepare=prepare)


def write(source: Path, made_from: str, dataset: Dataset) -> None:
  """Keeps `dataset` for `source`, as `write_parts` does."""
  arrays = {name: np.asarray(getattr(dataset, field)) for name, field in _ARRAYS.items()}
  static = {"num_classes": dataset.num_classes, "mean": dataset.prepare.mean, "std": dataset.prepare.std}
  write_parts(source, made_from, static | arrays)


def read_parts(source: Path, made_from: str, names: Iterable[str]) -> dict[str, np.ndarray] | None:
  """What is cached of `source` under these names; None where that is nothing, made of something else or damaged."""
  path = entry(source)
  try:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
      return {name: file[name] for name in names} if str(file["stamp"]) == made_from else None
  except FileNotFoundError:
    return None
  except DAMAGE as error:
    logging.warning("The cached data set %s is damaged and will be rebuilt (%s).", path, one_line(error))
    return None


def write_parts(source: Path, made_from: str, parts: Mapping[str, np.typing.ArrayLike]) -> None:
  """Keeps arrays for `source`; a folder that cannot be written to is a warning, not an error.

  Args:
    source: the folder they were decoded from.
    made_from: what it was before decoding began, such as its `stamp`, so that one that changed meanwhile does not
      match.
    parts: what to keep.
  """
  path, temporary = entry(source), None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=".tmp", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
      np.savez(file, stamp=np.array(made_from), **parts)
    os.replace(temporary, path)
  except OSError as error:
    logging.warning("The decoded data set is not cached: %s cannot be written (%s).", path.parent, one_line(error))
    if temporary is not None:
      Path(temporary).unlink(missing_ok=True)
