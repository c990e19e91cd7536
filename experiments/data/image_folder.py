"""A folder of images, a folder for each class: PNG, JPEG and WebP."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
import functools
import os
from pathlib import Path
from typing import NamedTuple
import warnings

import numpy as np

from al_jax import inputs
from experiments.data.classes import said
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.rows import Options
from experiments.data.rows import Progress
from experiments.data.rows import Read
from experiments.data.rows import Rows

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}  # what no class is called
_MOST_PIXELS = 2**26  # of one image: 8,192 x 8,192
_MOST_UNREADABLE = 0.01  # of all images
_GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"}
_DEEP = {"I", "I;16", "I;16B", "I;16L"}
_TURNED = range(5, 9)  # EXIF orientations that swap height and width
_STEP = 500  # images between two words of progress


class _Header(NamedTuple):
  """What an image says of itself before it is decoded."""

  size: tuple[int, int] = (0, 0)  # height and width, upright
  mode: str = ""
  error: str = ""


def _visible(folder: Path) -> list[Path]:
  return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def is_one(root: Path) -> bool:
  """Whether a folder has folders in it that may be classes."""
  return bool(_visible(root))


def _images(folder: Path, root: Path) -> list[Path]:
  """The images below a class folder, by name; DataError for a link that leads out of the root."""
  found = []
  for place, _, files in os.walk(folder):
    found += [Path(place, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
  for path in (folder, *found):
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
      raise DataError(f"{str(path)!r} is a link that leads out of {root}: copy what it leads to, or name that folder.")
  return sorted(found)


def _classes(root: Path, source: Path) -> dict[str, list[Path]]:
  """The images of each class."""
  out = {folder.name: _images(folder, source) for folder in _visible(root)}
  if not out:
    raise DataError(f"{root} has no folders: put the images of each class into a folder of that name.")
  empty = [name for name, images in out.items() if not images]
  if empty:
    kinds = ", ".join(suffix[1:].upper() for suffix in SUFFIXES)
    raise DataError(f"{root}: no image ({kinds}) is in the folder of class {said(empty)}.")
  return out


def rows(root: Path, options: Options, progress: Progress) -> Rows:
  """The images below `root/CLASS/`, or `root/train/CLASS/` and `root/test/CLASS/`, in the order of their paths.

  Raises:
    DataError: there are none, a class has none, or a link leads elsewhere.
  """
  by_name = {folder.name.lower(): folder for folder in _visible(root)}
  parts = [by_name.get(name, root / name) for name in ("train", "test")]
  has_test = all(part.is_dir() for part in parts)
  if not has_test and by_name and by_name.keys() <= _PARTS:
    raise DataError(f"{root} has the folders {said(sorted(by_name))}: name them train and test, or give one of them.")
  found = [_classes(part, root) for part in (parts if has_test else [root])]
  if has_test and (strange := sorted(found[1].keys() - found[0].keys())):
    raise DataError(f"{parts[1]} has folders that {parts[0]} has not: {said(strange)}.")
  paths = [path for classes in found for images in classes.values() for path in images]
  labels = [name for classes in found for name, images in classes.items() for _ in images]
  names = [str(path.relative_to(root)) for path in paths]
  read = functools.partial(_read, root, paths, names, options, progress)
  num_test = sum(map(len, found[1].values())) if has_test else None
  return Rows(np.array(labels, object), str(root), read, num_test, names, kept=True)


def _header(path: Path) -> _Header:
  from PIL import Image

  try:
    with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
      width, height = image.size
      turned = Image.Image.getexif(image).get(0x0112) in _TURNED  # that of PNG alone would decode the image
      upright = (width, height) if turned else (height, width)
      header = _Header(upright, image.mode)
  except Image.DecompressionBombError as error:
    raise DataError(f"{str(path)!r} is too large to be decoded ({one_line(error)}).") from error
  except Exception as error:  # Pillow raises errors of many kinds for a damaged file.
    return _Header(error=one_line(error))
  if width * height > _MOST_PIXELS:
    raise DataError(f"{str(path)!r} is an image of {width:,} x {height:,} pixels: make it smaller than 8,192 x 8,192.")
  return header


def _decoded(path: Path, grey: bool, size: tuple[int, int]) -> np.ndarray:
  """`[H, W, 1 or 3]` uint8, upright, what is transparent on white."""
  from PIL import Image
  from PIL import ImageOps

  with Image.open(path) as opened:
    image = ImageOps.exif_transpose(opened)
    if image.mode in _DEEP:
      image = Image.fromarray(np.round(np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
      image = image.convert("RGBA")
      image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if grey else "RGB")
    if image.size != size[::-1]:
      image = ImageOps.fit(image, size[::-1])
    return np.asarray(image).reshape(*size, -1)


def _one_size(headers: Sequence[_Header], names: Sequence[str]) -> tuple[int, int]:
  found = {header.size: name for header, name in zip(headers, names, strict=True) if not header.error}
  if len(found) > 1:
    (first, at), (second, other) = list(found.items())[:2]
    raise DataError(
      f"the images are of {len(found):,} sizes, such as {first[0]} x {first[1]} ({at!r}) and {second[0]} x {second[1]}"
      f" ({other!r}): --image_size=64 or --image_size=64x48, height first, brings them to one."
    )
  return next(iter(found))


def _read(
  root: Path,
  paths: list[Path],
  names: list[str],
  options: Options,
  progress: Progress,
  pool: np.ndarray,
  test: np.ndarray,
) -> Read:
  """Decodes the images of both parts, each into one array."""
  progress(f"reading the headers of {len(paths):,} images")
  headers = [_header(path) for path in paths]
  unreadable = {i: header.error for i, header in enumerate(headers) if header.error}
  _refuse_unreadable(root, names, unreadable)
  modes = {header.mode for header in headers if not header.error}
  grey = modes <= _GREY
  size = options.image_size or _one_size(headers, names)
  arrays = [np.zeros((len(part), *size, 1 if grey else 3), np.uint8) for part in (pool, test)]
  jobs = [(array, i, row) for array, part in zip(arrays, (pool, test), strict=True) for i, row in enumerate(part)]

  def decode(job: tuple[np.ndarray, int, int]) -> None:
    array, i, row = job
    if row in unreadable:
      return
    try:
      array[i] = _decoded(paths[row], grey, size)
    except Exception as error:  # as above
      unreadable[int(row)] = one_line(error)

  with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
    for done, _ in enumerate(threads.map(decode, jobs)):
      if done % _STEP == 0:
        progress(f"decoding images: {done:,} of {len(jobs):,}")
  _refuse_unreadable(root, names, unreadable)
  remarks = [f"images of {size[0]} x {size[1]}, {'grey' if grey else 'in colour'}"]
  if len(modes) > 1 or modes & (_DEEP | {"CMYK", "P", "RGBA", "LA"}):
    remarks[0] += f", brought to that from {', '.join(sorted(modes))}"
  if options.image_size and any(header.size != size for header in headers if not header.error):
    remarks[0] += ", scaled, and cut where the shape is another"
  if unreadable:
    bad = [f"{names[i]!r}" for i in sorted(unreadable)][:5]
    remarks.append(f"left out, because they cannot be read: {len(unreadable)} images, such as {', '.join(bad)}")
  return Read(*arrays, inputs.images(std=255), remarks, sorted(unreadable))


def _refuse_unreadable(root: Path, names: list[str], unreadable: dict[int, str]) -> None:
  if len(unreadable) > _MOST_UNREADABLE * len(names):
    i = min(unreadable)
    raise DataError(
      f"{root}: {len(unreadable):,} of {len(names):,} images cannot be read, more than one in a hundred; the first is"
      f" {names[i]!r} ({unreadable[i]})."
    )
