"""Tests of whether differences between strategies exceed the variation between seeds.

All tests are paired: for each seed, the strategies share the initial set and the initial weights. Functions take values
by strategy, with the matched seeds on the first axis. A result that cannot be computed is None, never NaN.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 10_000  # needed numbers of seeds above this are not computed
EQUAL = 1e-12  # values closer than this are equal up to rounding


class Pair(NamedTuple):
  """Two strategies' areas under the curve, over matched seeds; `first` has the larger mean."""

  first: str
  second: str
  difference: float  # mean of first - second
  interval: tuple[float, float] | None  # 95%, by Student's t
  t: float | None  # p-values, two-sided
  t_holm: float | None
  wilcoxon: float
  wilcoxon_holm: float
  d_z: float | None  # mean difference over the standard deviation of the differences (Cohen)
  rank_biserial: float  # matched pairs: (sum of positive ranks - sum of negative) / sum of all
  detectable: float | None  # smallest true difference found in 80% of such studies by the t-test at 5%
  seeds_needed: float | None  # seeds at which the t-test at 5% finds a true difference of this size with power 0.8


def pairs(areas: dict[str, np.ndarray]) -> list[Pair]:
  """Compares every pair of strategies by their `[S]` areas, S >= 2; Holm's correction is over all pairs."""
  names = sorted(areas, key=lambda name: -areas[name].mean())
  found = [_pair(a, b, areas[a] - areas[b]) for a, b in itertools.combinations(names, 2)]
  if not found:
    return []
  t = iter(_holm([pair.t for pair in found if pair.t is not None]))
  return [
    pair._replace(t_holm=None if pair.t is None else next(t), wilcoxon_holm=corrected)
    for pair, corrected in zip(found, _holm([pair.wilcoxon for pair in found]), strict=True)
  ]


def _holm(p_values: list[float]) -> list[float]:
  return [float(p) for p in multipletests(p_values, ALPHA, method="holm")[1]] if p_values else []


def _pair(first: str, second: str, differences: np.ndarray) -> Pair:
  mean, spread = float(differences.mean()), float(differences.std(ddof=1))
  differences = np.where(np.abs(differences) < EQUAL, 0, differences)
  varies = spread > EQUAL
  moved = differences[differences != 0]
  ranks = stats.rankdata(np.abs(moved))
  return Pair(
    first,
    second,
    mean,
    interval=t_interval(differences),
    t=paired_t(differences),
    t_holm=None,
    wilcoxon=float(stats.wilcoxon(moved).pvalue) if len(moved) else 1.0,
    wilcoxon_holm=1.0,
    d_z=mean / spread if varies else None,
    rank_biserial=float((ranks * np.sign(moved)).sum() / ranks.sum()) if len(moved) else 0.0,
    detectable=detectable(len(differences), spread) if varies else None,
    seeds_needed=seeds_needed(mean, spread),
  )


def t_interval(differences: np.ndarray) -> tuple[float, float] | None:
  """95% interval of the mean of `[S]` paired differences by Student's t; None if S < 2 or all are equal."""
  if len(differences) < 2 or differences.std(ddof=1) <= EQUAL:
    return None
  low, high = stats.ttest_1samp(differences, 0).confidence_interval(1 - ALPHA)
  return float(low), float(high)


def paired_t(differences: np.ndarray) -> float | None:
  """p-value of the two-sided t-test of `[S]` paired differences: 1 if all are 0, None if all are equal but not 0."""
  if differences.std(ddof=1) > EQUAL:
    return float(stats.ttest_1samp(differences, 0).pvalue)
  return 1.0 if np.all(np.abs(differences) < EQUAL) else None


def detectable(seeds: int, spread: float) -> float | None:
  """The smallest true difference that the paired t-test at 5% finds with power 0.8.

  Args:
    seeds: number of matched seeds.
    spread: standard deviation of the differences.
  """
  solved = float(np.squeeze(TTestPower().solve_power(nobs=seeds, power=POWER, alpha=ALPHA)))
  return solved * spread if math.isfinite(solved) else None


def seeds_needed(difference: float, spread: float) -> float | None:
  """The smallest number of seeds at which the two-sided paired t-test at 5% finds a difference with power 0.8.

  Args:
    difference: true mean of the paired differences.
    spread: their true standard deviation; the differences are taken to be normal.

  Returns:
    A whole number from 2 on; infinity above `MOST_SEEDS`, also for no difference; None if a difference does not vary,
    because no t-test applies.
  """
  if abs(difference) < EQUAL:
    return math.inf
  if spread <= EQUAL:
    return None
  effect = abs(difference) / spread
  # The t-test needs at least as many seeds as the z-test with known deviation, and few more.
  fewest = ((stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)) / effect) ** 2
  if fewest > MOST_SEEDS:
    return math.inf
  seeds = max(2, math.floor(fewest))
  while TTestPower().power(effect, seeds, ALPHA) < POWER:
    seeds += 1
  return seeds if seeds <= MOST_SEEDS else math.inf


def smallest_wilcoxon(seeds: int) -> float:
  """The smallest possible p-value of the two-sided signed-rank test: when all differences have the same sign."""
  return 2.0 ** (1 - seeds)


def penalties(accuracies: dict[str, np.ndarray]) -> np.ndarray:
  """The pairwise penalty matrix `[K, K]` of `[S, B]` accuracies at B budgets (Ash et al. 2020, BADGE).

  `[i, j]` is the share of budgets at which strategy i significantly beats strategy j in a two-sided paired t-test at
  5%: rows win, columns lose. A difference that is the same on all seeds is no win, because no t-test applies.
  """
  values = list(accuracies.values())
  budgets = values[0].shape[1]
  out = np.zeros((len(values), len(values)))
  for (i, a), (j, b) in itertools.permutations(enumerate(values), 2):
    for differences in (a - b).T:
      p = paired_t(differences)
      out[i, j] += (p is not None and p < ALPHA and differences.mean() > 0) / budgets
  return out


def column_means(matrix: np.ndarray) -> np.ndarray:
  """Mean of each column without the diagonal: how often the other strategies beat a strategy."""
  return matrix.sum(axis=0) / (len(matrix) - 1)


def average_ranks(areas: dict[str, np.ndarray]) -> dict[str, float]:
  """Mean over seeds of each strategy's rank by area; the largest area has rank 1, and ties share their mean rank."""
  ranks = stats.rankdata(-np.round(list(areas.values()), 12), axis=0)
  return dict(zip(areas, map(float, ranks.mean(axis=1)), strict=True))


def friedman(areas: dict[str, np.ndarray]) -> float:
  """p-value of Friedman's test that K >= 3 strategies have equal ranks over S >= 2 seeds; 1 if all are tied."""
  values = np.round(list(areas.values()), 12)
  if (values == values[0]).all():
    return 1.0
  return float(stats.friedmanchisquare(*values).pvalue)


def nemenyi(areas: dict[str, np.ndarray]) -> pd.DataFrame:
  """p-values `[K, K]` of Nemenyi's test of all pairs, which follows Friedman's test."""
  import scikit_posthocs

  return scikit_posthocs.posthoc_nemenyi_friedman(pd.DataFrame({k: np.round(v, 12) for k, v in areas.items()}))


def critical_difference(strategies: int, seeds: int) -> float:
  """The smallest difference of average ranks that is significant at 5% in Nemenyi's test (Demsar 2006)."""
  quantile = stats.studentized_range.ppf(1 - ALPHA, strategies, math.inf) / math.sqrt(2)
  return float(quantile * math.sqrt(strategies * (strategies + 1) / (6 * seeds)))
