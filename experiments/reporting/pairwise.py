"""The section on significance: pairs, penalties and ranks over matched seeds, or why they cannot be given."""

import numpy as np
import pandas as pd

from experiments.reporting import figures
from experiments.reporting import significance
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Heading
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.study import Chosen
from experiments.reporting.wording import NONE
from experiments.reporting.wording import Drawings
from experiments.reporting.wording import between
from experiments.reporting.wording import images
from experiments.reporting.wording import many
from experiments.reporting.wording import number
from experiments.reporting.wording import numbered
from experiments.reporting.wording import p_value


def comparison(chosen: Chosen) -> tuple[list[Block], Drawings]:
  """Everything that is paired; one sentence where nothing can be."""
  seeds = len(chosen.seeds)
  if len(chosen.runs) < 2:
    return [Text("One strategy: there is nothing to compare it with.")], {}
  if seeds < 2:
    return [
      Text(
        f"{'One matched seed' if seeds else 'No matched seed'}: no interval, test or rank of differences can be given."
        " Two matched seeds give the first; ten or more are of use."
      )
    ], {}
  areas = {name: chosen.areas(name) for name in chosen.runs}
  penalty_blocks, penalty_drawn = _penalties(chosen)
  rank_blocks, rank_drawn = _ranks(areas, seeds)
  return [*_pairs(areas, seeds), *penalty_blocks, *rank_blocks], penalty_drawn | rank_drawn


def _pairs(areas: dict[str, np.ndarray], seeds: int) -> list[Block]:
  rows = [
    [
      f"{pair.first} − {pair.second}",
      f"{pair.difference:.4f}",
      between(*pair.interval, 4) if pair.interval else NONE,
      *map(p_value, (pair.t, pair.t_holm, pair.wilcoxon, pair.wilcoxon_holm)),
      number(pair.d_z, 2),
      number(pair.rank_biserial, 2),
      number(pair.detectable, 4),
    ]
    for pair in significance.pairs(areas)
  ]
  tests = ["t-test p", "t-test Holm", "Wilcoxon p", "Wilcoxon Holm"]
  header = ["pair", "difference", "95% interval", *tests, "d_z", "rank-biserial", "detectable"]
  least = significance.smallest_wilcoxon(seeds)
  limit = (
    f" With {seeds} seeds the signed-rank test cannot go below p = {least:.3g}, so it can reject nothing at 5%."
    if least > significance.ALPHA
    else ""
  )
  return [
    Heading(3, "Every pair, by area under the curve"),
    Table(header, rows),
    Text(
      f"Mean difference over {seeds} matched seeds, the larger area first, with its 95% interval by Student's t;"
      " two-sided paired t-test and Wilcoxon signed-rank test, each beside Holm's correction for"
      f" {many(len(rows), 'pair')}.{limit} d_z: mean over standard deviation of the differences (Cohen)."
      " Rank-biserial: share of the ranks that favour the first minus share against it. Detectable: the smallest true"
      f" difference that the paired t-test at 5% finds with power 0.8 in {seeds} seeds, given that pair's deviation; a"
      f" smaller one could not have been shown. {NONE}: all seeds differ by the same, which no t-test can judge."
    ),
  ]


def _penalties(chosen: Chosen) -> tuple[list[Block], Drawings]:
  heading = Heading(3, "Pairwise penalty matrix")
  accuracies = {name: chosen.values(name, "test_accuracy")[:, 1:] for name in chosen.runs}
  names, budgets = list(accuracies), next(iter(accuracies.values())).shape[1]
  if budgets == 0:
    return [heading, Text("No budget after an acquisition: there is nothing to win.")], {}
  matrix = significance.penalties(accuracies)
  shown = matrix.copy()
  np.fill_diagonal(shown, np.nan)
  shown = np.vstack([shown, significance.column_means(matrix)])
  rows, columns = numbered(names)
  drawing = figures.heat_map(shown, [*rows, "column mean"], columns, x="column is beaten", y="row wins", top=1.0)
  caption = (
    "Pairwise penalties: the share of budgets at which the row's strategy beats the column's. At each of the"
    f" {budgets} budgets after an acquisition, a two-sided paired t-test at 5% on accuracy; a significant win adds"
    f" 1/{budgets} (Ash et al. 2020). Column mean, over the other strategies: how often it was beaten, less is better."
  )
  drawn = {"penalties": drawing}
  return [heading, *images(drawn, {"penalties": caption})], drawn


def _ranks(areas: dict[str, np.ndarray], seeds: int) -> tuple[list[Block], Drawings]:
  heading = Heading(3, "Average ranks")
  ranks = significance.average_ranks(areas)
  table = Table(["strategy", "average rank"], [[k, number(v, 2)] for k, v in sorted(ranks.items(), key=lambda x: x[1])])
  if len(areas) < 3:
    return [heading, table, Text("Friedman's test and the diagram need three strategies.")], {}
  friedman = significance.friedman(areas)
  rejected = friedman < significance.ALPHA
  names = list(areas)
  equal = pd.DataFrame(1.0, index=names, columns=names)
  drawing = figures.critical_difference(ranks, significance.nemenyi(areas) if rejected else equal)
  gap = significance.critical_difference(len(areas), seeds)
  said = f"Friedman's test over {seeds} seeds: p {'= ' if friedman >= 0.001 else ''}{p_value(friedman)}."
  if rejected:
    said += f" Bars join strategies whose ranks differ by less than Nemenyi's critical difference at 5%, {gap:.2f}."
  else:
    said += " It does not reject that all rank alike, so that no pair is tested and one bar joins all."
  caption = f"Average rank by area, seed by seed, 1 the best. {said}" + (
    " Its distribution is rough below ten seeds." if seeds < 10 else ""
  )
  drawn = {"critical_difference": drawing}
  return [heading, table, *images(drawn, {"critical_difference": caption})], drawn
