"""The pages: an overview, and one page per publication that compares every published number with ours."""

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
from experiments.reporting.wording import PUBLISHED_CAPTION
from experiments.reproduction import plan
from experiments.reproduction import references
from experiments.reproduction import verdicts
from experiments.reproduction.archive import Archived
from experiments.reproduction.results import Results
from experiments.reproduction.results import gather
from experiments.reproduction.verdicts import CompletedRuns

_ROOT = Path(__file__).resolve().parents[2]
_VERDICT = {True: "yes", False: "no", None: "undecided"}
_INTRO = (
  "Each page compares the results of one publication with ours. python -m experiments.reproduce --out=FOLDER runs the"
  " commands on these pages and writes the same kind of pages to FOLDER. --scale selects how much is run: quick"
  " (orderings and single trainings), cpu or full.",
  "Numbers of labels are totals that include the initial set, for published runs and for ours. In the column 'our"
  " median', the number in brackets leaves out the batch acquired last, as the BatchBALD paper does; of an even number"
  " of runs, the median is the upper of the two in the middle. In the other columns, brackets hold minimum and maximum."
  " Only completed runs count, and two"
  " strategies are compared on the seeds that both completed.",
  "An ordering, A above B, holds if the mean difference of the areas under the accuracy curves is positive. It is"
  " significant if the 95% interval of that mean is above zero.",
  "Inside the spread means between the published quartiles for an accuracy at a budget, and between the published"
  " minimum and maximum for labels and mean accuracies. A mean accuracy averages the curve at the initial set and at"
  " every ten labels after it, over the longest published range that our runs cover. For CDALBench it averages every"
  " label, and the mean over runs stands in place of the median, as published.",
  "The tolerance of two points and the tolerances of single numbers were chosen by this project, before the runs. A"
  " verdict is undecided if our runs end too early or if only one number was published.",
)
_LISTED = 12  # largest number of seeds whose differences are listed one by one
_OVERVIEW = [
  "protocol",
  "scale",
  "orderings and single numbers that hold",
  "significant orderings",
  "labels inside the spread",
  "accuracies within 2 points",
  "mean accuracies inside the spread",
  "completed runs",
  "hours",
]


def write(out: Path) -> Path:
  """Writes the pages and their figures from the archived rows of all scales; returns the overview's path.

  Raises:
    UsageError: a file of rows is damaged, or compared studies differ in their random draws.
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
  """The overview: links to the pages, and a table of what was run and what holds.

  Args:
    results: archived results by reproduction and scale.
  """
  links = Links([(title(paper), f"{slug(paper)}.md") for paper in with_rows(results)])
  return [Heading(1, "Published results, reproduced"), links, *map(Text, _INTRO), _overview(results)]


def with_rows(results: Mapping[str, Mapping[str, Results]]) -> list[ModuleType]:
  """The publications with archived results."""
  return [paper for paper in PAPERS if results.keys() & paper.REPRODUCTIONS.keys()]


def of_paper(paper: ModuleType, results: Mapping[str, Mapping[str, Results]], notes: bool) -> list[Block]:
  """The page of a publication.

  Args:
    paper: one of `PAPERS`.
    results: archived results by reproduction and scale.
    notes: whether to add the paper's notes, which describe the rows in this repository and no others.
  """
  out: list[Block] = [Heading(1, title(paper))]
  for name, part in paper.REPRODUCTIONS.items():
    if name in results:
      out += [Heading(2, part.title), *_source(part)]
    for scale, found in results.get(name, {}).items():
      out += _section(name, scale, found)
      if notes and (name, scale) in paper.NOTES:
        remark, findings = paper.NOTES[name, scale]
        out += [Text(remark), Table(["topic", "finding", "source or command"], findings, numbers=False)]
  return out


def title(paper: ModuleType) -> str:
  """The title of a publication: the first line of its module's docstring."""
  return inspect.getdoc(paper).splitlines()[0].rstrip(".")


def slug(paper: ModuleType) -> str:
  """The name of a publication's module and page."""
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
        cells = [f"same as {same}" if same else "not run", *[""] * (len(_OVERVIEW) - 3)]
      rows.append([part.title, scale, *cells])
  return Table(_OVERVIEW, rows)


def _summary(found: Results) -> list[str]:
  orderings = found.orderings()
  holds = [ordering.holds for ordering in orderings]
  holds += references.holds(found)
  counts = [
    _counted(holds) or "none to check",
    _counted([ordering.significant if ordering.interval else None for ordering in orderings]),
    _counted([ours.inside for _, _, ours in _labels_to_accuracy(found)]),
    _counted([ours.near for _, ours in _accuracies(found)]),
    _counted([ours.inside for _, ours in _means(found)]),
  ]
  seconds = sum(kept.seconds for kept in found.kept.values())
  runs = sum(len(strategy.runs) for strategy in found.strategies) + sum(
    len(ours) for _, ours in references.found_in(found)
  )
  return [*counts, str(runs), f"{seconds / 3600:.1f}"]


def _counted(holds: list[bool | None]) -> str:
  """How many of the decided verdicts hold; empty if none is decided."""
  decided = [verdict for verdict in holds if verdict is not None]
  return f"{sum(decided)} of {len(decided)}" if decided else ""


def _source(part: Reproduction) -> list[Block]:
  name = next(iter(part.studies.values()))[0].preset
  preset = PRESETS[name]
  rows = [("protocol", preset.source)]
  rows += [("published numbers", PUBLISHED[part.published].source)] if part.published else []
  rows += [(preset.brings.sets, preset.brings.source)] if preset.brings else []
  rows += [("expected", preset.expect), ("cost", preset.cost)]
  rows += [("departure", departure) for departure in preset.departures]
  return [Table(["preset", name], rows, numbers=False)]


def _section(name: str, scale: str, found: Results) -> list[Block]:
  part = found.part
  out: list[Block] = [Heading(3, f"{part.title}, {scale}"), Text(part.scope[scale])]
  out.append(Code("\n".join(plan.command(study, f"runs/reproduce/{scale}") for study in part.studies[scale])))
  ran = [_ran(study, found.kept.get(study.name)) for study in part.studies[scale]]
  out.append(Table(["study", "trainings", "minutes", "device", "JAX", "draws", "revision"], ran, numbers=False))
  out += references.blocks(found) + references.images(name, scale, found) + _ordering_table(found)
  published = _published_tables(found)
  if published and scale == "quick":
    out.append(
      Text(
        "Only the orderings and single numbers above are checked at this scale. The tables below are for orientation."
      )
    )
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


def _ordering_table(found: Results) -> list[Block]:
  rows = []
  for own in found.orderings():
    interval = f"{100 * own.interval[0]:+.1f} to {100 * own.interval[1]:+.1f}" if own.interval else "one seed"
    points = [100 * difference for difference in own.differences]
    each = " ".join(f"{difference:+.1f}" for difference in points)
    if len(points) > _LISTED:
      each = f"{statistics.fmean(points):+.1f} on average, {min(points):+.1f} to {max(points):+.1f}"
    significant = _VERDICT[own.significant if own.interval else None]
    rows.append([f"{own.above} above {own.below}", each, interval, _VERDICT[own.holds], significant])
  header = ["ordering", "difference of area by seed, points", "95% interval of the mean", "holds", "significant"]
  return [Table(header, rows)] if rows else []


def _format_median(labels: float, less: float, last: int) -> str:
  return f"not by {last}" if labels == math.inf else f"{labels:.0f} ({less:.0f})"


def _format_runs(values) -> str:
  return " ".join("never" if n == math.inf else f"{n:.0f}" for n in values)


def _format_spread(values: tuple[float, ...]) -> str:
  """One accuracy in percent, or a median with minimum and maximum in brackets."""
  low, median, high = (f"{100 * values[place]:.1f}" for place in (0, len(values) // 2, -1))
  return f"{median} ({low} to {high})" if len(values) > 1 else median


def _matched(found: Results) -> list[tuple[CompletedRuns, Curve]]:
  """The strategies with a published curve."""
  if not found.part.published:
    return []
  curves = PUBLISHED[found.part.published].curves
  return [(strategy, curves[strategy.base]) for strategy in found.strategies if strategy.base in curves]


def _labels_to_accuracy(found: Results) -> list[tuple[CompletedRuns, Curve, verdicts.LabelsToAccuracy]]:
  """Labels needed for each accuracy that was published."""
  return [
    (strategy, curve, verdicts.labels_to_accuracy(strategy, accuracy, curve))
    for strategy, curve in _matched(found)
    for accuracy in curve.reached
  ]


def _accuracies(found: Results) -> list[tuple[CompletedRuns, verdicts.AccuracyAtBudget]]:
  """Accuracy at the published budgets that our runs have."""
  return [
    (strategy, ours)
    for strategy, curve in _matched(found)
    for labels in curve.accuracy
    if (ours := verdicts.accuracy_at(strategy, labels, curve))
  ]


def _means(found: Results) -> list[tuple[CompletedRuns, verdicts.MeanAccuracy]]:
  """Mean accuracy over the longest published range of labels that our runs cover."""
  return [(strategy, ours) for strategy, curve in _matched(found) if (ours := verdicts.mean_accuracy(strategy, curve))]


def _published_tables(found: Results) -> list[Block]:
  reached, at, means = [], [], []
  for strategy, curve, ours in _labels_to_accuracy(found):
    seconds = f"{statistics.fmean(run.seconds for run in strategy.runs) / 60:.0f}"
    seeds, last = str(len(strategy.runs)), strategy.runs[0].labels[-1]
    spread = curve.ranges.get(ours.accuracy)
    theirs = _format_runs(curve.reached[ours.accuracy]) + (f" ({spread[0]:.0f} to {spread[1]:.0f})" if spread else "")
    median = _format_median(ours.median, ours.median_less_batch, last)
    each = _format_runs(ours.ours)
    reached.append([strategy.name, f"{ours.accuracy:.0%}", theirs, each, median, seeds, _VERDICT[ours.inside], seconds])
  for strategy, ours in _accuracies(found):
    theirs = " ".join(f"{100 * value:.1f}" for value in ours.published)
    medians = [f"{100 * value:.1f}" for value in (ours.ours, ours.best) if value is not None]
    seeds, verdict = str(len(strategy.runs)), (_VERDICT[ours.inside], _VERDICT[ours.near])
    at.append([strategy.name, str(ours.labels), theirs, *medians, seeds, *verdict])
  for strategy, ours in _means(found):
    theirs = _format_spread(ours.published)
    own = _format_spread((ours.ours[0], ours.middle, ours.ours[-1]) if len(ours.ours) > 1 else (ours.middle,))
    seeds, budgets = str(len(strategy.runs)), f"{ours.budgets[0]} to {ours.budgets[-1]}"
    means.append([strategy.name, budgets, theirs, own, seeds, _VERDICT[ours.inside], _VERDICT[ours.near]])
  inside = ["seeds", "inside the spread"]
  accuracies = ["accuracy, published", "our median"]
  if any(curve.running_best for _, curve in _matched(found)):
    accuracies = ["best accuracy so far, published", "our accuracy", "our best so far"]
  tables = [
    (["strategy", "accuracy", "labels, published", "labels, ours", "our median", *inside, "minutes per run"], reached),
    (["strategy", "labels", *accuracies, *inside, "within 2 points"], at),
    (["strategy", "labels", "mean accuracy, published", "mean accuracy, ours", *inside, "within 2 points"], means),
  ]
  return [Table(header, rows) for header, rows in tables if rows]


def _labels_table(found: Results) -> list[Block]:
  if not found.part.thresholds or not found.strategies:
    return []
  rows, answers = [], []
  for strategy in found.strategies:
    last = strategy.runs[0].labels[-1]
    ours = [verdicts.labels_to_accuracy(strategy, accuracy) for accuracy in found.part.thresholds]
    cells = [_format_median(own.median, own.median_less_batch, last).partition(" (")[0] for own in ours]
    rows.append([strategy.name, str(len(strategy.runs)), *cells])
    answers.append(f"{strategy.name} {', '.join(cells)}")
  names = [f"{accuracy:.0%}" for accuracy in found.part.thresholds]
  full = found.full_data()
  line = f" Accuracy with all labels: {100 * statistics.fmean(full):.1f}%." if full else ""
  answer = f"Labels needed for {', '.join(names)} (medians over seeds): {'; '.join(answers)}.{line}"
  return [Text(answer), Table(["strategy", "seeds", *names], rows)]


def _images(name: str, scale: str, found: Results) -> list[Image]:
  """Our learning curves, and a comparison with the published ones if there are any."""
  runs = {strategy.name: found.runs[strategy.name] for strategy in found.strategies}
  chosen, theirs = (
    Chosen(runs, (), ()),
    {strategy.name: curve for strategy, curve in _matched(found) if curve.has_points},
  )
  full = found.full_data()
  curves = figures.curves(
    chosen,
    "test_accuracy",
    "test accuracy",
    full_data=statistics.fmean(full) if full else None,
    published_full_data=PUBLISHED[found.part.published].full_data if found.part.published else None,
  )
  file, alt = f"../../results/reproductions/{scale}/{name}", f"Test accuracy over labels: {found.part.title}"
  caption = f"Mean over seeds ({learning_curves.seeds_of(runs)}) with bootstrap bands."
  out = [Image(f"{file}.png", curves.png, alt, caption)]
  if theirs:
    png = figures.beside_published(chosen, theirs).png
    out.append(Image(f"{file}_published.png", png, f"{alt}, compared with the published curves", PUBLISHED_CAPTION))
  return out
