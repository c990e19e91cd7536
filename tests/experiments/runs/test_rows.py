"""Rows of results.jsonl: non-finite values differ from missing ones, and end a run."""

import json

import numpy as np
import pytest

from al_jax import types
from experiments.runs.rows import rows_of

LABELS = np.arange(20, dtype=np.int32) % 10


def infos(scores=(0.5, 0.25), bad=(-1, -1), nll=(2.0, 1.0)) -> types.RoundInfo:
  """The diagnostics of a run of two rounds that acquires images 7 and 3 with these scores."""
  by_class = np.float32([[0.5, 1.0, np.nan] + [0.5] * 7] * 2)  # the test set has no image of class 2
  measured = [[0.5, 0.6], nll, [0.1, 0.2], [np.nan] * 2]
  metrics = types.Metrics(*map(np.float32, measured), by_class)
  fit = types.FitInfo(np.float32([2.5, 1.5]), np.int32([9, 9]), np.int32(bad))
  selected = np.int32([[7, 3], [-1, -1]])
  return types.RoundInfo(np.int32([10, 12]), metrics, fit, selected, np.float32([scores, (np.nan, np.nan)]))


def rows(made: types.RoundInfo, *, scored=True) -> list[dict]:
  """The rows of a run; checks that they can be written as JSON."""
  found = list(rows_of("name", 3, made, LABELS, [4, 5], 0.5, {}, scored))
  json.dumps(found, allow_nan=False)
  return found


def test_a_round_becomes_a_row():
  first, last = rows(infos())
  assert (first["acq"], first["seed"], first["round"], first["num_labeled"]) == ("name", 3, 0, 10)
  assert first["selected"] == [7, 3] and first["selected_labels"] == [7, 3] and first["selected_scores"] == [0.5, 0.25]
  assert first["initial"] == [4, 5] and first["val_accuracy"] is None and first["train_steps"] == 9
  assert last["selected"] == last["selected_labels"] == [] and "initial" not in last
  assert first["acquired_per_class"] == [0, 0, 0, 1, 0, 0, 0, 1, 0, 0] and not any(last["acquired_per_class"])
  assert first["test_class_accuracy"] == [0.5, 1.0, None] + [0.5] * 7
  assert first["test_balanced_accuracy"] == pytest.approx((1.0 + 8 * 0.5) / 9)
  assert last["test_accuracy"] == pytest.approx(0.6) and last["seconds_total"] == 0.5


def test_scores_that_are_not_finite_are_told_from_none():
  first, last = rows(infos(scores=(np.inf, np.nan)))
  assert first["selected_scores"] == [None, None] and last["selected_scores"] is None
  assert rows(infos(), scored=False)[0]["selected_scores"] is None


@pytest.mark.parametrize(
  ("changes", "error"),
  [
    ({"bad": (4, -1)}, "the loss was not finite at step 4 of 9"),
    ({"bad": (9, -1)}, "the model was not finite after step 9"),
    ({"nll": (np.nan, 1.0)}, "the model was not finite after step 9"),
  ],
)
def test_what_is_not_finite_ends_the_run_with_its_round_and_step(changes, error):
  assert rows(infos(**changes)) == [{"acq": "name", "seed": 3, "round": 0, "error": error}]
