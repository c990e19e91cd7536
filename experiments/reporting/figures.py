"""The figures of a report, each drawn to PNG and SVG in memory."""

from collections.abc import Sequence
import io
import math
import textwrap
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments import styles
from experiments.learning_curves import interval
from experiments.learning_curves import quartiles
from experiments.published import Curve
from experiments.reporting.study import Chosen

_WIDTH = 5.6  # inches: letters stay readable on a phone
_LONG = 30  # letters of a name that stand in one line
_NUMBERED = 14  # columns of a heat map beyond which cells hold no number
_STYLE = {"font.size": 9, "svg.hashsalt": "al_jax", "savefig.dpi": 160, "axes.grid": False}


class Drawing(NamedTuple):
  """A figure's files."""

  png: bytes
  svg: bytes


def _saved(figure) -> Drawing:
  files = []
  for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    files.append(buffer.getvalue())
  plt.close(figure)
  return Drawing(*files)


def _legend(figure, axes) -> None:
  labels = axes.get_legend_handles_labels()[1]
  columns = 2 if max(map(len, labels)) <= _LONG else 1
  figure.legend(loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
  figure.set_figheight(3.4 + 0.19 * math.ceil(len(labels) / columns))


def _wrapped(name: str) -> str:
  return textwrap.fill(name, _LONG)


@matplotlib.rc_context(_STYLE)
def curves(
  chosen: Chosen,
  metric: str,
  metric_name: str,
  *,
  over: str = "labels",
  full_data: float | None = None,
  published: dict[str, Curve] | None = None,
  published_full_data: float | None = None,
) -> Drawing:
  """A metric's mean over seeds with its bootstrap band, a line a strategy.

  Args:
    chosen: the runs.
    metric: a name of the rows.
    metric_name: the axis's.
    over: `labels`, or `seconds` for the time a run has taken until then, mean over seeds.
    full_data: accuracy of full supervision, a horizontal line.
    published: what others published, by strategy: stars, with a bar between quartiles, as far as half beyond the runs.
    published_full_data: theirs of full supervision.
  """
  figure, axes = plt.subplots(figsize=(_WIDTH, 4), layout="constrained")
  drawn = styles.lines(list(chosen.runs))
  for name in chosen.runs:
    values = chosen.values(name, metric)
    x = chosen.labels(name)
    if over == "seconds":
      x = chosen.values(name, "seconds_total").cumsum(axis=1).mean(axis=0)
    axes.plot(x, values.mean(axis=0), **drawn[name], label=name)
    band = interval(values)
    if band is not None:
      axes.fill_between(x, *band, color=drawn[name]["color"], alpha=0.13, linewidth=0)
  references = {"all labels": (full_data, (0, (6, 2))), "all labels, published": (published_full_data, (0, (1, 2)))}
  for said, (level, dash) in references.items():
    if level is not None:
      axes.axhline(level, color="#888888", linestyle=dash, linewidth=1.2, label=f"{said}: {level:.3f}")
  for name, curve in (published or {}).items():
    _stars(axes, curve, drawn[name], f"{curve.said}, published")
  if published:  # as far as there is something to compare, and a little beyond
    last = max(chosen.labels(name)[-1] for name in chosen.runs)
    axes.set_xlim(right=min(axes.get_xlim()[1], 1.5 * last))
  axes.set_xlabel(over)
  axes.set_ylabel(metric_name)
  axes.grid(alpha=0.25)
  _legend(figure, axes)
  return _saved(figure)


def _stars(axes, curve: Curve, line: dict, label: str) -> None:
  """Published figures: accuracies joined by a thin line in the strategy's dash, labels to an accuracy on their own."""
  look = {"marker": "*", "markersize": 8, "color": line["color"], "markeredgecolor": "black", "markeredgewidth": 0.5}
  look |= {"elinewidth": 1, "capsize": 2}
  if curve.accuracy:
    quartiles_of = np.array([numbers if len(numbers) == 3 else numbers * 3 for numbers in curve.accuracy.values()])
    low, middle, high = quartiles_of.T
    joined = {"linestyle": line["linestyle"], "linewidth": 0.6}
    axes.errorbar(list(curve.accuracy), middle, yerr=[middle - low, high - middle], label=label, **look, **joined)
    label = None
  for accuracy, runs in curve.reached.items():
    low, middle, high = quartiles(runs)
    if middle < math.inf:
      right = 0 if high == math.inf else high - middle
      axes.errorbar([middle], [accuracy], xerr=[[middle - low], [right]], label=label, linestyle="none", **look)
      label = None


@matplotlib.rc_context(_STYLE)
def heat_map(
  matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, x: str, y: str, top: float, digits: int = 2
) -> Drawing:
  """A matrix from 0 (white) to `top` (dark), its numbers in the cells where there is room; NaN cells stay empty."""
  names = list(map(_wrapped, rows))
  height = sum(0.16 + 0.14 * (1 + name.count("\n")) for name in names)
  figure, axes = plt.subplots(figsize=(_WIDTH, 0.8 + height), layout="constrained")
  image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=top, aspect="auto")
  axes.set_yticks(range(len(names)), names)
  step = math.ceil(len(columns) / 16)
  axes.set_xticks(range(0, len(columns), step), columns[::step])
  axes.set_xlabel(x)
  axes.set_ylabel(y)
  if len(columns) <= _NUMBERED:
    for (i, j), value in np.ndenumerate(matrix):
      if not math.isnan(value):
        color = "white" if value > 0.6 * top else "black"
        axes.text(j, i, f"{value:.{digits}f}", ha="center", va="center", fontsize=7.5, color=color)
  else:
    figure.colorbar(image)
  return _saved(figure)


@matplotlib.rc_context(_STYLE)
def critical_difference(ranks: dict[str, float], p_values) -> Drawing:
  """Average ranks on a line, best to the left; a bar joins strategies that the test does not tell apart."""
  import scikit_posthocs

  names = {name: _wrapped(name) for name in ranks}
  height = 1.2 + 0.17 * sum(1 + name.count("\n") for name in names.values())
  figure, axes = plt.subplots(figsize=(_WIDTH, height), layout="constrained")
  scikit_posthocs.critical_difference_diagram(
    {names[name]: rank for name, rank in ranks.items()},
    p_values.rename(index=names, columns=names),
    ax=axes,
    label_props={"fontsize": 8},
    text_h_margin=0.03 * len(ranks),
    color_palette={wrapped: styles.style(name).color for name, wrapped in names.items()},
  )
  return _saved(figure)
