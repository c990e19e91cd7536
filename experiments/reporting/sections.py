"""What every report says, of one strategy and one seed as well: results, curves, label efficiency, protocol."""

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator
import numpy as np

from experiments.analysis import curves as learning_curves
from experiments.analysis import styles
from experiments.common.spelling import named
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
from experiments.reporting.wording import BESIDE_PUBLISHED
from experiments.reporting.wording import NONE
from experiments.reporting.wording import Drawings
from experiments.reporting.wording import between
from experiments.reporting.wording import images
from experiments.reporting.wording import labels_needed
from experiments.reporting.wording import mean_spread
from experiments.reporting.wording import number
from experiments.reporting.wording import reached_said
from experiments.reporting.wording import seeds_said

_SHARES = (0.80, 0.90, 0.95, 0.99)  # of full-data accuracy
_ABSOLUTE = (0.80, 0.90, 0.95)


def results(study: Study, chosen: Chosen) -> list[Block]:
  """The table of strategies, and what its columns are."""
  full = study.full_accuracy
  if full is None:
    targets = [(f"to {level:.0%}", level) for level in _ABSOLUTE]
    said = "There is no full_data.json (--full_data --resume makes one), so these accuracies are absolute."
  else:
    targets = [(f"to {share:.0%} of full data", share * full) for share in _SHARES]
    said = f"Full data reach {number(full)}; the shares of it are {', '.join(number(level) for _, level in targets)}."
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
    Table([*header, "final accuracy", "seconds a round", "peak MiB"], rows),
    Text(
      "Area: trapezoid of test accuracy over labels divided by the range of labels, mean over seeds (from two seeds on"
      " with its 95% percentile bootstrap interval). Labels to an accuracy: of the first round at or above it, median"
      " over seeds and from two seeds on quartiles; a seed that never gets there counts as more than its last."
      f" {said} Final accuracy: mean ± standard deviation. Peak memory: the most of any round; on a processor that is"
      " the process's, with all that ran in it before."
    ),
  ]


def _peak(by_seed: dict[int, list[dict]]) -> str:
  peaks = [row.get("peak_bytes") for run in by_seed.values() for row in run]
  return NONE if None in peaks else number(max(peaks) / 2**20, 0)


def curves(study: Study, chosen: Chosen) -> tuple[list[Block], Drawings]:
  """Accuracy, NLL and ECE over labels, and accuracy over time."""
  publication = registry.PUBLISHED.get(study.flags.get("preset"))
  theirs = {name: registry.curve_of(study.flags.get("preset"), name) for name in chosen.runs}
  theirs = {name: curve for name, curve in theirs.items() if curve}
  single = all(len(by_seed) < 2 for by_seed in chosen.runs.values())
  band = f"Mean over {seeds_said(chosen)}, with its 95% percentile bootstrap band."
  band = "One seed: there is no band." if single else band
  line = " Dashed: full supervision." if study.full_data else ""
  dotted = f" Dotted: full supervision, {publication.source}." if publication and publication.full_data else ""
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
    "accuracy_over_time": "Test accuracy over the seconds that a run has taken for training, scoring and testing."
    f" {band}{line}",
    "nll": f"Negative log-likelihood of the test set over labels, less is better. {band}",
    "ece": f"Expected calibration error (15 bins) over labels, less is better. {band}",
  }
  blocks, beside = _beside_published(chosen, theirs, publication.source) if theirs else ([], {})
  return [*images(drawn, captions), *blocks], drawn | beside


def _beside_published(chosen: Chosen, theirs: dict[str, Curve], source: str) -> tuple[list[Block], Drawings]:
  """Published figures beside those of this study, drawn, and as numbers where both have them."""
  rows = []
  for name, curve in theirs.items():
    labels, accuracies = chosen.labels(name), chosen.values(name, "test_accuracy")
    quartiles = chosen.quartiles(name, "test_accuracy") if len(accuracies) > 1 else accuracies
    ours = dict(zip(labels, quartiles.T, strict=True))
    for budget, numbers in curve.accuracy.items():
      if budget in ours:
        said = map(_median_said, (numbers, ours[budget]))
        rows.append([name, curve.label, f"accuracy at {budget} labels", *said])
    for level, runs in curve.reached.items():
      said = reached_said(runs)
      rows.append([name, curve.label, f"labels to {level:.0%}", said, labels_needed(level, labels, accuracies)])
  drawn = {"beside_published": figures.beside_published(chosen, theirs)}
  caption = f"Test accuracy over labels beside what was published. {BESIDE_PUBLISHED} Published: {source}."
  image = images(drawn, {"beside_published": caption})
  table = Table(["strategy", "published as", "", "published", "here"], rows, numbers=False)
  return [Heading(3, "Beside the published figures"), *image, *[table] * bool(rows)], drawn


def _median_said(numbers: Sequence[float]) -> str:
  """Out of quartiles, or of one number."""
  median = number(numbers[len(numbers) // 2])
  return f"{median} ({between(numbers[0], numbers[-1])})" if len(numbers) > 1 else median


def efficiency(chosen: Chosen) -> list[Block]:
  """Labels that random needs over those that a strategy needs, at the same accuracy."""
  means = {name: chosen.values(name, "test_accuracy").mean(axis=0) for name in chosen.runs}
  # Of a grid, a strategy's baseline is random at the same point.
  baselines = {name.partition(" [")[2]: name for name in means if named(name).name == styles.RANDOM}
  others = [name for name in means if name.partition(" [")[2] in baselines and name not in baselines.values()]
  if not others:
    return [Text("Label efficiency needs random and another strategy.")]
  start = max(means[name][0] for name in baselines.values())
  end = max(means[name].max() for name in baselines.values())
  levels = [level for level in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(start, end) if start < level <= end]
  if not levels:
    return [Text(f"Random does not rise above its start, {number(start)}: at no accuracy can labels be compared.")]
  rows = []
  for name in others:
    baseline = baselines[name.partition(" [")[2]]
    curve, base = (chosen.labels(name), means[name]), (chosen.labels(baseline), means[baseline])
    ratios = [label_efficiency(level, base, curve) for level in levels]
    rows.append([name, *("not reached" if ratio is None else number(ratio, 2) for ratio in ratios)])
  return [
    Table(["strategy", *(f"at {100 * level:.4g}%" for level in levels)], rows),
    Text(
      "Labels that random needs for an accuracy divided by those that the strategy needs, on the mean curves, linear"
      " between budgets: above 1 the strategy needs fewer. The accuracies lie on random's way."
    ),
  ]


Curve = tuple[Sequence[int], np.ndarray]  # labels and mean accuracies


def label_efficiency(level: float, baseline: Curve, curve: Curve) -> float | None:
  """Labels of the baseline over those of the strategy at one accuracy; None where one of them never has it."""
  base, own = learning_curves.labels_at(level, *baseline), learning_curves.labels_at(level, *curve)
  return None if base is None or own is None else base / own


def protocol(study: Study, chosen: Chosen, incomplete: Sequence[tuple[str, int, str]]) -> list[Block]:
  """The card, the runs that did not come to an end, and the commands."""
  points = Table(["point", "verdict", "remark"], card.card(study, chosen), numbers=False)
  rows = [(name, str(seed), what) for name, seed, what in incomplete]
  table = Table(["strategy", "seed", "what became of it"], rows, numbers=False)
  commands = card.commands(study)
  return [
    Heading(2, "Protocol card"),
    points,
    Heading(2, "Runs without an end"),
    table if rows else Text("Every run is complete."),
    Heading(2, "To repeat it"),
    Code("\n".join(commands)) if commands else Text("config.json does not say by which command."),
  ]
