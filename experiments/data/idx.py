"""Reads the IDX files of MNIST and related data sets: four files in a folder, raw or gzip, parsed strictly.

Format: two zero bytes, the element type (8 = uint8), the number of dimensions, then each dimension as a big-endian
uint32, then the elements (Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits).
"""

import gzip
import hashlib
import math
from pathlib import Path
import zlib

import numpy as np

from al_jax import inputs
from al_jax.types import Dataset
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.names import PUBLISHED_MD5

NUM_CLASSES = 10
RANKS = {"train-images": 3, "train-labels": 1, "t10k-images": 3, "t10k-labels": 1}


def file_name(stem: str) -> str:
  """The standard name of one of the four files, without `.gz`."""
  return f"{stem}-idx{RANKS[stem]}-ubyte"


def locate(folder: Path) -> dict[str, Path]:
  """Finds the four files in `folder`. Prefers raw to gzip files; also accepts names like `train-images.idx3-ubyte`.

  Returns:
    The path of each key of `RANKS`, or an empty dict if the folder has none of the files.

  Raises:
    DataError: the folder has only some of the files.
  """
  found = {}
  for stem in RANKS:
    usual = file_name(stem)
    for name in (usual, f"{usual}.gz", usual.replace("-idx", ".idx"), usual.replace("-idx", ".idx") + ".gz"):
      if (folder / name).is_file():
        found[stem] = folder / name
        break
  missing = [file_name(stem) for stem in RANKS if stem not in found]
  if found and missing:
    raise DataError(f"{folder} has only some of the four IDX files: {', '.join(missing)} (raw or .gz) not found.")
  return found


def read(path: Path, *, rank: int, compressed: bool) -> np.ndarray:
  """Reads one file of `rank` dimensions.

  Returns:
    A uint8 array of the shape that the header declares.

  Raises:
    DataError: the file is unreadable, empty or damaged, has a wrong magic number, or has too few or too many bytes.
  """
  try:
    data = path.read_bytes()
    if not data:
      raise DataError(f"{path} is empty: expected an IDX file with {rank} dimensions.")
    if compressed:
      data = gzip.decompress(data)
  except (EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise DataError(f"{path} is a damaged or truncated gzip file ({one_line(error)}).") from error
  except OSError as error:
    raise DataError(f"{path} cannot be read ({one_line(error)}).") from error
  header = 4 * (1 + rank)
  if len(data) < header:
    raise DataError(f"{path} is truncated: expected an IDX header of {header} bytes, found {len(data)} bytes.")
  magic, *shape = (int(word) for word in np.frombuffer(data, ">u4", 1 + rank))
  if magic != 0x800 + rank:
    raise DataError(f"{path} has the magic number {magic:#010x}: expected {0x800 + rank:#010x} (uint8, rank {rank}).")
  if 0 in shape:
    raise DataError(f"{path} declares the shape {tuple(shape)}: expected at least one element.")
  expected, actual = math.prod(shape), len(data) - header
  if actual != expected:
    what = "is truncated" if actual < expected else "has trailing bytes"
    raise DataError(f"{path} {what}: the shape {tuple(shape)} takes {expected} bytes after the header, found {actual}.")
  return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


def md5(array: np.ndarray) -> str:
  """MD5 of the uncompressed IDX file that would hold images `[N, H, W, 1]` or labels `[N]`."""
  array = np.ascontiguousarray(np.asarray(array).astype(np.uint8, copy=False))
  shape = array.shape[:3]
  digest = hashlib.md5(np.array([0x800 + len(shape), *shape], ">u4").tobytes(), usedforsecurity=False)
  digest.update(array)
  return digest.hexdigest()


def load(paths: dict[str, Path], dataset: str) -> Dataset:
  """Reads the four files that `locate` found as the data set named `dataset`.

  Returns:
    Images `[N, H, W, 1]` uint8 and labels `[N]` int32 in the order of the files; 10 classes; `prepare`
    divides the pixels by 255.

  Raises:
    DataError: a bad file (see `read`), mismatched counts or sizes, a label above 9, or the images of another data set.
  """
  arrays = {stem: read(path, rank=RANKS[stem], compressed=path.suffix == ".gz") for stem, path in paths.items()}
  for images, labels in (("train-images", "train-labels"), ("t10k-images", "t10k-labels")):
    if len(arrays[images]) != len(arrays[labels]):
      raise DataError(
        f"{paths[images]} has {len(arrays[images])} images but {paths[labels]} has {len(arrays[labels])} labels."
      )
    if arrays[labels].max() >= NUM_CLASSES:
      raise DataError(f"{paths[labels]} has the label {arrays[labels].max()}: expected 0..{NUM_CLASSES - 1}.")
  size, test_size = arrays["train-images"].shape[1:], arrays["t10k-images"].shape[1:]
  if size != test_size:
    raise DataError(f"{paths['train-images']} has images of {size}, {paths['t10k-images']} of {test_size} pixels.")
  actual = md5(arrays["train-images"])
  for other, published in PUBLISHED_MD5.items():
    if other != dataset and published["train-images"] == actual:
      raise DataError(f"{paths['train-images']} holds the images of {other}, not of {dataset}: use --dataset={other}.")
  return Dataset(
    inputs=arrays["train-images"][..., None],
    labels=arrays["train-labels"].astype(np.int32),
    test_inputs=arrays["t10k-images"][..., None],
    test_labels=arrays["t10k-labels"].astype(np.int32),
    num_classes=NUM_CLASSES,
    prepare=inputs.images(std=255),
  )
