"""The images of a folder: found, hashed, decoded to small pixels, and kept as a list in the workdir."""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import csv
import hashlib
import json
import os
from pathlib import Path
import stat
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UsageError
from experiments.data import image_files
from experiments.data.errors import DAMAGE
from experiments.data.errors import one_line

WORKDIR = ".al_jax"  # in the folder, unless --workdir names another folder
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

  Hidden files and folders are left out, and linked folders are not followed. A folder that cannot be opened stands
  among the paths, so that it is reported.

  Args:
    source: a folder, or a .csv (column `path`, or the first one) or .jsonl (key `path`) of paths below `root`.
    root: the folder that paths in a file start from; default: the one that holds the file.

  Raises:
    UsageError: there is no such folder or file, it cannot be read, it has no images, or a path leaves the root.
  """
  if source.is_dir():
    if root is not None:
      raise UsageError(f"--root={root} is for a .csv or .jsonl of paths, and {source} is a folder: omit the flag")
    if not os.access(source, os.R_OK | os.X_OK):
      raise UsageError(f"{source} cannot be opened: make it readable")
    closed: list[str] = []
    paths = []
    for place, folders, files in os.walk(source, onerror=lambda error: closed.append(error.filename)):
      folders[:] = sorted(name for name in folders if not name.startswith("."))
      own = (name for name in files if not name.startswith(".") and name.lower().endswith(image_files.SUFFIXES))
      paths += [os.path.join(place, name) for name in own]
    paths = [os.path.relpath(path, source).replace(os.sep, "/") for path in [*paths, *closed]]
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
  except (OSError, ValueError, RecursionError, csv.Error) as error:
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
      for row in filter(None, rows):
        if len(row) <= column or not row[column]:
          raise ValueError(f"line {rows.line_num} has no path")
        yield row[column]
    else:
      for number, line in enumerate(file, 1):
        if line.strip():
          found = json.loads(line)
          path = found.get("path") if isinstance(found, dict) else found
          if not isinstance(path, str) or not path:
            raise ValueError(f"line {number} has no path")
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
  """Size and time of change of a file. Raises OSError if it has vanished or is none, such as a pipe."""
  found = os.stat(root / path)
  if not stat.S_ISREG(found.st_mode):
    raise OSError("it is not a file")
  # Archives and copies set the time of the content (mtime) to any; the time of the file's entry is always that of now.
  return found.st_size, max(found.st_mtime_ns, found.st_ctime_ns)


def sha256_of(root: Path, path: str) -> str:
  """Hash of a file's bytes."""
  with open(root / path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def content(root: Path, image: Image) -> bytes:
  """An image's bytes.

  Raises:
    OSError, ValueError: the file has vanished, or has other bytes than at the start.
  """
  stamp(root, image.path)  # raises for a pipe, which would never end
  found = (root / image.path).read_bytes()
  if hashlib.sha256(found).hexdigest() != image.sha256:
    raise ValueError(f"{image.path!r} has changed")
  return found


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
  except (OSError, RuntimeError, ValueError) as error:  # links in a circle are a RuntimeError, a zero byte a ValueError
    return _File(path, error=one_line(error))


def scan(
  root: Path,
  paths: list[str],
  workdir: Path,
  image_size: tuple[int, int] | None,
  progress: Progress,
  answered: Collection[str] = (),
) -> tuple[Found, np.ndarray]:
  """Hashes and decodes the files, and writes `images.jsonl` and `pixels.npy` to the workdir.

  Files that did not change since the last call are not read again, whatever became of others. Files that cannot be
  read are left out.

  Args:
    root: the folder.
    paths: the files below it.
    workdir: where the results of the last call are.
    image_size: height and width of the pixels; None: the images' own size if they share one of at most 64 x 64, else
      32 x 32.
    progress: called with an activity, and how many of how many files are done.
    answered: hashes of the images that have answers in the workdir.

  Returns:
    The images, and their pixels `[N, H, W, 1 or 3]` uint8, memory-mapped.

  Raises:
    UsageError: no file can be read, the answers are all to other images, or the workdir cannot be written.
  """
  before = {file.path: file for file in _last(workdir)[1]}
  total = len(paths)
  with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
    files = []
    for file in threads.map(lambda path: _examined(root, path, before), paths):
      files.append(file)
      progress("reading files", len(files), total)
  if answered and not set(answered) & {file.sha256 for file in files}:
    raise UsageError(
      f"{workdir} has answers to {len(answered):,} images, and none of them is in {root}: it belongs to another folder,"
      " so give another --workdir"
    )
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
  firsts = _firsts(files)
  if not firsts:
    return files
  head, last = _last(workdir)
  height, width, gray = _form(firsts, image_size)
  made = {"root": str(root), "pixels": [height, width, gray]}
  rows, kept = _kept(workdir, head, last, made["pixels"])
  if head == made and last == files and rows:
    return files
  errors: dict[str, tuple[str, bool]] = {}  # by hash; the second: whether it may pass
  pixels = np.zeros((len(firsts), height, width, 1 if gray else 3), np.uint8)

  def decode(i: int) -> None:
    file = firsts[i]
    try:
      if file.sha256 in rows:
        pixels[i] = kept[rows[file.sha256]]
      else:
        pixels[i] = image_files.decoded(root / file.path, gray, (height, width))
    except Exception as error:  # Pillow raises many types of errors for a damaged file.
      passes = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
      errors[file.sha256] = one_line(error), passes

  with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
    for done, _ in enumerate(threads.map(decode, range(len(firsts)))):
      progress("decoding images", done + 1, len(firsts))
  if errors:
    files = [_failed(file, *errors[file.sha256]) if file.sha256 in errors else file for file in files]
    if (readable := _firsts(files)) and _form(readable, image_size) != (height, width, gray):
      return _with_pixels(root, files, workdir, image_size, progress)
    pixels = pixels[[file.sha256 not in errors for file in firsts]]
  lines = [made, *(file._asdict() for file in files)]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  try:
    with open(workdir / f".{PIXELS}.tmp", "wb") as file:
      np.save(file, pixels)
      file.flush()
      os.fsync(file.fileno())
    # The list is removed first, so that it never describes other pixels than those that are there.
    (workdir / LIST).unlink(missing_ok=True)
    os.replace(workdir / f".{PIXELS}.tmp", workdir / PIXELS)
    (workdir / f".{LIST}.tmp").write_text(text, "utf-8")
    os.replace(workdir / f".{LIST}.tmp", workdir / LIST)
  except OSError as error:
    raise UsageError(f"{workdir} cannot be written: {error.strerror}") from error
  return files


def _failed(file: _File, error: str, passes: bool) -> _File:
  """A file that cannot be decoded. If the error may pass, it lacks its time, so that the next start reads it again."""
  return file._replace(error=error, changed_ns=0 if passes else file.changed_ns)


def _firsts(files: list[_File]) -> list[_File]:
  """The first file of every image, in the order of `_grouped`, which is that of the pixels."""
  firsts: dict[str, _File] = {}
  for file in files:
    if not file.error:
      firsts.setdefault(file.sha256, file)
  return list(firsts.values())


def _form(firsts: list[_File], image_size: tuple[int, int] | None) -> tuple[int, int, bool]:
  """Height and width of the pixels, and whether they are gray."""
  (height, width), *others = {file.size for file in firsts}
  if others or height * width > SMALL:
    height = width = _SIDE
  return *(image_size or (height, width)), {file.mode for file in firsts} <= image_files.GRAY


def _kept(workdir: Path, head: dict, last: list[_File], form: list) -> tuple[dict[str, int], np.ndarray]:
  """The pixels of the last start and their rows by hash; no rows if they are missing, damaged or of another form."""
  rows = {file.sha256: i for i, file in enumerate(_firsts(last))}
  if head.get("pixels") == form:
    try:
      pixels = np.lib.format.open_memmap(workdir / PIXELS, mode="r")
    except DAMAGE:
      pixels = np.zeros(0, np.uint8)
    if pixels.shape == (len(rows), *form[:2], 1 if form[2] else 3) and pixels.dtype == np.uint8:
      return rows, pixels
  return {}, np.zeros(0, np.uint8)


def _last(workdir: Path) -> tuple[dict, list[_File]]:
  """Head and files of the list that the last start wrote; empty if there is none."""
  try:
    with open(workdir / LIST, encoding="utf-8") as file:
      head, *lines = map(json.loads, file)
    if not isinstance(head["root"], str) or not isinstance(head["pixels"], list):
      return {}, []
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
