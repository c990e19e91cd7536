"""A folder of small files and the session in which they are labeled, without a server, a worker or a page."""

from collections.abc import Iterable
import hashlib
from pathlib import Path

from experiments.labeling.images import Found
from experiments.labeling.images import Image
from experiments.labeling.journal import NAME
from experiments.labeling.journal import Journal
from experiments.labeling.labeled import Labeled
from experiments.labeling.labeled import begun
from experiments.labeling.session import Handed
from experiments.labeling.session import Model
from experiments.labeling.session import Session
from experiments.labeling.session import Settings

CLASSES = ["cat", "dog"]


def write(root: Path, contents: Iterable[bytes]) -> Found:
  """Files with these bytes, which nothing here decodes."""
  root.mkdir(exist_ok=True)
  images = []
  for i, content in enumerate(contents):
    (root / f"{i:04d}.png").write_bytes(content)
    images.append(Image(i, f"{i:04d}.png", hashlib.sha256(content).hexdigest()))
  return Found(root, tuple(images), (), 64)


def numbered(root: Path, num: int) -> Found:
  """`num` files, whose bytes are their numbers."""
  return write(root, (f"content {i}".encode() for i in range(num)))


def labeled(
  found: Found, workdir: Path, seed: int = 0, audit: float = 0.2, classes: Iterable[str] = CLASSES
) -> Labeled:
  """The images with the answers of the workdir's journal, as after a start of the program."""
  workdir.mkdir(exist_ok=True)
  journal = Journal(workdir / NAME)
  return Labeled(found, begun(journal, found, seed, audit, list(classes)), journal)


def session(own: Labeled, audit: float = 0.2, overlap: float = 0.0, seed: int = 0) -> Session:
  """A session without a model: nothing is chosen yet."""
  return Session(own, Settings(audit, overlap), seed)


def queue(own: Labeled, ids: Iterable[int], round: int | None = 0) -> tuple[Handed, ...]:
  """A strategy's choice of images; the worker never chooses audit images."""
  return tuple(Handed(i, False, "margin", i / 7, round) for i in ids if i not in own.in_reservoir)


def chosen(own: Labeled, ids: Iterable[int] | None = None, *, guess: int | None = None, round: int | None = 0) -> Model:
  """A model that asks for these images, default: all, and takes every image for one class."""
  num = len(own.found.images)
  guesses = None if guess is None else ([guess] * num, [0.75] * num)
  return Model(queue(own, range(num) if ids is None else ids, round), guesses)
