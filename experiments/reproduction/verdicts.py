"""Comparison with published results: labels to an accuracy, accuracy at a budget, mean accuracy, and orderings."""

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

WITHIN = 0.02  # largest difference of accuracy at which a median counts as near the published one


class Run(NamedTuple):
  """One completed run."""

  seed: int
  labels: list[int]
  accuracy: list[float]
  seconds: float


class CompletedRuns(NamedTuple):
  """Completed runs of one strategy of a study."""

  name: str
  base: str  # the key of published curves: the name with its suffix, without hyper-parameters
  acq_size: int
  runs: list[Run]


class LabelsToAccuracy(NamedTuple):
  """The labels needed for an accuracy."""

  accuracy: float
  ours: list[float]  # totals of our runs, ascending; infinity: never reached
  median: float
  median_less_batch: float  # as the BatchBALD paper counts: without the batch acquired last
  inside: bool | None  # the published spread; None if our runs end too early to decide, or no spread was published


class AccuracyAtBudget(NamedTuple):
  """Accuracy at a budget."""

  labels: int
  ours: float  # median over runs
  best: float | None  # median over runs of the best accuracy so far, if that is what was published, else None
  published: tuple[float, ...]
  inside: bool | None  # the published quartiles; None if only one number was published
  near: bool  # within WITHIN of the published median


class MeanAccuracy(NamedTuple):
  """Mean accuracy over a curve, which varies less by chance than the accuracy at one budget."""

  budgets: range  # the numbers of labels averaged over
  ours: list[float]  # of each run, ascending
  middle: float  # median over runs, or their mean if that is what was published
  published: tuple[float, ...]
  inside: bool | None  # the published minimum and maximum; None if only one number was published
  near: bool  # within WITHIN of the published median or mean


class Ordering(NamedTuple):
  """Whether one strategy is above another: areas under the curve on matched seeds, up to the same budget."""

  above: str
  below: str
  differences: list[float]  # of area, above minus below, for each matched seed
  interval: tuple[float, float] | None  # 95% interval of the mean by Student's t; None for fewer than two seeds
  holds: bool  # the mean difference is positive
  significant: bool  # the whole interval is positive


def completed(rows: Sequence[dict], rounds: int, acq_size: int, suffix: str = "") -> list[CompletedRuns]:
  """The completed runs among a study's rows; strategies keep the order of the rows."""
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


def labels_to_accuracy(strategy: CompletedRuns, accuracy: float, curve: Curve | None = None) -> LabelsToAccuracy:
  """The labels needed for an accuracy, compared with the published spread if there is one."""
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
  return LabelsToAccuracy(accuracy, ours, median, less, inside)


def accuracy_at(strategy: CompletedRuns, labels: int, curve: Curve) -> AccuracyAtBudget | None:
  """Accuracy at one of the curve's budgets, compared with the published one; None if our runs lack the budget."""
  if labels not in strategy.runs[0].labels:
    return None
  ends = [run.labels.index(labels) + 1 for run in strategy.runs]
  ours = float(np.median([run.accuracy[end - 1] for run, end in zip(strategy.runs, ends, strict=True)]))
  best = None
  if curve.running_best:
    best = float(np.median([max(run.accuracy[:end]) for run, end in zip(strategy.runs, ends, strict=True)]))
  published = curve.accuracy[labels]
  return AccuracyAtBudget(labels, ours, best, published, *_compare(ours if best is None else best, published))


def mean_accuracy(strategy: CompletedRuns, curve: Curve) -> MeanAccuracy | None:
  """Mean accuracy over the longest published range of budgets that the runs cover; None if they cover none."""
  lasts = [last for last in curve.means if set(curve.budgets(last)) <= set(strategy.runs[0].labels)]
  if not lasts:
    return None
  last = max(lasts)
  budgets = curve.budgets(last)
  places = [strategy.runs[0].labels.index(labels) for labels in budgets]
  ours = sorted(float(np.mean([run.accuracy[place] for place in places])) for run in strategy.runs)
  published, middle = curve.means[last], float(np.mean(ours) if curve.averaged else np.median(ours))
  return MeanAccuracy(budgets, ours, middle, published, *_compare(middle, published))


def _compare(ours: float, published: tuple[float, ...]) -> tuple[bool | None, bool]:
  """Whether an accuracy is inside the published spread (None if one number was published), and whether it is near."""
  inside = published[0] <= ours <= published[-1] if len(published) > 1 else None
  return inside, abs(ours - published[len(published) // 2]) <= WITHIN


def ordering(above: CompletedRuns, below: CompletedRuns) -> Ordering | None:
  """Whether `above` is above `below`; None if they completed no seed in common."""
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
  return Ordering(
    above.name, below.name, differences.tolist(), interval, bool(mean > 0), bool(interval and interval[0] > 0)
  )
