"""A labeled folder as exports read it and imports match it: its images, their answers, and which are audit images."""

import contextlib
import os
from pathlib import Path
import posixpath
from typing import NamedTuple

from experiments.common.errors import UsageError
from experiments.labeling import images
from experiments.labeling import journal
from experiments.labeling.answers import LONGEST
from experiments.labeling.answers import Answers
from experiments.labeling.answers import is_name
from experiments.labeling.answers import replayed


class Folder(NamedTuple):
  """A labeled folder."""

  found: images.Found
  answers: Answers
  by_sha256: dict[str, images.Image]
  by_path: dict[str, images.Image]  # copies included

  @property
  def root(self) -> Path:
    """The folder that paths start from."""
    return self.found.root

  def is_audit(self, image: images.Image) -> bool:
    """Whether no model is trained on an image, because it measures models."""
    return self.answers.is_audit(image.sha256)

  def at(self, path: str) -> images.Image | None:
    """The image of a path, absolute or relative to the root; None if there is none."""
    clean = posixpath.normpath(path.replace(os.sep, "/"))
    return self.by_path.get(clean.removeprefix(self.root.as_posix().rstrip("/") + "/"))

  def near(self, path: str) -> set[images.Image]:
    """The images that a path may mean that starts at the root or at any folder above it."""
    parts = self.root.as_posix().strip("/").split("/")
    inner = posixpath.normpath(path).lstrip("/")
    starts = [f"{'/'.join(parts[i:])}/" for i in range(len(parts))]
    inside = [inner, *(inner.removeprefix(start) for start in starts if inner.startswith(start))]
    return {image for one in inside if (image := self.by_path.get(one)) is not None}


def read(workdir: Path, root: Path | None = None) -> Folder:
  """The images and answers of a workdir; `root` is where the folder is now, by default where it was at the last start.

  Raises:
    UsageError: it is not one of a labeled folder, or its files are damaged.
  """
  path = workdir / journal.NAME
  answers = replayed(path, journal.read(path)[0])
  if answers.start is None:
    raise UsageError(f"{path} is missing or empty: start `python -m experiments.label` on the folder once")
  found = images.saved(workdir)
  found = found if root is None else found._replace(root=root)
  by_path = {path: image for image in found.images for path in (image.path, *image.copies)}
  return Folder(found, answers, {image.sha256: image for image in found.images}, by_path)


def checked_name(text: str, what: str) -> str:
  """A class's or annotator's name, without spaces at its ends; raises UsageError if it cannot be one."""
  name = text.strip()
  if not is_name(name):
    raise UsageError(f"{what} {text[:LONGEST]!r} cannot be a name: it has 1 to {LONGEST} characters, all printable")
  return name


def write_new(path: Path, content: bytes) -> None:
  """Writes a file that must not exist.

  Raises:
    UsageError: it exists, or cannot be written; then nothing is left.
  """
  created = False
  try:
    with open(path, "xb") as file:
      created = True
      file.write(content)
  except FileExistsError as error:
    raise UsageError(f"{path} exists already: delete it, or give another name") from error
  except OSError as error:
    if created:
      with contextlib.suppress(OSError):
        path.unlink()
    raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def counted(num: int, noun: str) -> str:
  """A number and its noun: "1 image", "2 images", "2 copies"."""
  plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + ("es" if noun.endswith("s") else "s")
  return f"{num:,} {noun if num == 1 else plural}"
