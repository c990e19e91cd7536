"""The pages: an overview, and one a publication with every published row beside ours, and figures."""

from collections.abc import Mapping
import inspect
import math
from pathlib import Path
import statistics
from types import ModuleType

from experiments.analysis import curves as learning_curves
from experiments.analysis.records import generator
from experiments.config.presets import PRESETS
from experiments.papers.base import Curve
from experiments.papers.base import Reference
from experiments.papers.base import Reproduction
from experiments.papers.base import StudyCommand
from experiments.papers.registry import PAPERS
from experiments.papers.registry import PUBLISHED
from experiments.papers.registry import REPRODUCTIONS
from experiments.reporting import figures
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Code
from experiments.reporting.blocks import Heading
from experiments.reporting.blocks import Image
from experiments.reporting.blocks import Links
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.blocks import to_markdown
from experiments.reporting.study import Chosen
from experiments.reporting.wording import BESIDE_PUBLISHED
from experiments.reproduction import plan
from experiments.reproduction import verdicts
from experiments.reproduction.archive import Archived
from experiments.reproduction.results import Results
from experiments.reproduction.results import gather
from experiments.reproduction.verdicts import CompletedRuns

_ROOT = Path(__file__).resolve().parents[2]
_SAID = {True: "yes", False: "no", None: "cannot be said"}
_INTRO = (
  "Published results beside ours, a page each publication. python -m experiments.reproduce --out=FOLDER runs what is"
  " listed on them and writes such pages there; --scale says how much of it: quick (signs and single trainings), cpu or"
  " full.",
  "Labels are totals, the initial ones included, for both sides; in brackets stands the count of the BatchBALD paper,"
  " which leaves out the batch acquired last. Only completed runs count, and two strategies are compared on seeds that"
  " both have.",
  "A sign holds where the mean difference of the areas under the curves is positive. It is beyond the interval where"
  " the 95% interval of that mean lies above zero.",
  "Inside the spread means, for accuracies, between the quartiles of the published runs; for labels and for curves,"
  " between the least and the most of them. The mean over a curve is that of its accuracies with the first labels and"
  " with every ten more, as far as both sides go.",
  "The two points, and the tolerances of single numbers, are this project's own. They were set before the runs. Where"
  " our runs end too early, or one number alone was published, a verdict cannot be said.",
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


def write(out: Path) -> Path:
  """The pages with their figures, from what is kept of all scales; returns the overview's path.

  Raises:
    UsageError: a file of rows is damaged.
  """
  results, folder, notes = gather(out), out / "docs" / "reproductions", out.resolve() == _ROOT
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "README.md").write_text(to_markdown(overview(results)))
  for paper in with_rows(results):
    blocks = of_paper(paper, results, notes)
    for block in blocks:
      if isinstance(block, Image):
        (folder / block.file).write_bytes(block.png)
    (folder / f"{slug(paper)}.md").write_text(to_markdown(blocks))
  return folder / "README.md"


def overview(results: Mapping[str, Mapping[str, Results]]) -> list[Block]:
  """What was run of each protocol, what of it holds, and the pages; `results` by reproduction and scale."""
  links = Links([(title(paper), f"{slug(paper)}.md") for paper in with_rows(results)])
  return [Heading(1, "Published results, reproduced"), links, *map(Text, _INTRO), _overview(results)]


def with_rows(results: Mapping[str, Mapping[str, Results]]) -> list[ModuleType]:
  """The publications of which anything is kept."""
  return [paper for paper in PAPERS if results.keys() & paper.REPRODUCTIONS.keys()]


def of_paper(paper: ModuleType, results: Mapping[str, Mapping[str, Results]], notes: bool) -> list[Block]:
  """The page of a publication.

  Args:
    paper: one of `PAPERS`.
    results: by reproduction and scale, those of which anything is kept.
    notes: whether the paper's notes, which are of the rows in this repository, are of these.
  """
  out: list[Block] = [Heading(1, title(paper))]
  for name, part in paper.REPRODUCTIONS.items():
    if name in results:
      out += [Heading(2, part.title), *_source(part)]
    for scale, found in results.get(name, {}).items():
      out += _section(name, scale, found)
      if notes and (name, scale) in paper.NOTES:
        remark, findings = paper.NOTES[name, scale]
        out += [Text(remark), Table(["asked", "found", "how"], findings, numbers=False)]
  return out


def title(paper: ModuleType) -> str:
  """The first line of its docstring."""
  return inspect.getdoc(paper).splitlines()[0].rstrip(".")


def slug(paper: ModuleType) -> str:
  """The name of its file and page."""
  return paper.__name__.rpartition(".")[2]


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
  holds += [_inside(reference, ours) for reference, ours in _references(found)]
  counts = [
    _counted(holds) or "none asked",
    _counted([sign.beyond if sign.interval else None for sign in signs]),
    _counted([ours.inside for _, _, ours in _reached(found)]),
    _counted([ours.near for _, ours in _at(found)]),
    _counted([ours.inside for _, ours in _means(found)]),
  ]
  seconds = sum(kept.seconds for kept in found.kept.values())
  runs = sum(len(strategy.runs) for strategy in found.strategies) + sum(len(ours) for _, ours in _references(found))
  return [*counts, str(runs), f"{seconds / 3600:.1f}"]


def _counted(holds: list[bool | None]) -> str:
  """How many hold of those of which it can be said; empty where that is none."""
  said = [verdict for verdict in holds if verdict is not None]
  return f"{sum(said)} of {len(said)}" if said else ""


def _source(part: Reproduction) -> list[Block]:
  name = next(iter(part.studies.values()))[0].preset
  preset = PRESETS[name]
  rows = [("protocol", preset.source)]
  rows += [("published numbers", PUBLISHED[part.published].source)] if part.published else []
  rows += [("expected", preset.expect), ("cost", preset.cost)]
  rows += [("not followed", departure) for departure in preset.departures]
  return [Table(["preset", name], rows, numbers=False)]


def _section(name: str, scale: str, found: Results) -> list[Block]:
  part = found.part
  out: list[Block] = [Heading(3, f"{part.title}, {scale}"), Text(part.scope[scale])]
  out.append(Code("\n".join(plan.command(study, f"runs/reproduce/{scale}") for study in part.studies[scale])))
  ran = [_ran(study, found.kept.get(study.name)) for study in part.studies[scale]]
  out.append(Table(["study", "trainings", "minutes", "device", "JAX", "draws", "revision"], ran, numbers=False))
  out += _reference_table(found) + _sign_table(found)
  published = _published_tables(found)
  if published and scale == "quick":
    out.append(Text("Checked at this scale are the signs and figures; the rows that follow are for orientation."))
  out += published + _labels_table(found)
  if any(len(strategy.runs[0].labels) > 1 for strategy in found.strategies):
    out += _images(name, scale, found)
  return out


def _ran(study: StudyCommand, kept: Archived | None) -> list[str]:
  if kept is None:
    return [study.name, "not run", *[""] * 5]
  about, counted = kept.about, len(kept.rows) + len(kept.full_data)
  made_by = [about["device"], about["jax"], str(generator(about)["draws"]), " and ".join(about["revisions"])]
  return [study.name, str(counted), f"{kept.seconds / 60:.0f}", *made_by]


def _references(found: Results) -> list[tuple[Reference, list[float]]]:
  """Published numbers and ours, seed by seed."""
  out = []
  for reference in found.part.references:
    kept = found.kept.get(reference.study)
    ours = [row["test_accuracy"] for row in _measured(kept)] if kept else []
    if ours:
      out.append((reference, ours))
  return out


def _inside(reference: Reference, ours: list[float]) -> bool:
  return abs(statistics.fmean(ours) - reference.published) <= reference.tolerance


def _measured(kept: Archived) -> list[dict]:
  """A study's full-data lines or, where there are none, its first rounds."""
  return kept.full_data or [row for row in kept.rows if row["round"] == 0 and "error" not in row]


def _reference_table(found: Results) -> list[Block]:
  rows = []
  for reference, ours in _references(found):
    mean = statistics.fmean(ours)
    seconds = statistics.fmean(row["seconds_total"] for row in _measured(found.kept[reference.study]))
    published, tolerance = f"{reference.published:.3f}", f"± {reference.tolerance:g}"
    each = " ".join(f"{value:.4f}" for value in ours)
    inside, took = _SAID[_inside(reference, ours)], f"{seconds:.0f} s"
    rows.append([reference.label, published, tolerance, f"{mean:.4f}", each, inside, took])
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
    (["strategy", "accuracy", "published runs", "ours", "our median", *held, "minutes per run"], reached),
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
  file, said = f"../../results/reproductions/{scale}/{name}", f"Test accuracy over labels: {found.part.title}"
  caption = f"Mean over seeds ({learning_curves.seeds_of(runs)}) with bootstrap bands."
  out = [Image(f"{file}.png", curves.png, said, caption)]
  if theirs:
    png = figures.beside_published(chosen, theirs).png
    out.append(Image(f"{file}_published.png", png, f"{said}, beside what was published", BESIDE_PUBLISHED))
  return out
