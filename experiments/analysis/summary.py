"""Summary of a study: lines per round and run, the closing table, and the learning-curve figure."""

from collections.abc import Sequence
import math
from pathlib import Path
import statistics

from rich.table import Table

from experiments.analysis import styles
from experiments.analysis.curves import area_under_curve
from experiments.analysis.curves import curves
from experiments.analysis.curves import labels_to_reach
from experiments.analysis.curves import name_of
from experiments.analysis.curves import quartiles

THRESHOLDS = (0.80, 0.90, 0.95)


def _accuracies(run: Sequence[dict]) -> tuple[list[int], list[float]]:
  return [row["num_labeled"] for row in run], [row["test_accuracy"] for row in run]


def mean_spread(values: Sequence[float]) -> str:
  """`mean ± standard deviation`; for one value, the mean alone."""
  spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
  return f"{statistics.fmean(values):.3f}{spread}"


def labels_needed(threshold: float, runs: Sequence[Sequence[dict]]) -> str:
  """Median over runs of the labels needed to reach an accuracy; a run that never reaches it counts as infinity."""
  reached = [labels_to_reach(threshold, *_accuracies(run)) for run in runs]
  never = reached.count(math.inf)
  _, median, _ = quartiles(reached)
  if median == math.inf:
    return f"not by {max(run[-1]['num_labeled'] for run in runs)}"
  return f"{int(median)}" + (f" ({never} of {len(runs)} never)" if never else "")


def mean_area(runs: Sequence[Sequence[dict]]) -> float:
  """Mean over runs of the area under the accuracy-over-labels curve."""
  return statistics.fmean(area_under_curve(*_accuracies(run)) for run in runs)


def run_line(rows: Sequence[dict], width: int) -> str:
  """Summary line of a run."""
  last = rows[-1]
  head = f"{name_of(last):<{width}} seed {last['seed']}"
  if "error" in last:
    return f"{head}  stopped in round {last['round']}: {last['error']}"
  if last["test_accuracy"] is None:
    return f"{head}  {rows[0]['num_labeled']}..{last['num_labeled']} labels  no test set"
  area = area_under_curve(*_accuracies(rows))
  return (
    f"{head}  {rows[0]['num_labeled']}..{last['num_labeled']} labels  accuracy {rows[0]['test_accuracy']:.4f} .."
    f" {last['test_accuracy']:.4f}  area {area:.4f}  {sum(row['seconds_total'] for row in rows):.1f} s"
  )


def round_line(row: dict, before: float | None, rounds: int, width: int) -> str:
  """Summary line of a round; `before` is the previous round's accuracy."""
  head = f"{row['acq']:<{width}} seed {row['seed']}  round {row['round']:>2}/{rounds}"
  if "error" in row:
    return f"{head}  stopped: {row['error']}"
  if row["test_accuracy"] is None:
    return f"{head}  {row['num_labeled']:>5} labels  {row['seconds_total']:.1f} s"
  change = "" if before is None else f"{row['test_accuracy'] - before:+.4f}"
  validation = "" if row["val_accuracy"] is None else f"  validation {row['val_accuracy']:.4f}"
  return (
    f"{head}  {row['num_labeled']:>5} labels  accuracy {row['test_accuracy']:.4f} {change:>7}{validation}"
    f"  nll {row['test_nll']:.3f}  ece {row['test_ece']:.3f}  {row['seconds_total']:.1f} s"
  )


def closing_table(rows: Sequence[dict], full_data: Sequence[dict]) -> Table:
  """One line per strategy, in order of mean area under the curve: labels to 80 / 90 / 95%, area, final accuracy."""
  table = Table(title="Labels needed (median), mean ± sd over seeds")
  table.add_column("acquisition")
  table.add_column("seeds", justify="right")
  for threshold in THRESHOLDS:
    table.add_column(f"to {threshold:.0%}", justify="right")
  table.add_column("area under the curve", justify="right")
  table.add_column("final accuracy", justify="right")
  by_acq = {acq: list(by_seed.values()) for acq, by_seed in curves(rows).items()}
  for acq, runs in sorted(by_acq.items(), key=lambda item: -mean_area(item[1])):
    table.add_row(
      acq,
      str(len(runs)),
      *(labels_needed(threshold, runs) for threshold in THRESHOLDS),
      mean_spread([area_under_curve(*_accuracies(run)) for run in runs]),
      mean_spread([run[-1]["test_accuracy"] for run in runs]),
    )
  if full_data:
    blank = [""] * (len(THRESHOLDS) + 1)
    table.add_row("full data", str(len(full_data)), *blank, mean_spread([row["test_accuracy"] for row in full_data]))
  return table


def plot(rows: Sequence[dict], full_data: Sequence[dict], title: str, path: Path) -> None:
  """Writes the learning curves as PNG: mean over seeds, their range shaded, and the full-data line if known."""
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  figure, axes = plt.subplots(figsize=(7, 4.5), dpi=130, layout="constrained")
  by_acq = curves(rows)
  drawn = styles.lines(list(by_acq))
  for acq, by_seed in by_acq.items():
    by_labels: dict[int, list[float]] = {}
    for run in by_seed.values():
      for row in run:
        by_labels.setdefault(row["num_labeled"], []).append(row["test_accuracy"])
    labels = sorted(by_labels)
    name = f"{acq} ({len(by_seed)} seed{'s' if len(by_seed) > 1 else ''})"
    mean = [statistics.fmean(by_labels[n]) for n in labels]
    axes.plot(labels, mean, **drawn[acq], markevery=styles.every(len(labels)), label=name)
    low, high = [min(by_labels[n]) for n in labels], [max(by_labels[n]) for n in labels]
    axes.fill_between(labels, low, high, color=drawn[acq]["color"], alpha=0.12, linewidth=0)
  if full_data:
    level = statistics.fmean(row["test_accuracy"] for row in full_data)
    axes.axhline(level, color="#888888", linestyle=(0, (6, 2)), linewidth=1.2, label=f"all labels: {level:.3f}")
  axes.set_xlabel("labels")
  axes.set_ylabel("test accuracy")
  axes.set_title(title)
  axes.grid(alpha=0.25)
  axes.legend(loc="lower right", fontsize=9 if len(axes.lines) < 8 else 7)
  figure.savefig(path)
  plt.close(figure)
