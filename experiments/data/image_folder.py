"""Reads a folder of images with one subfolder per class."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
import functools
import os
from pathlib import Path

import numpy as np

from al_jax import inputs
from experiments.data import image_files
from experiments.data.classes import format_names
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.rows import Options
from experiments.data.rows import Progress
from experiments.data.rows import Read
from experiments.data.rows import Rows

PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}  # names of splits, not of classes
_MAX_UNREADABLE = 0.01  # fraction of all images
_PROGRESS_EVERY = 500  # images between two progress reports


def _visible(folder: Path) -> list[Path]:
  return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def is_one(root: Path) -> bool:
  """Whether a folder has subfolders that may be classes."""
  return bool(_visible(root))


def _images(folder: Path, root: Path) -> list[Path]:
  """The images below a class folder, sorted; raises DataError for a symbolic link to a target outside `root`."""
  found = []
  for place, _, files in os.walk(folder):
    found += [
      Path(place, name) for name in files if name.lower().endswith(image_files.SUFFIXES) and not name.startswith(".")
    ]
  for path in (folder, *found):
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
      raise DataError(f"{str(path)!r} is a symbolic link to a target outside {root}: copy the target instead.")
  return sorted(found)


def _classes(root: Path, source: Path) -> dict[str, list[Path]]:
  """The image paths of each class."""
  out = {folder.name: _images(folder, source) for folder in _visible(root)}
  if not out:
    raise DataError(f"{root} has no subfolders: put the images of each class into a subfolder named after it.")
  empty = [name for name, images in out.items() if not images]
  if empty:
    kinds = ", ".join(suffix[1:].upper() for suffix in image_files.SUFFIXES)
    raise DataError(f"{root} has no image ({kinds}) in the folder of class {format_names(empty)}.")
  return out


def rows(root: Path, options: Options, progress: Progress) -> Rows:
  """Finds the images below `root/CLASS/`, or `root/train/CLASS/` and `root/test/CLASS/`, sorted by path.

  Raises:
    DataError: there are no classes, a class has no images, or a symbolic link has its target outside `root`.
  """
  by_name = {folder.name.lower(): folder for folder in _visible(root)}
  parts = [by_name.get(name, root / name) for name in ("train", "test")]
  has_test = all(part.is_dir() for part in parts)
  if not has_test and by_name and by_name.keys() <= PARTS:
    raise DataError(
      f"{root} has the folders {format_names(sorted(by_name))}: name them train and test, or use one as --dataset."
    )
  found = [_classes(part, root) for part in (parts if has_test else [root])]
  if has_test and (strange := sorted(found[1].keys() - found[0].keys())):
    raise DataError(f"{parts[1]} has classes that {parts[0]} lacks: {format_names(strange)}.")
  paths = [path for classes in found for images in classes.values() for path in images]
  labels = [name for classes in found for name, images in classes.items() for _ in images]
  names = [str(path.relative_to(root)) for path in paths]
  read = functools.partial(decoded, root, paths, names, options, progress)
  num_test = sum(map(len, found[1].values())) if has_test else None
  return Rows(np.array(labels, object), str(root), read, num_test, names, cacheable=True)


def _one_size(headers: Sequence[image_files.Header], names: Sequence[str]) -> tuple[int, int]:
  found = {header.size: name for header, name in zip(headers, names, strict=True) if not header.error}
  if len(found) > 1:
    (first, at), (second, other) = list(found.items())[:2]
    raise DataError(
      f"the images have {len(found):,} sizes, such as {first[0]} x {first[1]} ({at!r}) and {second[0]} x {second[1]}"
      f" ({other!r}): give one size, --image_size=64 or --image_size=64x48 (height x width)."
    )
  return next(iter(found))


def decoded(
  root: Path,
  paths: list[Path],
  names: list[str],
  options: Options,
  progress: Progress,
  pool: np.ndarray,
  test: np.ndarray,
) -> Read:
  """Decodes the images of pool and test set, each into one array.

  Args:
    root: the folder, for messages.
    paths: the files of the rows.
    names: their names, for messages.
    options: how they are read.
    progress: called with a description of the current activity.
    pool: rows of the pool.
    test: rows of the test set.

  Raises:
    DataError: sizes differ and none is given, or more than one in a hundred cannot be read.
  """
  progress(f"reading the headers of {len(paths):,} images")
  headers = [image_files.header(path) for path in paths]
  unreadable = {i: header.error for i, header in enumerate(headers) if header.error}
  _refuse_unreadable(root, names, unreadable)
  modes = {header.mode for header in headers if not header.error}
  gray = modes <= image_files.GRAY
  size = options.image_size or _one_size(headers, names)
  arrays = [np.zeros((len(part), *size, 1 if gray else 3), np.uint8) for part in (pool, test)]
  jobs = [(array, i, row) for array, part in zip(arrays, (pool, test), strict=True) for i, row in enumerate(part)]

  def decode(job: tuple[np.ndarray, int, int]) -> None:
    array, i, row = job
    if row in unreadable:
      return
    try:
      array[i] = image_files.decoded(paths[row], gray, size)
    except Exception as error:  # see `_header`
      unreadable[int(row)] = one_line(error)

  with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
    for done, _ in enumerate(threads.map(decode, jobs)):
      if done % _PROGRESS_EVERY == 0:
        progress(f"decoding images: {done:,} of {len(jobs):,}")
  _refuse_unreadable(root, names, unreadable)
  remarks = [f"images of {size[0]} x {size[1]}, {'grayscale' if gray else 'in color'}"]
  if len(modes) > 1 or modes & (image_files.WIDE | {"CMYK", "P", "RGBA", "LA"}):
    remarks[0] += f", converted from {', '.join(sorted(modes))}"
  if options.image_size and any(header.size != size for header in headers if not header.error):
    remarks[0] += ", scaled, and cropped if their aspect ratio differs"
  if unreadable:
    bad = [f"{names[i]!r}" for i in sorted(unreadable)][:5]
    remarks.append(f"{len(unreadable)} unreadable images left out, such as {', '.join(bad)}")
  return Read(*arrays, inputs.images(std=255), remarks, sorted(unreadable))


def _refuse_unreadable(root: Path, names: list[str], unreadable: dict[int, str]) -> None:
  if len(unreadable) > _MAX_UNREADABLE * len(names):
    i = min(unreadable)
    raise DataError(
      f"{root}: {len(unreadable):,} of {len(names):,} images cannot be read, such as {names[i]!r}"
      f" ({unreadable[i]}), and at most 1% may be: repair or delete them."
    )
