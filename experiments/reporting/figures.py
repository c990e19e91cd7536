"""The figures of a report, each drawn in memory as PNG and SVG."""

from collections.abc import Sequence
import io
import math
import textwrap
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.analysis import styles
from experiments.analysis.curves import interval
from experiments.analysis.curves import quartiles
from experiments.papers.base import Curve
from experiments.reporting.study import Chosen

_WIDTH = 5.6  # inches: text stays readable on a phone
_LONG = 30  # characters of a name per line
_TITLE = 44  # characters of a panel title per line
_NUMBERED = 14  # columns up to which the cells of a heat map show numbers
_OTHERS = {"color": "#C8C8C8", "linewidth": 0.8, "zorder": 1}  # lines of the other strategies
_STAR = {  # published numbers
  **{"marker": "*", "markersize": 7, "color": "black", "markerfacecolor": "white", "markeredgewidth": 0.7},
  **{"elinewidth": 0.8, "capsize": 2, "zorder": 4},
}
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
  published_full_data: float | None = None,
) -> Drawing:
  """Mean of a metric over seeds with a bootstrap band, one line per strategy.

  Args:
    chosen: the runs.
    metric: field of the rows.
    metric_name: label of the vertical axis.
    over: `labels`, or `seconds` for the mean over seeds of the time that a run has taken so far.
    full_data: accuracy of full supervision, drawn as a horizontal line.
    published_full_data: published accuracy of full supervision, drawn as another horizontal line.
  """
  figure, axes = plt.subplots(figsize=(_WIDTH, 4), layout="constrained")
  drawn = styles.lines(list(chosen.runs))
  for name in chosen.runs:
    values = chosen.values(name, metric)
    x = chosen.labels(name)
    if over == "seconds":
      x = chosen.values(name, "seconds_total").cumsum(axis=1).mean(axis=0)
    axes.plot(x, values.mean(axis=0), **drawn[name], markevery=styles.every(len(x)), label=name)
    band = interval(values)
    if band is not None:
      axes.fill_between(x, *band, color=drawn[name]["color"], alpha=0.13, linewidth=0)
  references = {"all labels": (full_data, (0, (6, 2))), "all labels, published": (published_full_data, (0, (1, 2)))}
  for label, (level, dash) in references.items():
    if level is not None:
      axes.axhline(level, color="#888888", linestyle=dash, linewidth=1.2, label=f"{label}: {level:.3f}")
  axes.set_xlabel(over)
  axes.set_ylabel(metric_name)
  axes.grid(alpha=0.25)
  _legend(figure, axes)
  return _saved(figure)


@matplotlib.rc_context(_STYLE)
def beside_published(chosen: Chosen, published: dict[str, Curve]) -> Drawing:
  """Median test accuracy over labels, one panel per published strategy; the other strategies are gray lines.

  Args:
    chosen: the runs; a band spans their quartiles.
    published: published curves by strategy, at least one; drawn as hollow stars with bars that span the quartiles.
  """
  columns = min(2, len(published))
  rows = math.ceil(len(published) / columns)
  figure, grid = plt.subplots(
    rows, columns, figsize=(_WIDTH, 0.7 + 2.1 * rows), sharex=True, sharey=True, squeeze=False, layout="constrained"
  )
  drawn = styles.lines(list(chosen.runs))
  for axes, (name, curve) in zip(grid.flat, published.items(), strict=False):
    for other in chosen.runs:
      if other != name:
        axes.plot(chosen.labels(other), chosen.quartiles(other, "test_accuracy")[1], **_OTHERS)
    labels = chosen.labels(name)
    low, middle, high = chosen.quartiles(name, "test_accuracy")
    axes.plot(labels, middle, **drawn[name] | {"markersize": 2.5}, markevery=styles.every(len(labels)), zorder=3)
    axes.fill_between(labels, low, high, color=drawn[name]["color"], alpha=0.2, linewidth=0)
    _stars(axes, curve)
    axes.set_title("\n".join(textwrap.fill(line, _TITLE) for line in (name, curve.label)), fontsize=7)
    axes.grid(alpha=0.25)
  last = max(chosen.labels(name)[-1] for name in chosen.runs)
  axes.set_xlim(right=min(axes.get_xlim()[1], 1.1 * last))  # shared by all panels: cut where our runs end
  for axes in grid.flat[len(published) - columns : len(published)]:  # the last panel of each column
    axes.tick_params(labelbottom=True)
  for axes in grid.flat[len(published) :]:
    axes.set_axis_off()
  figure.supxlabel("labels", fontsize=9)
  figure.supylabel("test accuracy", fontsize=9)
  return _saved(figure)


def _stars(axes, curve: Curve) -> None:
  """Draws published numbers: accuracies joined by a thin line, labels to an accuracy as separate stars."""
  if curve.accuracy:
    quartiles_of = np.array([numbers if len(numbers) == 3 else numbers * 3 for numbers in curve.accuracy.values()])
    low, middle, high = quartiles_of.T
    axes.errorbar(list(curve.accuracy), middle, yerr=[middle - low, high - middle], linewidth=0.6, **_STAR)
  for accuracy, runs in curve.reached.items():
    low, middle, high = quartiles(runs)
    if middle < math.inf:
      right = 0 if high == math.inf else high - middle
      axes.errorbar([middle], [accuracy], xerr=[[middle - low], [right]], linestyle="none", **_STAR)


@matplotlib.rc_context(_STYLE)
def at_budgets(
  labels: Sequence[int], ours: Sequence[tuple[float, float]], published: Sequence[tuple[float, float]]
) -> Drawing:
  """Mean test accuracy with one standard deviation at each budget: a line with a band, and published stars with bars.

  Args:
    labels: the budgets, ascending.
    ours: mean and standard deviation by budget.
    published: the same as published.
  """
  figure, axes = plt.subplots(figsize=(_WIDTH, 4), layout="constrained")
  mean, deviation = np.transpose(ours)
  (line,) = axes.plot(labels, mean, marker="o", markersize=3, label="here", zorder=3)
  axes.fill_between(labels, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.2, linewidth=0)
  mean, deviation = np.transpose(published)
  axes.errorbar(labels, mean, yerr=deviation, linestyle="none", label="published", **_STAR)
  axes.set_xscale("log")
  axes.set_xticks(labels, labels)
  axes.minorticks_off()
  axes.set_xlabel("labels")
  axes.set_ylabel("test accuracy")
  axes.grid(alpha=0.25)
  _legend(figure, axes)
  return _saved(figure)


@matplotlib.rc_context(_STYLE)
def regimes(studies: dict, ranges: Sequence[str]) -> Drawing:
  """A panel per range of labels: the gain of each strategy, a row, with its interval; a marker per study.

  Args:
    studies: for each study `regimes.Gains` by strategy; the first study orders the rows.
    ranges: names of the ranges.
  """
  names = list(dict.fromkeys(name for gains in studies.values() for name in gains))
  figure, panels = plt.subplots(
    1,
    len(ranges),
    figsize=(_WIDTH, 1.1 + (0.16 + 0.1 * len(studies)) * len(names)),
    sharey=True,
    squeeze=False,
    layout="constrained",
  )
  for place, (study, gains) in enumerate(studies.items()):
    shift = 0.3 * (place - (len(studies) - 1) / 2)
    look = {"marker": "os^Dv"[place % 5], "markersize": 4, "linestyle": "none", "elinewidth": 1, "color": f"C{place}"}
    look["markerfacecolor"] = "white" if place % 2 else look["color"]
    for i, axes in enumerate(panels[0]):
      for name, one in gains.items():
        error = None
        if one.interval is not None:
          low, high = one.interval
          error = [[max(one.mean[i] - low[i], 0)], [max(high[i] - one.mean[i], 0)]]
        label = study if name == next(iter(gains)) else None
        axes.errorbar([one.mean[i]], [names.index(name) + shift], xerr=error, label=label, **look)
  for axes, title in zip(panels[0], ranges, strict=True):
    axes.set_title(title, fontsize=8)
    axes.axvline(0, color="#888888", linewidth=0.8, zorder=0)
    axes.grid(alpha=0.25)
  panels[0][0].set_yticks(range(len(names)), map(_wrapped, names), fontsize=8)
  panels[0][0].invert_yaxis()
  figure.supxlabel("test accuracy above random (percentage points)", fontsize=9)
  if len(studies) > 1:
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
  return _saved(figure)


@matplotlib.rc_context(_STYLE)
def heat_map(
  matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, x: str, y: str, top: float, digits: int = 2
) -> Drawing:
  """A matrix as colors from 0 (white) to `top` (dark), with numbers in the cells if they fit; NaN cells stay empty."""
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
  """Average ranks on a line, best to the left; a bar joins strategies that the test does not distinguish."""
  import scikit_posthocs

  names = {name: _wrapped(name) for name in ranks}
  height = 1.2 + 0.17 * sum(1 + name.count("\n") for name in names.values())
  figure, axes = plt.subplots(figsize=(_WIDTH, height), layout="constrained")
  drawn = scikit_posthocs.critical_difference_diagram(
    {names[name]: rank for name, rank in ranks.items()},
    p_values.rename(index=names, columns=names),
    ax=axes,
    label_props={"fontsize": 8},
    text_h_margin=0.03 * len(ranks),
    color_palette={wrapped: styles.style(name).color for name, wrapped in names.items()},
  )
  for (bar,) in drawn["crossbars"]:  # its points come from a set of names, whose order changes from process to process
    bar.set_xdata(sorted(bar.get_xdata()))
  return _saved(figure)
