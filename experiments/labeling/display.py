"""Image files as a browser shows them."""

import functools
import io
from pathlib import Path

from experiments.data import image_files
from experiments.labeling import images

_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}
_LARGEST, _BYTES = 2048, 4 << 20  # pixels of a side, and size of a file, above which an image is scaled down
_PIXELS = 512 * 512  # up to which an image is sent without loss


@functools.lru_cache(maxsize=64)
def shown(root: Path, file: images.Image) -> tuple[bytes, str]:
  """An image's bytes and media type: upright, of 8 bits, the first frame, at most 2,048 pixels wide and high.

  A file that is so already is sent unchanged. A file with other bytes than at the start is refused, whatever it became:
  a page, a bomb, a link that leaves the folder.

  Raises:
    OSError, ValueError: the file has changed or vanished, or cannot be decoded.
  """
  from PIL import Image

  content = images.content(root, file)
  with Image.open(io.BytesIO(content), formats=image_files.FORMATS) as image:
    kind = _AS_THEY_ARE.get(image.format or "")
    plain = image.mode in _MODES and max(image.size) <= _LARGEST and getattr(image, "n_frames", 1) == 1
    upright = image.getexif().get(0x0112, 1) == 1
  if kind and plain and upright and len(content) <= _BYTES:
    return content, kind
  return _encoded(content, _LARGEST)


@functools.lru_cache(maxsize=1024)
def small(root: Path, file: images.Image, side: int = 96) -> tuple[bytes, str]:
  """A thumbnail of at most `side` pixels. Arguments and errors as in `shown`."""
  return _encoded(images.content(root, file), side)


def _encoded(content: bytes, side: int) -> tuple[bytes, str]:
  image = image_files.upright(io.BytesIO(content), "RGB")
  image.thumbnail((side, side))
  out = io.BytesIO()
  if image.width * image.height <= _PIXELS:
    image.save(out, "PNG", compress_level=1)
    return out.getvalue(), "image/png"
  image.save(out, "JPEG", quality=90)
  return out.getvalue(), "image/jpeg"
