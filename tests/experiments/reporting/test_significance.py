"""Significance tests, compared with values worked out by hand and with direct calls of scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from experiments.reporting import significance

AREAS = {
  "a": np.array([0.70, 0.74, 0.73, 0.78, 0.71, 0.77]),
  "b": np.array([0.69, 0.75, 0.70, 0.72, 0.69, 0.70]),
  "c": np.array([0.60, 0.66, 0.63, 0.61, 0.67, 0.62]),
}


def test_pairs_by_hand():
  """Differences 1, 2, 3: mean 2, deviation 1, t = 2 sqrt 3 with two degrees of freedom, p = 1 - t / sqrt(t^2 + 2)."""
  (pair,) = significance.pairs({"low": np.array([5.0, 5, 5]), "high": np.array([6.0, 7, 8])})
  assert (pair.first, pair.second, pair.difference) == ("high", "low", 2)
  assert pair.t == pair.t_holm == pytest.approx(1 - math.sqrt(12 / 14))
  assert pair.interval == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), abs=1e-5)
  assert pair.d_z == pytest.approx(2)
  assert pair.wilcoxon == pytest.approx(2 / 8) == significance.smallest_wilcoxon(3)  # one of 8 signs, both sides
  assert pair.rank_biserial == 1


def test_a_negative_difference_of_smallest_rank_by_hand():
  """Rank 1 is negative, ranks 2 to 5 are positive: two of 32 sign patterns are as extreme on each side."""
  (pair,) = significance.pairs({"high": np.array([-1.0, 2, 3, 4, 5]), "low": np.zeros(5)})
  assert pair.wilcoxon == pytest.approx(4 / 32) and pair.rank_biserial == pytest.approx(13 / 15)


def test_pairs_are_scipy_s_and_holm_s():
  pairs = significance.pairs(AREAS)
  assert [(p.first, p.second) for p in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
  for test, attribute in ((stats.ttest_rel, "t"), (stats.wilcoxon, "wilcoxon")):
    p_values = [test(AREAS[p.first], AREAS[p.second]).pvalue for p in pairs]
    np.testing.assert_allclose([getattr(p, attribute) for p in pairs], p_values)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(np.array(p_values)[order] * [3, 2, 1]).clip(max=1)
    np.testing.assert_allclose([getattr(pairs[i], f"{attribute}_holm") for i in order], stepped)


def test_equal_strategies_do_not_differ_and_a_constant_lead_has_no_t_test():
  a = np.array([0.5, 0.6, 0.7])
  same, lead, _ = significance.pairs({"a": a + 0.1, "b": a + 0.1, "c": a})
  assert (same.difference, same.t, same.wilcoxon, same.rank_biserial, same.d_z) == (0, 1, 1, 0, None)
  assert lead.t is lead.t_holm is lead.interval is lead.d_z is lead.detectable is None
  assert lead.difference == pytest.approx(0.1) and lead.wilcoxon == 0.25 and lead.rank_biserial == 1


@pytest.mark.parametrize("seeds", [2, 3, 5, 20, 50])
def test_the_detectable_difference_is_found_with_power_four_fifths(seeds):
  """The power is computed with the noncentral t distribution."""
  effect = significance.detectable(seeds, 0.02) / 0.02
  critical = stats.t.ppf(0.975, seeds - 1)
  shifted = stats.nct(seeds - 1, effect * math.sqrt(seeds))
  assert shifted.sf(critical) + shifted.cdf(-critical) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_needed_seeds_are_those_of_power_tables(effect, seeds):
  """Two-sided paired t-test at 5% with power 0.8: the numbers that G*Power gives for a standardized difference."""
  assert significance.seeds_needed(0.01 * effect, 0.01) == significance.seeds_needed(-effect, 1.0) == seeds


@pytest.mark.parametrize("effect", [0.05, 0.4, 1.3, 3.0])
def test_one_seed_fewer_has_too_little_power(effect):
  """The power is computed with the noncentral t distribution."""
  seeds = significance.seeds_needed(effect, 1.0)

  def power(n):
    critical, shifted = stats.t.ppf(0.975, n - 1), stats.nct(n - 1, effect * math.sqrt(n))
    return shifted.sf(critical) + shifted.cdf(-critical)

  assert power(seeds - 1) < 0.8 <= power(seeds)


def test_studies_of_the_needed_size_find_the_difference_in_four_fifths():
  effect, studies = 0.7, 20_000
  seeds = significance.seeds_needed(effect, 1.0)
  drawn = np.random.default_rng(0).normal(effect, 1.0, (studies, seeds))
  found = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
  assert 0.8 - 0.01 < found < 0.84  # the standard error is 0.003; one seed more adds 0.02


def test_needed_seeds_without_a_number():
  assert significance.seeds_needed(0.0, 0.01) == significance.seeds_needed(0.0, 0.0) == math.inf
  assert significance.seeds_needed(0.1, 0.0) is None
  assert significance.seeds_needed(56.0, 1.0) == 2
  # (1.95996 + 0.84162)^2 / d^2 + 1.92 seeds are 10,000 at d = 0.028018.
  assert significance.seeds_needed(0.02801, 1.0) == math.inf > 10_000 >= significance.seeds_needed(0.02803, 1.0) > 9_980


def test_penalties_by_hand_and_who_wins():
  """At the first budget p = 0.074; at the second t^2 = 363, p = 0.003 and a wins; at the third b wins likewise."""
  b = np.full((3, 3), 0.5)
  a = b + np.array([[0.1, 0.10, -0.10], [0.2, 0.11, -0.11], [0.3, 0.12, -0.12]])
  matrix = significance.penalties({"a": a, "b": b, "level": b.copy()})
  third = 1 / 3
  np.testing.assert_allclose(matrix, [[0, third, third], [third, 0, 0], [third, 0, 0]])
  np.testing.assert_allclose(significance.column_means(matrix), [third, third / 2, third / 2])
  one_sided = significance.penalties({"a": a[:, :2], "b": b[:, :2]})
  np.testing.assert_allclose(one_sided, [[0, 0.5], [0, 0]])  # rows win


def test_ranks_by_hand():
  areas = {"a": np.array([0.9, 0.8, 0.7]), "b": np.array([0.8, 0.9, 0.6]), "c": np.array([0.7, 0.7, 0.7])}
  assert significance.average_ranks(areas) == {"a": 1.5, "b": 2.0, "c": 2.5}


def test_friedman_by_hand_and_nemenyi_after_it():
  """Four seeds with the same order: rank sums 4, 8, 12, chi2 = 12 / 48 * 224 - 48 = 8 with two degrees of freedom."""
  areas = {name: np.array([0.1, 0.2, 0.3, 0.4]) + shift for name, shift in (("a", 0.2), ("b", 0.1), ("c", 0.0))}
  assert significance.friedman(areas) == pytest.approx(math.exp(-4))
  assert significance.critical_difference(3, 4) == pytest.approx(
    2.343 * math.sqrt(12 / 24), abs=1e-3
  )  # Demsar, table 5
  p_values = significance.nemenyi(areas)
  # A difference of two ranks exceeds the critical difference, a difference of one rank does not.
  assert p_values.loc["a", "c"] < 0.05 < p_values.loc["a", "b"]


def test_all_tied_is_no_difference():
  assert significance.friedman({name: np.array([0.5, 0.6]) for name in "abc"}) == 1
