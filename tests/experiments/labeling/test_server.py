"""What the web server refuses, and what it answers."""

import os

import numpy as np
import pytest

from experiments.labeling import server as server_module
from experiments.labeling.session import Handed
from experiments.labeling.session import Model
from tests.support import folders
from tests.support.folders import TOKEN
from tests.support.folders import assert_headers
from tests.support.folders import sentence

PATHS = ("/", "/page.js", "/page.css", "/state", "/image/0", "/image/0?size=small")
POSTS = ("/join", "/answer", "/undo", "/class")
OTHERS = ("/nothing", "/image/", "/image/x", "/../server.py", "/%2e%2e/server.py", "/page/index.html", "/state/")


@pytest.fixture
def stranger(still, monkeypatch):
  """That page without the token."""
  monkeypatch.delitem(still.client.headers, "x-token")
  return still


# Who is let in.


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "sécret", "\x00"])
def test_without_the_token_everything_is_refused(stranger, token):
  params = {} if token is None else {"token": token}
  for path in PATHS + OTHERS:
    assert "token" in sentence(stranger.client.get(path, params=params), 403)
  for path in POSTS + OTHERS:
    assert "token" in sentence(stranger.client.post(path, params=params, json={"browser": "b"}), 403)
  if token is not None:
    for path in PATHS:
      sentence(stranger.client.get(path, headers={"x-token": token.encode()}), 403)


@pytest.mark.parametrize("query", ["token=%ff%fe", "token=%ed%a0%80", "token", "token=&token=x", "%00", "token[]=a"])
def test_a_token_of_any_bytes_is_refused(stranger, query):
  sentence(stranger.client.get(f"/state?{query}"), 403)


def test_the_token_is_compared_in_constant_time(still, monkeypatch):
  compared = []

  def compare(one: bytes, other: bytes) -> bool:
    compared.append((one, other))
    return one == other

  monkeypatch.setattr(server_module.secrets, "compare_digest", compare)
  still.client.get("/state", headers={"x-token": "guess"})
  assert compared == [(b"guess", TOKEN.encode())]


def test_a_wrong_token_in_the_address_is_not_made_up_for_by_a_header(still):
  sentence(still.client.get("/state?token=wrong"), 403)
  assert still.client.get(f"/state?token={TOKEN}", headers={"x-token": "wrong"}).status_code == 200


@pytest.mark.parametrize(
  "host", ["evil.example", "evil.example:5000", "127.0.0.1", "127.0.0.1:5001", "localhost:5000.evil.example", "", "::1"]
)
def test_another_host_is_refused(still, host):
  for path in (*PATHS, *OTHERS, f"/?token={TOKEN}"):
    assert "address" in sentence(still.client.get(path, headers={"host": host}), 403)
  sentence(still.client.post("/join", json={"browser": "b", "annotator": "eve"}, headers={"host": host}), 403)


@pytest.mark.parametrize(
  "host", ["x/../../server.py?", "x/page.js?", "evil.example", "a b", "[", "x/../../../../etc/passwd?"]
)
def test_no_host_of_a_server_in_the_network_names_a_file(folder, host):
  with folders.page(folders.opened(folder), hosts=frozenset()) as page:
    answer = page.client.get("/", headers={"host": host})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "from pathlib" not in answer.text


# What is served.


def test_everything_served_has_headers_of_safety(still):
  for path in PATHS:
    answer = still.client.get(path)
    assert answer.status_code == 200
    assert_headers(answer)
  kinds = [still.client.get(path).headers["content-type"].split(";")[0] for path in PATHS]
  assert kinds == ["text/html", "text/javascript", "text/css", "application/json", "image/png", "image/png"]


def test_the_page_gets_the_token_and_is_not_cached(still):
  answer = still.client.get("/")
  assert TOKEN in answer.text
  assert "{{token}}" not in answer.text
  assert answer.headers["cache-control"] == "no-store"
  assert still.client.get("/state").headers["cache-control"] == "no-store"


def test_the_page_holds_no_inline_script_and_no_address_elsewhere(still):
  text = still.client.get("/").text
  for tag in ("<script>", "<style", " style=", " onclick=", " onload=", "http://", "https://", "javascript:"):
    assert tag not in text.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("path", OTHERS)
def test_unknown_pages_are_refused(still, path):
  sentence(still.client.get(path), 404)


@pytest.mark.parametrize(
  "number", ["12", "-1", "1e0", "0x1", "٣", "²", "9" * 5000, "000000000000000001", "0/..", "+1", "1.0"]
)
def test_an_image_goes_by_its_number_alone(still, number):
  sentence(still.client.get(f"/image/{number}"), 404)
  sentence(still.client.get(f"/image/{number}?size=small"), 404)


def test_methods_that_are_not_served_are_refused(still):
  for path in POSTS:
    sentence(still.client.get(path), 405)
  for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
    sentence(still.client.request(method, "/state", json={}), 405)


def test_before_the_images_are_read_nothing_is_taken():
  with folders.page(None) as page:
    state = page.state()
    assert state["phase"] == "reading"
    assert state["classes"] == []
    assert "read" in sentence(page.post("/join", annotator="anna"), 503)
    sentence(page.client.get("/image/0"), 404)


def test_an_error_of_the_program_is_a_sentence(still, monkeypatch):
  monkeypatch.setattr(still.server, "_stats", lambda *_: 1 / 0)
  assert "ZeroDivision" not in sentence(still.client.get("/state"), 500)


# Files that change after the start.


def hostile(path, kind: str, tmp_path) -> None:
  """Replaces a file."""
  path.unlink()
  secret = tmp_path / "secret.png"
  secret.write_bytes(folders.png(np.full((8, 8), 7, np.uint8)))
  if kind == "link":
    path.symlink_to(secret)
  elif kind == "endless":
    path.symlink_to("/dev/zero")
  elif kind == "pipe":
    os.mkfifo(path)
  elif kind == "folder":
    path.mkdir()
  elif kind == "svg":
    path.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
  elif kind == "html":
    path.write_text("<!doctype html><script>alert(1)</script>")
  elif kind == "bomb":
    path.write_bytes(folders.bomb())
  elif kind == "other":
    path.write_bytes(folders.png(np.zeros((8, 8), np.uint8)))
  else:
    assert kind == "gone"


@pytest.mark.parametrize("kind", ["link", "endless", "pipe", "folder", "svg", "html", "bomb", "other", "gone"])
def test_a_file_that_changes_is_neither_served_nor_answered(page, folder, tmp_path, kind):
  number = page.state()["current"]["image"]
  hostile(folder / f"{number:03d}.png", kind, tmp_path)
  for size in ("", "?size=small"):
    assert "no longer" in sentence(page.client.get(f"/image/{number}{size}"), 410)
  state = page.answer(number).json()
  assert "changed or vanished" in state["notice"]
  assert state["stats"]["labels"] == 0
  assert state["current"]["image"] != number
  assert page.answer(state["current"]["image"]).json()["stats"]["labels"] == 1


def test_an_image_that_was_served_once_stays_the_same(page, folder):
  before = page.client.get("/image/3").content
  assert before == (folder / "003.png").read_bytes()
  (folder / "003.png").write_bytes(folders.png(np.zeros((8, 8), np.uint8)))
  assert page.client.get("/image/3").content == before


# The report.


def test_the_worker_that_ended_is_named_and_answers_are_still_taken(page):
  page.server.learner.error = "the process that trains has ended (status -9): start the program again"
  state = page.answer(page.state()["current"]["image"]).json()
  assert "has ended" in state["error"]
  assert state["stats"]["labels"] == 1
  assert state["current"] is not None


def test_a_finished_folder_says_so(page):
  page.server.session.use(Model(tuple(Handed(i, False, "margin", 0.5, 0) for i in range(12))))
  for _ in range(12):
    state = page.answer(page.state()["current"]["image"]).json()
  assert state["current"] is None
  assert state["finished"] == "Every image has an answer."
  assert state["stats"]["left"] == 0
