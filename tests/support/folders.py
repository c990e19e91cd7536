"""Folders of small images, and the server's parts on them, without processes."""

import contextlib
import io
from pathlib import Path
import struct
from typing import NamedTuple
import zlib

from absl.testing import flagsaver
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from starlette.testclient import TestClient

from experiments.config.flags import FLAGS
from experiments.labeling import flags
from experiments.labeling import images
from experiments.labeling.journal import Journal
from experiments.labeling.labeled import Labeled
from experiments.labeling.labeled import begun
from experiments.labeling.learner import Learner
from experiments.labeling.learner import Schedule
from experiments.labeling.messages import Task
from experiments.labeling.server import Server
from experiments.labeling.server import Settings
from experiments.labeling.session import Session
from experiments.labeling.session import Settings as Shares

DIGITS = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
SCHEDULE = Schedule(first=10, every=5, repeats=True)
TOKEN, HOST = "secret-token", "127.0.0.1:5000"


def png(pixels: np.ndarray) -> bytes:
  """The bytes of a PNG file."""
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, "PNG")
  return out.getvalue()


def bomb() -> bytes:
  """The bytes of a PNG file whose header promises 30,000 x 30,000 pixels."""
  content = bytearray(png(DIGITS[0]))
  content[16:24] = struct.pack(">II", 30_000, 30_000)
  content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
  return bytes(content)


def of_digits(folder: Path, num: int) -> Path:
  """Writes the first digits as `000.png`, `001.png` and so on; returns the folder."""
  folder.mkdir(parents=True, exist_ok=True)
  for i in range(num):
    (folder / f"{i:03d}.png").write_bytes(png(DIGITS[i]))
  return folder


def opened(
  folder: Path, classes: tuple[str, ...] = ("cat", "dog"), audit: float = 0.2, overlap: float = 0.0
) -> Session:
  """A session on a folder, whose images are read as the worker reads them."""
  workdir = folder / images.WORKDIR
  workdir.mkdir(exist_ok=True)
  root, paths = images.listed(folder)
  images.scan(root, paths, workdir, None, lambda *_: None)
  found, journal = images.saved(workdir), Journal(workdir / "labels.jsonl")
  labeled = Labeled(found, begun(journal, found, 0, audit, list(classes)), journal)
  return Session(labeled, Shares(audit, overlap), len(journal.events))


class Sent(Learner):
  """A learner whose worker is a list of what it was sent."""

  def __init__(self, session: Session | None, schedule: Schedule = SCHEDULE, changed=lambda: None):
    super().__init__(Task("", [], "", [], None, "pixels"), schedule, lambda: session, changed)
    self.sent: list[dict] = []

  def _send(self, message: dict) -> None:
    self.sent.append(message)


class Page(NamedTuple):
  """A browser's side of a server."""

  server: Server
  client: TestClient

  def post(self, path: str, **body):
    return self.client.post(path, json={"browser": "b", **body})

  def state(self) -> dict:
    return self.client.get("/state?browser=b").json()

  def answer(self, number: int, label: str | None = "cat", request: str | None = None, **others):
    """Answers an image; `request` is by default an id of the image and the label."""
    action = "skip" if label is None else "label"
    body = {
      "request": request or f"{number} {label}",
      "image": number,
      "action": action,
      "label": label,
      "seconds": 1.5,
    }
    return self.post("/answer", **body | others)


@contextlib.contextmanager
def page(session: Session | None, hosts=frozenset({HOST}), **headers: str):
  """A server, and a page that has joined if there is a session. Headers default to those of the page."""
  server = Server(Settings("photos", TOKEN, hosts, 0.95, 0.2))
  server.session, server.learner = session, Sent(session)

  @contextlib.asynccontextmanager
  async def lifespan(app):
    if session is not None:
      server.learner._take({"kind": "images"})
      server.learner._take({"kind": "features", "description": "linear head"})
      session.use(session.model)  # from here on, images are handed out
    yield

  with TestClient(server.app(lifespan), f"http://{HOST}", raise_server_exceptions=False) as client:
    client.headers.update({"x-token": TOKEN} | headers)
    page = Page(server, client)
    if session is not None:
      assert page.post("/join", annotator="anna").status_code == 200
    yield page


@contextlib.contextmanager
def flags_kept():
  """Undoes what the labeling program sets of the flags of a study, which are those of the process."""
  saved = flagsaver.save_flag_values(FLAGS)
  try:
    yield
  finally:
    flagsaver.restore_flag_values(saved, FLAGS)


def command(*words: str) -> flags.Command:
  """The command of `experiments.label . WORDS`."""
  with flags_kept():
    return flags.parse(["experiments.label", ".", *words], "")


def sentence(response, status: int) -> str:
  """The error of a response, which has every header of safety."""
  assert response.status_code == status, response.text
  assert list(response.json()) == ["error"]
  text = response.json()["error"]
  assert text.endswith(".")
  assert not text.endswith("..")
  assert text[0].isupper() or not text[0].isalpha()
  assert_headers(response)
  return text


def assert_headers(response) -> None:
  policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
  assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
  assert policy["script-src"] == policy["style-src"] == policy["img-src"] == policy["connect-src"] == "'self'"
  assert response.headers["x-content-type-options"] == "nosniff"
  assert response.headers["referrer-policy"] == "no-referrer"
  assert response.headers["cross-origin-resource-policy"] == "same-origin"
