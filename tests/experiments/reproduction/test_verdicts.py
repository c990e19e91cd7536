"""Counting conventions and verdicts on synthetic curves."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from experiments.analysis.curves import counted_both_ways
from experiments.papers.base import Curve
from experiments.reproduction import verdicts
from tests.support.reproductions import made_rows


def _strategy(acq, *runs, acq_size=10):
  rows = [row for seed, run in enumerate(runs) for row in made_rows(acq, seed, run, acq_size=acq_size)]
  (found,) = verdicts.completed(rows, len(runs[0]) - 1, acq_size)
  return found


def test_both_counting_conventions_on_a_hand_made_curve():
  strategy = _strategy("bald", [0.5, 0.85, 0.9, 0.95])
  found = verdicts.labels_to_accuracy(strategy, 0.9)
  assert found.ours == [40] and found.median == 40  # the first model at 90% was trained with 40 labels
  assert found.median_less_batch == 30  # the batch acquired last does not count
  assert counted_both_ways(40, 10) == (40, 30) and counted_both_ways(math.inf, 10) == (math.inf, math.inf)


@pytest.mark.parametrize(
  ("run", "inside"),
  [
    ([0.5, 0.91, 0.92, 0.93], False),  # 30: sooner than any published run
    ([0.5, 0.6, 0.90, 0.93], True),  # 40: the lower end is included
    ([0.5, 0.6, 0.7, 0.9], True),  # 50: the upper end is included
    ([0.5, 0.6, 0.7, 0.8], False),  # not by 50, where the slowest published run was
  ],
)
def test_inside_the_published_spread_has_its_ends(run, inside):
  curve = Curve("", {}, {0.9: (40, 45, 50)})
  assert verdicts.labels_to_accuracy(_strategy("bald", run), 0.9, curve).inside is inside


def test_runs_that_end_before_the_published_ones_leave_the_verdict_open():
  curve = Curve("", {}, {0.9: (80, 100, 120)})
  assert verdicts.labels_to_accuracy(_strategy("bald", [0.5, 0.6, 0.7, 0.8]), 0.9, curve).inside is None
  never = Curve("", {}, {0.95: (40, 50, math.inf)})
  assert verdicts.labels_to_accuracy(_strategy("bald", [0.5, 0.6, 0.7, 0.8]), 0.95, never).inside is True
  assert verdicts.labels_to_accuracy(_strategy("bald", [0.5, 0.6, 0.7]), 0.95, never).inside is None
  single = Curve("", {}, {0.9: (202,)}, {0.9: (165, 280)})
  assert single.spread(0.9) == (165, 280) and Curve("", {}, {0.9: (202,)}).spread(0.9) is None


def test_the_median_of_an_even_number_of_runs_is_the_later_one():
  strategy = _strategy("bald", [0.5, 0.95, 0.95, 0.95], [0.5, 0.6, 0.6, 0.6])
  found = verdicts.labels_to_accuracy(strategy, 0.9)
  assert found.ours == [30, math.inf] and found.median == math.inf


def test_accuracy_at_a_budget():
  strategy = _strategy("bald", [0.5, 0.80, 0.9], [0.5, 0.82, 0.9], [0.5, 0.90, 0.9])
  found = verdicts.accuracy_at(strategy, 30, Curve("", {30: (0.81, 0.83, 0.85)}))
  assert found.ours == pytest.approx(0.82) and found.best is None and found.inside and found.near
  other = verdicts.accuracy_at(strategy, 30, Curve("", {30: (0.825, 0.835, 0.85)}))
  assert other == (30, pytest.approx(0.82), None, (0.825, 0.835, 0.85), False, True)
  curve = Curve("", {30: (0.85,), 35: (0.85,)})
  alone = verdicts.accuracy_at(strategy, 30, curve)
  assert not alone.near and alone.inside is None and verdicts.accuracy_at(strategy, 35, curve) is None


def test_a_published_running_best_is_compared_with_ours():
  strategy = _strategy("entropy", [0.80, 0.86, 0.83])
  curve = Curve("", {30: (0.861,), 40: (0.861,)}, running_best=True)
  found = verdicts.accuracy_at(strategy, 40, curve)
  assert (found.ours, found.best, found.near) == (0.83, 0.86, True)
  assert verdicts.accuracy_at(strategy, 40, dataclasses.replace(curve, running_best=False)).near is False


def test_the_mean_over_a_curve_is_of_every_tenth_label_as_far_as_both_sides_go():
  curve = Curve("", {}, means={30: (0.5, 0.6, 0.65), 40: (0.6, 0.7, 0.75), 50: (0.7, 0.8, 0.85)})
  runs = [0.5, 0.0, 0.7, 0.0, 0.9], [0.6, 0.0, 0.7, 0.0, 0.8], [0.4, 0.0, 0.5, 0.0, 0.6]  # 20, 25, 30, 35 and 40 labels
  strategy = _strategy("bald", *runs, acq_size=5)
  found = verdicts.mean_accuracy(strategy, curve)
  assert found.budgets == range(20, 41, 10) and found.published == (0.6, 0.7, 0.75)
  np.testing.assert_allclose(found.ours, [0.5, 0.7, 0.7])
  assert found.middle == pytest.approx(0.7) and found.inside and found.near
  low = verdicts.mean_accuracy(_strategy("bald", runs[2], acq_size=5), curve)
  assert low.middle == pytest.approx(0.5) and not low.inside and not low.near
  alone = verdicts.mean_accuracy(strategy, Curve("", {}, means={30: (0.63,)}))
  assert alone.middle == pytest.approx(0.6) and alone.inside is None and not alone.near
  later = verdicts.mean_accuracy(strategy, Curve("", {}, means={40: (0.8,)}, first=30))
  assert later.budgets == range(30, 41, 10) and later.middle == pytest.approx(0.75)
  assert verdicts.mean_accuracy(strategy, Curve("", {}, means={50: (0.6,)})) is None  # the runs end earlier
  averaged = verdicts.mean_accuracy(strategy, Curve("", {}, means={40: (0.62,)}, step=5, averaged=True))
  assert averaged.budgets == range(20, 41, 5) and averaged.middle == pytest.approx((2.1 + 2.1 + 1.5) / 15)
  # No round with 30 labels.
  assert verdicts.mean_accuracy(_strategy("bald", [0.5, 0.6], acq_size=20), Curve("", {}, means={40: (0.6,)})) is None


def test_a_sign_is_of_areas_on_matched_seeds_up_to_the_same_budget():
  high = _strategy("bald", [0.5, 0.7, 0.9, 0.99], [0.5, 0.6, 0.9, 0.99], [0.6, 0.7, 0.9, 0.99])
  low = _strategy("random", [0.5, 0.6, 0.8], [0.5, 0.55, 0.6])
  found = verdicts.ordering(high, low)
  area = lambda a, b, c: (a / 2 + b + c / 2) / 2
  expected = [area(0.5, 0.7, 0.9) - area(0.5, 0.6, 0.8), area(0.5, 0.6, 0.9) - area(0.5, 0.55, 0.6)]
  np.testing.assert_allclose(found.differences, expected)
  half = stats.t.ppf(0.975, 1) * np.std(expected, ddof=1) / math.sqrt(2)
  np.testing.assert_allclose(found.interval, [np.mean(expected) - half, np.mean(expected) + half])
  assert found.holds and found.significant == (np.mean(expected) > half)
  other = verdicts.ordering(low, high)
  assert not other.holds and not other.significant
  np.testing.assert_allclose(other.differences, [-d for d in found.differences])


def test_runs_that_did_not_end_do_not_count():
  rows = made_rows("bald", 0, [0.5, 0.6]) + made_rows("bald", 1, [0.5, 0.6, 0.7]) + made_rows("random", 0, [0.5])
  rows += [*made_rows("margin", 0, [0.5, 0.6]), {"acq": "margin", "seed": 0, "round": 2, "error": "not finite"}]
  (found,) = verdicts.completed(rows, 2, 10)
  assert found.name == "bald" and [run.seed for run in found.runs] == [1]
