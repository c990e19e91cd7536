"""`--suite=labeling`: how far the numbers on the labeling page can be trusted, by replays with known labels.

Every replay is a session of `labeling_replays`. In each, the audit answers come with the labels, at a share of `AUDITS`
of all answers, and the estimates of `experiments.labeling` are compared with the accuracy on the images of the data set
that are not in the folder, which the audit images are a random sample of.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import NamedTuple

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from experiments.benchmarks import heads_data
from experiments.benchmarks import labeling_replays
from experiments.common.console import Display
from experiments.data import DataError
from experiments.labeling import audit
from experiments.labeling import stopping

AUDITS = (0.1, 0.5)  # shares of audit images among the images shown
EVERY = (1, 3)  # rounds between the models that kappa compares
AT = (0.5, 0.75)  # shares of the labels needed at which their number is forecast
CHUNK = 10  # replays per call of the program

Interval = Callable[[int, int], audit.Interval]
INTERVALS: dict[str, Interval] = {
  "any time": functools.cache(audit.any_time),
  "fixed time": functools.cache(audit.fixed_time),
}


class Sessions(NamedTuple):
  """K replays of R models and A audit images."""

  labels: np.ndarray  # `[R]` ints: training labels of each model
  right: np.ndarray  # `[K, R, A]` bool
  unlabeled: np.ndarray  # `[K, R]`: accuracy on the folder's images that the model was not trained on
  source: np.ndarray  # `[K, R]`: accuracy on images outside the folder
  kappas: dict[int, np.ndarray]  # by rounds between two models: `[K, models - 1]`


def answered(sessions: Sessions, share: float) -> np.ndarray:
  """`[R]` ints: audit answers when each model is trained, if they are a `share` of all answers."""
  counts = sessions.labels * share / (1 - share) + 1e-9  # against rounding
  return np.minimum(counts.astype(int), sessions.right.shape[2])


def right_of(sessions: Sessions, counts: np.ndarray) -> np.ndarray:
  """`[K, R]` ints: how many of the first `counts` `[R]` audit answers each model gets right."""
  given = np.arange(sessions.right.shape[2]) < counts[:, None]
  return (sessions.right & given).sum(axis=2)


def coverage(sessions: Sessions, interval: Interval, share: float, targets: Sequence[float]) -> dict:
  """How often an interval has the true accuracy: of one model, of all at once, and when its lower end reaches a target.

  Returns:
    Shares of the replays; `stops` has an entry per target, whose shares are of the replays that stop.
  """
  counts = answered(sessions, share)
  right = right_of(sessions, counts)
  ends = np.array([[interval(int(k), int(n)) for k, n in zip(row, counts, strict=True)] for row in right])
  low, high = ends[..., 0], ends[..., 1]
  covers = lambda truth: (low <= truth) & (truth <= high)
  inside, middle = covers(sessions.source), len(counts) // 2
  stops = []
  for target in targets:
    reached = low >= target
    rows = np.flatnonzero(reached.any(axis=1))
    first = reached[rows].argmax(axis=1)
    truth = sessions.source[rows, first]
    of_stopped = lambda values: float(np.mean(values)) if len(values) else None
    stops.append(
      {
        "target": target,
        "stopped": len(rows) / len(right),
        "labels": float(np.median(sessions.labels[first])) if len(rows) else None,
        "true": of_stopped(truth >= target),
        "covered": of_stopped(inside[rows, first]),
        "accuracy": of_stopped(truth),
      }
    )
  return {
    "answers": [int(counts[middle]), int(counts[-1])],
    "middle": float(inside[:, middle].mean()),
    "last": float(inside[:, -1].mean()),
    "always": float(inside.all(axis=1).mean()),
    "width": float((high - low)[:, -1].mean()),
    "last_unlabeled": float(covers(sessions.unlabeled)[:, -1].mean()),
    "stops": stops,
  }


def forecasts(sessions: Sessions, share: float, target: float, at: float, pool: int) -> dict:
  """How far the forecast of the labels needed, made at a share `at` of them, is from their true number.

  The true number is that of the first model whose accuracy on new images is at least `target`.
  """
  counts, labels = answered(sessions, share), sessions.labels
  reached = sessions.source >= target
  needed, made, reasons = [], [], 0
  for k in np.flatnonzero(reached.any(axis=1)):
    truth = labels[reached[k].argmax()]
    models = int((labels <= at * truth).sum())
    answers = counts[models - 1] if models else 0
    right = sessions.right[k, :models, :answers]
    found = stopping.labels_more(right, labels[:models], target, left=pool)
    if found.reason is not None:
      reasons += 1
      continue
    needed.append(truth)
    made.append([labels[models - 1] + more for more in (found.low, found.median, found.high)])
  out = {"target": target, "at": at, "replays": int(reached.any(axis=1).sum()), "no_range": reasons}
  if needed:
    truth, (low, median, high) = np.array(needed), np.array(made).T
    out |= {
      "needed": float(np.median(truth)),
      "inside": float(((low <= truth) & (truth <= high)).mean()),
      "too_many": float((truth < low).mean()),
      "too_few": float((truth > high).mean()),
      "error": _finite(np.median(abs(median - truth) / truth)),
      "low": _finite(np.median(low / truth)),
      "high": _finite(np.median(high / truth)),
      "beyond": float(np.isinf(high).mean()),
    }
  return out


def _finite(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None


def settling(sessions: Sessions, every: int) -> dict:
  """When predictions stabilize, with a model every `every` rounds, and what more labels would have brought."""
  kappas = sessions.kappas[every]
  fired = np.array([[stopping.stabilized(row[: i + 1]) for i in range(len(row))] for row in kappas])
  rows = np.flatnonzero(fired.any(axis=1))
  models = (fired[rows].argmax(axis=1) + 1) * every
  out = {"every": every, "fired": len(rows) / len(kappas), "last": float(sessions.source[:, -1].mean())}
  if len(rows):
    quantiles = np.quantile(sessions.labels[models], [0.1, 0.5, 0.9]).tolist()
    accuracy = sessions.source[rows, models]
    gain = sessions.source[rows, -1] - accuracy
    out |= {"labels": quantiles, "accuracy": float(accuracy.mean()), "gain": float(gain.mean())}
  return out


def measure(sessions: Sessions, targets: Sequence[float], pool: int) -> dict:
  """All measurements: rows of `coverage`, `forecasts` and `settling`, and the mean true accuracy of each model."""
  names = [(share, name) for share in AUDITS for name in INTERVALS]
  keys = [(share, target, at) for share in AUDITS for target in targets for at in AT]
  return {
    "labels": sessions.labels.tolist(),
    "accuracy": sessions.source.mean(axis=0).round(4).tolist(),
    "accuracy_unlabeled": sessions.unlabeled.mean(axis=0).round(4).tolist(),
    "coverage": [
      {"audit": share, "interval": name} | coverage(sessions, INTERVALS[name], share, targets) for share, name in names
    ],
    "forecasts": [{"audit": share} | forecasts(sessions, share, target, at, pool) for share, target, at in keys],
    "settling": [settling(sessions, every) for every in EVERY],
  }


def sessions_of(features: np.ndarray, labels: np.ndarray, *, pool: int, rounds: int, replays: int, display: Display):
  """`Sessions` of replays with the seeds 0 to `replays` - 1, in chunks; features `[N, F]`, labels `[N]`."""
  program = labeling_replays.replayed(int(labels.max()) + 1, pool=pool, rounds=rounds)
  x, y = jnp.asarray(features), jnp.asarray(labels)
  parts, kappas = [], {every: [] for every in EVERY}
  for start in range(0, replays, CHUNK):
    display.phase(f"replays {start + 1} to {min(start + CHUNK, replays)} of {replays}")
    seeds = jnp.minimum(jnp.arange(start, start + CHUNK), replays - 1).astype(jnp.uint32)  # the last one is repeated
    found = labeling_replays.Replay(*(part[: replays - start] for part in jax.device_get(program(seeds, x, y))))
    for every, rows in kappas.items():
      for models in found.predictions[:, ::every]:
        rows.append([stopping.kappa(*pair) for pair in zip(models, models[1:], strict=False)])
    parts.append(found._replace(predictions=None))
    display.advance()
  right, unlabeled, source = (np.concatenate([part[i] for part in parts]) for i in range(3))
  return Sessions(
    labeling_replays.labels_of(rounds + 1),
    right,
    unlabeled,
    source,
    {every: np.array(rows) for every, rows in kappas.items()},
  )


def run(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints `--suite=labeling`; returns its raw numbers.

  Raises:
    DataError: the data cannot be had, or are too few for the folder and as many images outside it.
  """
  pool = int(config.pool[0])
  features, labels = (heads_data.read_rows(config) if config.features else heads_data.synthetic_rows(4 * pool, 1))[:2]
  if len(labels) < 2 * pool:
    raise DataError(f"--pool={pool} needs as many images outside the folder, but there are {len(labels)}: give fewer.")
  most = labeling_replays.labels_of(config.rounds + 1)[-1]
  if most > (1 - labeling_replays.RESERVOIR) * pool:
    raise DataError(f"--rounds={config.rounds} needs {most} labels, but --pool={pool} has fewer: give fewer --rounds.")
  display.line(
    f"{config.seeds} replays: folders of {pool:,} of {len(labels):,} images, {features.shape[1]} features, up to {most}"
    " labels"
  )
  sizes = {"pool": pool, "rounds": config.rounds, "replays": config.seeds}
  sessions = sessions_of(features, labels, display=display, **sizes)
  raw = measure(sessions, [float(target) for target in config.targets], pool)
  width = None if display.console.is_terminal else 140
  for table in (coverage_table(raw), stop_table(raw), forecast_table(raw), settling_table(raw)):
    display.console.print(table, width=width)
  return {"plan": sizes, **raw}


def _percent(value: float | None) -> str:
  return "" if value is None else f"{value:.1%}"


def _table(title: str, columns: Sequence[str], rows: list[list[str]]) -> Table:
  table = Table(title=title)
  for column in columns:
    table.add_column(column, justify="right")
  for row in rows:
    table.add_row(*row)
  return table


def coverage_table(raw: dict) -> Table:
  """How often each interval has the true accuracy."""
  columns = ["audit", "interval", "answers", "middle model", "last model", "all models", "width", "unlabeled images"]
  names = ("middle", "last", "always", "width", "last_unlabeled")
  rows = [
    [str(row["audit"]), row["interval"], str(row["answers"][-1]), *(_percent(row[name]) for name in names)]
    for row in raw["coverage"]
  ]
  return _table("95% intervals: share of the replays in which they have the true accuracy", columns, rows)


def stop_table(raw: dict) -> Table:
  """What holds when the lower end of an interval first reaches a target."""
  columns = ["audit", "interval", "target", "replays that stop", "at labels", "target true", "covered", "accuracy"]
  rows = []
  for row in raw["coverage"]:
    for stop in row["stops"]:
      labels = "" if stop["labels"] is None else f"{stop['labels']:.0f}"
      head = [str(row["audit"]), row["interval"], _percent(stop["target"]), _percent(stop["stopped"]), labels]
      rows.append(head + [_percent(stop[name]) for name in ("true", "covered", "accuracy")])
  return _table("Stopping when the lower end reaches the target", columns, rows)


def forecast_table(raw: dict) -> Table:
  """How good the forecasts of the labels needed are."""
  columns = ["audit", "target", "made at", "replays", "no range", "needed", "inside", "too many", "too few"]
  columns += ["error", "low", "high", "beyond"]
  rows = []
  for row in raw["forecasts"]:
    cells = [str(row["audit"]), _percent(row["target"]), _percent(row["at"]), str(row["replays"]), str(row["no_range"])]
    if "needed" in row:
      cells += [f"{row['needed']:.0f}", *(_percent(row[name]) for name in ("inside", "too_many", "too_few", "error"))]
      cells += ["" if row[name] is None else f"{row[name]:.2f}" for name in ("low", "high")] + [_percent(row["beyond"])]
    rows.append(cells)
  return _table("Labels needed: 80% range and median error; low and high as shares of the truth", columns, rows)


def settling_table(raw: dict) -> Table:
  """When predictions stabilize."""
  columns = ["a model every", "stabilized", "at labels: 10%", "50%", "90%", "accuracy then", "gain until the end"]
  rows = []
  for row in raw["settling"]:
    cells = [f"{row['every'] * labeling_replays.ACQ_SIZE} labels", _percent(row["fired"])]
    if "labels" in row:
      cells += [f"{value:.0f}" for value in row["labels"]] + [_percent(row["accuracy"]), _percent(row["gain"])]
    rows.append(cells)
  return _table("Stabilized predictions", columns, rows)
