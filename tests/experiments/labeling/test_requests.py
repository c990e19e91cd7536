"""What the body of a request may be, and what becomes of an answer."""

import errno
import json
import os

import pytest

from experiments.labeling import journal
from tests.support import folders
from tests.support.folders import sentence

POSTS = ("/join", "/answer", "/undo", "/class")


# What a request may be.


def post_raw(page, content, path: str = "/answer", kind: str = "application/json", **headers: str):
  return page.client.post(path, content=content, headers={"content-type": kind} | headers)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
  "content",
  [
    b"",
    b"{",
    b"[]",
    b"null",
    b"3",
    b'"text"',
    b"\xff\xfe{}",
    b'{"browser": "\xe9"}',
    b"[" * 60_000,
    b'{"browser":' * 5_000,
    b'{"browser": ' + b"9" * 5_000 + b"}",
  ],
)
def test_a_body_that_is_no_object_is_refused(still, path, content):
  assert "JSON" in sentence(post_raw(still, content, path), 400)


@pytest.mark.parametrize("path", POSTS)
def test_other_kinds_lengths_and_sizes_are_refused(still, path):
  for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
    sentence(post_raw(still, b"{}", path, kind), 415)
  sentence(post_raw(still, b'{"browser": "' + b"x" * (1 << 16) + b'"}', path), 413)
  sentence(post_raw(still, iter([b"{", b"}"]), path), 411)
  # A length that is wrong does not let a large body in.
  sentence(post_raw(still, iter([b"x" * (1 << 15)] * 3), path, **{"content-length": "2"}), 413)
  for length in ("-5", "abc", "9" * 5000, "²".encode()):
    sentence(post_raw(still, b"{", path, **{"content-length": length}), 400)


WRONG = [
  {"image": True},
  {"image": "0"},
  {"image": 0.0},
  {"image": None},
  {"image": [0]},
  {"image": -1},
  {"image": 12},
  {"image": 10**300},
  {"seconds": True},
  {"seconds": "1"},
  {"seconds": None},
  {"seconds": -1},
  {"seconds": 10**400},
  {"seconds": float("nan")},
  {"seconds": float("inf")},
  {"seconds": float("-inf")},
  {"label": 1},
  {"label": True},
  {"label": ["cat"]},
  {"label": {"cat": 1}},
  {"label": "bird"},
  {"label": ""},
  {"label": "cat\x00"},
  {"label": "\ud800"},
  {"label": None},
  {"action": "start"},
  {"action": "undo"},
  {"action": "skip"},
  {"action": "\ud800"},
  {"action": None},
  {"action": ["label"]},
  {"request": None},
  {"request": 1},
  {"request": ""},
  {"request": "x" * 101},
  {"browser": None},
  {"browser": 1},
  {"browser": ""},
  {"browser": "x" * 101},
  {"browser": "somebody else"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: json.dumps(wrong)[:30])
def test_a_wrong_answer_is_refused_and_leaves_nothing(still, wrong):
  path = still.server.session.labeled.found.root / ".al_jax" / "labels.jsonl"
  before = path.read_bytes()
  right = {"browser": "b", "request": "r", "image": 0, "action": "label", "label": "cat", "seconds": 1.0}
  sentence(post_raw(still, json.dumps(right | wrong).encode()), 400)
  assert path.read_bytes() == before
  for name in wrong:
    if name != "label":
      sentence(post_raw(still, json.dumps({key: value for key, value in right.items() if key != name}).encode()), 400)
  assert still.state()["stats"]["labels"] == 0


def test_a_number_beyond_floats_is_refused(still):
  body = b'{"browser": "b", "request": "r", "image": 0, "action": "label", "label": "cat", "seconds": 1e999}'
  sentence(post_raw(still, body), 400)


@pytest.mark.parametrize("name", ["cat", " cat ", "", "   ", "x" * 101, "a\nb", "a\x00", "\u202e", "\ud800", None, 3])
def test_a_class_that_cannot_be_is_refused(still, name):
  sentence(post_raw(still, json.dumps({"browser": "b", "name": name}).encode(), "/class"), 400)
  assert still.state()["classes"] == ["cat", "dog"]


@pytest.mark.parametrize("annotator", ["x" * 101, "a\nb", "\ud800", None, 3, ["anna"]])
def test_an_annotator_that_cannot_be_is_refused(still, annotator):
  sentence(post_raw(still, json.dumps({"browser": "c", "annotator": annotator}).encode(), "/join"), 400)
  assert list(still.server.session.pages) == ["b"]


def test_there_is_nothing_to_undo_at_first(still):
  assert "undo" in sentence(still.post("/undo", request="u"), 400)
  sentence(still.post("/undo"), 400)


# Answers.


def test_an_answer_is_stored_once_and_undone_once(page, folder):
  number = page.state()["current"]["image"]
  for _ in range(3):
    state = page.answer(number).json()
  assert state["stats"]["labels"] == 1
  assert state["current"]["image"] != number
  assert state["history"] == [{"image": number, "name": f"{number:03d}.png", "action": "label", "label": "cat"}]
  for _ in range(3):
    state = page.post("/undo", request="u").json()
  assert state["stats"]["labels"] == 0
  assert state["current"]["image"] == number
  lines = (folder / ".al_jax" / "labels.jsonl").read_text().splitlines()
  assert [json.loads(line)["action"] for line in lines] == ["start", "class", "class", "label", "undo"]


def test_a_class_is_added_and_used(page):
  assert page.post("/class", name=" Füchse & “co” ").json()["classes"] == ["cat", "dog", "Füchse & “co”"]
  number = page.state()["current"]["image"]
  assert page.answer(number, "Füchse & “co”").json()["stats"]["per_class"]["Füchse & “co”"] == 1


def test_a_full_disk_refuses_the_answer_in_a_sentence(page, monkeypatch):
  number = page.state()["current"]["image"]
  full = lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
  with monkeypatch.context() as patch:
    patch.setattr(journal.os, "write", full)
    assert "No space left" in sentence(page.answer(number), 507)
    assert "No space left" in sentence(page.post("/class", name="bird"), 507)
    state = page.state()
    assert state["stats"]["labels"] == 0
    assert state["current"]["image"] == number
    assert state["classes"] == ["cat", "dog"]
  assert page.answer(number).json()["stats"]["labels"] == 1  # the same request, once there is room


def test_the_state_is_json_for_any_file_name(tmp_path):
  names = [b"caf\xe9.png", b"a\nb.png", b"'\"<b>.png", "😀 x.png".encode()]
  tmp_path = tmp_path / "photos"
  tmp_path.mkdir()
  for i, name in enumerate(names):
    with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
      file.write(folders.png(folders.DIGITS[i]))
  with folders.page(folders.opened(tmp_path, audit=0.5)) as page:
    state = page.state()
    shown = {state["current"]["name"], *(item["name"] for item in state["upcoming"])}
    for number in range(4):
      assert page.client.get(f"/image/{number}").status_code == 200
      assert page.answer(number).status_code == 200
    assert {entry["name"] for entry in page.state()["history"]} == {os.fsdecode(name) for name in names}
    assert shown <= {os.fsdecode(name) for name in names}
