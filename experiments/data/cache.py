"""Caches decoded arrays in the user's cache folder, because decoding 60,000 PNG images takes many seconds.

An entry belongs to one source and stores the names, sizes and modification times of the files that it was made from. A
lost or damaged entry costs time but never changes a result.
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
# Name in the file: field of `Dataset`.
_ARRAYS = {"images": "inputs", "labels": "labels", "test_images": "test_inputs", "test_labels": "test_labels"}


def folder() -> Path:
  """The folder `data` in the user's cache folder."""
  return user_cache.folder() / "data"


def entry(source: Path) -> Path:
  """The cache file of `source`. There is one per source, so a new entry replaces the old one."""
  digest = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:32]
  return folder() / f"{source.parent.name}-{digest}.npz"


def stamp(source: Path) -> str:
  """Name, size and modification time of a file, or of all files in a folder. A changed stamp makes an entry invalid."""
  files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
  facts = [[str(path.relative_to(source)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
  return json.dumps([_FORMAT, facts])


def read(source: Path) -> Dataset | None:
  """The cached data set of `source`, or None if it is missing, outdated or damaged."""
  parts = read_parts(source, stamp(source), [*_ARRAYS, "num_classes", "mean", "std"])
  if parts is None:
    return None
  arrays = {field: parts[name] for name, field in _ARRAYS.items()}
  prepare = inputs.images(mean=float(parts["mean"]), std=float(parts["std"]))
  return Dataset(**arrays, num_classes=int(parts["num_classes"]), prepare=prepare)


def write(source: Path, made_from: str, dataset: Dataset) -> None:
  """Caches `dataset` as the entry of `source`; see `write_parts`."""
  arrays = {name: np.asarray(getattr(dataset, field)) for name, field in _ARRAYS.items()}
  static = {"num_classes": dataset.num_classes, "mean": dataset.prepare.mean, "std": dataset.prepare.std}
  write_parts(source, made_from, static | arrays)


def read_parts(source: Path, made_from: str, names: Iterable[str]) -> dict[str, np.ndarray] | None:
  """The cached arrays of `source` by name, or None if they are missing, damaged or have another stamp."""
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
  """Caches arrays as the entry of `source`; if the cache cannot be written, logs a warning instead of raising.

  Args:
    source: the file or folder that they were read from.
    made_from: its state before reading began, such as its `stamp`, so that the entry of a source that changed meanwhile
      does not match.
    parts: the arrays to cache, by name.
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
