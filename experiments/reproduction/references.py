"""Single published accuracies, compared with the means over seeds of separate studies."""

import statistics

import numpy as np

from experiments.papers.base import Reference
from experiments.reporting import figures
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Image
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reproduction.archive import Archived
from experiments.reproduction.results import Results

_LISTED = 6  # seeds up to which a table lists the accuracy of each
_CAPTION = (
  "Line: means over our seeds, with a band of one standard deviation. Stars: published means, with bars of one"
  " published standard deviation."
)


def found_in(found: Results) -> list[tuple[Reference, list[float]]]:
  """The references for which there are runs, and our accuracies by seed."""
  out = []
  for reference in found.part.references:
    kept = found.kept.get(reference.study)
    ours = [row["test_accuracy"] for row in _measured(kept)] if kept else []
    if ours:
      out.append((reference, ours))
  return out


def holds(found: Results) -> list[bool]:
  """Whether our mean is within the tolerance of each reference, and their mean absolute difference within its own."""
  verdicts = [_inside(reference, ours) for reference, ours in found_in(found)]
  difference = mean_difference(found)
  return verdicts if difference is None else [*verdicts, difference <= found.part.mean_difference]


def mean_difference(found: Results) -> float | None:
  """Mean absolute difference of our means from all references; None if it has no tolerance or a reference no runs."""
  compared = found_in(found)
  if found.part.mean_difference is None or len(compared) < len(found.part.references):
    return None
  return statistics.fmean(abs(statistics.fmean(ours) - reference.published) for reference, ours in compared)


def blocks(found: Results) -> list[Block]:
  """A table of the references, and a sentence on their mean absolute difference; empty if there are no runs."""
  rows = []
  for reference, ours in found_in(found):
    seconds = statistics.fmean(row["seconds_total"] for row in _measured(found.kept[reference.study]))
    published, tolerance = f"{reference.published:.3f}", f"± {reference.tolerance:g}"
    took = f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    inside = "yes" if _inside(reference, ours) else "no"
    rows.append([reference.label, published, tolerance, f"{statistics.fmean(ours):.4f}", _by_seed(ours), inside, took])
  header = ["accuracy", "published", "tolerance", "our mean", "by seed", "within the tolerance", "time per seed"]
  out: list[Block] = [Table(header, rows)] if rows else []
  difference = mean_difference(found)
  if difference is not None:
    most = found.part.mean_difference
    verdict = "within" if difference <= most else "above"
    sentence = (
      f"Mean absolute difference of our means from the published ones: {100 * difference:.2f} points, {verdict} the"
      f" tolerance of {100 * most:g}."
    )
    out.append(Text(sentence))
  return out


def images(name: str, scale: str, found: Results) -> list[Image]:
  """The references as a curve over labels; empty if they are not points of one curve."""
  points = [(reference, ours) for reference, ours in found_in(found) if reference.labels is not None]
  if len(points) < 2:
    return []
  drawing = figures.at_budgets(
    [reference.labels for reference, _ in points],
    [(float(np.mean(ours)), _deviation(ours)) for _, ours in points],
    [(reference.published, reference.tolerance) for reference, _ in points],
  )
  file, alt = f"../../results/reproductions/{scale}/{name}.png", f"Test accuracy over labels: {found.part.title}"
  return [Image(file, drawing.png, f"{alt}, compared with the published means", _CAPTION)]


def _measured(kept: Archived) -> list[dict]:
  """A study's full-data lines or, if it has none, its first rounds."""
  return kept.full_data or [row for row in kept.rows if row["round"] == 0 and "error" not in row]


def _inside(reference: Reference, ours: list[float]) -> bool:
  return abs(statistics.fmean(ours) - reference.published) <= reference.tolerance


def _deviation(ours: list[float]) -> float:
  return statistics.stdev(ours) if len(ours) > 1 else 0.0


def _by_seed(ours: list[float]) -> str:
  if len(ours) <= _LISTED:
    return " ".join(f"{value:.4f}" for value in ours)
  return f"{min(ours):.4f} to {max(ours):.4f}, standard deviation {_deviation(ours):.4f}, {len(ours)} seeds"
