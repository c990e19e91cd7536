"""Data sets by name: scikit-learn's digits, IDX files, and tensorflow-datasets without TensorFlow.

Order of search: a prepared tensorflow-datasets folder, the four IDX files, a download. A folder given by the user is
the only place looked at. Each source is a file of its own and is imported when it is used.
"""

import hashlib
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
  """Whether `--dataset` is a path: written as one, or there and no data set's name."""
  if written_as_path(name):
    return True
  if name == "digits" or name in names.IDX_NAMES or not os.path.exists(name):
    return False
  try:
    names.check_exists(names.parse(name))
  except DataError:
    return True
  return False


def read(
  name: str, data_dir: str | None = None, options: Options | None = None, progress: Progress = lambda said: None
) -> Loaded:
  """Loads a data set by name or by path, with the names of its classes.

  Raises:
    DataError: as `load` does, and for what at a path is no data set to learn from.
  """
  return own.load(name, options or Options(), progress) if is_path(name) else Loaded(load(name, data_dir))


def load(name: str, data_dir: str | None = None, download: bool = True) -> Dataset:
  """Loads a data set by name.

  Args:
    name: `digits`, `mnist`, `fashion_mnist`, `kmnist`, or another name of tensorflow-datasets, `dataset[/config]
      [:version]`, whose examples are fixed-size images with one class label.
    data_dir: the only folder to look in: a tensorflow-datasets folder or, for `mnist`, `fashion_mnist` and `kmnist`,
      one with the four IDX files; `digits` needs none. By default `$TFDS_DATA_DIR`, then `~/tensorflow_datasets`.
    download: whether a data set that is in neither of those two may be downloaded (into the first that applies).

  Returns:
    NumPy arrays: images `[N, H, W, C]` uint8, labels `[N]` int32, the same for the test set. `mnist` and
    `fashion_mnist` are in the order of their IDX files from whatever source, so that a seed means the same images; all
    else is in the order of its source.

  Raises:
    DataError: an unknown name, a folder without the data set, damaged or unfit files, no network.
  """
  if name == "digits":
    from experiments.data import digits

    return digits.load()
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
  """The folders of tensorflow-datasets: the one of the environment, if any, then the library's default."""
  chosen = os.environ.get("TFDS_DATA_DIR")
  default = Path.home() / "tensorflow_datasets"
  return [Path(chosen).expanduser(), default] if chosen else [default]


def _prepared(folder: Path, name: names.Name) -> Dataset:
  """What tensorflow-datasets has prepared in a folder, in the order of its IDX files where that is known."""
  from experiments.data import idx_order
  from experiments.data import prepared

  dataset = prepared.load(folder)
  if name.dataset not in names.PUBLISHED_MD5:
    return dataset
  try:
    return idx_order.to_idx_order(dataset, name.dataset)
  except DataError as error:
    logging.warning("%s They stay in the order in which they are in %s.", error, folder)
    return dataset


def _from_folder(name: names.Name, data_dir: str) -> Dataset:
  """Loads from the user's folder or refuses; nothing else is tried, not even a cached copy from elsewhere."""
  from experiments.data import idx
  from experiments.data import prepared

  root = Path(data_dir).expanduser()
  if not str(data_dir) or not root.is_dir():
    raise DataError(f"data_dir {str(data_dir)!r} is not a folder: give one that has {name}, or leave it out.")
  folder = prepared.find(root, name)
  if folder is not None:
    return _prepared(folder, name)
  has_idx = name.dataset in names.IDX_NAMES and not name.config and not name.version
  paths = idx.locate(root) if has_idx else {}
  if paths:
    return idx.load(paths, name.dataset)
  names.check_exists(name)
  config = f"{name.config}/" if name.config else ""
  looked_for = f"{name.dataset}/{config}{name.version or 'VERSION'}/dataset_info.json (tensorflow-datasets)"
  if has_idx:
    looked_for += f" and {', '.join(idx.file_name(stem) for stem in idx.RANKS)} (IDX, raw or .gz)"
  raise DataError(f"No {name} in {root}: looked there for {looked_for}.")


def fingerprint(dataset: Dataset) -> str:
  """SHA-256 (hex) over the shapes, dtypes and bytes of the four arrays: the same data, wherever it came from."""
  digest = hashlib.sha256()
  for array in (dataset.inputs, dataset.labels, dataset.test_inputs, dataset.test_labels):
    array = np.ascontiguousarray(array)
    digest.update(f"{array.shape} {array.dtype.str} ".encode())
    digest.update(array)
  return digest.hexdigest()
