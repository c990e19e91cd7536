"""A thousand random actions by three pages, with new models, restarts and kills, and what must hold after each."""

from collections import Counter
import os
import random

import pytest

from experiments.labeling import journal
from experiments.labeling import session as module
from experiments.labeling.answers import Answers
from experiments.labeling.journal import NAME
from experiments.labeling.labeled import Refused
from tests.support import label_sessions as support

PAGES = {"a": "anna", "b": "bert", "c": "anna"}  # anna has two windows
ACTIONS = ["label"] * 6 + ["skip", "unusable"]


class Simulation:
  """Pages that answer, and a record of the server's promises."""

  def __init__(self, folder, seed: int, overlap: float):
    self.draw, self.overlap = random.Random(seed), overlap
    self.root, self.workdir = folder / "root", folder / "work"
    self.found = support.numbered(self.root, 700)
    self.acknowledged: list[str] = []  # requests
    self.handed: dict[str, set[int]] = {}  # by page, the images of its line
    # Images that stand on two screens for a reason: one page answered late, or took its answer back.
    self.twice: set[int] = set()
    self.undone: int | None = None  # image whose answer the last action took back, which shows it again
    self.restart()

  def restart(self) -> None:
    """Everything in memory is lost."""
    own = support.labeled(self.found, self.workdir)
    self.session = support.session(own, audit=0.2, overlap=self.overlap, seed=self.draw.randrange(2**32))
    self.handed = {}
    self.swap()

  def swap(self) -> None:
    """A training has ended."""
    own = self.session.labeled
    free = [i for i in range(700) if own.outcome(i) is None and i not in own.in_reservoir]
    chosen = self.draw.sample(free, 30)
    self.session.use(support.chosen(own, chosen, guess=self.draw.randrange(2)))

  def line(self, page: str) -> list[int]:
    return [handed.number for handed in self.session.pages[page].lined]

  def act(self, page: str) -> None:
    kind = self.draw.choices(
      ["answer", "again", "late", "undo", "swap", "restart", "kill", "away", "poll"], [60, 5, 3, 10, 6, 1, 2, 2, 11]
    )[0]
    request, seconds = f"request {len(self.acknowledged)} {self.draw.random()}", 1.0
    action = self.draw.choice(ACTIONS)
    given = (action, self.draw.choice(support.CLASSES) if action == "label" else None, seconds)
    self.undone = None
    if page not in self.session.pages or self.session.pages[page].is_away:
      self.session.join(page, PAGES[page])
    if kind == "swap":
      self.swap()
    elif kind == "restart":
      self.restart()
    elif kind == "away":
      self.session.pages[page].seen -= 1000
      self.session.seen(self.draw.choice([other for other in PAGES if other != page]))
    elif kind == "poll":
      self.session.seen(page)
    elif kind == "undo":
      try:
        self.session.undo(page, request)
      except Refused:
        return
      self.session.undo(page, request)
      self.acknowledged.append(request)
      self.undone = self.line(page)[0]
      self.twice.add(self.undone)
    else:
      history = self.session.history(PAGES[page])
      number = self.line(page)[0]
      if kind == "again" and history:
        number = self.draw.choice(history)["image"]
      elif kind == "late":
        number = self.draw.randrange(700)
      if number not in self.line(page):
        self.twice.add(number)
      self.session.answer(page, request, number, *given)
      self.acknowledged.append(request)
      if kind == "kill":  # before the reply: the page sends the request again
        self.restart()
        self.session.join(page, PAGES[page])
        self.session.answer(page, request, number, *given)

  def check_lines(self) -> None:
    own, pages = self.session.labeled, self.session.pages
    counts = Counter(number for page in pages for number in self.line(page))
    assert {number for number, count in counts.items() if count > 1} <= self.twice
    for page in pages:
      numbers = self.line(page)
      assert len(numbers) <= module.LINED_UP
      for number in set(numbers) - self.handed.get(page, set()) - {self.undone}:
        others = own.answers.by_annotator(self.found.images[number].sha256)
        if not self.overlap:
          assert not others, "an image with an answer is handed out as new"
        assert PAGES[page] not in others
        if number in own.in_reservoir and not others:
          before = own.reservoir[: own.reservoir.index(number)]
          assert all(own.outcome(i) is not None or i in counts for i in before), "out of the order of the permutation"
      self.handed[page] = set(numbers)
    self.handed = {page: numbers for page, numbers in self.handed.items() if page in pages}

  def check_file(self) -> None:
    events, _ = journal.read(self.workdir / NAME)
    stored = [event["request"] for event in events if "request" in event]
    assert stored == self.acknowledged, "an answer is lost, doubled or out of order"
    answers, own = Answers(events), self.session.labeled
    assert answers.outcomes == own.answers.outcomes
    assert own.left == 700 - len(answers.outcomes)
    assert not {i for i, _ in own.training_labels()} & own.in_reservoir
    assert all(event["audit"] == (event["id"] in own.in_reservoir) for event in events if "id" in event)
    assert not any(event["shown"] for event in events if event.get("audit") and "shown" in event)


@pytest.mark.parametrize(("seed", "overlap"), [(0, 0.0), (1, 0.2)])
def test_a_thousand_random_actions(tmp_path, monkeypatch, seed, overlap):
  monkeypatch.setattr(os, "fdatasync", lambda file: None)  # takes milliseconds
  monkeypatch.setattr(os, "fsync", lambda file: None)
  simulation = Simulation(tmp_path, seed, overlap)
  for step in range(1000):
    simulation.act(simulation.draw.choice(list(PAGES)))
    simulation.check_lines()
    if step % 100 == 99:
      simulation.check_file()
  simulation.restart()
  simulation.check_file()
  assert len(simulation.acknowledged) > 600
