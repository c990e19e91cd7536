"""A labeled folder as a CSV file, one row per image file, and labels from one."""

import csv
import io
import json
from pathlib import Path

from experiments.common.errors import UsageError
from experiments.data.errors import one_line
from experiments.labeling.answers import ACTIONS
from experiments.labeling.answers import LABEL
from experiments.labeling.exchange.folder import Folder
from experiments.labeling.exchange.folder import counted
from experiments.labeling.exchange.folder import write_new
from experiments.labeling.exchange.incoming import Given
from experiments.labeling.exchange.incoming import refuse_unknown
from experiments.labeling.images import Image

COLUMNS = (
  "path",
  "label",
  "action",
  "audit",
  "annotator",
  "annotators",
  "agreement",
  "time",
  "guess",
  "probability",
  "sha256",
)
# Paths that are not UTF-8 keep their bytes.
_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}


def write(folder: Folder, file: Path) -> str:
  """Writes the table; returns a sentence for the terminal. Raises UsageError if the file exists."""
  rows = sorted(folder.by_path.items())
  text = io.StringIO(newline="")
  table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
  table.writeheader()
  for path, image in rows:
    table.writerow({"path": path, "sha256": image.sha256} | _facts(folder, image))
  write_new(file, text.getvalue().encode(**_ENCODING))
  outcomes = [folder.answers.outcome(image.sha256) for image in folder.found.images]
  labeled = sum(outcome is not None and outcome.action == LABEL for outcome in outcomes)
  return (
    f"Wrote {counted(len(rows), 'row')} to {file}, one per file; {labeled:,} of"
    f" {counted(len(folder.found.images), 'different image')} have a label."
  )


def _facts(folder: Folder, image: Image) -> dict:
  """The columns of an image's answers; nothing if there are none, also not whether it is an audit image."""
  outcome = folder.answers.outcome(image.sha256)
  if outcome is None:
    return {}
  own = folder.answers.by_annotator(image.sha256)
  labels = [event["label"] for event in own.values() if event["action"] == LABEL]
  event = outcome.event
  return {
    "label": outcome.label or "",
    "action": outcome.action,
    "audit": "yes" if folder.is_audit(image) else "no",
    "annotator": event["annotator"],
    "annotators": json.dumps(sorted(own), ensure_ascii=False),
    "agreement": f"{labels.count(outcome.label) / len(labels):.4g}" if len(labels) > 1 else "",
    "time": event["time"],
    "guess": event.get("guess"),
    "probability": event.get("probability"),
  }


def read(folder: Folder, file: Path) -> list[Given]:
  """The answers in a table with the columns `path` and `label`, and perhaps `action`, `annotator`, `sha256` and others.

  Rows without label and action say nothing.

  Raises:
    UsageError: the file cannot be read or lacks a column, or a row names no image of the folder or contradicts itself.
  """
  given, unknown = [], []
  for number, row in _rows(file):
    where, label = f"{file}: row {number}", row["label"]
    action = row.get("action") or (LABEL if label else None)
    if action is None:
      continue
    if action not in ACTIONS or (action == LABEL) != bool(label):
      raise UsageError(f"{where} has the action {action!r} and the label {label!r}: a label needs the action {LABEL!r}")
    image = folder.by_sha256.get(row["sha256"]) if row.get("sha256") else folder.at(row["path"])
    if image is None:
      unknown.append(row["path"])
    else:
      given.append(Given(where, image, action, label or None, row.get("annotator") or None))
  refuse_unknown(folder, file, unknown, len(given) + len(unknown))
  return given


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
  """The rows with their numbers, the first after the head being 1."""
  try:
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
      table = csv.reader(opened, strict=True)
      head = next(table, [])
      rows = [(number, row) for number, row in enumerate(table, 1) if row]
  except (OSError, ValueError, csv.Error) as error:
    raise UsageError(f"{file} cannot be read as a CSV file ({one_line(error)})") from error
  if absent := {"path", "label"} - set(head):
    raise UsageError(f"{file} has no column {' and no column '.join(sorted(absent))}: its head is {','.join(head)!r}")
  for number, row in rows:
    if len(row) != len(head):
      raise UsageError(f"{file}: row {number} has {counted(len(row), 'value')} for {counted(len(head), 'column')}")
  return [(number, dict(zip(head, row, strict=True))) for number, row in rows]
