"""Which differences between strategies are more than the luck of the seeds.

Everything is paired: seed by seed the strategies share the initial set and the initial weights. Functions take values
by strategy, whose first axis is the matched seeds; what cannot be computed is None, never NaN.
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
_EQUAL = 1e-12  # differences closer than this are one number, rounded


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


def pairs(areas: dict[str, np.ndarray]) -> list[Pair]:
  """Every pair of strategies, `[S]` areas each with S >= 2; Holm's correction is over all of them."""
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
  differences = np.where(np.abs(differences) < _EQUAL, 0, differences)
  varies = spread > _EQUAL
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
  )


def t_interval(differences: np.ndarray) -> tuple[float, float] | None:
  """95% interval, by Student's t, of the mean of `[S]` paired differences; None where it has no spread to go by."""
  if len(differences) < 2 or differences.std(ddof=1) <= _EQUAL:
    return None
  low, high = stats.ttest_1samp(differences, 0).confidence_interval(1 - ALPHA)
  return float(low), float(high)


def paired_t(differences: np.ndarray) -> float | None:
  """p-value of the two-sided t-test of `[S]` paired differences: 1 if all are 0, None if all are another number."""
  if differences.std(ddof=1) > _EQUAL:
    return float(stats.ttest_1samp(differences, 0).pvalue)
  return 1.0 if np.all(np.abs(differences) < _EQUAL) else None


def detectable(seeds: int, spread: float) -> float | None:
  """The smallest true difference that the paired t-test at 5% finds with power 0.8; `spread` is the differences'."""
  solved = float(np.squeeze(TTestPower().solve_power(nobs=seeds, power=0.8, alpha=ALPHA)))
  return solved * spread if math.isfinite(solved) else None


def smallest_wilcoxon(seeds: int) -> float:
  """The smallest p-value of the two-sided signed-rank test: all differences of one sign."""
  return 2.0 ** (1 - seeds)


def penalties(accuracies: dict[str, np.ndarray]) -> np.ndarray:
  """The pairwise penalty matrix `[K, K]` of `[S, B]` accuracies at B budgets (Ash et al. 2020, BADGE).

  At each budget at which the two-sided paired t-test at 5% says that strategy i beats j, `[i, j]` grows by 1 / B: rows
  win, columns lose. Differences that are the same on all seeds count for nobody, as no t-test can judge them.
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
  """Mean of each column over the other strategies, the diagonal left out: how often a strategy was beaten."""
  return matrix.sum(axis=0) / (len(matrix) - 1)


def average_ranks(areas: dict[str, np.ndarray]) -> dict[str, float]:
  """Mean over seeds of each strategy's rank by area: 1 is the largest, ties share their mean rank."""
  ranks = stats.rankdata(-np.round(list(areas.values()), 12), axis=0)
  return dict(zip(areas, map(float, ranks.mean(axis=1)), strict=True))


def friedman(areas: dict[str, np.ndarray]) -> float:
  """p-value of Friedman's test that K >= 3 strategies rank alike over S >= 2 seeds; 1 where all are tied."""
  values = np.round(list(areas.values()), 12)
  if (values == values[0]).all():
    return 1.0
  return float(stats.friedmanchisquare(*values).pvalue)


def nemenyi(areas: dict[str, np.ndarray]) -> pd.DataFrame:
  """p-values `[K, K]` of Nemenyi's test of all pairs after Friedman's."""
  import scikit_posthocs

  return scikit_posthocs.posthoc_nemenyi_friedman(pd.DataFrame({k: np.round(v, 12) for k, v in areas.items()}))


def critical_difference(strategies: int, seeds: int) -> float:
  """Average ranks further apart than this differ at 5% by Nemenyi's test (Demsar 2006)."""
  quantile = stats.studentized_range.ppf(1 - ALPHA, strategies, math.inf) / math.sqrt(2)
  return float(quantile * math.sqrt(strategies * (strategies + 1) / (6 * seeds)))
