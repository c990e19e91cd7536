"""Intervals of the audit: exact coverage by enumeration, and the numbers of answers that a target needs."""

import hashlib
import math

import numpy as np
import pytest
from scipy import special
from scipy import stats

from experiments.labeling import audit


def hashes(num: int) -> list[str]:
  return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(num)]


def test_positions_are_uniform_and_another_seed_gives_another_permutation():
  first, second = ([audit.position(seed, sha256) for sha256 in hashes(2000)] for seed in (0, 1))
  for positions in (first, second):
    assert min(positions) >= 0 and max(positions) < 1
    assert stats.kstest(positions, "uniform").pvalue > 1e-4
  assert abs(stats.spearmanr(first, second).statistic) < 4 / math.sqrt(2000)


def test_a_position_depends_on_seed_and_content_alone():
  image = hashes(3)[2]
  expected = int(hashlib.sha256(f"7 {image}".encode()).hexdigest()[:16], 16) / 2**64
  assert audit.position(7, image) == pytest.approx(expected, abs=2**-52)


@pytest.mark.parametrize("answers", [1, 2, 5, 17, 40])
def test_fixed_time_covers_every_accuracy_at_a_fixed_number_of_answers(answers):
  counts = np.arange(answers + 1)
  low, high = np.array([audit.fixed_time(int(right), answers) for right in counts]).T
  for p in np.linspace(0.001, 0.999, 333):
    covered = stats.binom.pmf(counts, answers, p)[(low <= p) & (p <= high)].sum()
    assert covered >= 0.95 - 1e-12


def test_fixed_time_is_scipys_exact_interval():
  for right, answers in ((0, 3), (3, 3), (38, 41), (1, 100)):
    expected = stats.binomtest(right, answers).proportion_ci(method="exact")
    assert audit.fixed_time(right, answers) == pytest.approx((expected.low, expected.high), abs=1e-12)


def ever_excluded(interval, p: float, answers: int) -> float:
  """The probability that an interval leaves out `p` at any number of answers up to `answers`, summed over all paths."""
  inside, excluded = np.ones(1), 0.0  # probability of each count of right answers, among paths that never excluded p
  for n in range(1, answers + 1):
    inside = np.append(inside * (1 - p), 0) + np.append(0, inside * p)
    outside = np.array([not low <= p <= high for low, high in (interval(right, n) for right in range(n + 1))])
    excluded += inside[outside].sum()
    inside[outside] = 0
  return excluded


def test_any_time_covers_at_all_numbers_of_answers_at_once():
  table = {(k, n): audit.any_time(k, n) for n in range(1, 201) for k in range(n + 1)}
  for p in (0.02, 0.5, 0.9, 0.95, 0.99):
    assert 0 < ever_excluded(lambda k, n: table[k, n], p, 200) <= 0.05


def test_fixed_time_does_not_cover_if_it_is_read_after_every_answer():
  assert ever_excluded(audit.fixed_time, 0.9, 60) > 0.1


@pytest.mark.parametrize(("right", "answers"), [(1, 3), (38, 41), (400, 500), (99_999, 100_000)])
def test_at_the_ends_of_any_time_the_likelihood_ratio_is_one_over_alpha(right, answers):
  def log_ratio(p):
    mixture = special.betaln(right + 0.5, answers - right + 0.5) - math.log(math.pi)
    return mixture - right * math.log(p) - (answers - right) * math.log1p(-p)

  low, high = audit.any_time(right, answers)
  assert low < right / answers < high
  for end in (low, high):
    assert log_ratio(end) == pytest.approx(math.log(20), abs=1e-3)


def test_any_time_without_answers_and_with_none_or_all_right():
  assert audit.any_time(0, 0) == audit.fixed_time(0, 0) == (0, 1)
  for answers in (1, 9, 300):
    low, high = audit.any_time(answers, answers)
    assert high == 1 and low**-answers * special.beta(answers + 0.5, 0.5) / math.pi == pytest.approx(20)
    assert audit.any_time(0, answers) == pytest.approx((0, 1 - low))


def test_any_time_is_wider_than_fixed_time():
  for answers in (1, 10, 100):
    for right in range(answers + 1):
      (low, high), (lower, upper) = audit.fixed_time(right, answers), audit.any_time(right, answers)
      assert lower <= low + 1e-12 and high <= upper + 1e-12


def test_numbers_of_answers_for_95_percent():
  assert audit.answers_needed(0.95, interval=audit.fixed_time) == 72 == math.ceil(math.log(0.025) / math.log(0.95))
  assert audit.answers_needed(0.95, interval=audit.fixed_time, level=0.9) == 59
  assert audit.answers_needed(0.95) == 116


@pytest.mark.parametrize("share", [1.0, 0.99, 0.93])
def test_fewer_answers_do_not_suffice(share):
  needed = audit.answers_needed(0.9, share)
  reached = [audit.any_time(share * n, n).low >= 0.9 for n in range(1, needed + 50)]
  assert not any(reached[: needed - 1]) and all(reached[needed - 1 :])


def test_no_number_of_answers_suffices_at_a_share_below_the_target_or_beyond_the_cap():
  assert audit.answers_needed(0.95, 0.95) is None
  assert audit.answers_needed(0.95, 0.5) is None
  assert audit.answers_needed(1.0) is None
  assert audit.answers_needed(0.95, most=115) is None
  assert audit.answers_needed(0.95, most=116) == 116


def test_wrong_values_are_refused():
  for interval in (audit.any_time, audit.fixed_time):
    with pytest.raises(ValueError, match="5 right of 4 answers"):
      interval(5, 4)
    with pytest.raises(ValueError, match="confidence level of 95"):
      interval(3, 4, 95)
  with pytest.raises(ValueError, match="target of 95"):
    audit.answers_needed(95)
  with pytest.raises(ValueError, match="share of right answers of -1"):
    audit.answers_needed(0.95, -1)
