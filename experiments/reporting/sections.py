"""The sections of every report, even of one strategy and one seed: results, curves, label efficiency, protocol."""

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments.analysis import curves as learning_curves
from experiments.papers import registry
from experiments.papers.base import Curve
from experiments.reporting import card
from experiments.reporting import figures
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Code
from experiments.reporting.blocks import Heading
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.study import Chosen
from experiments.reporting.study import Study
from experiments.reporting.wording import NONE
from experiments.reporting.wording import PUBLISHED_CAPTION
from experiments.reporting.wording import Drawings
from experiments.reporting.wording import between
from experiments.reporting.wording import format_reached
from experiments.reporting.wording import format_seeds
from experiments.reporting.wording import images
from experiments.reporting.wording import labels_needed
from experiments.reporting.wording import mean_spread
from experiments.reporting.wording import number

_SHARES = (0.80, 0.90, 0.95, 0.99)  # of full-data accuracy
_ABSOLUTE = (0.80, 0.90, 0.95)


def results(study: Study, chosen: Chosen) -> list[Block]:
  """The table of strategies, and an explanation of its columns."""
  full = study.full_accuracy
  if full is None:
    targets = [(f"to {level:.0%}", level) for level in _ABSOLUTE]
    note = "These accuracies are absolute, because there is no full_data.json (--full_data --resume makes one)."
  else:
    targets = [(f"to {share:.0%} of full data", share * full) for share in _SHARES]
    note = (
      f"Full supervision has accuracy {number(full)}; its shares are"
      f" {', '.join(number(level) for _, level in targets)}."
    )
  header = ["strategy", "seeds", "area under the curve", *(name for name, _ in targets)]
  rows = []
  for name, by_seed in chosen.runs.items():
    areas = chosen.areas(name)
    accuracies = chosen.values(name, "test_accuracy")
    band = learning_curves.interval(areas)
    rows.append(
      [
        name,
        str(len(by_seed)),
        number(areas.mean()) + (f" ({between(*band)})" if band else ""),
        *(labels_needed(level, chosen.labels(name), accuracies) for _, level in targets),
        mean_spread(accuracies[:, -1]),
        number(chosen.values(name, "seconds_total").mean(), 1),
        _peak(by_seed),
      ]
    )
  if full is not None:
    blank = [NONE] * (1 + len(targets))
    rows.append(["full data", str(len(study.full_data)), *blank, number(full), NONE, NONE])
  return [
    Table([*header, "final accuracy", "seconds per round", "peak MiB"], rows),
    Text(
      "Area: test accuracy integrated over labels by the trapezoidal rule, divided by the range of labels; mean over"
      " seeds and, from two seeds on, its 95% percentile bootstrap interval. Labels to an accuracy: the labels of the"
      " first round at or above it; median over seeds and, from two seeds on, quartiles. A seed that never reaches it"
      f" counts as infinity. {note} Final accuracy: mean ± standard deviation. Peak memory: the"
      " maximum over rounds; on a CPU it is the whole process's, and includes earlier runs in the same process."
    ),
  ]


def _peak(by_seed: dict[int, list[dict]]) -> str:
  peaks = [row.get("peak_bytes") for run in by_seed.values() for row in run]
  return NONE if None in peaks else number(max(peaks) / 2**20, 0)


def curves(study: Study, chosen: Chosen) -> tuple[list[Block], Drawings]:
  """Accuracy, NLL and ECE over labels, and accuracy over time."""
  publication = registry.PUBLISHED.get(study.flags.get("preset"))
  theirs = {name: registry.curve_of(study.flags.get("preset"), name) for name in chosen.runs}
  theirs = {name: curve for name, curve in theirs.items() if curve and curve.has_points}
  single = all(len(by_seed) < 2 for by_seed in chosen.runs.values())
  band = f"Mean over {format_seeds(chosen)}, with its 95% percentile bootstrap band."
  band = "One seed: there is no band." if single else band
  line = " Dashed: full supervision." if study.full_data else ""
  dotted = (
    f" Dotted: published full supervision, {publication.source}." if publication and publication.full_data else ""
  )
  full = {"full_data": study.full_accuracy}
  drawn = {
    "learning_curve": figures.curves(
      chosen,
      "test_accuracy",
      "test accuracy",
      **full,
      published_full_data=publication.full_data if publication else None,
    ),
    "accuracy_over_time": figures.curves(chosen, "test_accuracy", "test accuracy", over="seconds", **full),
    "nll": figures.curves(chosen, "test_nll", "test NLL (nats)"),
    "ece": figures.curves(chosen, "test_ece", "test ECE"),
  }
  captions = {
    "learning_curve": f"Test accuracy over labels. {band}{line}{dotted}",
    "accuracy_over_time": f"Test accuracy over a run's time in seconds for training, scoring and testing. {band}{line}",
    "nll": f"Negative log-likelihood of the test set over labels; lower is better. {band}",
    "ece": f"Expected calibration error (15 bins) over labels; lower is better. {band}",
  }
  blocks, beside = _beside_published(chosen, theirs, publication.source) if theirs else ([], {})
  return [*images(drawn, captions), *blocks], drawn | beside


def _beside_published(chosen: Chosen, theirs: dict[str, Curve], source: str) -> tuple[list[Block], Drawings]:
  """A comparison with the published results: a figure, and a table of the numbers that both have."""
  rows = []
  for name, curve in theirs.items():
    labels, accuracies = chosen.labels(name), chosen.values(name, "test_accuracy")
    quartiles = chosen.quartiles(name, "test_accuracy") if len(accuracies) > 1 else accuracies
    ours = dict(zip(labels, quartiles.T, strict=True))
    for budget, numbers in curve.accuracy.items():
      if budget in ours:
        cells = map(_format_median, (numbers, ours[budget]))
        rows.append([name, curve.label, f"accuracy at {budget} labels", *cells])
    for level, runs in curve.reached.items():
      cells = format_reached(runs)
      rows.append([name, curve.label, f"labels to {level:.0%}", cells, labels_needed(level, labels, accuracies)])
  drawn = {"beside_published": figures.beside_published(chosen, theirs)}
  caption = f"Test accuracy over labels, compared with the published curves. {PUBLISHED_CAPTION} Published: {source}."
  image = images(drawn, {"beside_published": caption})
  table = Table(["strategy", "published as", "quantity", "published", "ours"], rows, numbers=False)
  return [Heading(3, "Comparison with published results"), *image, *[table] * bool(rows)], drawn


def _format_median(numbers: Sequence[float]) -> str:
  """Formats one number, or a median and quartiles."""
  median = number(numbers[len(numbers) // 2])
  return f"{median} ({between(numbers[0], numbers[-1])})" if len(numbers) > 1 else median


def efficiency(chosen: Chosen) -> list[Block]:
  """The section on label efficiency: labels that random needs divided by labels that a strategy needs."""
  means = {name: chosen.values(name, "test_accuracy").mean(axis=0) for name in chosen.runs}
  baselines = chosen.baselines()
  if not baselines:
    return [Text("Label efficiency needs random and another strategy in --acq.")]
  start = max(means[name][0] for name in baselines.values())
  end = max(means[name].max() for name in baselines.values())
  levels = [level for level in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(start, end) if start < level <= end]
  if not levels:
    return [
      Text(f"Label efficiency is undefined: random does not rise above its accuracy in round 0, {number(start)}.")
    ]
  rows = []
  for name, baseline in baselines.items():
    curve, base = (chosen.labels(name), means[name]), (chosen.labels(baseline), means[baseline])
    ratios = [label_efficiency(level, base, curve) for level in levels]
    rows.append([name, *("not reached" if ratio is None else number(ratio, 2) for ratio in ratios)])
  return [
    Table(["strategy", *(f"at {100 * level:.4g}%" for level in levels)], rows),
    Text(
      "Labels that random needs for an accuracy, divided by the labels that the strategy needs; above 1, the strategy"
      " needs fewer. Both are read from the mean curves, interpolated linearly between budgets. The accuracies lie in"
      " the range of random's curve."
    ),
  ]


Curve = tuple[Sequence[int], np.ndarray]  # labels and mean accuracies


def label_efficiency(level: float, baseline: Curve, curve: Curve) -> float | None:
  """Labels of the baseline divided by labels of the strategy at one accuracy; None if a curve never reaches it."""
  base, own = learning_curves.labels_at(level, *baseline), learning_curves.labels_at(level, *curve)
  return None if base is None or own is None else base / own


def protocol(study: Study, chosen: Chosen, incomplete: Sequence[tuple[str, int, str]]) -> list[Block]:
  """The protocol card, the runs that did not finish, and the commands."""
  points = Table(["point", "verdict", "remark"], card.card(study, chosen), numbers=False)
  rows = [(name, str(seed), what) for name, seed, what in incomplete]
  table = Table(["strategy", "seed", "state"], rows, numbers=False)
  commands = card.commands(study)
  return [
    Heading(2, "Protocol card"),
    points,
    Heading(2, "Incomplete runs"),
    table if rows else Text("Every run is complete."),
    Heading(2, "Commands"),
    Code("\n".join(commands)) if commands else Text("config.json does not record the command."),
  ]
