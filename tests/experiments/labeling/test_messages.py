"""Lines of JSON between the server and the worker."""

import json
import os

import numpy as np
import pytest

from experiments.labeling import messages
from experiments.labeling.messages import Channel
from experiments.labeling.messages import packed
from experiments.labeling.messages import unpacked


@pytest.fixture
def pipe():
  """The writing end of what a channel receives, the channel, and the reading end of what it sends."""
  (first, incoming), (outgoing, last) = os.pipe(), os.pipe()[::-1]
  with os.fdopen(first, "rb") as reader, os.fdopen(outgoing, "wb") as writer, os.fdopen(last, "rb") as sent:
    yield incoming, Channel(reader, writer), sent


def test_lines_are_whole_however_they_arrive(pipe):
  write, channel, _ = pipe
  assert channel.receive(wait=False) is None
  os.write(write, b'{"a"')
  assert channel.receive(wait=False) is None
  os.write(write, b': 1}\n{"b": 2}\n{"c": "\\ud83d\\ude00')
  assert channel.receive(wait=True) == {"a": 1}
  assert channel.receive(wait=False) == {"b": 2}
  assert channel.receive(wait=False) is None
  os.write(write, b'"}\n')
  assert channel.receive(wait=True) == {"c": "😀"}
  os.write(write, b'{"torn')
  os.close(write)
  for wait in (True, False):
    with pytest.raises(EOFError):
      channel.receive(wait=wait)


def test_names_of_any_bytes_and_newlines_stay_in_a_line(pipe):
  write, channel, sent = pipe
  os.close(write)
  names = [os.fsdecode(b"caf\xe9.png"), "a\nb", "😀", '"']
  channel.send("task", paths=names)
  assert json.loads(sent.readline()) == {"kind": "task", "paths": names}


def test_progress_is_not_sent_more_often_than_shown(pipe, monkeypatch):
  write, channel, sent = pipe
  os.close(write)
  clock = iter(range(10_000))
  monkeypatch.setattr(messages.time, "monotonic", lambda: 1000 + next(clock) * 0.02)
  for done in range(1, 101):
    channel.progress("reading", done, 100)
  channel._out.close()
  shown = [json.loads(line)["done"] for line in sent]
  assert shown[-1] == 100
  assert shown == sorted(set(shown))
  assert 10 <= len(shown) <= 40


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_arrays_survive(dtype):
  array = np.arange(7).astype(dtype) / (1 if dtype == "int32" else 3)
  array = array.astype(dtype)
  np.testing.assert_array_equal(unpacked(packed(array[::-1]), dtype), array[::-1])
  assert unpacked(packed(array[:0]), dtype).shape == (0,)
  assert packed(None) is unpacked(None, dtype) is None
