"""Ours beside the published: labels to an accuracy, accuracy at a budget, and who is above whom."""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from experiments.analysis.curves import area_under_curve
from experiments.analysis.curves import counted_both_ways
from experiments.analysis.curves import labels_to_reach
from experiments.analysis.curves import quartiles
from experiments.analysis.records import outcome
from experiments.common.spelling import named
from experiments.papers.base import Curve
from experiments.reporting import significance

WITHIN = 0.02  # of accuracy: how near a median counts as the published one


class Run(NamedTuple):
  """One completed run."""

  seed: int
  labels: list[int]
  accuracy: list[float]
  seconds: float


class CompletedRuns(NamedTuple):
  """Completed runs of one strategy of a study."""

  name: str
  base: str  # as publications are keyed: with the wrapper, without hyper-parameters
  acq_size: int
  runs: list[Run]


class Reached(NamedTuple):
  """Labels to an accuracy."""

  accuracy: float
  ours: list[float]  # of each run, ascending, totals; infinity for never
  median: float
  median_less_batch: float  # counted as the BatchBALD paper counts
  inside: bool | None  # of the published spread; None where our runs end before it can be said, or none was published


class At(NamedTuple):
  """Accuracy at a budget."""

  labels: int
  ours: float  # median over runs
  published: tuple[float, ...]
  inside: bool | None  # the published quartiles; None where one number was published
  near: bool  # within WITHIN of the published median


class Mean(NamedTuple):
  """Mean accuracy over a curve, of which less is chance than of the accuracy at one budget."""

  stretch: range  # the labels
  ours: list[float]  # of each run, ascending
  median: float
  published: tuple[float, ...]
  inside: bool | None  # of the published spread; None where one number was published
  near: bool  # within WITHIN of the published median


class Sign(NamedTuple):
  """Whether one strategy is above another, by area under the curve on matched seeds up to the same budget."""

  above: str
  below: str
  differences: list[float]  # of each matched seed
  interval: tuple[float, float] | None  # 95% of the mean, by Student's t; None for fewer than two seeds
  holds: bool
  beyond: bool  # and the interval lies above 0


def completed(rows: Sequence[dict], rounds: int, acq_size: int, suffix: str = "") -> list[CompletedRuns]:
  """The completed runs among a study's rows, strategies in the order of the rows."""
  by_run: dict[str, dict[int, list[dict]]] = {}
  for row in rows:
    by_run.setdefault(row["acq"], {}).setdefault(row["seed"], []).append(row)
  out = []
  for acq, by_seed in by_run.items():
    runs = [
      Run(
        seed,
        [row["num_labeled"] for row in run],
        [row["test_accuracy"] for row in run],
        sum(row["seconds_total"] for row in run),
      )
      for seed, run in sorted(by_seed.items())
      if outcome(run[-1], rounds) == "completed"
    ]
    if runs:
      out.append(CompletedRuns(acq + suffix, named(acq).name + suffix, acq_size, runs))
  return out


def reached(strategy: CompletedRuns, accuracy: float, curve: Curve | None = None) -> Reached:
  """Labels to an accuracy, beside the published spread where there is one."""
  ours = sorted(labels_to_reach(accuracy, run.labels, run.accuracy) for run in strategy.runs)
  _, median, _ = quartiles(ours)
  _, less = counted_both_ways(median, strategy.acq_size)
  inside, spread = None, curve and curve.spread(accuracy)
  if spread:
    low, high = spread
    last = min(run.labels[-1] for run in strategy.runs)
    never = max([n for n in curve.reached[accuracy] if n < math.inf], default=300)
    if median < math.inf:
      inside = low <= median <= high
    elif last >= (never if high == math.inf else high):
      inside = high == math.inf
  return Reached(accuracy, ours, median, less, inside)


def at(strategy: CompletedRuns, labels: int, published: tuple[float, ...]) -> At | None:
  """Accuracy at a budget beside the published; None where the runs have no such round."""
  if labels not in strategy.runs[0].labels:
    return None
  ours = float(np.median([run.accuracy[run.labels.index(labels)] for run in strategy.runs]))
  return At(labels, ours, published, *_beside(ours, published))


def mean(strategy: CompletedRuns, curve: Curve) -> Mean | None:
  """Mean accuracy over the longest published stretch that the runs have; None where they have none."""
  lasts = [last for last in curve.means if set(curve.stretch(last)) <= set(strategy.runs[0].labels)]
  if not lasts:
    return None
  last = max(lasts)
  stretch = curve.stretch(last)
  places = [strategy.runs[0].labels.index(labels) for labels in stretch]
  ours = sorted(float(np.mean([run.accuracy[place] for place in places])) for run in strategy.runs)
  published, median = curve.means[last], float(np.median(ours))
  return Mean(stretch, ours, median, published, *_beside(median, published))


def _beside(ours: float, published: tuple[float, ...]) -> tuple[bool | None, bool]:
  """Whether an accuracy is inside the published spread, None where one number was published, and whether it is near."""
  inside = published[0] <= ours <= published[-1] if len(published) > 1 else None
  return inside, abs(ours - published[len(published) // 2]) <= WITHIN


def sign(above: CompletedRuns, below: CompletedRuns) -> Sign | None:
  """Whether `above` is above `below`; None without a seed that both completed."""
  matched = sorted({run.seed for run in above.runs} & {run.seed for run in below.runs})
  if not matched:
    return None
  last = min(above.runs[0].labels[-1], below.runs[0].labels[-1])

  def areas(strategy: CompletedRuns) -> np.ndarray:
    runs = [run for run in strategy.runs if run.seed in matched]
    inside = [n for n in runs[0].labels if n <= last]
    return np.array([area_under_curve(inside, run.accuracy[: len(inside)]) for run in runs])

  differences = areas(above) - areas(below)
  interval = significance.t_interval(differences)
  mean = differences.mean()
  return Sign(
    above.name, below.name, differences.tolist(), interval, bool(mean > 0), bool(interval and interval[0] > 0)
  )
