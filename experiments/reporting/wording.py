"""Formatting of numbers and captions in reports."""

from collections.abc import Sequence
import math

import numpy as np

from experiments.analysis import curves
from experiments.reporting.blocks import Image
from experiments.reporting.figures import Drawing
from experiments.reporting.significance import MOST_SEEDS
from experiments.reporting.study import Chosen

NONE = "–"
PUBLISHED_CAPTION = (
  "Lines: medians over our seeds, with bands between the quartiles. Stars: published values, with bars between the"
  " quartiles. Gray: our other strategies."
)
Drawings = dict[str, Drawing]  # by file name without extension


def number(value: float | None, digits: int = 3) -> str:
  """Formats a number for a table."""
  return NONE if value is None else f"{value:.{digits}f}"


def between(low: float, high: float, digits: int = 3) -> str:
  """`0.710 .. 0.740`."""
  return f"{number(low, digits)} .. {number(high, digits)}"


def p_value(p: float | None) -> str:
  """Formats a p-value for a table."""
  return NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def seeds_needed(seeds: float | None) -> str:
  """Formats `significance.seeds_needed` for a table."""
  return NONE if seeds is None else f"more than {MOST_SEEDS:,}" if seeds == math.inf else f"{seeds:,}"


def count_of(count: int, what: str, plural: str | None = None) -> str:
  """`1 seed`, `3 seeds`."""
  return f"{count} {what if count == 1 else plural or f'{what}s'}"


def mean_spread(values: np.ndarray) -> str:
  """`mean ± standard deviation`; only the mean if there is one value."""
  return number(values.mean()) + (f" ± {number(values.std(ddof=1))}" if len(values) > 1 else "")


def labels_needed(level: float, labels: np.ndarray, accuracies: np.ndarray) -> str:
  """Labels at which `[S, L]` accuracies reach a level: median and quartiles over seeds."""
  text = format_reached([curves.labels_to_reach(level, labels, run) for run in accuracies])
  return text.replace("never", f"not by {labels[-1]}", 1) if text.startswith("never") else text


def format_reached(reached: Sequence[float]) -> str:
  """Median and quartiles of the labels that runs needed (infinity: never), and how many never got there, if not all."""
  never = list(reached).count(math.inf)
  low, median, high = ("never" if value == math.inf else f"{value:.0f}" for value in curves.quartiles(reached))
  text = median if len(reached) == 1 or median == "never" else f"{median} ({low} .. {high})"
  return text + (f", {never} of {len(reached)} never" if 0 < never < len(reached) else "")


def format_seeds(chosen: Chosen) -> str:
  """How many seeds were averaged, as text."""
  if chosen.seeds:
    return count_of(len(chosen.seeds), "matched seed")
  counts = sorted({len(by_seed) for by_seed in chosen.runs.values()})
  return f"{count_of(counts[-1], 'seed')} per strategy{' at most' if len(counts) > 1 else ''}, not matched"


def numbered(names: Sequence[str]) -> tuple[list[str], list[str]]:
  """Row and column labels of a strategy-by-strategy matrix: numbered names, and the numbers alone."""
  return [f"{name}  {i}" for i, name in enumerate(names, 1)], [str(i) for i in range(1, len(names) + 1)]


def images(drawn: Drawings, captions: dict[str, str]) -> list[Image]:
  """The drawings with their captions; the first sentence of a caption is the alternative text."""
  return [
    Image(f"{name}.png", drawing.png, captions[name].split(". ")[0], captions[name]) for name, drawing in drawn.items()
  ]
