"""The labeling program: mistakes in its command, and its two processes from start to end."""

import contextlib
import fcntl
import json
import os
from pathlib import Path
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from experiments import label
from tests.support import folders
from tests.support import programs

CLASSES = "--classes=cat,dog"


def refused(*words: str) -> str:
  """The sentence with which a command ends before it serves."""
  with folders.flags_kept(), pytest.raises(SystemExit) as ended:
    label.main(["experiments.label", *words, "--noopen"])
  text = ended.value.code
  assert isinstance(text, str)  # so that the status is 1
  assert text.startswith("error: ")
  assert "\n" not in text
  return text


@pytest.fixture
def folder(tmp_path):
  return folders.of_digits(tmp_path / "photos", 40)


def test_wrong_folders(tmp_path):
  (tmp_path / "empty").mkdir()
  (tmp_path / "text.txt").write_text("a.png")
  one = folders.of_digits(tmp_path / "one", 1)
  assert "has no images" in refused(str(tmp_path / "empty"))
  assert "has one image: there is nothing to choose from" in refused(str(one))
  for name in ("missing", "text.txt", "~nobody_of_this_name", "a\nb"):
    assert "is neither a folder of images nor a .csv or .jsonl" in refused(
      str(tmp_path / name).replace(f"{tmp_path}/~", "~")
    )
  assert "neither is given" in refused()
  assert "both are given" in refused(str(one), "--demo")


def test_a_workdir_that_cannot_be_written(folder, tmp_path):
  (tmp_path / "file").write_text("")
  assert "cannot be written" in refused(str(folder), f"--workdir={tmp_path / 'file'}")
  assert "cannot be written" in refused(str(folder), f"--workdir={tmp_path / 'file' / 'below'}")
  (folder / ".al_jax").write_text("")
  assert "give another --workdir" in refused(str(folder))


def test_the_demonstration_where_nothing_can_be_written(tmp_path, monkeypatch):
  (tmp_path / "runs").write_text("")
  monkeypatch.chdir(tmp_path)
  assert "--demo cannot write its images" in refused("--demo")


def test_a_second_program_on_the_folder(folder):
  (folder / ".al_jax").mkdir()
  with open(folder / ".al_jax" / ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert "another process is labeling this folder" in refused(str(folder))
  with socket.create_server(("127.0.0.1", 0)) as taken:  # the lock is free again: the next mistake is another
    assert "cannot be served on" in refused(str(folder), f"--port={taken.getsockname()[1]}")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "256.1.1.1", "x" * 300, "..", "::zz"])
def test_addresses_that_cannot_be_served_on(folder, host):
  assert f"--host={host} --port=0 cannot be served on" in refused(str(folder), f"--host={host}")


# Processes.


# Runs Python with interrupts, which a shell's background jobs ignore, and with them all that they start.
HEARING = (
  "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
  " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


class Running:
  """The program, started as a user does."""

  def __init__(self, folder: Path, words: tuple[str, ...], log: Path):
    self.log = log
    command = [sys.executable, "-c", HEARING, "-m", "experiments.label", str(folder), *words, "--noopen"]
    with open(log, "w") as errors:
      self.process = subprocess.Popen(
        command,
        cwd=programs.ROOT,
        env=programs.environment(),
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
      )

  def started(self) -> None:
    assert self.process.stdout is not None
    address = self.process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), address + self.log.read_text()
    self.root, self.token = address.split("?token=")
    with urllib.request.urlopen(address) as answer:
      assert answer.status == 200

  def get(self, path: str, body: dict | None = None) -> dict:
    content = None if body is None else json.dumps(body).encode()
    headers = {"X-Token": self.token, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(self.root + path, content, headers), timeout=60) as answer:
      return json.loads(answer.read())

  def wait(self, until) -> dict:
    """Waits for a state; returns it."""
    began = time.monotonic()
    while not until(state := self.get("state?browser=b")):
      assert time.monotonic() - began < 120, state
      time.sleep(0.05)
    return state

  def ready(self) -> None:
    self.started()
    self.wait(lambda state: state["phase"] == "ready")
    self.get("join", {"browser": "b", "annotator": "anna"})

  def answer(self, count: int) -> dict:
    for _ in range(count):
      state = self.wait(lambda state: state["current"] is not None)
      number = state["current"]["image"]
      own = {"image": number, "action": "label", "label": ("cat", "dog")[number % 2], "seconds": 1.0}
      state = self.get("answer", {"browser": "b", "request": os.urandom(8).hex(), **own})
    return state

  @property
  def worker(self) -> int:
    """The process that trains."""
    (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
    return int(child)

  def ended(self) -> tuple[int, str]:
    """The status and the messages, once the program has ended by itself."""
    status = self.process.wait(60)
    return status, self.log.read_text()


def is_alive(process: int) -> bool:
  """Whether a process runs; one that has ended and waits to be noticed does not."""
  try:
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
  except FileNotFoundError:
    return False


def assert_ends(process: int) -> None:
  began = time.monotonic()
  while is_alive(process):
    assert time.monotonic() - began < 10, "the worker is an orphan"
    time.sleep(0.05)


@pytest.fixture
def run(tmp_path):
  """`(folder, *words) -> Running`; what is left of them is killed at the end."""
  with contextlib.ExitStack() as stack:

    def start(folder: Path, *words: str) -> Running:
      running = Running(folder, words, tmp_path / "messages.txt")
      stack.callback(running.process.wait)
      stack.callback(running.process.kill)
      return running

    yield start


def failure(running: Running) -> str:
  """The one sentence with which a program ends that has nothing to serve."""
  status, text = running.ended()
  assert status == 1, text
  sentences = [line for line in text.splitlines() if line.startswith("error: ")]
  assert len(sentences) == 1, text
  assert "Traceback" not in text
  return sentences[0]


@pytest.mark.slow
def test_the_page_goes_on_without_its_worker(folder, run):
  program = run(folder, CLASSES, "--init_labels=4", "--acq_size=3")
  program.ready()
  program.answer(12)
  program.wait(lambda state: state["stats"]["model"]["round"] > 1)
  os.kill(program.worker, signal.SIGKILL)
  state = program.wait(lambda state: state["error"] is not None)
  assert "has ended (status -9): start the program again" in state["error"]
  assert state["phase"] == "ready"
  before = state["stats"]["labels"]
  assert program.answer(5)["stats"]["labels"] == before + 5
  program.process.send_signal(signal.SIGINT)
  status, text = program.ended()
  assert status == 0
  assert "stopped: all answers are kept" in text
  assert "Traceback" not in text
  again = run(folder, "--init_labels=4", "--acq_size=3")
  again.ready()
  assert again.get("state?browser=b")["stats"]["labels"] == before + 5
  again.wait(lambda state: state["stats"]["model"]["labels"] > 0 and not state["stats"]["model"]["busy"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_the_worker_ends_with_the_server(folder, run, number):
  # A training that takes minutes does not notice by itself that nobody waits for it.
  program = run(folder, CLASSES, "--model=mlp", "--train_steps=10000000", "--init_labels=4")
  program.ready()
  worker = program.worker
  program.answer(10)
  program.wait(lambda state: state["stats"]["model"]["busy"])
  time.sleep(2)
  assert is_alive(worker)
  program.process.send_signal(number)
  status, text = program.ended()
  assert_ends(worker)
  assert status == (0 if number == signal.SIGINT else -number)
  assert "Traceback" not in text
  assert "Exception ignored" not in text


@pytest.mark.slow
def test_the_worker_ends_with_a_server_that_is_killed_at_its_start(folder, run):
  program = run(folder)
  program.started()
  worker = program.worker
  program.process.kill()
  assert_ends(worker)


@pytest.mark.slow
def test_what_the_worker_finds_wrong_ends_the_program(folder, tmp_path, run):
  np.save(tmp_path / "rows.npy", np.zeros((39, 3)))
  text = failure(run(folder, f"--features={tmp_path / 'rows.npy'}"))
  assert "must hold 40 rows of numbers, one per image file, not float64 of shape (39, 3)" in text
  assert not (folder / ".al_jax" / "labels.jsonl").exists()
  assert "--model=cnn, --acq=margin: " in failure(run(folder, "--model=cnn", "--image_size=2"))
  damaged = tmp_path / "damaged"
  damaged.mkdir()
  for i in range(3):
    (damaged / f"{i}.png").write_text("<svg></svg>")
  assert "none of the 3 images" in failure(run(damaged))
  copies = tmp_path / "copies"
  copies.mkdir()
  for i in range(3):
    (copies / f"{i}.png").write_bytes(folders.png(folders.DIGITS[0]))
  assert "has one image, '0.png': there is nothing to choose from" in failure(run(copies))


@pytest.mark.slow
def test_labels_that_are_damaged_or_of_another_folder(folder, tmp_path, run):
  workdir = tmp_path / "work"
  session = folders.opened(folder)
  session.join("b", "anna")
  session.answer("b", "r", 0, "label", "cat", 1.0)
  shutil.copytree(folder / ".al_jax", workdir)
  journal = workdir / "labels.jsonl"
  content = journal.read_bytes()
  other = tmp_path / "other"
  other.mkdir()
  for i in range(3):
    (other / f"{i}.png").write_bytes(folders.png(folders.DIGITS[100 + i]))
  assert "belongs to another folder" in failure(run(other, f"--workdir={workdir}"))
  assert journal.read_bytes() == content
  damaged = content.replace(b'"class"', b'"cla', 1)
  journal.write_bytes(damaged)
  assert "line 2 is damaged" in failure(run(folder, f"--workdir={workdir}"))
  assert journal.read_bytes() == damaged
  journal.write_bytes(content + b'{"event": 4, "act')  # torn: cut
  program = run(folder, f"--workdir={workdir}")
  program.ready()
  assert program.get("state?browser=b")["stats"]["labels"] == 1
  assert journal.read_bytes() == content


@pytest.mark.slow
def test_a_second_server_is_refused_while_the_first_runs_and_strangers_always(folder, run):
  first = run(folder, CLASSES)
  first.started()
  assert "another process is labeling this folder" in failure(run(folder))
  for path, headers in (
    ("state", {}),
    ("state", {"X-Token": "wrong"}),
    ("state", {"X-Token": first.token, "Host": "evil.example"}),
  ):
    with pytest.raises(urllib.error.HTTPError, match="403"):
      urllib.request.urlopen(urllib.request.Request(first.root + path, headers=headers))


@pytest.mark.slow
def test_a_folder_whose_name_is_not_text(tmp_path, run):
  folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xf0\x9f\x98\x80\n'"))
  folders.of_digits(folder, 5)
  (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(folders.png(folders.DIGITS[7]))
  program = run(folder, CLASSES)
  program.ready()
  assert program.get("state?browser=b")["folder"] == folder.name
  assert program.answer(3)["stats"]["labels"] == 3
