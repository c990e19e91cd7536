"""Starts `experiments.label` as a user does, and answers as a person who knows the truth."""

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
import json
from pathlib import Path
import subprocess
import sys
import time
from typing import NamedTuple
import urllib.request

from selenium import webdriver

from tests.support import browser

ROOT = Path(__file__).parents[2]


class Serving(NamedTuple):
  """A server that was started."""

  process: subprocess.Popen
  address: str

  def state(self) -> dict:
    """What the server tells a page that has not joined."""
    path, token = self.address.split("?")
    with urllib.request.urlopen(f"{path}state?browser=none&{token}") as answer:
      return json.loads(answer.read())

  def wait(self, timeout: float = 120.0) -> None:
    """Waits until there are images to label."""
    began = time.monotonic()
    while (state := self.state())["phase"] == "reading":
      assert time.monotonic() - began < timeout, state
      time.sleep(0.1)


@contextmanager
def serving(*words: str) -> Iterator[Serving]:
  """Starts the program and waits for its address; kills it at the end."""
  command = [sys.executable, "-m", "experiments.label", *words, "--noopen"]
  process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
  try:
    assert process.stdout is not None
    yield Serving(process, process.stdout.readline().strip())
  finally:
    process.kill()
    process.wait()


def answer(driver: webdriver.Chrome, key_of: Callable[[str], str]) -> tuple[str, str]:
  """Presses the key for the image on the screen, and waits until the next one is painted; returns name and key."""
  before = browser.shown(driver)
  name = browser.text(driver, "#name")
  key = key_of(name)
  browser.press(driver, key)
  browser.wait_painted(driver, other_than=before)
  return name, key


def events(workdir: Path) -> list[dict]:
  """The whole lines of a workdir's labels.jsonl."""
  lines = (workdir / "labels.jsonl").read_bytes().split(b"\n")
  return [json.loads(line) for line in lines[:-1]]
