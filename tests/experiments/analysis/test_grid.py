"""Grids of hyper-parameters: parsing, refusals, and products."""

import re

import pytest

from experiments.analysis import grid
from experiments.common.errors import UsageError


@pytest.mark.parametrize(
  ("text", "sentence"),
  [
    (
      "lr=1",
      "'lr=1' is not NAME=VALUE,VALUE with NAME one of learning_rate, weight_decay, dropout_rate, label_noise,",
    ),
    ("learning_rate", "'learning_rate' is not NAME="),
    ("learning_rate=1e-3,fast", "learning_rate must be a number above 0, not 'fast'"),
    ("learning_rate=", "learning_rate must be a number above 0, not ''"),
    ("learning_rate=nan", "learning_rate must be a number above 0, not 'nan'"),
    ("dropout_rate=1", "dropout_rate must be a number in [0, 1), not '1'"),
    ("label_noise=1", "label_noise must be a number in [0, 1), not '1'"),
    ("weight_decay=-1", "weight_decay must be a number 0 or more, not '-1'"),
    ("coldness=1,1.0", "a value of coldness twice"),
    ("coldness=1;coldness=2", "names coldness twice"),
  ],
)
def test_grids_that_cannot_be_read(text, sentence):
  with pytest.raises(UsageError, match=re.escape(sentence)):
    grid.parse(text)


def test_grids_are_products():
  parsed = grid.parse("learning_rate=1e-3,3e-4; dropout_rate=0.25")
  assert parsed == (("learning_rate", (1e-3, 3e-4)), ("dropout_rate", (0.25,)))
  points = grid.points(parsed)
  assert points == [{"learning_rate": 1e-3, "dropout_rate": 0.25}, {"learning_rate": 3e-4, "dropout_rate": 0.25}]
  assert grid.points(grid.parse(None)) == [{}] and grid.spell(points[1]) == "learning_rate=0.0003, dropout_rate=0.25"
