"""Confidence of an ordering, compared with the enumerated bootstrap, with the normal distribution and by hand."""

import itertools

import numpy as np
import pytest
from scipy import stats

from experiments.reporting import figures
from experiments.reporting import ordering
from experiments.reporting import significance


def test_three_seeds_are_resampled_as_the_27_resamples_enumerated():
  """a and b tie in resamples with as many leads as deficits; c is below both on two seeds and far above on one."""
  values = np.array([[0.7, 0.6, 0.50], [0.6, 0.7, 0.55], [0.7, 0.7, 0.95]])
  every = np.array([values[list(seeds)].mean(axis=0) for seeds in itertools.product(range(3), repeat=3)])
  exact = np.array(
    [
      [np.mean([0.5 if abs(m[i] - m[j]) < 1e-9 else float(m[i] > m[j]) for m in every]) for j in range(3)]
      for i in range(3)
    ]
  )
  assert exact[0, 1] == 0.5 and 0 < exact[0, 2] < 1
  means = ordering.resampled_means(values)
  np.testing.assert_allclose(ordering.above(means), exact, atol=0.02)  # four standard errors of 10,000 resamples
  np.testing.assert_allclose(ordering.above(every), exact)
  strictly = np.mean([m[0] > m[1] + 1e-9 and m[1] > m[2] + 1e-9 for m in every])
  assert ordering.in_order(every) == pytest.approx(strictly) and 0 < strictly < 1
  assert ordering.in_order(means) == pytest.approx(strictly, abs=0.02)


@pytest.mark.parametrize("lead", [0.0, 0.1, 0.25])
def test_many_normal_seeds_have_the_confidence_of_the_normal_distribution(lead):
  """A resampled mean of S differences has their mean and their deviation (without S / (S - 1)) over sqrt S."""
  seeds = 100
  differences = np.random.default_rng(1).normal(0, 1, seeds)
  differences += lead - differences.mean()
  other = np.random.default_rng(2).normal(0, 50, seeds)  # shared variation between seeds cancels
  found = ordering.above(ordering.resampled_means(np.transpose([other + differences, other])))
  expected = stats.norm.cdf(np.sqrt(seeds) * lead / differences.std())
  assert found[0, 1] == pytest.approx(expected, abs=0.02) and found[0, 1] + found[1, 0] == pytest.approx(1)


def test_resamples_are_the_same_every_time_and_equal_strategies_have_no_order():
  values = np.random.default_rng(0).random((7, 1)).repeat(3, axis=1) + [0.0, 0.0, 1e-15]
  means = ordering.resampled_means(values)
  np.testing.assert_array_equal(means, ordering.resampled_means(values))
  np.testing.assert_array_equal(ordering.above(means), np.full((3, 3), 0.5))
  assert ordering.in_order(means) == 0


@pytest.mark.parametrize(
  ("share", "text"),
  [(0, "0%"), (0.0001, "under 1%"), (0.006, "1%"), (0.874, "87%"), (0.9949, "99%"), (0.9999, "over 99%"), (1, "100%")],
)
def test_only_what_is_certain_is_0_or_100_percent(share, text):
  assert ordering.percent(share) == text


def test_equal_strategies_need_more_seeds_than_there_are(monkeypatch):
  monkeypatch.setattr(figures, "heat_map", lambda *_, **__: figures.Drawing(b"", b""))
  areas = {name: np.linspace(0.5, 0.6, 20) for name in ("margin", "bald")}
  blocks, drawn = ordering.section(areas, significance.pairs(areas))
  (table,) = (block for block in blocks if hasattr(block, "rows"))
  assert table.rows == [["margin above bald", "0.0000", "50%", "more than 10,000", "20"]] and list(drawn) == [
    "ordering"
  ]
  assert blocks[1].text == "margin > bald (50%)." and "too little" not in blocks[2].text
