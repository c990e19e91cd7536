"""The page: every published row beside ours, with figures."""

from collections.abc import Mapping
import math
import statistics

from experiments.analysis import curves as learning_curves
from experiments.analysis.records import generator
from experiments.config import presets
from experiments.papers.base import Curve
from experiments.papers.base import Reference
from experiments.papers.base import Reproduction
from experiments.papers.base import StudyCommand
from experiments.papers.registry import PUBLISHED
from experiments.papers.registry import REPRODUCTIONS
from experiments.reporting import figures
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Code
from experiments.reporting.blocks import Heading
from experiments.reporting.blocks import Image
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.study import Chosen
from experiments.reporting.wording import BESIDE_PUBLISHED
from experiments.reproduction import plan
from experiments.reproduction import verdicts
from experiments.reproduction.archive import Archived
from experiments.reproduction.verdicts import CompletedRuns

_SAID = {True: "yes", False: "no", None: "cannot be said"}
_INTRO = (
  "Published results beside ours. python -m experiments.reproduce runs what is listed here and writes this page;"
  " --scale says how much of it: quick (signs and single trainings), cpu or full. Labels are totals, the initial ones"
  " included; in brackets the count of the BatchBALD paper, which leaves out the batch bought last."
)
_VERDICTS = (
  "Only completed runs count, and sides are compared on seeds that both have. A sign holds where the mean difference of"
  " the areas under the curves is positive, and is beyond the interval where the 95% interval of that mean lies above"
  " zero. Inside the spread is, of accuracies, between the quartiles of the published runs, and of labels and curves"
  " between the least and the most of them. The mean over a curve is that of its accuracies with the first labels and"
  " with every ten more, as far as both sides go. The two points, and the tolerances of single figures, are this"
  " project's own, set before the runs."
)
_OVERVIEW = [
  "protocol",
  "scale",
  "signs and figures that hold",
  "signs beyond the interval",
  "labels inside the spread",
  "accuracies within 2 points",
  "curves inside the spread",
  "completed runs",
  "hours",
]


class Results:
  """What is kept of one part at one scale."""

  def __init__(self, part: Reproduction, scale: str, kept: Mapping[str, Archived]):
    self.part, self.scale, self.kept = part, scale, kept
    self.strategies: list[CompletedRuns] = []
    self.runs: dict[str, dict[int, list[dict]]] = {}
    alone = {figure.study for figure in part.references}
    for study in part.studies[scale]:
      if study.name in kept and study.name not in alone:
        flags = kept[study.name].about["flags"]
        rows = kept[study.name].rows
        # Runs that were joined stand in the order in which they were made.
        order = {acq + study.suffix: place for place, acq in enumerate(plan.strategies(study))}
        ran = verdicts.completed(rows, flags["rounds"], flags["acq_size"], study.suffix)
        for found in sorted(ran, key=lambda strategy: order.get(strategy.name, len(order))):
          self.strategies.append(found)
          acq, seeds = found.name.removesuffix(study.suffix), {run.seed for run in found.runs}
          self.runs[found.name] = {
            seed: [row for row in rows if row["acq"] == acq and row["seed"] == seed] for seed in sorted(seeds)
          }

  def named(self, base: str) -> CompletedRuns | None:
    """The strategy of that name without hyper-parameters, and with the batch size of its part."""
    return next((strategy for strategy in self.strategies if strategy.base == base), None)

  def signs(self) -> list[verdicts.Sign]:
    """The part's signs for which there are runs."""
    pairs = [(self.named(above), self.named(below)) for above, below in self.part.signs]
    return [found for above, below in pairs if above and below and (found := verdicts.sign(above, below))]

  def full_data(self) -> list[float]:
    """Accuracies of full supervision."""
    return [row["test_accuracy"] for kept in self.kept.values() for row in kept.full_data]


def blocks(results: Mapping[str, Mapping[str, Results]], remarks: Mapping[tuple[str, str], str]) -> list[Block]:
  """The page.

  Args:
    results: by part and scale, those of which anything is kept.
    remarks: paragraphs to print under a part and scale.
  """
  title = Heading(1, "Published results, reproduced")
  out: list[Block] = [title, Text(_INTRO), Text(_VERDICTS), _overview(results)]
  for name, by_scale in results.items():
    part = REPRODUCTIONS[name]
    out += [Heading(2, part.title), *_source(name, part)]
    for scale, found in by_scale.items():
      out += _section(name, scale, found)
      out += [Text(paragraph) for paragraph in remarks.get((name, scale), "").split("\n\n") if paragraph.strip()]
  return out


def _overview(results: Mapping[str, Mapping[str, Results]]) -> Table:
  rows = []
  for name, part in REPRODUCTIONS.items():
    run = results.get(name, {})
    for scale, studies in part.studies.items():
      if scale in run:
        cells = _summary(run[scale])
      else:
        same = next((other for other in run if part.studies[other] == studies), None)
        cells = [f"as {same}" if same else "not run", *[""] * (len(_OVERVIEW) - 3)]
      rows.append([part.title, scale, *cells])
  return Table(_OVERVIEW, rows)


def _summary(found: Results) -> list[str]:
  signs = found.signs()
  holds = [sign.holds for sign in signs]
  holds += [_inside(figure, ours) for figure, ours in _figures(found)]
  counts = [
    _counted(holds) or "none asked",
    _counted([sign.beyond if sign.interval else None for sign in signs]),
    _counted([ours.inside for _, _, ours in _reached(found)]),
    _counted([ours.near for _, ours in _at(found)]),
    _counted([ours.inside for _, ours in _means(found)]),
  ]
  seconds = sum(kept.seconds for kept in found.kept.values())
  runs = sum(len(strategy.runs) for strategy in found.strategies) + sum(len(ours) for _, ours in _figures(found))
  return [*counts, str(runs), f"{seconds / 3600:.1f}"]


def _counted(holds: list[bool | None]) -> str:
  """How many hold of those of which it can be said; empty where that is none."""
  said = [verdict for verdict in holds if verdict is not None]
  return f"{sum(said)} of {len(said)}" if said else ""


def _source(name: str, part: Reproduction) -> list[Block]:
  preset = presets.PRESETS[next(iter(part.studies.values()))[0].preset]
  published = f" Figures: {PUBLISHED[part.published].source}." if part.published else ""
  out: list[Block] = [Text(f"Protocol: {preset.source}.{published} Expected: {preset.expect}. Cost: {preset.cost}.")]
  if preset.departures:
    out.append(Text(f"What the preset does not follow: {' '.join(preset.departures)}"))
  return out


def _section(name: str, scale: str, found: Results) -> list[Block]:
  part = found.part
  out: list[Block] = [Heading(3, f"{part.title}, {scale}"), Text(part.scope[scale])]
  out.append(Code("\n".join(plan.command(study, f"runs/reproduce/{scale}") for study in part.studies[scale])))
  out += [Text(_ran(study, found.kept.get(study.name))) for study in part.studies[scale]]
  out += _figure_table(found) + _sign_table(found)
  published = _published_tables(found)
  if published and scale == "quick":
    out.append(Text("Checked at this scale are the signs and figures; the rows that follow are for orientation."))
  out += published + _labels_table(found)
  if any(len(strategy.runs[0].labels) > 1 for strategy in found.strategies):
    out += _images(name, scale, found)
  return out


def _ran(study: StudyCommand, kept: Archived | None) -> str:
  if kept is None:
    return f"{study.name}: not run."
  about, counted = kept.about, len(kept.rows) + len(kept.full_data)
  revision = f", revision {' and '.join(about['revisions'])}" if about["revisions"] else ""
  took = f"{counted} training{'s' if counted > 1 else ''} in {kept.seconds / 60:.0f} minutes"
  return f"{study.name}: {took}, {about['device']}, JAX {about['jax']}, draws {generator(about)['draws']}{revision}."


def _figures(found: Results) -> list[tuple[Reference, list[float]]]:
  """Published numbers and ours, seed by seed."""
  out = []
  for figure in found.part.references:
    kept = found.kept.get(figure.study)
    ours = [row["test_accuracy"] for row in _measured(kept)] if kept else []
    if ours:
      out.append((figure, ours))
  return out


def _inside(figure: Reference, ours: list[float]) -> bool:
  return abs(statistics.fmean(ours) - figure.published) <= figure.tolerance


def _measured(kept: Archived) -> list[dict]:
  """A study's full-data lines or, where there are none, its first rounds."""
  return kept.full_data or [row for row in kept.rows if row["round"] == 0 and "error" not in row]


def _figure_table(found: Results) -> list[Block]:
  rows = []
  for figure, ours in _figures(found):
    mean = statistics.fmean(ours)
    seconds = statistics.fmean(row["seconds_total"] for row in _measured(found.kept[figure.study]))
    published, tolerance = f"{figure.published:.3f}", f"± {figure.tolerance:g}"
    each = " ".join(f"{value:.4f}" for value in ours)
    inside, took = _SAID[_inside(figure, ours)], f"{seconds:.0f} s"
    rows.append([figure.label, published, tolerance, f"{mean:.4f}", each, inside, took])
  header = ["accuracy", "published", "tolerance", "our mean", "by seed", "inside", "time"]
  return [Table(header, rows)] if rows else []


def _sign_table(found: Results) -> list[Block]:
  rows = []
  for sign in found.signs():
    interval = f"{100 * sign.interval[0]:+.1f} to {100 * sign.interval[1]:+.1f}" if sign.interval else "one seed"
    each = " ".join(f"{100 * difference:+.1f}" for difference in sign.differences)
    beyond = _SAID[sign.beyond if sign.interval else None]
    rows.append([f"{sign.above} above {sign.below}", each, interval, _SAID[sign.holds], beyond])
  header = ["sign", "area, points, by seed", "95% interval of the mean", "holds", "beyond the interval"]
  return [Table(header, rows)] if rows else []


def _said_labels(labels: float, less: float, last: int) -> str:
  return f"not by {last}" if labels == math.inf else f"{labels:.0f} ({less:.0f})"


def _said_runs(values) -> str:
  return " ".join("never" if n == math.inf else f"{n:.0f}" for n in values)


def _said_spread(values: tuple[float, ...]) -> str:
  """One accuracy, or a median and in brackets the least and the most."""
  low, median, high = (f"{100 * values[place]:.1f}" for place in (0, len(values) // 2, -1))
  return f"{median} ({low} to {high})" if len(values) > 1 else median


def _matched(found: Results) -> list[tuple[CompletedRuns, Curve]]:
  """Strategies of which something was published."""
  if not found.part.published:
    return []
  curves = PUBLISHED[found.part.published].curves
  return [(strategy, curves[strategy.base]) for strategy in found.strategies if strategy.base in curves]


def _reached(found: Results) -> list[tuple[CompletedRuns, Curve, verdicts.Reached]]:
  """Labels to an accuracy beside those of the published runs."""
  return [
    (strategy, curve, verdicts.reached(strategy, accuracy, curve))
    for strategy, curve in _matched(found)
    for accuracy in curve.reached
  ]


def _at(found: Results) -> list[tuple[CompletedRuns, verdicts.At]]:
  """Accuracy at the published budgets that our runs have."""
  return [
    (strategy, ours)
    for strategy, curve in _matched(found)
    for labels, theirs in curve.accuracy.items()
    if (ours := verdicts.at(strategy, labels, theirs))
  ]


def _means(found: Results) -> list[tuple[CompletedRuns, verdicts.Mean]]:
  """Mean accuracy over the published stretches that our runs have."""
  return [(strategy, ours) for strategy, curve in _matched(found) if (ours := verdicts.mean(strategy, curve))]


def _published_tables(found: Results) -> list[Block]:
  reached, at, means = [], [], []
  for strategy, curve, ours in _reached(found):
    seconds = f"{statistics.fmean(run.seconds for run in strategy.runs) / 60:.0f}"
    seeds, last = str(len(strategy.runs)), strategy.runs[0].labels[-1]
    spread = curve.ranges.get(ours.accuracy)
    said = _said_runs(curve.reached[ours.accuracy]) + (f" ({spread[0]:.0f} to {spread[1]:.0f})" if spread else "")
    median = _said_labels(ours.median, ours.median_less_batch, last)
    each = _said_runs(ours.ours)
    reached.append([strategy.name, f"{ours.accuracy:.0%}", said, each, median, seeds, _SAID[ours.inside], seconds])
  for strategy, ours in _at(found):
    said = " ".join(f"{100 * value:.1f}" for value in ours.published)
    seeds, median = str(len(strategy.runs)), f"{100 * ours.ours:.1f}"
    at.append([strategy.name, str(ours.labels), said, median, seeds, _SAID[ours.inside], _SAID[ours.near]])
  for strategy, ours in _means(found):
    theirs = _said_spread(ours.published)
    own = _said_spread((ours.ours[0], ours.median, ours.ours[-1]) if len(ours.ours) > 1 else (ours.median,))
    seeds, stretch = str(len(strategy.runs)), f"{ours.stretch[0]} to {ours.stretch[-1]}"
    means.append([strategy.name, stretch, theirs, own, seeds, _SAID[ours.inside], _SAID[ours.near]])
  held = ["seeds", "inside the spread"]
  tables = [
    (["strategy", "accuracy", "published runs", "ours", "our median", *held, "minutes a run"], reached),
    (["strategy", "labels", "published", "our median", *held, "within 2 points"], at),
    (["strategy", "mean over labels", "published", "ours", *held, "within 2 points"], means),
  ]
  return [Table(header, rows) for header, rows in tables if rows]


def _labels_table(found: Results) -> list[Block]:
  if not found.part.thresholds or not found.strategies:
    return []
  rows, said = [], []
  for strategy in found.strategies:
    last = strategy.runs[0].labels[-1]
    ours = [verdicts.reached(strategy, accuracy) for accuracy in found.part.thresholds]
    cells = [_said_labels(own.median, own.median_less_batch, last).partition(" (")[0] for own in ours]
    rows.append([strategy.name, str(len(strategy.runs)), *cells])
    said.append(f"{strategy.name} {', '.join(cells)}")
  names = [f"{accuracy:.0%}" for accuracy in found.part.thresholds]
  full = found.full_data()
  line = f" All labels: {100 * statistics.fmean(full):.1f}%." if full else ""
  answer = f"Labels needed for {', '.join(names)} (medians over seeds): {'; '.join(said)}.{line}"
  return [Text(answer), Table(["strategy", "seeds", *names], rows)]


def _images(name: str, scale: str, found: Results) -> list[Image]:
  """Our learning curves, and those of which something was published beside it."""
  runs = {strategy.name: found.runs[strategy.name] for strategy in found.strategies}
  chosen, theirs = Chosen(runs, (), ()), {strategy.name: curve for strategy, curve in _matched(found)}
  full = found.full_data()
  curves = figures.curves(
    chosen,
    "test_accuracy",
    "test accuracy",
    full_data=statistics.fmean(full) if full else None,
    published_full_data=PUBLISHED[found.part.published].full_data if found.part.published else None,
  )
  file, said = f"results/reproductions/{scale}/{name}", f"Test accuracy over labels: {found.part.title}"
  caption = f"Mean over seeds ({learning_curves.seeds_of(runs)}) with bootstrap bands."
  out = [Image(f"{file}.png", curves.png, said, caption)]
  if theirs:
    png = figures.beside_published(chosen, theirs).png
    out.append(Image(f"{file}_published.png", png, f"{said}, beside what was published", BESIDE_PUBLISHED))
  return out
