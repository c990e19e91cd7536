"""Takes answers from files into the journal: each once, and nothing if one of them cannot be."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.common.errors import UsageError
from experiments.labeling.answers import LABEL
from experiments.labeling.exchange.folder import Folder
from experiments.labeling.exchange.folder import checked_name
from experiments.labeling.exchange.folder import counted
from experiments.labeling.images import Image
from experiments.labeling.journal import Journal
from experiments.labeling.journal import JournalError
from experiments.labeling.labeled import now

# How an image was shown, of one that no page showed. A new answer to an image that was shown keeps what is known.
_NOT_SHOWN = {"guess": None, "probability": None, "shown": False, "acquisition": None, "score": None, "round": None}


class Given(NamedTuple):
  """An answer in a file."""

  where: str  # for messages
  image: Image
  action: str  # one of `answers.ACTIONS`
  label: str | None
  annotator: str | None
  seconds: float | None = None


def refuse_unknown(folder: Folder, file: Path, unknown: Sequence[str], total: int) -> None:
  """Raises UsageError if a file names images that the folder lacks."""
  if unknown:
    raise UsageError(
      f"{file}: {len(unknown):,} of {counted(total, 'answer')} are for images that {folder.root} does not have, such as"
      f" {unknown[0]!r}: nothing is imported"
    )


def take(folder: Folder, given: Sequence[Given], journal: Journal, source: str) -> str:
  """Writes the answers that are not in the journal yet; returns what was done, without the file's name.

  An answer without an annotator is written as one of `source`, unless the image's answers amount to the same already.

  Raises:
    UsageError: a name cannot be one, two rows give an image different answers of one annotator, or the disk refuses the
      events.
  """
  new: dict[tuple[str, str], Given] = {}
  stated: dict[tuple[str, str], Given] = {}
  classes: dict[str, Given] = {}
  for one in given:
    label = None if one.label is None else checked_name(one.label, f"{one.where}: class")
    annotator = None if one.annotator is None else checked_name(one.annotator, f"{one.where}: annotator")
    one = one._replace(label=label, annotator=annotator)
    before = stated.setdefault((one.image.sha256, annotator or source), one)
    if (before.action, before.label) != (one.action, one.label):
      raise UsageError(
        f"{one.where} gives {one.image.path!r} the answer {label or one.action!r}, and {before.where.split(': ')[-1]}"
        f" {before.label or before.action!r}: keep one"
      )
    if label is not None and label not in folder.answers.classes:
      classes.setdefault(label, one)
    if not _is_there(folder, one, source):
      new[one.image.sha256, annotator or source] = one
  if not new:
    return f"nothing new: {counted(len(stated), 'answer')}, all there already" if stated else "it has no answers"
  time = now()
  events = [
    {"action": "class", "label": label, "time": time, "annotator": one.annotator or source, "source": source}
    for label, one in classes.items()
  ]
  for (sha256, annotator), one in new.items():
    before = folder.answers.by_annotator(sha256).get(annotator, {})
    events.append(
      {
        "action": one.action,
        "id": one.image.number,
        "path": one.image.path,
        "sha256": sha256,
        "label": one.label,
        "time": time,
        "annotator": annotator,
        "seconds": one.seconds,
        **_NOT_SHOWN,
        **{key: before[key] for key in _NOT_SHOWN if key in before},
        "audit": folder.is_audit(one.image),
        "request": None,
        "source": source,
      }
    )
  try:
    journal.extend(events)
  except JournalError as error:
    raise UsageError(str(error)) from error
  labels = sum(one.action == LABEL for one in new.values())
  there = len(stated) - len(new)
  parts = [f"{counted(len(new), 'answer')} imported, {labels:,} of them labels"]
  parts += [f"{counted(len(classes), 'new class')}: {', '.join(classes)}"] if classes else []
  parts += [f"{there:,} were there already"] if there else []
  return "; ".join(parts)


def _is_there(folder: Folder, one: Given, source: str) -> bool:
  """Whether an answer would say nothing new."""
  own = folder.answers.by_annotator(one.image.sha256).get(one.annotator or source)
  if own is not None and (own["action"], own["label"]) == (one.action, one.label):
    return True
  outcome = None if one.annotator else folder.answers.outcome(one.image.sha256)
  return outcome is not None and (outcome.action, outcome.label) == (one.action, one.label)
