"""Learning curves of a study's rows, and their statistics. Does not import JAX, so that reports run without it."""

from collections.abc import Sequence

import numpy as np

from experiments.analysis import grid

RESAMPLES = 2000


def name_of(row: dict) -> str:
  """The name of a row's run: its strategy and, in a grid, the point."""
  return f"{row['acq']} [{grid.spell(row['hyper'])}]" if "hyper" in row else row["acq"]


def curves(rows: Sequence[dict]) -> dict[str, dict[int, list[dict]]]:
  """Groups rows by `name_of` and seed, in order of rounds.

  Leaves out rows with an error, and rows without a test accuracy (data without a test set).
  """
  out: dict[str, dict[int, list[dict]]] = {}
  for row in rows:
    if "error" not in row and row.get("test_accuracy") is not None:
      out.setdefault(name_of(row), {}).setdefault(row["seed"], []).append(row)
  return out


def seeds_of(runs: dict[str, dict[int, list[dict]]]) -> str:
  """The number of seeds per strategy in `curves`, as text: `3`, or `2 to 3`."""
  counts = sorted({len(by_seed) for by_seed in runs.values()})
  return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))


def area_under_curve(labels: Sequence[int], accuracies: np.ndarray | Sequence[float]):
  """Trapezoidal area of accuracies `[..., L]` over labels `[L]`, divided by the range of labels: `[...]` in 0..1.

  Equals `al_jax.metrics.area_under_curve`, which takes one curve. For a single point, returns its accuracy.
  """
  if len(labels) == 1:
    return np.asarray(accuracies)[..., 0][()]  # a scalar for one curve, not an array without axes
  return np.trapezoid(accuracies, labels, axis=-1) / (labels[-1] - labels[0])


def area_between(low: int, high: int, labels: Sequence[int], accuracies: np.ndarray) -> np.ndarray:
  """`area_under_curve` of curves `[S, L]` from `low` to `high` labels, interpolated linearly between rounds: `[S]`."""
  points = np.array([low, *(n for n in labels if low < n < high), high])
  inside = np.array([np.interp(points, labels, curve) for curve in accuracies])
  return area_under_curve(points, inside)


def labels_to_reach(threshold: float, labels: Sequence[int], accuracies: Sequence[float]) -> float:
  """The fewest labels at which a curve is at or above `threshold`; infinity if it never is.

  Both are compared as float32, because an accuracy of 0.9 computed in float32 is below the float64 0.9.
  """
  reached = np.float32(accuracies) >= np.float32(threshold)
  return next((n for n, yes in zip(labels, reached, strict=True) if yes), float("inf"))


def counted_both_ways(total: float, acq_size: int) -> tuple[float, float]:
  """The number of labels in this project's count and in the BatchBALD paper's.

  This project counts all labels that the model was trained on; the paper leaves out the batch acquired last.
  """
  return total, total - acq_size


def labels_at(accuracy: float, labels: Sequence[int], mean: Sequence[float]) -> float | None:
  """Labels at which a curve first reaches `accuracy`, with linear interpolation; None if it never does."""
  first = next((i for i, value in enumerate(mean) if value >= accuracy), None)
  if not first:
    return None if first is None else float(labels[0])
  return float(np.interp(accuracy, mean[first - 1 : first + 1], labels[first - 1 : first + 1]))


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
  """Lower quartile, median and upper quartile; between two values the upper one, so that none is averaged with inf."""
  low, median, high = np.percentile(values, [25, 50, 75], method="higher")
  return float(low), float(median), float(high)


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
  """95% percentile bootstrap interval of the mean over seeds: `[S, ...]` -> `[...]` twice; None for one seed."""
  from scipy import stats

  if len(values) < 2:
    return None
  found = stats.bootstrap(
    (values,), np.mean, n_resamples=RESAMPLES, batch=200, method="percentile", rng=np.random.default_rng(0)
  )
  return found.confidence_interval.low, found.confidence_interval.high
