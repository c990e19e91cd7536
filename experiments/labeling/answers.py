"""What the events of labels.jsonl amount to: classes, and each image's answers and label."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from experiments.labeling.audit import position
from experiments.labeling.journal import Event
from experiments.labeling.journal import damaged

LABEL, SKIP, UNUSABLE = "label", "skip", "unusable"
ACTIONS = (LABEL, SKIP, UNUSABLE)  # answers to an image
LONGEST = 100  # characters of a name


def is_name(text: str) -> bool:
  """Whether a text can be the name of a class or of an annotator."""
  return 0 < len(text) <= LONGEST and text.isprintable()


class Outcome(NamedTuple):
  """What the answers to one image amount to."""

  action: str  # one of ACTIONS
  label: str | None  # class name of an image that is labeled
  event: Event  # the answer that gave it; of several, the first


class Answers:
  """The state that a sequence of events leads to; `add` takes the next one.

  Images are identified by the SHA-256 of their content. An annotator's answer to an image replaces the annotator's
  earlier answers to it, and an undo brings the last of these back. Of several annotators' labels of an image, the
  majority's counts, and among equally frequent ones the first; an image without a label is unusable if anybody says it.
  """

  def __init__(self, events: Iterable[Event] = ()):
    self.start: Event | None = None  # the first event: how the folder was begun
    self.classes: list[str] = []
    self.requests: dict[str, Event] = {}  # events by the browser's id of the request
    self.count: Counter[str] = Counter()  # images by action
    self.per_class: Counter[str] = Counter()  # images by label
    self._answers: dict[str, dict[str, list[Event]]] = {}  # by image and annotator, oldest first, without undone ones
    self._own: dict[str, dict[str, Event]] = {}  # by annotator and image, the answer that counts, oldest first
    self._outcomes: dict[str, Outcome] = {}
    self._by_event: dict[int, Event] = {}
    for event in events:
      self.add(event)

  def add(self, event: Event) -> None:
    """Takes the next event.

    Raises:
      LookupError, TypeError, ValueError: it lacks a field, or contradicts the events before it.
    """
    action = event["action"]
    if event.get("request"):
      self.requests[event["request"]] = event
    if action == "start":
      self.start = event
    elif action == "class":
      self.classes.append(event["label"])
    elif action in ACTIONS:
      if (action == LABEL) != (event["label"] is not None) or (action == LABEL and event["label"] not in self.classes):
        raise ValueError(f"{event['label']!r} is not one of the classes")
      self._by_event[event["event"]] = event
      self._answers.setdefault(event["sha256"], {}).setdefault(event["annotator"], []).append(event)
      own = self._own.setdefault(event["annotator"], {})
      own.pop(event["sha256"], None)
      own[event["sha256"]] = event
      self._decide(event["sha256"])
    elif action == "undo":
      undone = self._by_event[event["undoes"]]
      left = self._answers[undone["sha256"]][undone["annotator"]]
      left.remove(undone)
      own = self._own[undone["annotator"]]
      del own[undone["sha256"]]
      if left:
        own[undone["sha256"]] = left[-1]
        self._own[undone["annotator"]] = dict(sorted(own.items(), key=lambda item: item[1]["event"]))
      self._decide(undone["sha256"])
    else:
      raise ValueError(f"{action!r} is no event")

  def _decide(self, sha256: str) -> None:
    if (before := self._outcomes.pop(sha256, None)) is not None:
      self._count(before, -1)
    last = sorted((own[-1] for own in self._answers[sha256].values() if own), key=lambda event: event["event"])
    if labels := [event for event in last if event["action"] == LABEL]:
      votes = Counter(event["label"] for event in labels)
      first = next(event for event in labels if votes[event["label"]] == max(votes.values()))
      self._outcomes[sha256] = Outcome(LABEL, first["label"], first)
    elif last:
      first = next((event for event in last if event["action"] == UNUSABLE), last[0])
      self._outcomes[sha256] = Outcome(first["action"], None, first)
    if sha256 in self._outcomes:
      self._count(self._outcomes[sha256], 1)

  def _count(self, outcome: Outcome, by: int) -> None:
    self.count[outcome.action] += by
    if outcome.label is not None:
      self.per_class[outcome.label] += by

  def outcome(self, sha256: str) -> Outcome | None:
    """What the answers to an image amount to; None if nobody answered."""
    return self._outcomes.get(sha256)

  @property
  def outcomes(self) -> dict[str, Outcome]:
    """By SHA-256, in the order of the events that gave them."""
    return dict(sorted(self._outcomes.items(), key=lambda item: item[1].event["event"]))

  def is_audit(self, sha256: str) -> bool:
    """Whether an image is one of the audit: it measures models, and none is trained on it."""
    assert self.start is not None
    return position(self.start["seed"], sha256) < self.start["threshold"]

  def by_annotator(self, sha256: str) -> dict[str, Event]:
    """Each annotator's answer to an image."""
    return {name: own[-1] for name, own in self._answers.get(sha256, {}).items() if own}

  def last_of(self, annotator: str, num: int) -> list[Event]:
    """An annotator's last `num` answers that count, oldest first."""
    return list(islice(reversed(self._own.get(annotator, {}).values()), num))[::-1]

  @property
  def annotators(self) -> list[str]:
    """Everyone who has answered."""
    return list(self._own)

  def doubly_labeled(self) -> list[tuple[str, str]]:
    """For every image that at least two annotators labeled, the labels of the first two."""
    pairs = []
    for sha256 in self._answers:
      labels = [event["label"] for event in self.by_annotator(sha256).values() if event["action"] == LABEL]
      if len(labels) > 1:
        pairs.append((labels[0], labels[1]))
    return pairs


def replayed(path: Path, events: Iterable[Event]) -> Answers:
  """The answers of the events of a file, `path`.

  Raises:
    UsageError: an event lacks a field, or contradicts the events before it.
  """
  answers = Answers()
  for event in events:
    try:
      answers.add(event)
    except (LookupError, TypeError, ValueError) as error:
      raise damaged(path, event["event"]) from error
  return answers
