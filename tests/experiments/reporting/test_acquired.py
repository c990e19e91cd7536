"""Class balance and overlap, compared with values worked out by hand."""

import math

import numpy as np
import pytest

from experiments.reporting import acquired


def rows(*labels, ids=()):
  return [{"selected_labels": list(labels), "selected": list(ids)}]


def test_shares_and_evenness_by_hand():
  shares = acquired.class_shares({0: rows(0, 0, 1, 2), 1: rows(1, 1, 1, 1)}, 3)
  np.testing.assert_array_equal(shares, [[0.5, 0.25, 0.25], [0, 1, 0]])
  even = acquired.evenness(np.array([[0.5, 0.25, 0.25], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]]))
  np.testing.assert_allclose(even, [1.5 * math.log(2) / math.log(3), 0, 1], atol=1e-12)


def test_overlap_is_a_mean_over_seeds_of_all_rounds_together():
  a = {0: rows(ids=(1, 2)) + rows(ids=(3,)), 1: rows(ids=(7, 8))}
  b = {0: rows(ids=(2, 3, 4)), 1: rows(ids=(9,))}
  matrix = acquired.overlap({"a": a, "b": b}, (0, 1))
  np.testing.assert_array_equal(matrix, [[1, (0.5 + 0) / 2], [0.25, 1]])


def test_jaccard_of_nothing_is_one():
  assert acquired.jaccard(set(), set()) == 1 and acquired.jaccard({1}, set()) == 0
  assert acquired.jaccard({1, 2, 3}, {2, 3, 4}) == pytest.approx(0.5)
