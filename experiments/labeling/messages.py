"""What the server and the worker send each other: lines of JSON."""

import base64
import json
import os
import select
import time
from typing import BinaryIO
from typing import NamedTuple

import numpy as np

_EVERY = 0.1  # seconds between two progress messages


class Task(NamedTuple):
  """What the worker works on."""

  root: str
  paths: list[str]  # image files below the root
  workdir: str
  flags: list[str]  # of the model and the acquisition
  image_size: list[int] | None  # height, width
  features: str  # pixels, pretrained, or a .npy file


class Channel:
  """Lines of JSON in both directions."""

  def __init__(self, incoming: BinaryIO, outgoing: BinaryIO):
    self._in, self._out, self._rest, self._last = incoming, outgoing, b"", 0.0

  def send(self, kind: str, **content) -> None:
    self._out.write(json.dumps({"kind": kind, **content}).encode() + b"\n")
    self._out.flush()

  def progress(self, text: str, done: int, total: int) -> None:
    """Sends what is done, not more often than the page can show."""
    if done == total or time.monotonic() - self._last > _EVERY:
      self._last = time.monotonic()
      self.send("progress", text=text, done=done, total=total)

  def receive(self, *, wait: bool) -> dict | None:
    """The next line; None if there is none yet. Raises EOFError when the server has ended."""
    while b"\n" not in self._rest:
      if not wait and not select.select([self._in], [], [], 0)[0]:
        return None
      more = os.read(self._in.fileno(), 1 << 20)
      if not more:
        raise EOFError
      self._rest += more
    line, _, self._rest = self._rest.partition(b"\n")
    return json.loads(line)


def packed(array: np.ndarray | None) -> str | None:
  """An array's bytes as text."""
  return None if array is None else base64.b64encode(np.ascontiguousarray(array)).decode()


def unpacked(text: str | None, dtype: str) -> np.ndarray | None:
  """The `[N]` array that `packed` made the text of."""
  return None if text is None else np.frombuffer(base64.b64decode(text), dtype)
