"""The file labels.jsonl: one line per event of a labeled folder, synced to the disk before the next image is shown."""

from collections.abc import Mapping
from collections.abc import Sequence
import errno
import json
import os
from pathlib import Path
from typing import Any

from experiments.common.errors import UsageError

NAME = "labels.jsonl"
FORMAT = 1
Event = Mapping[str, Any]


class JournalError(OSError):
  """The disk refuses an event, which is not written; the message is one sentence."""


def read(path: Path) -> tuple[list[dict], int]:
  """The events of a file, and the size in bytes of its whole lines. A torn last line is left out.

  Raises:
    UsageError: the file cannot be read, or a line other than the last is damaged.
  """
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    return [], 0
  except OSError as error:
    raise UsageError(f"{path} cannot be read: {error.strerror}") from error
  events, size = [], 0
  lines = content.splitlines(keepends=True)
  for number, line in enumerate(lines):
    event = _parsed(line)
    if event is None and number == len(lines) - 1:
      break
    if event is None or event.get("event") != number:
      raise UsageError(f"{path}: line {number + 1} is damaged: repair it, or begin again with another --workdir")
    if not number and event.get("format") != FORMAT:
      raise UsageError(f"{path} has format {event.get('format')!r}, and this version reads format {FORMAT}")
    events.append(event)
    size += len(line)
  return events, size


def _parsed(line: bytes) -> dict | None:
  """An event; None if the line is not a whole one."""
  if not line.endswith(b"\n"):
    return None
  try:
    event = json.loads(line)
  except ValueError:
    return None
  return event if isinstance(event, dict) else None


class Journal:
  """The open file. `events` holds what is on the disk, in order; `event["event"]` is an event's place in it."""

  def __init__(self, path: Path):
    """Opens the file, created if there is none, and cuts a torn last line.

    Raises:
      UsageError: the file is damaged or cannot be written.
    """
    self.path = path
    self.events, size = read(path)
    try:
      self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
      os.ftruncate(self._file, size)
      os.fsync(self._file)
    except OSError as error:
      raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    self._size = size

  def append(self, event: Event) -> dict:
    """Writes and syncs an event; returns it with its number.

    Raises:
      JournalError: the disk refuses the event; the file is as before.
    """
    return self.extend([event])[0]

  def extend(self, events: Sequence[Event]) -> list[dict]:
    """Writes events with one sync, all or none; a kill in between may leave the first ones. Otherwise as `append`."""
    numbered = [{"event": number, **event} for number, event in enumerate(events, len(self.events))]
    lines = b"".join((json.dumps(event, allow_nan=False) + "\n").encode() for event in numbered)
    try:
      if os.write(self._file, lines) < len(lines):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      os.fdatasync(self._file)
    except OSError as error:
      os.ftruncate(self._file, self._size)
      kept = "the answer is not" if len(events) == 1 else f"none of {len(events):,} answers is"
      raise JournalError(f"{self.path} cannot be written ({error.strerror}): {kept} kept") from error
    self._size += len(lines)
    self.events += numbered
    return numbered
