"""How a report says numbers, and what its figures are made of."""

from collections.abc import Sequence
import math

import numpy as np

from experiments.analysis import curves
from experiments.reporting.blocks import Image
from experiments.reporting.figures import Drawing
from experiments.reporting.study import Chosen

NONE = "–"
BESIDE_PUBLISHED = (
  "Medians over seeds, bands between quartiles; stars: published, bars between quartiles; grey: the other strategies"
  " here."
)
Drawings = dict[str, Drawing]  # by the name of their files


def number(value: float | None, digits: int = 3) -> str:
  """A number as it is read in a table."""
  return NONE if value is None else f"{value:.{digits}f}"


def between(low: float, high: float, digits: int = 3) -> str:
  """`0.710 .. 0.740`."""
  return f"{number(low, digits)} .. {number(high, digits)}"


def p_value(p: float | None) -> str:
  """A p-value as it is read in a table."""
  return NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def many(count: int, what: str, plural: str | None = None) -> str:
  """`1 seed`, `3 seeds`."""
  return f"{count} {what if count == 1 else plural or f'{what}s'}"


def mean_spread(values: np.ndarray) -> str:
  """`mean ± standard deviation`; the mean alone where there is one value."""
  return number(values.mean()) + (f" ± {number(values.std(ddof=1))}" if len(values) > 1 else "")


def labels_needed(level: float, labels: np.ndarray, accuracies: np.ndarray) -> str:
  """Labels at which `[S, L]` accuracies reach a level, over seeds."""
  said = reached_said([curves.labels_to_reach(level, labels, run) for run in accuracies])
  return said.replace("never", f"not by {labels[-1]}", 1) if said.startswith("never") else said


def reached_said(reached: Sequence[float]) -> str:
  """Median and quartiles of the labels that runs needed, infinity for never, and how many never did if not all."""
  never = list(reached).count(math.inf)
  low, median, high = ("never" if value == math.inf else f"{value:.0f}" for value in curves.quartiles(reached))
  said = median if len(reached) == 1 or median == "never" else f"{median} ({low} .. {high})"
  return said + (f", {never} of {len(reached)} never" if 0 < never < len(reached) else "")


def seeds_said(chosen: Chosen) -> str:
  """What means and bands are over."""
  if chosen.seeds:
    return many(len(chosen.seeds), "matched seed")
  counts = sorted({len(by_seed) for by_seed in chosen.runs.values()})
  return f"{many(counts[-1], 'seed')} a strategy{' at most' if len(counts) > 1 else ''}, not matched"


def numbered(names: Sequence[str]) -> tuple[list[str], list[str]]:
  """Rows and columns of a matrix of strategies by strategies: names with their numbers, and the numbers alone."""
  return [f"{name}  {i}" for i, name in enumerate(names, 1)], [str(i) for i in range(1, len(names) + 1)]


def images(drawn: Drawings, captions: dict[str, str]) -> list[Image]:
  """The drawings with their captions, whose first sentence is what a reader without eyes is told."""
  return [
    Image(f"{name}.png", drawing.png, captions[name].split(". ")[0], captions[name]) for name, drawing in drawn.items()
  ]
