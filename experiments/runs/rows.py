"""Converts the results of a round to a row of results.jsonl."""

from collections.abc import Iterator
import math
import resource

import jax
import numpy as np

from al_jax import metrics
from al_jax import types


def rows_of(
  acq: str,
  seed: int,
  infos: types.RoundInfo,
  labels: np.ndarray,
  initial: list[int],
  seconds: float,
  point: dict,
  scored: bool,
  tested: bool = True,
) -> Iterator[dict]:
  """Yields the rows of a whole run, from arrays `[rounds + 1, ...]` on the host; a row with an error is the last.

  `labels` are the oracle's labels of the pool, `seconds` is the time per round, `point` has the grid point's values,
  `scored` is whether the acquisition gives each image a score, and `tested` whether there is a test set.
  """
  for r in range(len(infos.num_labeled)):
    info = jax.tree.map(lambda leaf: leaf[r], infos)  # noqa: B023 (called at once)
    row = row_of(acq, seed, r, info, labels, {"total": seconds}, initial, point, scored, tested)
    yield row
    if "error" in row:
      return


def row_of(
  acq: str,
  seed: int,
  r: int,
  info: types.RoundInfo,
  labels: np.ndarray,
  seconds: dict[str, float],
  initial: list[int],
  point: dict,
  scored: bool,
  tested: bool = True,
) -> dict:
  """One row of results.jsonl. If loss or metrics are not finite, the row has an `error` instead of them."""
  key = {"acq": acq, "seed": seed, "round": r} | ({"hyper": point} if point else {})
  if info.fit.first_bad_step >= 0:
    bad, steps = info.fit.first_bad_step, info.fit.steps
    # The loss is measured before each step, so no loss follows the last step.
    what = f"loss was not finite at step {bad} of {steps}" if bad < steps else f"model was not finite after step {bad}"
    return key | {"error": f"the {what}"}
  if tested and not np.isfinite(info.metrics[:3]).all():
    return key | {"error": f"the model was not finite after step {info.fit.steps}"}
  selected = info.selected[info.selected >= 0]
  row = key | {
    "num_labeled": int(info.num_labeled),
    **metrics_row(info.metrics),
    "selected": selected.tolist(),
    "selected_scores": _finite_or_null(info.scores) if scored and selected.size else None,
    "selected_labels": labels[selected].tolist(),  # on the host, so that nothing is compiled for each length
    "acquired_per_class": np.bincount(labels[selected], minlength=len(info.metrics.test_class_accuracy)).tolist(),
    "train_steps": int(info.fit.steps),
    "train_loss": float(info.fit.loss),
    "seconds_train": seconds.get("fit"),
    "seconds_acquire": seconds.get("acquire") if selected.size or "acquire" not in seconds else 0,
    "seconds_eval": seconds.get("evaluate"),
    "seconds_total": seconds["total"],
    "peak_bytes": _peak_bytes(),
  }
  if r == 0:
    row["initial"] = initial
  return row


def _finite_or_null(scores: np.ndarray) -> list[float | None]:
  """Scores for JSON: None for each that is not finite."""
  return [float(score) if math.isfinite(score) else None for score in scores]


def metrics_row(measured: types.Metrics) -> dict:
  """The metrics by name, with the balanced accuracy; None for a metric that was not measured."""
  by_class = np.asarray(measured.test_class_accuracy)
  named = measured._asdict() | {"test_balanced_accuracy": metrics.balanced_accuracy(by_class)}
  del named["test_class_accuracy"]
  return {name: _or_null(value) for name, value in named.items()} | {"test_class_accuracy": [*map(_or_null, by_class)]}


def _or_null(value: float) -> float | None:
  return None if math.isnan(value) else float(value)


def _peak_bytes() -> int:
  """Peak memory so far: of the device if it reports that, else of this process."""
  stats = jax.local_devices()[0].memory_stats() or {}
  return stats.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
