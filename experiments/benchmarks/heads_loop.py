"""A plain active-learning loop of heads on features, one run at a time, for sides that are not compiled as a whole."""

from collections.abc import Callable
import time
from typing import NamedTuple

import numpy as np

PHASES = ("train", "evaluate", "acquire")


class Head(NamedTuple):
  """What a side brings to the loop."""

  fit: Callable[[np.ndarray], object]  # ids of the labeled rows -> the fitted head
  accuracy: Callable[[object], float]  # fitted head -> share of the test rows predicted correctly
  acquire: Callable[[object, np.ndarray, str], np.ndarray]  # fitted head, labeled ids, strategy -> ids to label


class Outcome(NamedTuple):
  """The result of a run."""

  accuracy: list[float]  # on the test set, one per training
  ids: list[int]  # labeled rows, in the order of acquisition
  seconds: dict[str, float]  # by phase, over all rounds


def run_loop(head: Head, initial: np.ndarray, strategy: str, rounds: int) -> Outcome:
  """Trains on `initial`, then acquires and trains `rounds` times, each time from scratch."""
  ids, accuracy, seconds = initial, [], dict.fromkeys(PHASES, 0.0)
  clock = time.perf_counter()

  def spent(phase: str) -> None:
    nonlocal clock
    now = time.perf_counter()
    seconds[phase] += now - clock
    clock = now

  for turn in range(rounds + 1):
    fitted = head.fit(ids)
    spent("train")
    accuracy.append(head.accuracy(fitted))
    spent("evaluate")
    if turn < rounds:
      ids = np.concatenate([ids, head.acquire(fitted, ids, strategy)])
      spent("acquire")
  return Outcome(accuracy, ids.tolist(), seconds)
