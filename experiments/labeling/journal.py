"""The file labels.jsonl: one line per event of a labeled folder, synced to the disk before the next image is shown."""

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
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
    UsageError: the file cannot be read, or a whole line is damaged.
  """
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    return [], 0
  except OSError as error:
    raise UsageError(f"{path} cannot be read: {error.strerror}") from error
  size = content.rfind(b"\n") + 1  # a kill in the middle of a write leaves a last line without an end
  events = []
  for number, line in enumerate(content[:size].split(b"\n")[:-1]):
    event = _parsed(line)
    if event is None or event.get("event") != number or not isinstance(event.get("action"), str):
      raise damaged(path, number)
    if not number and event.get("format") != FORMAT:
      raise UsageError(f"{path} has format {event.get('format')!r}, and this version reads format {FORMAT}")
    events.append(event)
  return events, size


def _parsed(line: bytes) -> dict | None:
  """An event; None if the line is none."""
  try:
    event = json.loads(line)
  except (ValueError, RecursionError):
    return None
  return event if isinstance(event, dict) else None


def damaged(path: Path, event: int) -> UsageError:
  """The error of a file whose event of this number is not one, or contradicts the events before it."""
  return UsageError(f"{path}: line {event + 1} is damaged: repair it, or begin again with another --workdir")


class Journal:
  """The open file. `events` holds what is on the disk, in order; `event["event"]` is an event's place in it."""

  def __init__(self, path: Path):
    """Opens the file, created if there is none, and cuts a torn last line.

    Raises:
      UsageError: the file is damaged or cannot be written.
    """
    self.path = path
    self.events, self._size = read(path)
    try:
      self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
      os.ftruncate(self._file, self._size)
      os.fsync(self._file)
      _sync_folder(path.parent)
    except OSError as error:
      raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    self._is_torn = False  # whether a refused line may still stand at the end of the file

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
      self._write(lines)
    except OSError as error:
      kept = "the answer is not" if len(events) == 1 else f"none of {len(events):,} answers is"
      raise JournalError(f"{self.path} cannot be written ({error.strerror}): {kept} kept") from error
    self.events += numbered
    return numbered

  def _write(self, lines: bytes) -> None:
    """Appends lines and syncs them; an OSError leaves the file without them, at the latest before the next write."""
    if self._is_torn:
      self._cut()
    found = os.fstat(self._file)
    if not found.st_nlink or found.st_size != self._size:  # what is written would be lost, or would stand in the middle
      raise OSError(errno.ESTALE, "another program has removed or changed it: start this one again")
    self._is_torn = True
    try:
      if os.write(self._file, lines) < len(lines):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      os.fdatasync(self._file)
    except OSError:
      with contextlib.suppress(OSError):  # of a disk that refuses this too: it is tried again before the next write
        self._cut()
      raise
    self._is_torn = False
    self._size += len(lines)

  def _cut(self) -> None:
    os.ftruncate(self._file, self._size)
    self._is_torn = False


def _sync_folder(folder: Path) -> None:
  """Writes to the disk that a file in the folder is there."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
