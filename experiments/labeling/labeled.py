"""A folder's images with their answers: what a model may be trained on, and what the audit measures it on."""

from collections.abc import Iterator
from collections.abc import Sequence
import datetime
from itertools import takewhile
import os
from pathlib import Path

from experiments.labeling import images
from experiments.labeling.answers import SKIP
from experiments.labeling.answers import UNUSABLE
from experiments.labeling.answers import Answers
from experiments.labeling.answers import Outcome
from experiments.labeling.answers import replayed
from experiments.labeling.audit import position
from experiments.labeling.journal import FORMAT
from experiments.labeling.journal import Event
from experiments.labeling.journal import Journal
from experiments.labeling.journal import damaged


class Refused(ValueError):
  """A request that cannot be served; the message is one sentence."""


def begun(journal: Journal, found: images.Found, seed: int, audit: float, classes: list[str]) -> Answers:
  """The answers of a journal, which gets its first event if it is new.

  The first event fixes the seed and, as a `threshold` on `audit.position`, the images that the audit may use: the share
  `audit` of all images.

  Raises:
    UsageError: the journal is damaged.
  """
  if not journal.events:
    places = sorted(position(seed, image.sha256) for image in found.images)
    size = round(audit * len(places))
    threshold = places[size] if size < len(places) else 1.0
    journal.append(
      {
        "action": "start",
        "format": FORMAT,
        "folder": str(found.root),
        "images": len(found.images),
        "seed": seed,
        "audit": audit,
        "threshold": threshold if size else 0.0,
        "time": now(),
      }
    )
  answers = replayed(journal.path, journal.events)
  if answers.start is None:
    raise damaged(journal.path, 0)
  for name in classes:
    if name not in answers.classes:
      answers.add(journal.append({"action": "class", "label": name, "time": now(), "annotator": None}))
  return answers


class Labeled:
  """The images of a folder, and the answers to them. Images go by their number."""

  def __init__(self, found: images.Found, answers: Answers, journal: Journal):
    assert answers.start is not None
    self.found, self.answers, self._journal = found, answers, journal
    self.numbers = {image.sha256: image.number for image in found.images}
    places = {image.number: position(answers.start["seed"], image.sha256) for image in found.images}
    self.permutation = sorted(places, key=places.__getitem__)
    # The audit's, in order: the start of the permutation.
    self.reservoir = list(takewhile(lambda i: answers.is_audit(found.images[i].sha256), self.permutation))
    self.in_reservoir = set(self.reservoir)
    self.gone: set[int] = set()  # images whose file vanished or changed
    self.changes = 0  # events that change what a model is trained on, since the start of the program
    self._answered = {i for sha256 in answers.outcomes if (i := self.numbers.get(sha256)) is not None}
    self._stamps: dict[int, tuple[int, int]] = {}

  def write(self, event: Event) -> None:
    """Writes an event and takes it in. Raises JournalError if the disk refuses it."""
    written = self._journal.append(event)
    self.answers.add(written)
    number = self.numbers.get(written.get("sha256", ""))
    if number is not None:
      (self._answered.discard if self.outcome(number) is None else self._answered.add)(number)
      self.changes += number not in self.in_reservoir

  def outcome(self, number: int) -> Outcome | None:
    """What the answers to an image amount to; None if nobody answered."""
    return self.answers.outcome(self.found.images[number].sha256)

  def has(self, number: int, action: str) -> bool:
    """Whether the answers to an image amount to this action."""
    found = self.outcome(number)
    return found is not None and found.action == action

  @property
  def events(self) -> Sequence[Event]:
    """What is on the disk, in order."""
    return self._journal.events

  @property
  def last_round(self) -> int:
    """The last round in which an image that has an answer was asked for; -1 if there is none."""
    return max((event["round"] for event in self._journal.events if event.get("round") is not None), default=-1)

  @property
  def left(self) -> int:
    """Number of images without an answer."""
    return len(self.found.images) - len(self._answered | self.gone)

  @property
  def classes(self) -> dict[str, int]:
    """The class numbers by name."""
    return {name: i for i, name in enumerate(self.answers.classes)}

  def training_labels(self) -> list[tuple[int, int]]:
    """Images and class numbers of the labels that a model may be trained on, in the order of the answers."""
    classes, kept_out, found = self.classes, self.in_reservoir | self.gone, []
    for sha256, outcome in self.answers.outcomes.items():
      number = self.numbers.get(sha256)
      if outcome.label is not None and number is not None and number not in kept_out:
        found.append((number, classes[outcome.label]))
    return found

  def _audited(self) -> Iterator[int]:
    """The audit images up to the first that has no answer yet.

    They are a random sample of all images, whatever was answered first: answers that were imported, or given out of
    order, count once the answers before them are there.
    """
    return takewhile(lambda i: i in self._answered or i in self.gone, self.reservoir)

  def audit_labels(self) -> list[tuple[int, int]]:
    """Images and class numbers of the audit's labels, in the order of the permutation, up to the first open answer."""
    classes = self.classes
    labels = [(i, o.label) for i in self._audited() if i not in self.gone and (o := self.outcome(i)) is not None]
    return [(i, classes[label]) for i, label in labels if label is not None]

  def audit_count(self, action: str) -> int:
    """Number of audit images, up to the first open answer, whose answers amount to this action."""
    return sum(self.has(i, action) for i in self._audited())

  def barred(self) -> list[int]:
    """Images that a strategy may not choose: those of the audit, and those that cannot be used."""
    return sorted(self.in_reservoir | self.gone | {i for i in self._answered if self.has(i, UNUSABLE)})

  def skipped(self) -> list[int]:
    """Images that were skipped, and are asked for again when no others are left."""
    return sorted(i for i in self._answered - self.in_reservoir if self.has(i, SKIP))

  def is_free(self, number: int) -> bool:
    """Whether an image has no answer, and its file is as it was."""
    return number not in self._answered and number not in self.gone and not self.is_lost(number)

  def is_lost(self, number: int) -> bool:
    """Whether a file has vanished or had other bytes than at the start: then the image is `gone`, and stays so.

    A file is hashed if its size or time of change differs from the last check.
    """
    if number in self.gone:
      return True
    image, lost = self.found.images[number], False
    try:
      stamp = images.stamp(self.found.root, image.path)
      if self._stamps.get(number) != stamp:
        lost = images.sha256_of(self.found.root, image.path) != image.sha256
        self._stamps[number] = stamp
    except OSError:
      lost = True
    if lost:
      self.changes += number in self._answered and number not in self.in_reservoir
      self.gone.add(number)
    return lost


def workdir_of(source: Path, workdir: str | None) -> Path:
  """The folder of a labeled folder's files: `--workdir`, or `.al_jax` in the folder or next to the list of paths."""
  if workdir is not None:
    return Path(os.path.expanduser(workdir))
  return (source if source.is_dir() else source.parent) / images.WORKDIR


def now() -> str:
  """The time in UTC, as in `2026-11-30T12:00:00.000Z`."""
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
