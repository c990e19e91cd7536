"""The report's section on significance: pairs, penalties and ranks over matched seeds, or why there are none."""

import numpy as np
import pandas as pd

from experiments.reporting import figures
from experiments.reporting import ordering
from experiments.reporting import significance
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Heading
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.study import Chosen
from experiments.reporting.wording import NONE
from experiments.reporting.wording import Drawings
from experiments.reporting.wording import between
from experiments.reporting.wording import count_of
from experiments.reporting.wording import images
from experiments.reporting.wording import number
from experiments.reporting.wording import numbered
from experiments.reporting.wording import p_value
from experiments.reporting.wording import seeds_needed

_NEEDED = (
  " Seeds needed: the smallest number of matched seeds at which the two-sided paired t-test at 5% finds a difference"
  " with power 0.8, if the true mean and standard deviation of the paired differences are those measured here and the"
  " differences are normal; for this pair alone, without correction for other pairs. Where the interval contains 0, the"
  " number is uncertain by orders of magnitude."
)


def comparison(chosen: Chosen) -> tuple[list[Block], Drawings]:
  """All paired comparisons; one sentence if none is possible."""
  seeds = len(chosen.seeds)
  if len(chosen.runs) < 2:
    return [Text("A comparison needs two strategies; this study has one.")], {}
  if seeds < 2:
    return [
      Text(
        f"{'One matched seed' if seeds else 'No matched seed'}: intervals, tests and ranks need at least two. Ten or"
        " more give useful results."
      )
    ], {}
  areas = {name: chosen.areas(name) for name in chosen.runs}
  pairs = significance.pairs(areas)
  parts = [(_pairs(pairs, seeds), {}), _penalties(chosen), _ranks(areas, seeds), ordering.section(areas, pairs)]
  return [block for blocks, _ in parts for block in blocks], {k: v for _, drawn in parts for k, v in drawn.items()}


def _pairs(pairs: list[significance.Pair], seeds: int) -> list[Block]:
  many = seeds >= ordering.FEWEST
  rows = [
    [
      f"{pair.first} − {pair.second}",
      f"{pair.difference:.4f}",
      between(*pair.interval, 4) if pair.interval else NONE,
      *map(p_value, (pair.t, pair.t_holm, pair.wilcoxon, pair.wilcoxon_holm)),
      number(pair.d_z, 2),
      number(pair.rank_biserial, 2),
      number(pair.detectable, 4),
      *([seeds_needed(pair.seeds_needed)] if many else []),
    ]
    for pair in pairs
  ]
  tests = ["t-test p", "t-test Holm", "Wilcoxon p", "Wilcoxon Holm"]
  header = ["pair", "difference", "95% interval", *tests, "d_z", "rank-biserial", "detectable"]
  header += ["seeds needed"] if many else []
  least = significance.smallest_wilcoxon(seeds)
  limit = (
    f" With {seeds} seeds the smallest possible p of the signed-rank test is {least:.3g}, so it can reject nothing at"
    " 5%."
    if least > significance.ALPHA
    else ""
  )
  return [
    Heading(3, "Every pair, by area under the curve"),
    Table(header, rows),
    Text(
      f"Mean difference over {seeds} matched seeds, the larger area first, with its 95% interval by Student's t. Tests:"
      " two-sided paired t-test and Wilcoxon signed-rank test, each without and with Holm's correction for"
      f" {count_of(len(rows), 'pair')}.{limit} d_z: mean divided by standard deviation of the differences (Cohen)."
      " Rank-biserial: share of the ranks that favor the first minus share that favor the second. Detectable: the"
      f" smallest true difference that the paired t-test at 5% finds with power 0.8 in {seeds} seeds, given the pair's"
      f" standard deviation; a smaller one would be found less often.{_NEEDED if many else ''} {NONE}: the difference"
      " is equal on all seeds, and no t-test applies."
    ),
  ]


def _penalties(chosen: Chosen) -> tuple[list[Block], Drawings]:
  heading = Heading(3, "Pairwise penalty matrix")
  accuracies = {name: chosen.values(name, "test_accuracy")[:, 1:] for name in chosen.runs}
  names, budgets = list(accuracies), next(iter(accuracies.values())).shape[1]
  if budgets == 0:
    return [heading, Text("The penalty matrix needs at least one round after an acquisition.")], {}
  matrix = significance.penalties(accuracies)
  shown = matrix.copy()
  np.fill_diagonal(shown, np.nan)
  shown = np.vstack([shown, significance.column_means(matrix)])
  rows, columns = numbered(names)
  drawing = figures.heat_map(shown, [*rows, "column mean"], columns, x="column is beaten", y="row wins", top=1.0)
  caption = (
    "Pairwise penalties: the share of budgets at which the row's strategy beats the column's. It wins at one of the"
    f" {budgets} budgets after an acquisition if its accuracy is higher and a two-sided paired t-test at 5% is"
    f" significant; each win adds 1/{budgets} (Ash et al. 2020). Column mean, over the other strategies: how often the"
    " strategy is beaten; lower is better."
  )
  drawn = {"penalties": drawing}
  return [heading, *images(drawn, {"penalties": caption})], drawn


def _ranks(areas: dict[str, np.ndarray], seeds: int) -> tuple[list[Block], Drawings]:
  ranks = significance.average_ranks(areas)
  table = Table(["strategy", "average rank"], [[k, number(v, 2)] for k, v in sorted(ranks.items(), key=lambda x: x[1])])
  blocks, drawn = rank_diagram(areas, "critical_difference", "seeds", "seeds")
  return [Heading(3, "Average ranks"), table, *blocks], drawn


def rank_diagram(areas: dict[str, np.ndarray], file: str, over: str, unit: str) -> tuple[list[Block], Drawings]:
  """Friedman's test and the critical-difference diagram; a sentence below three strategies.

  Args:
    areas: `[B]` areas of each strategy in the same B >= 2 blocks; strategies are ranked within each block.
    file: name of the figure's files, without ending.
    over: the blocks in the caption's first sentence.
    unit: their short name.
  """
  if len(areas) < 3:
    return [Text("Friedman's test and the diagram need at least three strategies.")], {}
  count = len(next(iter(areas.values())))
  friedman = significance.friedman(areas)
  rejected = friedman < significance.ALPHA
  names = list(areas)
  equal = pd.DataFrame(1.0, index=names, columns=names)
  p_values = significance.nemenyi(areas) if rejected else equal
  drawn = {file: figures.critical_difference(significance.average_ranks(areas), p_values)}
  gap = significance.critical_difference(len(areas), count)
  test = f"Friedman's test over {count} {unit}: p {'= ' if friedman >= 0.001 else ''}{p_value(friedman)}."
  if rejected:
    test += f" Bars join strategies whose ranks differ by less than Nemenyi's critical difference at 5%, {gap:.2f}."
  else:
    test += " It does not reject equal ranks, so that no pair is tested and one bar joins all strategies."
  caption = f"Average rank by area over {over}; 1 is the best. {test}" + (
    f" Below ten {unit} its p-value is a rough approximation." if count < 10 else ""
  )
  return images(drawn, {file: caption}), drawn
