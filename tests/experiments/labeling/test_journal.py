"""labels.jsonl: what an append leaves in the file when it succeeds, fails or is killed; damaged files."""

import errno
import json
import os

import pytest

from experiments.common.errors import UsageError
from experiments.labeling import journal
from experiments.labeling.journal import Journal
from experiments.labeling.journal import JournalError

START = {"action": "start", "format": 1}


def label(name: str, **fields) -> dict:
  return {"action": "label", "label": name, **fields}


@pytest.fixture
def path(tmp_path):
  """A file with a start and two labels."""
  path = tmp_path / "labels.jsonl"
  written = Journal(path)
  for event in (START, label("cat"), label("dog")):
    written.append(event)
  return path


def test_events_are_numbered_by_line_and_read_again(path):
  assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == [0, 1, 2]
  events, size = journal.read(path)
  assert events == [{"event": 0, **START}, {"event": 1, **label("cat")}, {"event": 2, **label("dog")}]
  assert size == path.stat().st_size
  again = Journal(path)
  assert again.events == events
  assert again.append(label("fox"))["event"] == 3
  assert journal.read(path)[0] == again.events


def test_a_missing_file_has_no_events(tmp_path):
  assert journal.read(tmp_path / "labels.jsonl") == ([], 0)
  assert Journal(tmp_path / "labels.jsonl").events == []


@pytest.mark.parametrize(
  "name", ["sp ace", '"quoted"', "line\nbreak", "return\rhere", "\u2028", "\N{CAT FACE}", "\udcff"]
)
def test_any_text_survives_on_one_line(path, name):
  Journal(path).append(label(name, path=f"{name}.png"))
  assert path.read_bytes().count(b"\n") == 4
  assert journal.read(path)[0][3] == {"event": 3, **label(name, path=f"{name}.png")}


def test_every_torn_last_line_is_cut_and_the_number_given_again(path):
  whole = path.read_bytes()
  start = whole.rindex(b"\n", 0, -1) + 1
  for end in range(start, len(whole)):
    path.write_bytes(whole[:end])
    assert len(journal.read(path)[0]) == 2
    assert Journal(path).append(label("dog"))["event"] == 2
    assert path.read_bytes() == whole


def test_zeros_that_a_crash_left_at_the_end_are_cut(path):
  whole = path.read_bytes()
  path.write_bytes(whole + bytes(4096))
  Journal(path)
  assert path.read_bytes() == whole


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(
  "damage", [b"{", b"[]", b'"text"', b"", b'{"event": 7, "action": "x"}', b"\x00\x00", b"\xff", b"[" * 9999]
)
def test_a_damaged_whole_line_is_refused_and_left(path, number, damage):
  lines = path.read_bytes().split(b"\n")
  lines[number] = damage
  path.write_bytes(b"\n".join(lines))
  content = path.read_bytes()
  with pytest.raises(UsageError, match=f"line {number + 1} is damaged"):
    Journal(path)
  assert path.read_bytes() == content


def test_a_line_without_an_action_is_damaged(path):
  path.write_text(path.read_text() + '{"event": 3}\n')
  with pytest.raises(UsageError, match="line 4 is damaged"):
    journal.read(path)


def test_a_line_that_was_taken_out_or_doubled_is_noticed(path):
  first, second, third = path.read_text().splitlines(keepends=True)
  path.write_text(first + third)
  with pytest.raises(UsageError, match="line 2 is damaged"):
    journal.read(path)
  path.write_text(first + second + second + third)
  with pytest.raises(UsageError, match="line 3 is damaged"):
    journal.read(path)


def test_another_format_is_refused(path):
  path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
  with pytest.raises(UsageError, match="format 2, and this version reads format 1"):
    Journal(path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
  (tmp_path / "labels.jsonl").mkdir()
  with pytest.raises(UsageError, match="cannot be read"):
    Journal(tmp_path / "labels.jsonl")
  with pytest.raises(UsageError, match="cannot be written"):
    Journal(tmp_path / "no_such_folder" / "labels.jsonl")


class Disk:
  """Replaces calls of `os` by ones that fail as a full or broken disk does, from now on until `mend`."""

  def __init__(self, patch: pytest.MonkeyPatch):
    self._patch = patch

  def fail(self, name: str, number: int = errno.ENOSPC) -> None:
    def failing(*_):
      raise OSError(number, os.strerror(number))

    self._patch.setattr(os, name, failing)

  def write_only(self, part: int) -> None:
    whole = os.write
    self._patch.setattr(os, "write", lambda file, content: whole(file, content[:part]))

  def mend(self) -> None:
    self._patch.undo()


@pytest.fixture
def disk():
  with pytest.MonkeyPatch.context() as patch:
    yield Disk(patch)


FAILURES = {
  "full": lambda disk: disk.fail("write"),
  "full after 10 bytes": lambda disk: disk.write_only(10),
  "full after 0 bytes": lambda disk: disk.write_only(0),
  "failed sync": lambda disk: disk.fail("fdatasync", errno.EIO),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_refused_event_leaves_the_file_as_it_was(path, disk, failure):
  opened, content = Journal(path), path.read_bytes()
  FAILURES[failure](disk)
  for _ in range(2):
    with pytest.raises(JournalError, match="the answer is not kept"):
      opened.append(label("fox"))
    assert path.read_bytes() == content
    assert len(opened.events) == 3
  disk.mend()
  assert opened.append(label("cow"))["event"] == 3
  assert [event.get("label") for event in journal.read(path)[0]] == [None, "cat", "dog", "cow"]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_refused_event_is_cut_later_if_the_disk_refuses_that_too(path, disk, failure):
  opened, content = Journal(path), path.read_bytes()
  FAILURES[failure](disk)
  disk.fail("ftruncate", errno.EIO)
  for _ in range(2):
    with pytest.raises(JournalError):
      opened.append(label("fox"))
  disk.mend()
  opened.append(label("cow"))
  assert [event.get("label") for event in journal.read(path)[0]] == [None, "cat", "dog", "cow"]
  assert path.read_bytes().startswith(content)


def test_an_event_that_json_cannot_hold_is_not_written(path):
  opened, content = Journal(path), path.read_bytes()
  with pytest.raises(ValueError):
    opened.append(label("cat", seconds=float("nan")))
  assert path.read_bytes() == content
  assert opened.append(label("cow"))["event"] == 3


def test_events_are_refused_when_the_file_was_removed(path):
  opened = Journal(path)
  path.unlink()
  with pytest.raises(JournalError, match="removed or changed"):
    opened.append(label("fox"))
  assert len(opened.events) == 3


def test_events_are_refused_when_another_program_wrote_to_the_file(path):
  opened = Journal(path)
  with open(path, "a") as file:
    file.write("{")
  with pytest.raises(JournalError, match="removed or changed"):
    opened.append(label("fox"))


def test_events_are_refused_when_an_editor_replaced_the_file(path):
  opened = Journal(path)
  path.with_suffix(".new").write_bytes(path.read_bytes())
  path.with_suffix(".new").replace(path)
  with pytest.raises(JournalError, match="removed or changed"):
    opened.append(label("fox"))


def test_an_event_is_synced_before_it_counts(path, monkeypatch):
  opened, calls = Journal(path), []
  write, sync = os.write, os.fdatasync
  monkeypatch.setattr(os, "write", lambda *given: (calls.append("write"), write(*given))[1])
  monkeypatch.setattr(os, "fdatasync", lambda file: (calls.append(("sync", len(opened.events))), sync(file))[1])
  opened.append(label("fox"))
  assert calls == ["write", ("sync", 3)]
