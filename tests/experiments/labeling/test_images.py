"""Images of a folder: which files are listed, what is read of them, and when they are read again."""

import contextlib
import hashlib
import io
import json
import os
from pathlib import Path
import struct
import zlib

import numpy as np
from PIL import Image
import pytest

from experiments.common.errors import UsageError
from experiments.data import image_files
from experiments.labeling import images
from tests.support import folders

QUIET = lambda *_: None


def write(path: Path, value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "L", **options) -> Path:
  """Writes an image of one color; `size` is width and height."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new(mode, size, value if mode == "L" else (value,) * len(mode)).save(path, **options)
  return path


def half(size: tuple[int, int] = (8, 8), channels: int = 3) -> bytes:
  """Half of a PNG: its header can be read, and its pixels cannot."""
  content = io.BytesIO()
  noise = np.random.default_rng(0).integers(0, 255, (*size, channels), np.uint8)
  Image.fromarray(noise[..., 0] if channels == 1 else noise).save(content, "PNG")
  return content.getvalue()[: len(content.getvalue()) // 2]


@pytest.fixture
def root(tmp_path):
  (tmp_path / "root").mkdir()
  return (tmp_path / "root").resolve()


@pytest.fixture
def workdir(tmp_path):
  (tmp_path / "work").mkdir()
  return tmp_path / "work"


def scan(root: Path, workdir: Path, image_size=None):
  """Images and pixels; both are checked against the files, and against what is saved."""
  base, paths = images.listed(root)
  found, pixels = images.scan(base, paths, workdir, image_size, QUIET)
  assert images.saved(workdir) == found
  assert len(pixels) == len(found.images)
  for image, own in zip(found.images, pixels, strict=True):
    assert found.images[image.number] is image
    assert images.sha256_of(base, image.path) == image.sha256
    expected = image_files.decoded(base / image.path, pixels.shape[-1] == 1, pixels.shape[1:3])
    np.testing.assert_array_equal(own, expected)
  accounted = [*(path for image in found.images for path in (image.path, *image.copies)), *dict(found.unreadable)]
  assert sorted(accounted) == sorted(paths)
  return found, pixels


@pytest.fixture
def reads(monkeypatch):
  """Names of the files that were hashed or decoded."""
  names = []
  digest, decoded = images.sha256_of, image_files.decoded
  monkeypatch.setattr(images, "sha256_of", lambda root, path: (names.append(path), digest(root, path))[1])
  monkeypatch.setattr(image_files, "decoded", lambda path, *given: (names.append(path.name), decoded(path, *given))[1])
  return names


# Listing.


def test_a_folder_is_listed_at_any_depth_without_hidden_ones(root):
  for name in ("b.png", "a/c/d.JPG", "a/b.jpeg", ".hidden.png", ".al_jax/x.png", "a/.git/y.png", "notes.txt", "png"):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).touch()
  assert images.listed(root) == (root, ["a/b.jpeg", "a/c/d.JPG", "b.png"])


NAMES = [
  "sp ace.png", '"quotes\'.png', "line\nbreak.png", "tab\t.png", "\N{CAT FACE}.png", "é.png", "e\u0301.png",
  "back\\slash.png", "-dash.png", "#?&%41.png", "comma,;.png", "\u202egnp.png", os.fsdecode(b"latin-\xe9.png"),
]  # fmt: skip


def test_any_name_of_a_file_is_kept(root, workdir):
  for i, name in enumerate(NAMES):
    write(root / name, i)
  found, _ = scan(root, workdir)
  assert {image.path for image in found.images} == set(NAMES)
  assert not found.unreadable


def test_links_are_read_inside_the_folder_and_refused_outside(root, workdir, tmp_path):
  write(root / "real.png", 1)
  (root / "inside.png").symlink_to("real.png")
  (root / "outside.png").symlink_to(write(tmp_path / "secret.png", 2))
  (root / "up.png").symlink_to("../secret.png")
  (root / "broken.png").symlink_to("nothing.png")
  (root / "circle.png").symlink_to("circle.png")
  (root / "folder").symlink_to(write(tmp_path / "other" / "x.png").parent)
  found, _ = scan(root, workdir)
  (image,) = found.images
  assert {image.path, *image.copies} == {"inside.png", "real.png"}
  reasons = dict(found.unreadable)
  assert reasons.keys() == {"outside.png", "up.png", "broken.png", "circle.png"}
  assert all("link that leaves" in reasons[name] for name in ("outside.png", "up.png"))


def test_the_folder_itself_may_be_a_link(root, workdir, tmp_path):
  write(root / "a.png")
  (tmp_path / "link").symlink_to(root)
  found, _ = scan(tmp_path / "link", workdir)
  assert found.root == root
  assert not found.unreadable


def test_a_pipe_is_not_waited_for(root, workdir):
  write(root / "a.png")
  os.mkfifo(root / "pipe.png")
  found, _ = scan(root, workdir)
  assert [path for path, _ in found.unreadable] == ["pipe.png"]


def test_a_folder_that_cannot_be_opened_is_reported(root, workdir, monkeypatch):
  write(root / "a.png")
  write(root / "closed" / "b.png")
  scandir = os.scandir

  def refusing(path):
    if os.path.basename(path) == "closed":
      raise PermissionError(13, "Permission denied", path)
    return scandir(path)

  monkeypatch.setattr(os, "scandir", refusing)
  found, _ = scan(root, workdir)
  assert [image.path for image in found.images] == ["a.png"]
  assert [path for path, _ in found.unreadable] == ["closed"]


def test_what_cannot_be_listed_is_refused(root, tmp_path):
  with pytest.raises(UsageError, match="has no images"):
    images.listed(root)
  with pytest.raises(UsageError, match="omit the flag"):
    images.listed(root, root)
  with pytest.raises(UsageError, match="neither a folder of images nor"):
    images.listed(tmp_path / "nothing")
  (tmp_path / "list.txt").write_text("a.png\n")
  with pytest.raises(UsageError, match="neither a folder of images nor"):
    images.listed(tmp_path / "list.txt")
  (tmp_path / "list.csv").write_text("a.png\n")
  with pytest.raises(UsageError, match="is not a folder"):
    images.listed(tmp_path / "list.csv", tmp_path / "nothing")


@pytest.mark.parametrize(
  ("name", "text", "expected"),
  [
    ("l.csv", "path\na.png\nb/c.png\n", ["a.png", "b/c.png"]),
    ("l.csv", "a.png\nb/c.png", ["a.png", "b/c.png"]),
    ("l.csv", "\ufeffpath,label\r\na.png,1\r\n", ["a.png"]),
    ("l.CSV", "label,path\n1,b.png\n\n2,a.png\n", ["b.png", "a.png"]),
    ("l.csv", "a.png,cat\n", ["a.png"]),
    ("l.csv", 'path\n"a,b.png"\n"q""uote.png"\n"line\nbreak.png"\n', ["a,b.png", 'q"uote.png', "line\nbreak.png"]),
    ("l.csv", "path\n./a.png\nb//c.png\na.png\n", ["a.png", "b/c.png"]),
    ("l.csv", "path\n..a.png\na..b/c...png\n", ["..a.png", "a..b/c...png"]),
    ("l.jsonl", '{"path": "a.png", "x": 1}\n\n "b/c.png"\n', ["a.png", "b/c.png"]),
    ("l.jsonl", '\ufeff{"path": "line\\nbreak \\udce9.png"}', ["line\nbreak \udce9.png"]),
  ],
)
def test_lists_of_paths(tmp_path, name, text, expected):
  (tmp_path / name).write_text(text, "utf-8", newline="")
  assert images.listed(tmp_path / name) == (tmp_path.resolve(), expected)
  (tmp_path / "other").mkdir()
  assert images.listed(tmp_path / name, tmp_path / "other") == ((tmp_path / "other").resolve(), expected)


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("l.csv", b"path\n/etc/passwd\n", "leaves the root"),
    ("l.csv", b"path\n../a.png\n", "leaves the root"),
    ("l.csv", b"path\na/../../a.png\n", "leaves the root"),
    ("l.jsonl", b'"a/.."', "leaves the root"),
    ("l.csv", b"", "has no paths"),
    ("l.csv", b"path\n", "has no paths"),
    ("l.jsonl", b"\n\n", "has no paths"),
    ("l.csv", b"label,path\n1,a.png\n2\n", "line 3 has no path"),
    ("l.csv", b"label,path\n1,\n", "line 2 has no path"),
    ("l.jsonl", b'{"path": "a.png"}\n{"file": "a.png"}', "line 2 has no path"),
    ("l.jsonl", b"3", "line 1 has no path"),
    ("l.jsonl", b'{"path": 3}', "line 1 has no path"),
    ("l.jsonl", b'{"path": "a.png"', "cannot be read as a list of paths"),
    ("l.jsonl", b"[" * 100_000, "cannot be read as a list of paths"),
    ("l.csv", b"path\n\xe9.png\n", "cannot be read as a list of paths"),
    ("l.csv", "path\na.png\n".encode("utf-16"), "cannot be read as a list of paths"),
  ],
)
def test_lists_that_are_refused(tmp_path, name, content, message):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(UsageError, match=message):
    images.listed(tmp_path / name)


def test_a_list_names_files_that_are_missing_and_odd_ones(root, workdir):
  write(root / "a.png")
  (root / "folder").mkdir()
  (root / "out.png").symlink_to("/etc/hostname")
  (root / "list.jsonl").write_text("\n".join(map(json.dumps, ["no.png", "folder", "out.png", "zero\0.png", "a.png"])))
  base, paths = images.listed(root / "list.jsonl")
  found, pixels = images.scan(base, paths, workdir, None, QUIET)
  assert [image.path for image in found.images] == ["a.png"]
  assert [path for path, _ in found.unreadable] == ["no.png", "folder", "out.png", "zero\0.png"]
  assert all(reason and "\n" not in reason for _, reason in found.unreadable)
  assert pixels.shape == (1, 8, 8, 1)


# Reading.


def test_copies_are_one_image_and_pixels_are_in_the_order_of_the_images(root, workdir):
  for name, value in [("a", 1), ("b", 2), ("c", 1), ("d", 3), ("e", 2), ("f", 1)]:
    write(root / f"{name}.png", value)
  found, pixels = scan(root, workdir)
  assert [(image.path, image.copies) for image in found.images] == [
    ("a.png", ("c.png", "f.png")),
    ("b.png", ("e.png",)),
    ("d.png", ()),
  ]
  assert pixels[:, 0, 0, 0].tolist() == [1, 2, 3]


def bomb(side: int) -> bytes:
  """A PNG whose header alone is there, with the sides of a huge image."""
  chunk = lambda kind, content: (
    struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
  )
  head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
  return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1))) + chunk(b"IEND", b"")


def test_files_that_are_no_images_are_named_and_the_others_read(root, workdir):
  write(root / "good.png")
  bad = {
    "empty.png": b"",
    "text.png": b"not an image",
    "page.png": b"<!doctype html><script>alert(1)</script>",
    "drawing.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    "header.png": (root / "good.png").read_bytes()[:40],
    "half.png": half(),
    "copy_of_half.png": half(),
    "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n",
    "bomb.png": bomb(100_000),
    "smaller_bomb.png": bomb(8193),
  }
  for name, own in bad.items():
    (root / name).write_bytes(own)
  found, pixels = scan(root, workdir)
  assert [image.path for image in found.images] == ["good.png"]
  assert dict(found.unreadable).keys() == bad.keys()
  assert all(reason and "\n" not in reason and len(reason) < 400 for _, reason in found.unreadable)
  assert found.largest == 64
  again, kept = scan(root, workdir)
  assert again == found
  np.testing.assert_array_equal(kept, pixels)


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(root, workdir, monkeypatch, reads):
  monkeypatch.setattr(image_files, "MAX_PIXELS", 64)
  write(root / "a.png", size=(8, 8))
  write(root / "b.png", size=(8, 9))
  found, _ = scan(root, workdir)
  assert [path for path, _ in found.unreadable] == ["b.png"]
  assert "b.png" not in reads


def test_a_folder_without_a_readable_image_is_refused(root, workdir):
  (root / "a.png").write_bytes(b"text")
  with pytest.raises(UsageError, match=r"none of the 1 images .* 'a.png'"):
    scan(root, workdir)
  (root / "a.png").write_bytes(half())
  with pytest.raises(UsageError, match="none of the 1 images"):
    scan(root, workdir)


def kinds(root: Path) -> None:
  ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
  Image.fromarray(ramp).save(root / "gray.png")
  Image.fromarray(ramp.astype(np.uint16) * 257).save(root / "wide.png")
  Image.fromarray(ramp > 99).save(root / "bits.png")
  Image.fromarray(np.stack([ramp, np.full_like(ramp, 255)], -1)).save(root / "opaque.png")
  Image.fromarray(ramp).save(root / "gray.tiff")
  Image.fromarray(ramp).save(root / "gray.bmp")


def test_sixteen_bits_and_alpha_are_read_as_the_same_gray(root, workdir):
  kinds(root)
  found, pixels = scan(root, workdir)
  assert pixels.shape == (6, 8, 8, 1)
  rows = {image.path: own[..., 0] for image, own in zip(found.images, pixels, strict=True)}
  for name in ("wide.png", "opaque.png", "gray.tiff", "gray.bmp"):
    np.testing.assert_array_equal(rows[name], rows["gray.png"], err_msg=name)
  np.testing.assert_array_equal(rows["bits.png"] > 0, rows["gray.png"] > 99)


def test_colors_frames_transparency_and_inks(root, workdir):
  red = Image.new("RGB", (8, 8), (255, 0, 0))
  red.save(root / "red.png")
  red.save(root / "red.gif", save_all=True, append_images=[Image.new("RGB", (8, 8), (0, 0, 255))])
  red.convert("CMYK").save(root / "inks.jpg", quality=100)
  red.convert("P").save(root / "palette.png")
  red.save(root / "red.webp", lossless=True)
  Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(root / "nothing.png")
  found, pixels = scan(root, workdir)
  assert pixels.shape == (6, 8, 8, 3)
  for image, own in zip(found.images, pixels, strict=True):
    expected = [255, 255, 255] if image.path == "nothing.png" else [255, 0, 0]
    np.testing.assert_allclose(own.reshape(-1, 3), np.tile(expected, (64, 1)), atol=3, err_msg=image.path)


def test_images_are_turned_as_their_exif_data_say(root, workdir):
  upright = Image.fromarray(
    np.repeat(np.arange(0, 240, 20, dtype=np.uint8)[:, None], 8, 1)
  )  # 12 high, 8 wide, dark top
  upright.save(root / "0.png")
  turned = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
  for orientation, by in turned.items():
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright.transpose(by).save(root / f"{orientation}.png", exif=exif)
  found, pixels = scan(root, workdir)
  assert pixels.shape == (4, 12, 8, 1)
  for own in pixels[1:]:
    np.testing.assert_array_equal(own, pixels[0])
  assert found.largest == 96


@pytest.mark.parametrize(
  ("sizes", "image_size", "expected"),
  [
    ([(8, 6), (8, 6)], None, (6, 8)),
    ([(64, 64)], None, (64, 64)),
    ([(65, 64)], None, (32, 32)),
    ([(8, 6), (6, 8)], None, (32, 32)),
    ([(8, 6), (6, 8)], (5, 7), (5, 7)),
  ],
)
def test_sizes_of_the_pixels(root, workdir, sizes, image_size, expected):
  for i, size in enumerate(sizes):
    write(root / f"{i}.png", i, size)
  _, pixels = scan(root, workdir, image_size)
  assert pixels.shape == (len(sizes), *expected, 1)


# The second start.


def test_unchanged_files_are_not_read_again(root, workdir, monkeypatch):
  for i in range(5):
    write(root / f"{i}.png", i)
  (root / "bad.png").write_bytes(half(channels=1))
  found, pixels = scan(root, workdir)
  before = np.array(pixels)
  monkeypatch.setattr(images, "sha256_of", None)
  monkeypatch.setattr(image_files, "header", None)
  monkeypatch.setattr(image_files, "decoded", None)
  again, kept = images.scan(*images.listed(root), workdir, None, QUIET)
  assert again == found
  np.testing.assert_array_equal(kept, before)


def test_new_changed_and_removed_files_alone_are_read(root, workdir, reads):
  for i in range(6):
    write(root / f"{i}.png", i)
  images.scan(*images.listed(root), workdir, None, QUIET)
  write(root / "00.png", 77)
  write(root / "3.png", 99)
  (root / "4.png").unlink()
  (root / "5.png").rename(root / "1a.png")
  reads.clear()
  images.scan(*images.listed(root), workdir, None, QUIET)
  assert sorted(reads) == ["00.png", "00.png", "1a.png", "3.png", "3.png"]  # a file with another name is only hashed
  found, pixels = scan(root, workdir)
  assert [image.path for image in found.images] == ["0.png", "00.png", "1.png", "1a.png", "2.png", "3.png"]
  assert pixels[:, 0, 0, 0].tolist() == [0, 77, 1, 5, 2, 99]


def test_a_change_is_noticed_though_size_and_time_were_kept(root, workdir):
  path = write(root / "a.bmp", 1)
  write(root / "b.bmp", 3)
  os.utime(path, ns=(10**18, 10**18))
  scan(root, workdir)
  size = path.stat().st_size
  write(path, 2)
  os.utime(path, ns=(10**18, 10**18))
  assert path.stat().st_size == size
  found, pixels = scan(root, workdir)
  assert pixels[0, 0, 0, 0] == 2
  assert found.images[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_that_was_moved_is_read_at_its_new_place(root, workdir, tmp_path):
  write(root / "a.png", 1)
  scan(root, workdir)
  moved = root.rename(tmp_path / "moved")
  found, _ = scan(moved, workdir)
  assert found.root == moved
  assert images.saved(workdir).root == moved


def test_another_format_of_pixels_is_decoded_anew(root, workdir):
  for i in range(3):
    write(root / f"{i}.png", i)
  assert scan(root, workdir)[1].shape == (3, 8, 8, 1)
  assert scan(root, workdir, (4, 5))[1].shape == (3, 4, 5, 1)
  write(root / "red.png", 200, mode="RGB")
  assert scan(root, workdir)[1].shape == (4, 8, 8, 3)
  (root / "red.png").unlink()
  write(root / "large.png", size=(80, 80))
  assert scan(root, workdir)[1].shape == (4, 32, 32, 1)


@pytest.mark.parametrize("size", [(40, 40), (8, 8)])
def test_a_file_that_cannot_be_decoded_does_not_change_the_pixels_at_the_next_start(root, workdir, size):
  for i in range(3):
    write(root / f"{i}.png", i)
  (root / "bad.png").write_bytes(half(size))
  _, first = scan(root, workdir)
  assert first.shape == (3, 8, 8, 1)
  first = np.array(first)
  _, second = scan(root, workdir)
  np.testing.assert_array_equal(second, first)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), MemoryError()])
def test_an_error_that_passes_is_tried_again_at_the_next_start(root, workdir, monkeypatch, error):
  for i in range(3):
    write(root / f"{i}.png", i)
  decoded = image_files.decoded

  def failing(path, *given):
    if path.name == "1.png":
      raise error
    return decoded(path, *given)

  with monkeypatch.context() as patch:
    patch.setattr(image_files, "decoded", failing)
    found, _ = scan_without_check(root, workdir)
    assert [path for path, _ in found.unreadable] == ["1.png"]
  found, pixels = scan(root, workdir)
  assert not found.unreadable
  assert pixels[:, 0, 0, 0].tolist() == [0, 1, 2]


def scan_without_check(root: Path, workdir: Path):
  return images.scan(*images.listed(root), workdir, None, QUIET)


def test_a_file_that_is_written_while_it_is_read_is_left_out_until_the_next_start(root, workdir, monkeypatch):
  write(root / "a.png", 1)
  path = write(root / "b.png", 2)
  digest = images.sha256_of

  def growing(base, name):
    if name == "b.png":
      write(path, 3, size=(8, 8), compress_level=0)
    return digest(base, name)

  with monkeypatch.context() as patch:
    patch.setattr(images, "sha256_of", growing)
    found, _ = scan_without_check(root, workdir)
    assert found.unreadable == (("b.png", "it changed while it was read"),)
  found, pixels = scan(root, workdir)
  assert pixels[:, 0, 0, 0].tolist() == [1, 3]


class Killed(BaseException):
  """Stands for SIGKILL: nothing of the program catches it."""


@pytest.mark.parametrize("call", range(6))
def test_list_and_pixels_agree_after_a_kill_between_their_writes(root, workdir, monkeypatch, call):
  for i in range(4):
    write(root / f"{i}.png", i)
  scan(root, workdir)
  (root / "0.png").unlink()  # the same number of images in another order
  write(root / "9.png", 9)
  made, killed = 0, False

  def maybe(function):
    def calling(*given, **named):
      nonlocal made, killed
      made += 1
      if made > call:
        killed = True
        raise Killed
      return function(*given, **named)

    return calling

  with monkeypatch.context() as patch:
    for owner, name in [(Path, "unlink"), (np, "save"), (os, "replace"), (Path, "write_text")]:
      patch.setattr(owner, name, maybe(getattr(owner, name)))
    with contextlib.suppress(Killed):
      scan_without_check(root, workdir)
  assert killed == (call < 5)
  try:
    found = images.saved(workdir)
  except UsageError:
    assert call > 0
  else:
    pixels = np.load(workdir / images.PIXELS)
    expected = [int(Path(image.path).stem) for image in found.images]
    assert pixels[:, 0, 0, 0].tolist() == expected
  _, pixels = scan(root, workdir)
  assert pixels[:, 0, 0, 0].tolist() == [1, 2, 3, 9]


@pytest.mark.parametrize("name", [images.LIST, images.PIXELS])
@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"[]\n", b"{}\n{}\n", b"PK\x03\x04", b"\xff\n"])
def test_a_missing_or_damaged_cache_is_made_again(root, workdir, name, content):
  for i in range(4):
    write(root / f"{i}.png", i)
  scan(root, workdir)
  (workdir / name).unlink()
  if content is not None:
    (workdir / name).write_bytes(content)
  scan(root, workdir)


def test_a_cut_file_of_pixels_is_made_again(root, workdir):
  for i in range(4):
    write(root / f"{i}.png", i)
  scan(root, workdir)
  os.truncate(workdir / images.PIXELS, (workdir / images.PIXELS).stat().st_size - 1)
  scan(root, workdir)


def test_a_workdir_without_a_list_is_refused(workdir):
  with pytest.raises(UsageError, match="missing or damaged"):
    images.saved(workdir)


def test_a_workdir_that_cannot_be_written_is_refused(root, workdir, monkeypatch):
  write(root / "a.png")
  monkeypatch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
  with pytest.raises(UsageError, match="cannot be written: No space left"):
    scan(root, workdir)


def test_progress_reaches_the_number_of_files(root, workdir):
  for i in range(4):
    write(root / f"{i}.png", i % 2)
  told = []
  images.scan(*images.listed(root), workdir, None, lambda *given: told.append(given))
  assert [given for given in told if given[1] == given[2]] == [("reading files", 4, 4), ("decoding images", 2, 2)]


def test_answers_to_other_images_are_refused_before_anything_is_written(tmp_path):
  workdir = tmp_path / "work"
  workdir.mkdir()
  first, second = (folders.of_digits(tmp_path / name, 3) for name in ("first", "second"))
  (second / "000.png").write_bytes(folders.png(folders.DIGITS[7]))
  (second / "001.png").write_bytes(folders.png(folders.DIGITS[8]))
  (second / "002.png").unlink()
  found, _ = images.scan(*images.listed(first), workdir, None, lambda *_: None)
  before = {path.name: path.read_bytes() for path in workdir.iterdir()}
  answered = {found.images[0].sha256}
  with pytest.raises(UsageError, match=r"none of them is in .*second: it belongs to another folder"):
    images.scan(*images.listed(second), workdir, None, lambda *_: None, answered)
  assert {path.name: path.read_bytes() for path in workdir.iterdir()} == before
  images.scan(*images.listed(first), workdir, None, lambda *_: None, answered)
