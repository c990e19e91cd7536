"""The accuracy, the curve, the advice and the agreement that the page shows."""

import copy

import numpy as np
import pytest

from experiments.labeling import audit
from experiments.labeling.learner import Trained
from experiments.labeling.report import Answered
from experiments.labeling.report import answered
from experiments.labeling.report import report
from tests.support import folders

TRUTH = np.arange(50) % 3


def of(**others) -> Answered:
  """Audit answers to images 0 to 9, all of them true."""
  pairs = [(i, int(TRUTH[i])) for i in range(10)]
  return Answered(pairs, 2, 1, 12, 30, list(range(40, 50)), None)._replace(**others)


def trained(labels: int, wrong: int) -> Trained:
  """A model that is wrong on the first audit images."""
  guesses = TRUTH.copy()
  guesses[:wrong] = (guesses[:wrong] + 1) % 3
  return Trained(labels, guesses.astype(np.int32))


def test_the_accuracy_is_that_of_the_last_model_on_audit_images():
  found = report(of(), [trained(20, 5), trained(30, 2)], 0.9, 0.1)
  interval = audit.any_time(8, 10)
  assert found["accuracy"]["estimate"] == 0.8
  assert (found["accuracy"]["low"], found["accuracy"]["high"]) == tuple(interval)
  assert [found["accuracy"][key] for key in ("answers", "skipped", "unusable")] == [10, 2, 1]
  assert [(point["labels"], point["accuracy"]) for point in found["curve"]] == [(20, 0.5), (30, 0.8)]
  assert found["target"] == 0.9
  assert not found["advice"]["stop"]
  assert found["agreement"] is None


@pytest.mark.parametrize("models", [0, 1])
def test_without_audit_answers_or_models_there_is_no_accuracy(models):
  answers = of() if not models else of(audit=[])
  found = report(answers, [trained(20, 5)] * models, 0.9, 0.1)
  assert found["accuracy"] is None
  assert found["curve"] == []
  assert found["advice"]["lines"]


def test_predictions_stabilize_by_the_last_models_alone():
  same = [trained(10 + 5 * i, 9 - i) for i in range(9)]
  lines = report(of(), same, 0.9, 0.1)["advice"]["lines"]
  assert any("have stabilized" in line for line in lines)  # the stop set's guesses do not change
  other = np.roll(TRUTH, 1).astype(np.int32)
  lines = report(of(), [*same, Trained(100, other)], 0.9, 0.1)["advice"]["lines"]
  assert any("still change" in line for line in lines)


def test_agreement_of_annotators():
  doubly = [("cat", "cat")] * 5 + [("dog", "dog")] * 4 + [("cat", "dog")]
  agreement = report(of(doubly=doubly), [], 0.9, 0.1)["agreement"]
  # Expected by chance: 0.6 x 0.5 + 0.4 x 0.5.
  assert agreement == {"images": 10, "equal": 9, "kappa": pytest.approx((0.9 - 0.5) / 0.5)}
  assert report(of(doubly=[]), [], 0.9, 0.1)["agreement"] is None


def test_what_is_gathered_from_a_session(tmp_path):
  session = folders.opened(folders.of_digits(tmp_path / "photos", 20), audit=0.3)
  session.join("a", "anna")
  session.join("b", "ben")
  labeled = session.labeled
  first, second, third, *_ = labeled.reservoir
  others = [i for i in range(20) if i not in labeled.in_reservoir]
  for i, (page, number, action, label) in enumerate(
    [
      ("a", first, "label", "dog"),
      ("a", second, "skip", None),
      ("a", third, "unusable", None),
      ("a", others[0], "label", "cat"),
      ("b", others[0], "label", "dog"),
      ("b", others[1], "label", "dog"),
    ]
  ):
    session.answer(page, f"r{i}", number, action, label, 1.0)
  gathered = answered(labeled)
  assert gathered == Answered([(first, 1)], 1, 1, 6, 15, labeled.permutation, [("cat", "dog")])
  before = copy.deepcopy(gathered)
  session.answer("b", "later", others[2], "label", "cat", 1.0)
  assert gathered == before  # a thread may read it while answers come in
