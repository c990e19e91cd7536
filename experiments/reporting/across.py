"""The report's section on several studies, such as data sets: areas, ranks and mean ranks over studies."""

import numpy as np
from scipy import stats

from experiments.reporting import pairwise
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.study import Chosen
from experiments.reporting.wording import Drawings
from experiments.reporting.wording import count_of
from experiments.reporting.wording import mean_spread
from experiments.reporting.wording import number

_PAIRS = (
  "For the test and the diagram, strategies are ranked within each pair of a study and a seed, so that a study counts"
  " by its number of seeds. The seeds of a study share its data: the test is about further seeds on these data, not"
  " about other data."
)


def study_ranks(areas: dict[str, dict[str, np.ndarray]]) -> np.ndarray:
  """Ranks `[D, K]` of K strategies by mean area within each of D studies; 1 is the largest, ties share their mean rank.

  Args:
    areas: by study and strategy, `[S]` over the study's seeds; the same strategies in the same order in every study.
  """
  means = [[own.mean() for own in by_strategy.values()] for by_strategy in areas.values()]
  return stats.rankdata(-np.round(means, 12), axis=1)


def section(studies: dict[str, Chosen]) -> tuple[list[Block], Drawings]:
  """Table of ranks over studies, and Friedman's test with its diagram over all pairs of a study and a seed.

  Args:
    studies: two studies or more, by name; each has matched seeds.
  """
  chosen = list(studies.values())
  names = [name for name in chosen[0].runs if all(name in other.runs for other in chosen)]
  remarks = [Text(f"{study}: {remark}") for study, own in list(studies.items())[1:] for remark in own.remarks]
  partial = sorted({name for own in chosen for name in own.runs} - set(names))
  if partial:
    remarks.append(Text(f"Left out, because not every study has a completed run of it: {', '.join(partial)}."))
  if len(names) < 2:
    return [*remarks, Text(f"Ranks over studies need two strategies in every study; there are {len(names)}.")], {}
  areas = {study: {name: own.areas(name) for name in names} for study, own in studies.items()}
  ranks = study_ranks(areas)
  means = ranks.mean(axis=0)
  rows = [
    [names[k], number(means[k], 2)]
    + [cell for d, own in enumerate(areas.values()) for cell in (f"{ranks[d, k]:g}", mean_spread(own[names[k]]))]
    for k in np.argsort(means, kind="stable")
  ]
  header = ["strategy", "mean rank"]
  for study, own in studies.items():
    header += [f"rank, {study}", f"area, {study} ({count_of(len(own.seeds), 'seed')})"]
  blocks, drawn = pairwise.rank_diagram(
    {name: np.concatenate([own[name] for own in areas.values()]) for name in names},
    "critical_difference_studies",
    f"all pairs of a study and a seed, from {len(studies)} studies",
    "pairs of a study and a seed",
  )
  return [
    *remarks,
    Table(header, rows),
    Text(
      f"The {len(names)} strategies that every study has. Area: under the curve of test accuracy over the study's own"
      " range of labels; mean ± standard deviation over its matched seeds. Rank: by mean area within the study; 1 is"
      " the largest, and equal areas share the mean of their ranks. Mean rank: over the studies, each with equal"
      " weight."
    ),
    *blocks,
    *([Text(_PAIRS)] if drawn else []),
  ], drawn
