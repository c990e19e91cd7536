"""Loads data sets by name (scikit-learn's digits, IDX files, tensorflow-datasets without TensorFlow) or by path.

Order of search for a name: a prepared tensorflow-datasets folder, the four IDX files, a download. If the user gives a
folder, only that folder is searched. Each source is a separate module, imported on first use.
"""

import hashlib
import importlib
import os
from pathlib import Path

from absl import logging
import numpy as np

from al_jax.types import Dataset
from experiments.common.places import written_as_path
from experiments.data import names
from experiments.data import own
from experiments.data.errors import DataError
from experiments.data.own import Loaded
from experiments.data.rows import Options
from experiments.data.rows import Progress

__all__ = ["DataError", "Loaded", "Options", "fingerprint", "is_path", "load", "read"]


def is_path(name: str) -> bool:
  """Whether `--dataset` is a path: it has the form of a path, or it exists and is not the name of a data set."""
  if written_as_path(name):
    return True
  if name in names.BUNDLED + names.IDX_NAMES or not os.path.exists(name):
    return False
  try:
    names.check_exists(names.parse(name))
  except DataError:
    return True
  return False


def read(
  name: str, data_dir: str | None = None, options: Options | None = None, progress: Progress = lambda text: None
) -> Loaded:
  """Loads a data set by name or by path; only a path gives class names.

  Raises:
    DataError: as for `load`, or the path does not hold a usable data set.
  """
  return own.load(name, options or Options(), progress) if is_path(name) else Loaded(load(name, data_dir))


def load(name: str, data_dir: str | None = None, download: bool = True) -> Dataset:
  """Loads a data set by name.

  Args:
    name: one of `names.BUNDLED`, such as `digits`; `mnist`, `fashion_mnist` or `kmnist`; or another name of
      tensorflow-datasets, `dataset[/config][:version]`, whose examples are fixed-size images with one class label.
    data_dir: the only folder to search: a tensorflow-datasets folder or, for `mnist`, `fashion_mnist` and `kmnist`,
      a folder with the four IDX files; ignored for bundled data. Default: `$TFDS_DATA_DIR`, then
      `~/tensorflow_datasets`.
    download: whether to download a data set that is in neither default folder (into the first of them).

  Returns:
    NumPy arrays: images `[N, H, W, C]` uint8, labels `[N]` int32, the same for the test set. `mnist` and
    `fashion_mnist` are in the order of their IDX files, whatever the source, so that a seed gives the same images;
    other data sets are in the order of their source.

  Raises:
    DataError: an unknown name, a folder without the data set, damaged or unsuitable files, or no network.
  """
  if name in names.BUNDLED:
    return importlib.import_module(f"{__name__}.{name}").load()
  parsed = names.parse(name)
  if data_dir is not None:
    return _from_folder(parsed, data_dir)
  from experiments.data import prepared

  roots = _default_roots()
  for root in roots:
    folder = prepared.find(root, parsed)
    if folder is not None:
      return _prepared(folder, parsed)
  names.check_exists(parsed)
  from experiments.data import download as downloading

  if not download:
    places = " or ".join(str(root) for root in roots)
    raise DataError(f"{name} is not prepared in {places} and downloading is off: {downloading.WAYS_OUT}.")
  return _prepared(downloading.prepare(parsed, roots[0]), parsed)


def _default_roots() -> list[Path]:
  """The folders of tensorflow-datasets: `$TFDS_DATA_DIR`, if set, then the library's default."""
  chosen = os.environ.get("TFDS_DATA_DIR")
  default = Path.home() / "tensorflow_datasets"
  return [Path(chosen).expanduser(), default] if chosen else [default]


def _prepared(folder: Path, name: names.Name) -> Dataset:
  """Loads what tensorflow-datasets has prepared in a folder, in IDX order if that is known."""
  from experiments.data import idx_order
  from experiments.data import prepared

  dataset = prepared.load(folder)
  if name.dataset not in names.PUBLISHED_MD5:
    return dataset
  try:
    return idx_order.to_idx_order(dataset, name.dataset)
  except DataError as error:
    logging.warning("%s They keep the order that they have in %s.", error, folder)
    return dataset


def _from_folder(name: names.Name, data_dir: str) -> Dataset:
  """Loads from the user's folder or raises; never falls back to another source, not even to a cached copy of one."""
  from experiments.data import idx
  from experiments.data import prepared

  root = Path(data_dir).expanduser()
  if not str(data_dir) or not root.is_dir():
    raise DataError(f"data_dir {str(data_dir)!r} is not a folder: give a folder that holds {name}, or omit it.")
  folder = prepared.find(root, name)
  if folder is not None:
    return _prepared(folder, name)
  has_idx = name.dataset in names.IDX_NAMES and not name.config and not name.version
  paths = idx.locate(root) if has_idx else {}
  if paths:
    return idx.load(paths, name.dataset)
  names.check_exists(name)
  config = f"{name.config}/" if name.config else ""
  needed = f"{name.dataset}/{config}{name.version or 'VERSION'}/dataset_info.json (tensorflow-datasets)"
  if has_idx:
    needed += f" or {', '.join(idx.file_name(stem) for stem in idx.RANKS)} (IDX, raw or .gz)"
  raise DataError(f"No {name} in {root}: it needs {needed}.")


def fingerprint(dataset: Dataset) -> str:
  """SHA-256 (hex) of the shapes, dtypes and bytes of the four arrays; equal for equal data from any source."""
  digest = hashlib.sha256()
  for array in (dataset.inputs, dataset.labels, dataset.test_inputs, dataset.test_labels):
    array = np.ascontiguousarray(array)
    digest.update(f"{array.shape} {array.dtype.str} ".encode())
    digest.update(array)
  return digest.hexdigest()
