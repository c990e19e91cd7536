"""Image files as a browser shows them."""

import hashlib
import io

import numpy as np
from PIL import Image
import pytest

from experiments.labeling import display
from experiments.labeling import images
from tests.support import folders


def pixels(height: int, width: int) -> np.ndarray:
  """A gradient whose first rows are dark on the left."""
  across = np.linspace(0, 255, width)[None, :, None]
  return np.broadcast_to(across, (height, width, 3)).astype(np.uint8)


def saved(folder, image: Image.Image, name: str, **options) -> images.Image:
  image.save(folder / name, **options)
  return images.Image(0, name, hashlib.sha256((folder / name).read_bytes()).hexdigest())


def seen(content: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(content)) as image:
    assert image.mode in ("L", "RGB", "RGBA", "P", "1", "LA")
    return np.asarray(image.convert("RGB"), int)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "image/png"), ("a.jpg", "image/jpeg"), ("a.webp", "image/webp")])
def test_plain_files_are_sent_unchanged(tmp_path, name, kind):
  file = saved(tmp_path, Image.fromarray(pixels(20, 30)), name)
  assert display.shown(tmp_path, file) == ((tmp_path / name).read_bytes(), kind)


def test_an_image_is_turned_upright(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by 90 degrees clockwise
  file = saved(tmp_path, Image.fromarray(pixels(20, 30)), "a.jpg", exif=exif, quality=95)
  content, _ = display.shown(tmp_path, file)
  shown = seen(content)
  assert shown.shape == (30, 20, 3)
  np.testing.assert_allclose(shown, np.rot90(pixels(20, 30).astype(int), -1), atol=8)
  assert seen(display.small(tmp_path, file)[0]).shape == (30, 20, 3)


def test_kinds_that_browsers_do_not_show_are_converted(tmp_path):
  deep = Image.fromarray((np.arange(600).reshape(20, 30) * 100).astype(np.uint16))
  colors = Image.fromarray(pixels(20, 30))
  files = {
    "deep.png": saved(tmp_path, deep, "deep.png"),
    "cmyk.jpg": saved(tmp_path, colors.convert("CMYK"), "cmyk.jpg"),
    "a.bmp": saved(tmp_path, colors, "a.bmp"),
    "a.tif": saved(tmp_path, colors, "a.tif"),
    "a.gif": saved(tmp_path, colors.quantize(), "a.gif", save_all=True, append_images=[colors.quantize()] * 2),
  }
  for name, file in files.items():
    content, kind = display.shown(tmp_path, file)
    assert kind == "image/png", name
    shown = seen(content)
    assert shown.shape == (20, 30, 3), name
    if name == "deep.png":
      np.testing.assert_allclose(shown[..., 0], np.asarray(deep) / 257, atol=1)
    else:
      np.testing.assert_allclose(shown, pixels(20, 30), atol=25)


def test_transparent_parts_of_what_is_converted_are_white(tmp_path):
  clear = Image.new("RGBA", (3000, 10), (255, 0, 0, 0))
  content, _ = display.shown(tmp_path, saved(tmp_path, clear, "a.png"))
  assert seen(content).min() == 255


def test_large_images_are_scaled_down(tmp_path, monkeypatch):
  wide = saved(tmp_path, Image.fromarray(pixels(1000, 4000)), "wide.png")
  content, kind = display.shown(tmp_path, wide)
  assert (seen(content).shape, kind) == ((512, 2048, 3), "image/jpeg")
  content, kind = display.small(tmp_path, wide)
  assert (seen(content).shape, kind) == ((24, 96, 3), "image/png")
  heavy = saved(tmp_path, Image.fromarray(pixels(700, 700)), "heavy.png")
  assert display.shown(tmp_path, heavy)[1] == "image/png"
  monkeypatch.setattr(display, "_BYTES", (tmp_path / "heavy.png").stat().st_size - 1)
  display.shown.cache_clear()
  content, kind = display.shown(tmp_path, heavy)
  assert (seen(content).shape, kind) == ((700, 700, 3), "image/jpeg")


def test_other_bytes_than_those_of_the_start_are_refused(tmp_path):
  file = saved(tmp_path, Image.fromarray(pixels(20, 30)), "a.png")
  (tmp_path / "a.png").write_bytes(folders.bomb())
  for draw in (display.shown, display.small):
    with pytest.raises(ValueError, match="has changed"):
      draw(tmp_path, file)
