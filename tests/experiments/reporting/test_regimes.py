"""Gains over random by range of labels, on curves whose areas are known."""

import numpy as np
import pytest

from experiments.analysis import curves
from experiments.common.errors import UsageError
from experiments.reporting import regimes
from experiments.reporting.study import Chosen
from tests.support import studies as made


def chosen(strategies: dict[str, list[list[float]]]) -> Chosen:
  """Runs with the given accuracies by strategy, seed and round."""
  seeds = range(len(next(iter(strategies.values()))))
  runs = {name: {seed: made.run(name, seed, of[seed]) for seed in seeds} for name, of in strategies.items()}
  return Chosen(runs, tuple(seeds), ())


def test_a_gain_is_the_difference_of_areas():
  study = chosen({"margin": [[0.5, 0.7, 0.9], [0.5, 0.8, 0.8]], "random": [[0.5, 0.6, 0.8], [0.5, 0.5, 0.6]]})
  (found,) = regimes.gains(study, [10, 20, 30]).values()
  np.testing.assert_allclose(found.mean, [(5 + 15) / 2, (10 + 25) / 2])
  low, high = found.interval
  assert (low < found.mean).all() and (found.mean < high).all() and low[0] >= 5 - 1e-9 and high[1] <= 25 + 1e-9


def test_bounds_between_rounds_are_interpolated_and_ranges_add_up():
  rng = np.random.default_rng(0)
  labels, accuracies = np.cumsum(rng.integers(1, 20, 12)), rng.random((3, 12))
  low, middle, high = int(labels[0]) + 1, int(labels[4]) + 1, int(labels[-1]) - 1
  fine = np.linspace(low, high, 100_001)
  expected = [np.interp(fine, labels, curve).mean() for curve in accuracies]
  found = curves.area_between(low, high, labels, accuracies)
  np.testing.assert_allclose(found, expected, atol=1e-4)
  parts = [(b - a) * curves.area_between(a, b, labels, accuracies) for a, b in ((low, middle), (middle, high))]
  np.testing.assert_allclose(sum(parts), (high - low) * found)
  whole = curves.area_between(int(labels[0]), int(labels[-1]), labels, accuracies)
  np.testing.assert_allclose(whole, curves.area_under_curve(labels, accuracies))


@pytest.mark.parametrize(("rounds", "bounds"), [(1, [10, 20]), (2, [10, 20, 30]), (19, [10, 30, 70, 200])])
def test_default_bounds_are_rounds_of_about_equal_ratio(rounds, bounds):
  labels = 10 * np.arange(1, rounds + 2)
  assert regimes.default_bounds(labels, labels[0], labels[-1]) == bounds


def test_default_bounds_lie_within_the_labels_of_every_study():
  labels = 10 * np.arange(1, 21)
  assert regimes.default_bounds(labels, 25, 95) == [30, 40, 60, 90]
  assert regimes.default_bounds(labels, 25, 35) == [30] and regimes.default_bounds(labels, 300, 200) == []
  long = chosen({"random": [[0.5, 0.6, 0.7]], "margin": [[0.5, 0.7, 0.8]]})
  short = chosen({"random": [[0.4, 0.5]], "margin": [[0.4, 0.5]]})
  assert regimes.section(long, None, {"b": short}, "a")[0][1].header[1:] == ["10 to 20 labels"]
  for run in (run for of in short.runs.values() for run in of.values()):
    for row in run:
      row["num_labeled"] += 20
  assert "two budgets of a within the labels" in regimes.section(long, None, {"b": short}, "a")[0][0].text


def test_the_figure_has_a_panel_per_range_and_a_row_per_strategy():
  first = chosen({"random": [[0.5, 0.6, 0.7]], "margin": [[0.5, 0.7, 0.8]]})
  second = chosen({"random": [[0.4, 0.5, 0.6]], "badge": [[0.4, 0.5, 0.7]]})
  blocks, drawn = regimes.section(first, None, {"second": second}, "first")
  svg = drawn["above_random"].svg.decode()
  assert all(svg.count(f"<!-- {text} -->") == 1 for text in ("margin", "badge", "first", "second", "20 to 30 labels"))
  assert [block.rows for block in blocks[1:]] == [[["margin", "+5.00", "+10.00"]], [["badge", "+0.00", "+5.00"]]]


def test_what_cannot_be_drawn_is_said():
  alone = chosen({"margin": [[0.5, 0.6]]})
  assert "need random and another strategy" in regimes.section(alone, None, {}, "a")[0][0].text
  start = chosen({"margin": [[0.5]], "random": [[0.5]]})
  assert "at least one round" in regimes.section(start, None, {}, "a")[0][0].text
  study = chosen({"margin": [[0.5, 0.6]], "random": [[0.5, 0.6]]})
  assert "a seed that every strategy" in regimes.section(study._replace(seeds=()), None, {}, "a")[0][0].text
  with pytest.raises(UsageError, match="within 10 to 20, the labels of a"):
    regimes.section(study, [10, 30], {}, "a")
  with pytest.raises(UsageError, match="a has nothing to draw for"):
    regimes.section(alone, [10, 20], {}, "a")
  with pytest.raises(UsageError, match="b has nothing to draw"):
    regimes.section(study, None, {"b": alone}, "a")
