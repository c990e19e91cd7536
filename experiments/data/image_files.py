"""Reads image files: size and mode from the header, pixels upright, on white, at a given size."""

from pathlib import Path
from typing import BinaryIO
from typing import NamedTuple
import warnings

import numpy as np

from experiments.data.errors import DataError
from experiments.data.errors import one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # Pillow reads the MPO files of some phones as JPEG
MAX_PIXELS = 2**26  # per image: 8,192 x 8,192
GRAY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L"}
# Modes with more than 8 bits per channel.
WIDE = {"I", "I;16", "I;16B", "I;16L"}
_TRANSPOSED = range(5, 9)  # EXIF orientations that swap height and width


class Header(NamedTuple):
  """The header of an image file, or the error of reading it."""

  size: tuple[int, int] = (0, 0)  # height and width, upright
  mode: str = ""
  error: str = ""


def header(path: Path) -> Header:
  """Reads the header. Raises DataError for an image of more than `MAX_PIXELS`."""
  from PIL import Image

  try:
    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
      width, height = image.size
      transposed = Image.Image.getexif(image).get(0x0112) in _TRANSPOSED  # PNG's own `getexif` would decode the image
      upright = (width, height) if transposed else (height, width)
      header = Header(upright, image.mode)
  except Image.DecompressionBombError as error:
    raise DataError(f"{str(path)!r} is too large to decode ({one_line(error)}).") from error
  except Exception as error:  # Pillow raises many types of errors for a damaged file.
    return Header(error=one_line(error))
  if width * height > MAX_PIXELS:
    raise DataError(f"{str(path)!r} is an image of {width:,} x {height:,} pixels: reduce it to at most 8,192 x 8,192.")
  return header


def upright(path: Path | BinaryIO, mode: str):
  """The image as Pillow's `"L"` or `"RGB"`: upright as its EXIF data say, transparent parts on white."""
  from PIL import Image
  from PIL import ImageOps

  with Image.open(path, formats=FORMATS) as opened:
    image = ImageOps.exif_transpose(opened)
    if image.mode in WIDE:
      image = Image.fromarray(np.round(np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
      image = image.convert("RGBA")
      image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def decoded(path: Path | BinaryIO, gray: bool, size: tuple[int, int]) -> np.ndarray:
  """`[H, W, 1 or 3]` uint8: `upright`, scaled and cropped to `size`."""
  from PIL import ImageOps

  image = upright(path, "L" if gray else "RGB")
  if image.size != size[::-1]:
    image = ImageOps.fit(image, size[::-1])
  return np.asarray(image).reshape(*size, -1)
