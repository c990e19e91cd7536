"""The images of a folder: found, hashed, decoded to small pixels, and kept as a list in the workdir."""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import csv
import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UsageError
from experiments.data import image_files
from experiments.data.errors import DataError
from experiments.data.errors import one_line

WORKDIR = ".al_jax"  # in the folder, unless --workdir says otherwise
LIST, PIXELS = "images.jsonl", "pixels.npy"
SMALL, _SIDE = 64 * 64, 32  # images of one size up to 64 x 64 keep it; others are scaled to 32 x 32
Progress = Callable[[str, int, int], None]  # (activity, done, total)


class Image(NamedTuple):
  """An image, which several files with equal bytes are."""

  number: int  # its place in the list, from 0
  path: str  # of the first file, relative to the root, with "/"
  sha256: str  # of the file's bytes
  copies: tuple[str, ...] = ()  # paths of the other files


class Found(NamedTuple):
  """The images below a root."""

  root: Path
  images: tuple[Image, ...]
  unreadable: tuple[tuple[str, str], ...]  # paths and reasons
  largest: int  # pixels of the largest image


def listed(source: Path, root: Path | None = None) -> tuple[Path, list[str]]:
  """The root, and the paths of the image files below it, relative and sorted; of a file, in its order.

  Hidden files and folders are left out, and linked folders are not followed.

  Args:
    source: a folder, or a .csv (column `path`, or the first one) or .jsonl (key `path`) of paths below `root`.
    root: the folder that paths in a file start from; default: the one that holds the file.

  Raises:
    UsageError: there is no such folder or file, it has no images, or a path leaves the root.
  """
  if source.is_dir():
    if root is not None:
      raise UsageError(f"--root={root} is for a .csv or .jsonl of paths, and {source} is a folder: omit the flag")
    paths = []
    for place, folders, files in os.walk(source):
      folders[:] = sorted(name for name in folders if not name.startswith("."))
      own = (name for name in files if not name.startswith(".") and name.lower().endswith(image_files.SUFFIXES))
      paths += [os.path.relpath(os.path.join(place, name), source).replace(os.sep, "/") for name in own]
    if not paths:
      kinds = ", ".join(suffix[1:] for suffix in image_files.SUFFIXES)
      raise UsageError(f"{source} has no images: it needs files that end in {kinds}, at any depth")
    return source.resolve(), sorted(paths)
  if not source.is_file() or source.suffix.lower() not in (".csv", ".jsonl"):
    raise UsageError(f"{str(source)!r} is neither a folder of images nor a .csv or .jsonl of their paths")
  root = (root or source.parent).resolve()
  if not root.is_dir():
    raise UsageError(f"--root={root} is not a folder")
  try:
    named = [path.replace(os.sep, "/") for path in _named(source)]
  except (OSError, ValueError, csv.Error) as error:
    raise UsageError(f"{source} cannot be read as a list of paths ({one_line(error)})") from error
  for path in named:
    if os.path.isabs(path) or ".." in path.split("/"):
      raise UsageError(f"{source}: {path!r} leaves the root {root}: give paths below it")
  if not named:
    raise UsageError(f"{source} has no paths")
  return root, list(dict.fromkeys(os.path.normpath(path).replace(os.sep, "/") for path in named))


def _named(source: Path) -> Iterator[str]:
  with open(source, encoding="utf-8-sig", newline="") as file:
    if source.suffix.lower() == ".csv":
      rows = csv.reader(file)
      head = next(rows, [])
      column = head.index("path") if "path" in head else 0
      if "path" not in head and head:
        yield head[0]
      yield from (row[column] for row in rows if row)
    else:
      for line in filter(str.strip, file):
        path = json.loads(line)["path"] if line.lstrip().startswith("{") else json.loads(line)
        if not isinstance(path, str):
          raise ValueError(f"{path!r} is not a path")
        yield path


class _File(NamedTuple):
  """What is known of a file; the last three fields are those of its content."""

  path: str
  bytes: int = 0
  changed_ns: int = 0
  sha256: str = ""
  size: tuple[int, int] = (0, 0)
  mode: str = ""
  error: str = ""


def stamp(root: Path, path: str) -> tuple[int, int]:
  """Size and time of change of a file. Raises OSError if it has vanished."""
  found = os.stat(root / path)
  return found.st_size, found.st_mtime_ns


def sha256_of(root: Path, path: str) -> str:
  """Hash of a file's bytes."""
  with open(root / path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _examined(root: Path, path: str, before: dict[str, _File]) -> _File:
  """Hash and header of a file; those of `before` if it has not changed since."""
  try:
    if not (root / path).resolve().is_relative_to(root):
      return _File(path, error="a link that leaves the folder")
    size, changed = stamp(root, path)
    known = before.get(path)
    if known and (known.bytes, known.changed_ns) == (size, changed):
      return known
    header = image_files.header(root / path)
    found = _File(path, size, changed, sha256_of(root, path), header.size, header.mode, header.error)
    return found if stamp(root, path) == (size, changed) else found._replace(error="it changed while it was read")
  except (OSError, DataError) as error:
    return _File(path, error=one_line(error))


def scan(
  root: Path, paths: list[str], workdir: Path, image_size: tuple[int, int] | None, progress: Progress
) -> tuple[Found, np.ndarray]:
  """Hashes and decodes the files, and writes `images.jsonl` and `pixels.npy` to the workdir.

  Files that did not change since the last call are not read again. Files that cannot be read are left out.

  Args:
    root: the folder.
    paths: the files below it.
    workdir: where the results of the last call are.
    image_size: height and width of the pixels; None: the images' own size if they share one of at most 64 x 64, else
      32 x 32.
    progress: called with an activity, and how many of how many files are done.

  Returns:
    The images, and their pixels `[N, H, W, 1 or 3]` uint8, memory-mapped.

  Raises:
    UsageError: no file can be read, or the workdir cannot be written.
  """
  before = {file.path: file for file in _last(workdir)[1]}
  total = len(paths)
  with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
    files = []
    for file in threads.map(lambda path: _examined(root, path, before), paths):
      files.append(file)
      progress("reading files", len(files), total)
  files = _with_pixels(root, files, workdir, image_size, progress)
  found = _grouped(root, files)
  if not found.images:
    path, reason = found.unreadable[0]
    raise UsageError(f"none of the {total:,} images in {root} can be read, such as {path!r} ({reason})")
  return found, np.load(workdir / PIXELS, mmap_mode="r")


def _with_pixels(
  root: Path, files: list[_File], workdir: Path, image_size: tuple[int, int] | None, progress: Progress
) -> list[_File]:
  """Writes the list and the pixels, unless both are there; files that cannot be decoded get an error."""
  firsts = list({file.sha256: file for file in reversed(files) if not file.error}.values())[::-1]
  sizes = {file.size for file in firsts}
  small = len(sizes) == 1 and next(iter(sizes))[0] * next(iter(sizes))[1] <= SMALL
  height, width = image_size or (next(iter(sizes)) if small else (_SIDE, _SIDE))
  gray = {file.mode for file in firsts} <= image_files.GRAY
  head, last = _last(workdir)
  made = [height, width, gray]
  if head.get("pixels") == made and last == files and (workdir / PIXELS).exists():
    return files
  if not firsts:
    return files
  errors: dict[str, str] = {}
  channels = 1 if gray else 3
  pixels = np.zeros((len(firsts), height, width, channels), np.uint8)

  def decode(i: int) -> None:
    try:
      pixels[i] = image_files.decoded(root / firsts[i].path, gray, (height, width))
    except Exception as error:  # Pillow raises many types of errors for a damaged file.
      errors[firsts[i].sha256] = one_line(error)

  with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
    for done, _ in enumerate(threads.map(decode, range(len(firsts)))):
      progress("decoding images", done + 1, len(firsts))
  files = [file._replace(error=errors.get(file.sha256, file.error)) for file in files]
  if errors:
    pixels = pixels[[file.sha256 not in errors for file in firsts]]
  lines = [{"root": str(root), "pixels": made}, *(file._asdict() for file in files)]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  try:
    # The list is removed first, so that it never describes other pixels than those that are there.
    (workdir / LIST).unlink(missing_ok=True)
    with open(workdir / f".{PIXELS}.tmp", "wb") as file:
      np.save(file, pixels)
    os.replace(workdir / f".{PIXELS}.tmp", workdir / PIXELS)
    (workdir / f".{LIST}.tmp").write_text(text, "utf-8")
    os.replace(workdir / f".{LIST}.tmp", workdir / LIST)
  except OSError as error:
    raise UsageError(f"{workdir} cannot be written: {error.strerror}") from error
  return files


def _last(workdir: Path) -> tuple[dict, list[_File]]:
  """Head and files of the list that the last start wrote; empty if there is none."""
  try:
    with open(workdir / LIST, encoding="utf-8") as file:
      head, *lines = map(json.loads, file)
    return head, [_File(**(line | {"size": tuple(line["size"])})) for line in lines]
  except (OSError, ValueError, TypeError, KeyError):
    return {}, []


def _grouped(root: Path, files: list[_File]) -> Found:
  by_hash: dict[str, list[str]] = {}
  for file in files:
    if not file.error:
      by_hash.setdefault(file.sha256, []).append(file.path)
  images = tuple(Image(i, paths[0], sha256, tuple(paths[1:])) for i, (sha256, paths) in enumerate(by_hash.items()))
  unreadable = tuple((file.path, file.error) for file in files if file.error)
  largest = max((file.size[0] * file.size[1] for file in files if not file.error), default=0)
  return Found(root, images, unreadable, largest)


def saved(workdir: Path) -> Found:
  """The images that the last start found.

  Raises:
    UsageError: there was none, or its list is damaged.
  """
  head, files = _last(workdir)
  if not head:
    raise UsageError(f"{workdir / LIST} is missing or damaged: start `python -m experiments.label` on the folder once")
  return _grouped(Path(head["root"]), files)


def changed(root: Path, workdir: Path) -> set[str]:
  """Paths of the list of the last start whose files have vanished, or have other bytes, below `root`.

  A file is hashed only if its size or time of change differs.
  """
  files = [file for file in _last(workdir)[1] if not file.error]
  before = {file.path: file for file in files}
  with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
    found = threads.map(lambda file: _examined(root, file.path, before), files)
    return {file.path for file, after in zip(files, found, strict=True) if after.sha256 != file.sha256}
