"""Advice on stopping: each case, with its rule and its numbers."""

import math

import pytest

from experiments.labeling.advice import advice
from experiments.labeling.stopping import Forecast

MOVING, SETTLED = [0.9, 0.95, 0.97], [0.97, 0.992, 0.995, 0.99]
RANGE = Forecast(low=38.0, median=120.0, high=1234.0)


def of(right: int, answers: int, kappas=MOVING, forecast=RANGE, target=0.95, reservoir=1000, audit_share=0.1):
  found = advice(
    target=target,
    right=right,
    answers=answers,
    reservoir=reservoir,
    audit_share=audit_share,
    kappas=kappas,
    forecast=forecast,
  )
  return found.stop, found.title, " ".join(found.lines)


def test_before_the_first_model():
  stop, title, text = of(0, 0, kappas=[], forecast=Forecast(reason="There is no model yet."))
  assert (stop, title) == (False, "Go on")
  assert "no model is measured" in text
  assert "116 audit answers" in text and "72 if it is read only once" in text and "59 for a one-sided bound" in text
  assert "4 models are compared" in text
  assert "There is no model yet." in text


def test_the_target_is_reached_when_the_lower_end_reaches_it():
  stop, title, text = of(116, 116)
  assert stop and "target is reached" in title
  assert "116 of 116" in text and "Robbins 1970" in text and "95% to 100%" in text
  assert "Learning curve" not in text


def test_answers_all_right_are_no_proof_before_there_are_enough():
  stop, _, text = of(115, 115)
  assert not stop
  assert "1 more, which come with about 9 other answers" in text


def test_answers_needed_at_the_present_share():
  stop, _, text = of(97, 100)
  assert not stop
  assert "needs 1,402 of them" in text and "this folder has 1,000 audit images" in text
  _, _, text = of(97, 100, reservoir=2000, audit_share=0.5)
  assert "1,302 more, which come with about 1,302 other answers" in text


def test_a_share_below_the_target():
  stop, title, text = of(36, 40)
  assert (stop, title) == (False, "Go on")
  assert "90%, the interval would not reach the target with 100,000" in text
  assert "38 to 1,200 labels more until 95%" in text


def test_stabilized_predictions_below_the_target_stop():
  stop, title, text = of(80, 120, kappas=SETTLED)
  assert stop and title == "Stop: more labels change little"
  assert "Bloodgood and Vijay-Shanker 2009" in text and "mean kappa of 0.992, at least 0.99" in text
  assert "better features or another model" in text
  assert "Learning curve" not in text


def test_stabilized_predictions_do_not_stop_while_the_interval_contains_the_target():
  stop, title, text = of(39, 40, kappas=SETTLED)
  assert not stop and "audit is not done" in title
  assert "it contains the target" in text


def test_a_kappa_just_below_the_threshold_is_not_rounded_up_to_it():
  _, _, text = of(39, 40, kappas=[0.9898, 0.9898, 0.9898])
  assert "still change" in text and "0.989, less than 0.99" in text


@pytest.mark.parametrize(
  ("forecast", "expected"),
  [
    (Forecast(low=0.0, median=0.0, high=7.4), "0 to 7 labels more"),
    (Forecast(low=104.0, median=500.0, high=math.inf), "at least 100 labels more"),
    (Forecast(low=math.inf, median=math.inf, high=math.inf), "more labels than there are images left"),
    (Forecast(reason="A sentence."), "no forecast. A sentence."),
  ],
)
def test_forecasts(forecast, expected):
  assert expected in of(36, 40, forecast=forecast)[2]


def test_a_target_of_one_can_never_be_shown():
  assert "No number of audit answers shows 100%" in of(40, 40, target=1.0)[2]
