"""The server's side of the worker: when a model is trained, and what became of it."""

import asyncio
from collections.abc import Callable
import json
from typing import NamedTuple

import numpy as np

from experiments.common.errors import UsageError
from experiments.labeling.journal import JournalError
from experiments.labeling.messages import Task
from experiments.labeling.messages import unpacked
from experiments.labeling.session import Handed
from experiments.labeling.session import Model
from experiments.labeling.session import Session

_BATCHES = 3  # asked for at a time, so that the queue lasts while the next model is trained
_GROWTH = 1.4  # ratio of labels between models that are trained again for the learning curve
_POINTS, _RECENT = 30, 4  # models that are kept for the learning curve: at most so many, and the last ones besides
_LONGEST = 1 << 28  # bytes of a message


class Schedule(NamedTuple):
  """When models are trained."""

  first: int  # number of labels from which on there is a model
  every: int  # number of new labels after which it is trained again
  repeats: bool  # whether models of fewer labels are trained again after a start, for the learning curve


class Trained(NamedTuple):
  """A model of the learning curve."""

  labels: int  # number of labels
  guesses: np.ndarray  # `[N]` int32 class numbers


class _Request(NamedTuple):
  """What the worker is asked for."""

  labels: int  # number of labels
  is_typical: bool  # images are chosen without a model
  is_past: bool  # a model of fewer labels than there are


class Learner:
  """Keeps the worker busy with what the session has learned."""

  def __init__(self, task: Task, schedule: Schedule, opened: Callable[[], Session], changed: Callable[[], None]):
    """
    Args:
      task: what the worker works on.
      schedule: when models are trained.
      opened: makes the session, once the images are read.
      changed: called when there is a new model.
    """
    self._task, self._schedule, self._opened, self._changed = task, schedule, opened, changed
    self.progress: dict | None = {"text": "starting", "done": 0, "total": 0}
    self.description: str | None = None  # of the model
    self.error: str | None = None
    self.models: list[Trained] = []  # by their numbers of labels, ascending
    self.round = 0  # of the next model
    self._session: Session | None = None
    self._process: asyncio.subprocess.Process | None = None
    self._under_way: _Request | None = None
    self._seen = 0  # changes that the last training knew of
    self._is_new = False  # whether the worker has features that no model was trained on
    self._past: list[int] = []  # numbers of labels whose models are to be trained again

  @property
  def busy(self) -> bool:
    """Whether a training is under way."""
    return self._under_way is not None

  async def run(self, words: list[str]) -> None:
    """Starts the worker by a command, and takes its messages until it ends."""
    pipe = asyncio.subprocess.PIPE
    self._process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, limit=_LONGEST)
    assert self._process.stdout is not None
    self._send(self._task._asdict())
    try:
      while line := await self._process.stdout.readline():
        self._take(json.loads(line))
    except BaseException:
      self.stop()
      raise
    finally:
      status = await self._process.wait()
    self._under_way = None
    self.error = self.error or f"the process that trains has ended (status {status}): start the program again"
    if self._session is not None and not self._session.model.queue:
      self._session.use(self._session.model)  # answers are still taken, to random images

  def _send(self, message: dict) -> None:
    assert self._process is not None and self._process.stdin is not None
    self._process.stdin.write(json.dumps(message).encode() + b"\n")

  def stop(self) -> None:
    """Ends the worker."""
    if self._process is not None and self._process.returncode is None:
      self._process.kill()

  def _take(self, message: dict) -> None:
    kind = message.pop("kind")
    if kind == "progress":
      self.progress = None if message["done"] == message["total"] else message
    elif kind == "failed":
      self.error = message["error"]
    elif kind == "images":
      self.progress = {"text": "comparing the images", "done": 0, "total": 0}
      try:
        self._session = self._opened()
      except (UsageError, JournalError) as error:
        self.error = str(error)
        self.stop()
        return
      self.round = self._session.labeled.last_round + 1
    elif kind == "features":
      self.description, self._is_new, self.progress = message["description"], True, None
      self.consider()
    else:
      self._use(message)

  def consider(self) -> None:
    """Asks for a training if there is reason for one and none is under way."""
    if self._session is None or self.description is None or self.busy or self.error is not None:
      return
    labeled, model = self._session.labeled, self._session.model
    new = labeled.changes - self._seen
    if not (self._is_new or new or self._past):
      return
    is_short = sum(labeled.is_free(own.number) for own in model.queue) < self._schedule.every
    if not (self._is_new or self._past or is_short or model.guesses is None or new >= self._schedule.every):
      return  # as after most answers: the labels are not gathered for nothing
    labels = labeled.training_labels()
    is_typical = len(labels) < self._schedule.first or len({c for _, c in labels}) < 2
    has_first = model.guesses is None and not is_typical
    if self._is_new or (new and (is_short or has_first)) or (new >= self._schedule.every and not is_typical):
      if self._is_new:
        self._past = self._counts(len(labels)) if self._schedule.repeats and not is_typical else []
        self.models, self._is_new = [], False
      self._seen = labeled.changes
      self._ask(labels, _Request(len(labels), is_typical, is_past=False))
    elif self._past:
      count = self._past.pop()
      if count < len(labels) and len({c for _, c in labels[:count]}) > 1:
        self._ask(labels[:count], _Request(count, is_typical=False, is_past=True))
      else:
        self.consider()

  def _counts(self, labels: int) -> list[int]:
    """Numbers of labels between the first model's and `labels`, in a geometric progression, ascending."""
    found, count = [], float(self._schedule.first)
    while round(count) < labels:
      found.append(round(count))
      count *= _GROWTH
    return found

  def _ask(self, labels: list[tuple[int, int]], request: _Request) -> None:
    assert self._session is not None
    self._under_way = request
    labeled = self._session.labeled
    batch = max(self._schedule.every, self._schedule.first) if request.is_typical else self._schedule.every
    self._send(
      {
        "labels": labels,
        "typical": request.is_typical,
        "barred": labeled.barred(),
        "skipped": labeled.skipped(),
        "round": self.round,
        "num": 0 if request.is_past else _BATCHES * batch,
      }
    )

  def _use(self, message: dict) -> None:
    """Takes a finished training."""
    assert self._session is not None and self._under_way is not None
    request, self._under_way = self._under_way, None
    guesses = unpacked(message["guesses"], "int32")
    if guesses is not None:
      # After an undo, models of more labels are of the past: the last of the list is the present one.
      keeps = lambda labels: labels != request.labels if request.is_past else labels < request.labels
      others = [model for model in self.models if keeps(model.labels)]
      self.models = _thinned(sorted([*others, Trained(request.labels, guesses)], key=lambda model: model.labels))
    if not request.is_past:
      scores = message["scores"] or [None] * len(message["ids"])
      number = None if request.is_typical else self.round
      chosen = [
        Handed(i, False, message["acquisition"], s, number) for i, s in zip(message["ids"], scores, strict=True)
      ]
      self.round += not request.is_typical
      probabilities = unpacked(message["probabilities"], "float32")
      found = None if guesses is None or probabilities is None else (guesses.tolist(), probabilities.tolist())
      self._session.use(Model(tuple(chosen), found))
    self._changed()
    self.consider()


def _thinned(models: list[Trained]) -> list[Trained]:
  """At most `_POINTS` models about evenly spaced in the logarithm of their labels, and the last `_RECENT`."""
  early, last = models[:-_RECENT], models[-_RECENT:]
  if len(early) > _POINTS:
    labels = np.array([model.labels for model in early])
    wanted = np.geomspace(labels[0], labels[-1], _POINTS)
    early = [early[i] for i in sorted({int(np.abs(labels - count).argmin()) for count in wanted})]
  return [*early, *last]
