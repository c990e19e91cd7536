"""When the server asks for a training, and what it does with the result."""

import asyncio
import sys

import numpy as np
import pytest

from experiments.common.errors import UsageError
from experiments.labeling import learner as learner_module
from experiments.labeling.learner import Learner
from experiments.labeling.learner import Schedule
from experiments.labeling.learner import Trained
from experiments.labeling.messages import Task
from experiments.labeling.messages import packed
from tests.support import folders

SIZE = 60


class Labeler:
  """A session on a folder, a learner that notes what it sends, and a worker that is played here."""

  def __init__(self, folder, repeats: bool = True):
    self.session = folders.opened(folder, audit=0.0)
    self.changed = 0
    self.learner = folders.Sent(self.session, Schedule(10, 5, repeats), self._count)
    self.session.join("b", "anna")
    self.number = 0

  def _count(self) -> None:
    self.changed += 1

  def start(self) -> None:
    self.learner._take({"kind": "images"})
    self.features()

  def features(self) -> None:
    self.learner._take({"kind": "features", "description": "linear head"})

  def answer(self, count: int, classes: str = "ab") -> None:
    """Labels the next images with the classes in turn, as if they were of a queue or not."""
    for _ in range(count):
      label = {"a": "cat", "b": "dog"}[classes[self.number % len(classes)]]
      self.session.answer("b", f"r{self.number}", self.number, "label", label, 1.0)
      self.number += 1
      self.learner.consider()

  def reply(self, model: bool | None = None) -> dict:
    """Answers the last request with the images of the highest numbers; returns the request."""
    asked = self.learner.sent[-1]
    taken = {image for image, _ in asked["labels"]} | set(asked["barred"])
    ids = [i for i in reversed(range(SIZE)) if i not in taken][: asked["num"]]
    has_model = not asked["typical"] if model is None else model
    columns = {"guesses": None, "probabilities": None}
    if has_model:
      columns = {"guesses": packed(np.ones(SIZE, np.int32)), "probabilities": packed(np.full(SIZE, 0.75, np.float32))}
    scores = [0.5] * len(ids) if has_model else None
    acquisition = "typiclust" if asked["typical"] else "margin"
    self.learner._take({"kind": "fitted", "ids": ids, "scores": scores, "acquisition": acquisition, **columns})
    return asked

  @property
  def asked(self) -> list[tuple[int, bool]]:
    """Of each request, the number of labels and whether it is typical."""
    return [(len(request["labels"]), request["typical"]) for request in self.learner.sent]


@pytest.fixture
def labeler(tmp_path):
  return Labeler(folders.of_digits(tmp_path / "photos", SIZE))


def test_before_there_are_features_nothing_is_asked_for(labeler):
  labeler.learner._take({"kind": "images"})
  labeler.answer(3)
  assert labeler.asked == []
  assert not labeler.learner.busy


def test_typical_images_come_first_and_the_first_model_when_there_are_labels(labeler):
  labeler.start()
  assert labeler.asked == [(0, True)]
  assert labeler.learner.sent[0]["num"] == 30  # three batches of the larger of first and every
  labeler.reply()
  assert labeler.changed == 1
  assert [handed.acquisition for handed in labeler.session.model.queue] == ["typiclust"] * 30
  assert labeler.session.model.guesses is None
  labeler.answer(9)
  assert labeler.asked == [(0, True)]
  labeler.answer(1)
  assert labeler.asked == [(0, True), (10, False)]
  assert labeler.learner.sent[-1]["num"] == 15
  assert labeler.learner.round == 0
  labeler.reply()
  assert labeler.learner.round == 1
  assert [model.labels for model in labeler.learner.models] == [10]
  assert {handed.round for handed in labeler.session.model.queue} == {0}
  assert labeler.session.model.guesses == ([1] * SIZE, [0.75] * SIZE)


def test_one_class_is_no_model(labeler):
  labeler.start()
  labeler.reply()
  labeler.answer(25, "a")
  assert all(typical for _, typical in labeler.asked)
  labeler.answer(1, "b")
  assert labeler.asked[-1] == (26, False)


def test_a_model_follows_every_batch_of_labels_and_none_while_one_is_trained(labeler):
  labeler.start()
  labeler.reply()
  labeler.answer(10)
  labeler.reply()
  labeler.answer(4)
  assert labeler.asked[-1] == (10, False)
  labeler.answer(1)
  assert labeler.asked[-1] == (15, False)
  labeler.answer(7)  # while the model is trained
  assert labeler.asked[-1] == (15, False)
  labeler.reply()
  assert labeler.asked[-1] == (22, False)
  labeler.reply()
  assert [model.labels for model in labeler.learner.models] == [10, 15, 22]
  assert not labeler.learner.busy


def test_a_short_queue_is_filled_before_a_batch_is_complete(labeler):
  labeler.start()
  labeler.reply()
  labeler.answer(10)
  labeler.reply()
  queue = [handed.number for handed in labeler.session.model.queue]
  for i, number in enumerate(queue[:11]):
    before = len(labeler.learner.sent)
    labeler.session.answer("b", f"q{i}", number, "skip", None, 1.0)
    labeler.learner.consider()
    if len(labeler.learner.sent) > before:
      break
  assert i == 4  # every fifth change asks anew in any case
  labeler.learner._take({"kind": "fitted", "ids": queue[5:10], "scores": [0.5] * 5, "acquisition": "margin"} | NONE)
  labeler.session.answer("b", "short", queue[5], "skip", None, 1.0)
  labeler.learner.consider()  # four are left, fewer than a batch
  assert labeler.learner.busy
  assert set(queue[:6]) <= set(labeler.learner.sent[-1]["skipped"])


NONE = {"guesses": packed(np.ones(SIZE, np.int32)), "probabilities": packed(np.full(SIZE, 0.75, np.float32))}


def test_other_features_begin_the_curve_anew(labeler):
  labeler.start()
  labeler.reply()
  labeler.answer(10)
  labeler.reply()
  labeler.answer(20)
  labeler.reply()
  labeler.reply()
  assert [model.labels for model in labeler.learner.models] == [10, 15, 30]
  rounds, queue = labeler.learner.round, labeler.session.model.queue
  labeler.features()
  assert labeler.learner.models == []
  assert labeler.session.model.queue == queue
  assert labeler.reply()["num"] == 15
  while labeler.learner.busy:
    assert labeler.reply()["num"] == 0  # models of the past choose nothing
  assert labeler.asked[-5:] == [(30, False), (27, False), (20, False), (14, False), (10, False)]
  assert [model.labels for model in labeler.learner.models] == [10, 14, 20, 27, 30]
  assert labeler.learner.round == rounds + 1


def test_a_network_is_not_trained_again_for_the_curve(tmp_path):
  labeler = Labeler(folders.of_digits(tmp_path / "photos", SIZE), repeats=False)
  labeler.answer(30)
  labeler.start()
  labeler.reply()
  assert labeler.asked == [(30, False)]
  assert not labeler.learner.busy


def test_new_labels_come_before_models_of_the_past(labeler):
  labeler.answer(30)
  labeler.start()
  labeler.reply()
  labeler.reply()
  labeler.answer(5)
  labeler.reply()
  assert labeler.asked == [(30, False), (27, False), (20, False), (35, False)]
  labeler.reply()
  assert labeler.asked[-1] == (14, False)


def test_after_an_undo_the_last_model_is_the_present_one(labeler):
  labeler.start()
  labeler.reply()
  labeler.answer(10)
  labeler.reply()
  labeler.answer(5)
  labeler.reply()
  assert [model.labels for model in labeler.learner.models] == [10, 15]
  for i in range(5):
    labeler.session.undo("b", f"u{i}")
    labeler.learner.consider()
  labeler.session.answer("b", "x", 0, "unusable", None, 1.0)
  while labeler.learner.busy:
    labeler.reply()
  labeler.session.answer("b", "y", 1, "unusable", None, 1.0)
  for number in range(40, 44):
    labeler.session.answer("b", f"z{number}", number, "skip", None, 1.0)
    labeler.learner.consider()
  while labeler.learner.busy:
    labeler.reply()
  assert labeler.learner.models[-1].labels == len(labeler.learner.sent[-1]["labels"])


def test_of_many_models_those_of_the_curve_and_the_last_ones_are_kept():
  models = []
  for labels in range(10, 1010, 5):
    models = learner_module._thinned([*models, Trained(labels, np.zeros(1, np.int32))])
  labels = [model.labels for model in models]
  assert labels == sorted(set(labels))
  assert 20 <= len(labels) <= 34
  assert labels[0] == 10
  assert labels[-4:] == [990, 995, 1000, 1005]
  assert max(b / a for a, b in zip(labels[:-1], labels[1:], strict=True)) < 2


def test_an_image_whose_file_changes_leaves_the_training(labeler):
  labeler.start()
  labeler.reply()
  labeler.answer(10)
  labeler.reply()
  found = labeler.session.labeled.found
  (found.root / found.images[3].path).write_bytes(b"something else")
  assert labeler.session.labeled.is_lost(3)
  labeler.answer(5)
  assert 3 not in dict(labeler.learner.sent[-1]["labels"])
  assert 3 in labeler.learner.sent[-1]["barred"]


# The process.


def run(script: str, opened=lambda: None) -> Learner:
  """A learner whose worker was a script of Python, which has ended."""
  learner = Learner(Task("root", ["a.png"], "", [], None, "pixels"), Schedule(10, 5, True), opened, lambda: None)
  asyncio.run(asyncio.wait_for(learner.run([sys.executable, "-S", "-c", script]), 30))
  return learner


def test_the_worker_gets_its_task_and_its_end_is_named():
  learner = run("import json, sys; task = json.loads(sys.stdin.readline()); sys.exit(len(task['paths']) + 2)")
  assert learner.error == "the process that trains has ended (status 3): start the program again"
  assert not learner.busy


def test_a_failure_of_the_worker_is_its_own_sentence():
  learner = run("""print('{"kind": "failed", "error": "no file can be read"}', flush=True)""")
  assert learner.error == "no file can be read"


def test_a_killed_worker_is_named():
  assert "status -9" in run("import os; os.kill(os.getpid(), 9)").error


def test_a_session_that_cannot_be_opened_ends_the_worker():
  def refuse():
    raise UsageError("labels.jsonl is damaged")

  learner = run("""import time; print('{"kind": "images"}', flush=True); time.sleep(60)""", refuse)
  assert learner.error == "labels.jsonl is damaged"


def test_what_is_no_message_is_not_swallowed():
  with pytest.raises(ValueError, match="Expecting value"):
    run("print('hello', flush=True)")
