"""Reads data sets that tensorflow-datasets has prepared in a folder; array_record files need no TensorFlow."""

import importlib.util
import io
import json
from pathlib import Path
import re

import numpy as np

from al_jax import inputs
from al_jax.types import Dataset
from experiments.data import cache
from experiments.data import library
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.names import Name

_SPLITS = ("train", "test")
_BATCH = 1_000  # Records read per call.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def has_tensorflow() -> bool:
  """Whether TensorFlow is installed; does not import it."""
  return importlib.util.find_spec("tensorflow") is not None


def _versions(folder: Path) -> list[Path]:
  """The prepared versions directly below `folder`, newest last; incomplete ones have other names and are ignored."""
  paths = [path.parent for path in folder.glob("*/dataset_info.json")]
  paths = [path for path in paths if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
  return sorted(paths, key=lambda path: tuple(int(part) for part in path.name.split(".")))


def find(root: Path, name: Name) -> Path | None:
  """The folder `root/dataset[/config]/version` of a prepared data set, or None; by default the newest version.

  Raises:
    DataError: the data set is prepared by configuration, and `name` has none.
  """
  base = root / name.dataset
  versions = _versions(base / name.config if name.config else base)
  if name.version:
    versions = [path for path in versions if path.name == name.version]
  if versions:
    return versions[-1]
  configs = sorted({path.parent.parent.name for path in base.glob("*/*/dataset_info.json")})
  if configs and not name.config:
    full = ", ".join(f"{name.dataset}/{config}" for config in configs)
    raise DataError(f"{name.dataset} is prepared in {root} by configuration: name one of {full}.")
  return None


def load(folder: Path) -> Dataset:
  """Loads the data set prepared in `folder`, from the cache if it is there.

  Returns:
    Images `[N, H, W, C]` uint8 and labels `[N]` int32 in the order of the prepared files; `prepare`
    divides the pixels by 255.

  Raises:
    DataError: damaged files, TFRecord without TensorFlow, no train or test split, or examples that are not fixed-size
      uint8 images with one class label.
  """
  dataset = cache.read(folder)
  if dataset is None:
    made_from = cache.stamp(folder)
    dataset = _decode(folder)
    cache.write(folder, made_from, dataset)
  return dataset


def _decode(folder: Path) -> Dataset:
  try:
    info = json.loads((folder / "dataset_info.json").read_text())
    name, file_format = info["name"], info.get("fileFormat") or "tfrecord"
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise DataError(f"{folder / 'dataset_info.json'} cannot be read ({one_line(error)}).") from error
  if name not in (folder.parent.name, folder.parent.parent.name):
    raise DataError(f"{folder} holds the data set {name!r}, which does not match the folder's name.")
  if file_format != "array_record" and not has_tensorflow():
    raise DataError(
      f"{folder} is prepared as {file_format}, which only TensorFlow reads, but TensorFlow is not installed: prepare "
      "the data set as array_record or install tensorflow."
    )
  tfds = library.tensorflow_datasets()
  try:
    builder = tfds.builder_from_directory(folder)
    features, splits = builder.info.features, {key: split.num_examples for key, split in builder.info.splits.items()}
  except Exception as error:  # tensorflow-datasets raises many types of errors for a damaged description.
    raise DataError(f"{folder} cannot be opened by tensorflow-datasets ({one_line(error)}).") from error
  shape, num_classes = _check(folder, features, splits)
  read = _read_array_record if file_format == "array_record" else _read_with_tensorflow
  arrays = []
  for split in _SPLITS:
    try:
      images, labels = read(builder, split, shape)
    except Exception as error:  # The readers raise many types of errors for a damaged record.
      raise DataError(f"The split {split} in {folder} cannot be read ({one_line(error)}).") from error
    if len(images) != splits[split] or not splits[split]:
      raise DataError(f"The split {split} in {folder} declares {splits[split]} examples, found {len(images)}.")
    arrays += [images, labels]
    if labels.min() < 0 or labels.max() >= num_classes:
      raise DataError(f"The split {split} in {folder} has a label outside 0..{num_classes - 1}.")
  return Dataset(*arrays, num_classes=num_classes, prepare=inputs.images(std=255))


def _check(folder: Path, features, splits) -> tuple[tuple[int, int, int], int]:
  """Image shape and number of classes; raises DataError for a data set that is not of images with one class label."""
  tfds = library.tensorflow_datasets()
  if not set(_SPLITS) <= set(splits):
    raise DataError(f"{folder} must have the splits train and test, found {', '.join(splits) or 'none'}.")
  keys = list(features) if isinstance(features, tfds.features.FeaturesDict) else []
  image, label = (features[key] if key in keys else None for key in ("image", "label"))
  if not isinstance(image, tfds.features.Image) or None in image.shape or np.dtype(image.np_dtype) != np.uint8:
    raise DataError(f"{folder} must have fixed-size uint8 images under the key 'image', found {image} (keys {keys}).")
  if not isinstance(label, tfds.features.ClassLabel) or not label.num_classes:
    raise DataError(f"{folder} must have one class label under the key 'label', found {label} (keys {keys}).")
  return image.shape, label.num_classes


def _read_array_record(builder, split: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
  """Reads records in batches and decodes with Pillow; reading one record at a time takes several times as long."""
  from PIL import Image

  tfds = library.tensorflow_datasets()
  source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
  images, labels = np.empty((len(source), *shape), np.uint8), np.empty(len(source), np.int32)
  for start in range(0, len(source), _BATCH):
    batch = range(start, min(start + _BATCH, len(source)))
    for i, example in zip(batch, source.__getitems__(list(batch)), strict=True):
      with Image.open(io.BytesIO(example["image"])) as image:
        pixels = image if image.mode == _MODES[shape[-1]] else image.convert(_MODES[shape[-1]])
        images[i] = np.asarray(pixels).reshape(shape)
      labels[i] = example["label"]
  return images, labels


def _read_with_tensorflow(builder, split: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
  tfds = library.tensorflow_datasets()
  # One file after another: by default files are interleaved, and the order depends on their number.
  config = tfds.ReadConfig(interleave_cycle_length=1)
  examples = list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False, read_config=config)))
  images = np.array([example["image"] for example in examples], np.uint8).reshape(-1, *shape)
  return images, np.array([example["label"] for example in examples], np.int32)
