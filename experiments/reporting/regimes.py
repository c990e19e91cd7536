"""The report's section on budget regimes: how far each strategy lies above random at few and at many labels."""

from collections.abc import Sequence
import itertools
from typing import NamedTuple

import numpy as np

from experiments.analysis import curves
from experiments.common.errors import UsageError
from experiments.reporting import figures
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.study import Chosen
from experiments.reporting.wording import Drawings
from experiments.reporting.wording import images

_DEFAULT = 3  # regimes


class Gains(NamedTuple):
  """Differences to random over the regimes, in percentage points of accuracy."""

  mean: np.ndarray  # [R] over matched seeds
  interval: tuple[np.ndarray, np.ndarray] | None  # [R] and [R]; None for one seed


def section(
  chosen: Chosen, bounds: Sequence[int] | None, beside: dict[str, Chosen], own: str
) -> tuple[list[Block], Drawings]:
  """The figure and a table per study, or a sentence why there are none.

  Args:
    chosen: the runs of the study.
    bounds: ascending numbers of labels that bound the regimes; None for three regimes of about equal ratio, within the
      range of labels that all studies have.
    beside: runs of other studies, by name, in the same figure.
    own: name of the study, where there are others.

  Raises:
    UsageError: `bounds` lie outside the labels of a study, or one of several studies has nothing to draw.
  """
  if fault := _fault(chosen):
    if bounds or beside:
      raise UsageError(f"{own} has nothing to draw for --regimes and --beside. {fault}")
    return [Text(f"{fault}.")], {}
  studies = {own: chosen, **beside}
  for name, one in beside.items():
    if fault := _fault(one):
      raise UsageError(f"--beside: {name} has nothing to draw. {fault}")
  budgets = {name: _labels(one) for name, one in studies.items()}
  shared = bounds or default_bounds(
    _labels(chosen), max(labels[0] for labels in budgets.values()), min(labels[-1] for labels in budgets.values())
  )
  if len(shared) < 2:
    return [Text(f"Budget regimes need two budgets of {own} within the labels of every other study.")], {}
  for name, labels in budgets.items():
    if shared[0] < labels[0] or shared[-1] > labels[-1]:
      raise UsageError(
        f"--regimes={','.join(map(str, shared))} must lie within {labels[0]} to {labels[-1]}, the labels of {name}"
      )
  found = {name: gains(one, shared) for name, one in studies.items()}
  ranges = [f"{low} to {high} labels" for low, high in itertools.pairwise(shared)]
  drawn = {"above_random": figures.regimes(found, ranges)}
  caption = (
    "Mean test accuracy above random, in percentage points, over ranges of labels. Area under the curve of a strategy"
    " minus that of random on the same seed, divided by the range; mean over matched seeds and, from two seeds on, its"
    " 95% percentile bootstrap interval."
  )
  tables = [
    Table([f"strategy, {name}" if beside else "strategy", *ranges], [[key, *_cells(one)] for key, one in of.items()])
    for name, of in found.items()
  ]
  return [*images(drawn, {"above_random": caption}), *tables], drawn


def _fault(chosen: Chosen) -> str | None:
  """Why there are no regimes."""
  if not chosen.baselines():
    return "Budget regimes need random and another strategy in --acq"
  if not chosen.seeds:
    return "Budget regimes need a seed that every strategy completed"
  if len(_labels(chosen)) < 2:
    return "Budget regimes need at least one round after an acquisition"
  return None


def _labels(chosen: Chosen) -> np.ndarray:
  return chosen.labels(next(iter(chosen.runs)))


def default_bounds(labels: np.ndarray, low: int, high: int) -> list[int]:
  """Those of a study's numbers of labels that split `low` to `high` into up to three parts of about equal ratio."""
  inside = labels[(labels >= low) & (labels <= high)]
  if not len(inside):
    return []
  targets = np.geomspace(inside[0], inside[-1], _DEFAULT + 1)
  nearest = inside[np.abs(np.log(inside)[:, None] - np.log(targets)).argmin(axis=0)]
  return [int(n) for n in np.unique(nearest)]


def gains(chosen: Chosen, bounds: Sequence[int]) -> dict[str, Gains]:
  """The gains of every strategy that has a baseline, in the order of `chosen`."""
  out = {}
  for name, baseline in chosen.baselines().items():
    areas = [
      np.transpose(
        [
          curves.area_between(low, high, chosen.labels(one), chosen.values(one, "test_accuracy"))
          for low, high in itertools.pairwise(bounds)
        ]
      )
      for one in (name, baseline)
    ]
    difference = 100 * (areas[0] - areas[1])
    out[name] = Gains(difference.mean(axis=0), curves.interval(difference))
  return out


def _cells(one: Gains) -> list[str]:
  texts = [f"{value:+.2f}" for value in one.mean]
  if one.interval is None:
    return texts
  return [f"{text} ({low:+.2f} .. {high:+.2f})" for text, low, high in zip(texts, *one.interval, strict=True)]
