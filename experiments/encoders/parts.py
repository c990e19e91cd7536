"""Features that are computed part by part and kept on disk, so that a killed program continues where it stopped.

The file has one line of JSON, the identity of the work, followed by the parts: a CRC-32 and float32 rows. A part that
was not written completely is computed again. Parts begin at the same rows in every run, so a continued run computes the
same batches, and gives the same bits, as one that was not interrupted.
"""

from collections.abc import Callable
from collections.abc import Mapping
import fcntl
import json
import os
from pathlib import Path
import struct
import time
from typing import Any
from typing import BinaryIO
import zlib

import numpy as np

from experiments.common.errors import UsageError
from experiments.encoders.base import Task

_REPORT_EVERY = 60.0  # seconds between lines of progress where there is no bar


def computed(
  task: Task, facts: Mapping[str, Any], compute: Callable[[int, int], np.ndarray], *, width: int, part_rows: int
) -> np.ndarray:
  """`[N + M, width]` float32 rows; parts in `task.part` are read, and the others computed and added to it.

  Args:
    task: its `part` and `identity`, and its display, which shows the progress.
    facts: JSON; with `task.identity` and the sizes, all that determines the rows.
    compute: `(start, stop) -> [stop - start, width]` rows, training rows before test rows.
    width: numbers per row.
    part_rows: rows per part; at most these are lost by a kill.

  Raises:
    UsageError: the file holds other work, another process is writing it, or it cannot be written.
  """
  total = len(task.data.inputs) + len(task.data.test_inputs)
  identity = json.loads(json.dumps({**task.identity, **facts, "width": width, "part_rows": part_rows, "rows": total}))
  rows = np.empty((total, width), np.float32)
  try:
    with open(os.open(task.part, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
      _lock(file, task.part)
      done = _begin(file, identity, rows, part_rows, task)
      if done:
        task.display.line(f"{done:,} of {total:,} rows are in {task.part} and are not computed again")
      _finish(file, rows, done, part_rows, compute, task)
  except OSError as error:
    raise UsageError(f"{task.part} cannot be written: {error.strerror}; the finished parts are kept") from error
  return rows


def _lock(file: BinaryIO, path: Path) -> None:
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    raise UsageError(f"{path} is being written by another process: wait for it or give another --out") from error


def _begin(file: BinaryIO, identity: dict, rows: np.ndarray, part_rows: int, task: Task) -> int:
  """Reads the finished parts into `rows`, drops what follows them, and returns the number of rows read."""
  line = file.readline()
  if line.endswith(b"\n"):
    differing = _differing(line, identity)
    if not differing:
      done = _read(file, rows, part_rows)
      file.truncate(file.tell())
      return done
    if not task.overwrite:
      raise UsageError(
        f"{task.part} holds unfinished features of another command ({differing}): give the same flags, another --out,"
        " or --overwrite"
      )
  file.seek(0)
  file.truncate()
  file.write(json.dumps(identity).encode() + b"\n")
  _sync(file)
  return 0


def _differing(line: bytes, identity: dict) -> str:
  """The names of what differs from the identity in the file; empty if nothing does."""
  try:
    found = json.loads(line)
  except ValueError:
    return "its first line is damaged"
  if not isinstance(found, dict):
    return "its first line is damaged"
  names = [name for name in {**identity, **found} if found.get(name) != identity.get(name)]
  return "other " + ", ".join(names) if names else ""


def _read(file: BinaryIO, rows: np.ndarray, part_rows: int) -> int:
  """Reads parts up to the first that is incomplete or damaged; the file's position is then the end of the last good."""
  done = 0
  while done < len(rows):
    position = file.tell()
    stop = min(done + part_rows, len(rows))
    size = (stop - done) * rows.shape[1] * 4
    head, content = file.read(4), file.read(size)
    if len(content) < size or struct.pack("<I", zlib.crc32(content)) != head:
      file.seek(position)
      break
    rows[done:stop] = np.frombuffer(content, "<f4").reshape(stop - done, -1)
    done = stop
  return done


def _finish(
  file: BinaryIO, rows: np.ndarray, done: int, part_rows: int, compute: Callable[[int, int], np.ndarray], task: Task
) -> None:
  """Computes the other parts, and writes each as soon as it is there."""
  total, first, began, reported = len(rows), done, time.perf_counter(), time.perf_counter()
  task.display.expect(total)
  task.display.advance(done)
  while done < total:
    stop = min(done + part_rows, total)
    rows[done:stop] = compute(done, stop)
    content = rows[done:stop].astype("<f4").tobytes()
    file.write(struct.pack("<I", zlib.crc32(content)) + content)
    _sync(file)
    task.display.advance(stop - done)
    done, now = stop, time.perf_counter()
    if now - reported > _REPORT_EVERY and done < total and not task.display.console.is_terminal:
      rate, reported = (done - first) / (now - began), now
      task.display.line(f"{done:,} of {total:,} rows, {rate:.1f} per second, {(total - done) / rate / 60:.0f} min left")


def _sync(file: BinaryIO) -> None:
  file.flush()
  os.fsync(file.fileno())
