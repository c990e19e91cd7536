"""Published numbers: plausible values of existing strategies, equal to the authors' curves if these are available."""

import hashlib
import json

import numpy as np
import pytest

from experiments.analysis.curves import labels_to_reach
from experiments.config import acquisitions
from experiments.papers.registry import PUBLISHED
from experiments.papers.registry import curve_of
from tests.support.programs import ROOT

_CURVES = ROOT.parent / "shared" / "reference" / "published_curves.json"
_FINGERPRINT = "1bd8f31d182f98dc476b14afc6076113ef85cd00349ca10942412ac8f36684c3"
_STOCHASTIC = "stochacq_fig1_repeated_mnist|{}|b={}|reps={}|K=100|noise=True|init=20"
# By strategy: the score, the sampling and its coldness, and the labels acquired per round.
_DRAWS = {
  "random": ("Random|None|coldness=1.0", 10),
  "bald": ("BALD|None|coldness=1.0", 10),
  "entropy": ("Entropy|TopK|coldness=1.0", 10),
  "margin": ("Margin|TopK|coldness=1.0", 10),
  "power_bald": ("StochasticBALD|Power|coldness=8.0", 10),
  "softmax_bald": ("StochasticBALD|Softmax|coldness=8.0", 10),
  "batchbald": ("BatchBALD|None|coldness=1.0", 5),
  "softrank_bald": ("BALD|Softrank|coldness=1.0", 5),
}
_LOGS = {
  ("batchbald", "batchbald"): "mnist_multibald_bald_k100_b10",
  ("batchbald", "batchbald, 5 a round"): "mnist_multibald_bald_k100_b5",
  ("batchbald", "bald"): "mnist_independent_bald_k100_b10",
  ("repeated_batchbald", "batchbald"): "rmnist_w_noise_multibald_bald_k10_b10",
  ("repeated_batchbald", "bald"): "rmnist_w_noise_independent_bald_k10_b10",
  ("repeated_batchbald", "random"): "rmnist_w_noise_independent_random_k10_b5",
}
_ARRAYS = {
  "bald": "Dropout_Bald",
  "variation_ratio": "Dropout_VarRatio",
  "entropy": "Dropout_Max_Entropy",
  "mean_std": "Dropout_Segnet",
  "random": "Random",
}


# The presets of which the authors' curves are at hand.
_CHECKED = ("batchbald", "gal2017", "gal2017_table1", "repeated_batchbald", "repeated_mnist", "stochastic_mnist")


@pytest.mark.parametrize("preset", PUBLISHED)
def test_accuracies_and_labels_are_in_range_and_quartiles_in_order(preset):
  for name, curve in PUBLISHED[preset].curves.items():
    acquisitions.of(name.partition(",")[0])  # raises for an unknown name
    for labels, numbers in curve.accuracy.items():
      assert labels >= 20 and len(numbers) in (1, 3) and list(numbers) == sorted(numbers)
      assert 0.5 < numbers[0] <= numbers[-1] < 1
    for accuracy, labels in curve.reached.items():
      assert 0.5 < accuracy < 1 and list(labels) == sorted(labels) and labels[0] > 20
    for last, numbers in curve.means.items():
      assert last in curve.budgets(last) and len(numbers) in (1, 3) and list(numbers) == sorted(numbers)
      if not curve.accuracy:
        assert 0.5 < numbers[0] <= numbers[-1] < 1
        continue
      # Curves rise on the whole; those that start from 100 labels drop first.
      low = curve.accuracy[20] if curve.first == 20 else min(curve.accuracy.values())
      assert low[0] < numbers[0] and numbers[-1] < curve.accuracy.get(last, (1.0,))[-1]


def test_a_strategy_is_found_by_its_acquisition_and_wrapper():
  theirs = PUBLISHED["repeated_mnist"].curves
  assert curve_of("repeated_mnist", "power_bald(coldness=8)") is theirs["power_bald"]
  assert curve_of("repeated_mnist", "margin(posterior=dropout)") is theirs["margin"]
  assert curve_of("repeated_mnist", "bald [coldness=8]") is None  # a point of a grid has no published curve
  assert curve_of("repeated_mnist", "badge") is None and curve_of(None, "bald") is None


def _spaced(acq_size, accuracies, first=20):
  return {first + acq_size * place: accuracy for place, accuracy in enumerate(accuracies)}


def _runs():
  """Each run's accuracies by labels, keyed by preset and strategy."""
  raw = json.loads(_CURVES.read_text())
  logs, redux, arrays = raw["BatchBALD_2019"], raw["active_learning_redux"], raw["Gal_2017_author_arrays"]
  runs = {
    key: [dict(zip(run["x"], run["acc"], strict=True)) for run in logs[name]["runs"]] for key, name in _LOGS.items()
  }
  random = redux["mnist_baseline|random||coldness=None|b=5|reps=1|K=20|noise=False|init=20"]
  runs["batchbald", "random"] = [_spaced(5, run["acc"]) for run in random]
  for preset, copies in (("repeated_mnist", 4), ("stochastic_mnist", 1)):
    for strategy in PUBLISHED[preset].curves:
      draw, acq_size = _DRAWS[strategy]
      found = redux[_STOCHASTIC.format(draw, acq_size, copies)]
      runs[preset, strategy] = [_spaced(acq_size, run["acc"]) for run in found]
  for strategy, name in _ARRAYS.items():
    runs["gal2017", strategy] = [_spaced(10, arrays[f"Main_Acquisition_Functions_Comparison__{name}"]["acc"])]
    runs["gal2017_table1", strategy] = [_spaced(5, arrays[f"Lower_Query_Rate_Q5__{name}"]["acc"], first=100)]
  return runs


def test_published_figures_are_those_that_were_held_against_the_authors_curves():
  """Compares a fingerprint, which was taken when the test below passed; that test needs the authors' curves."""
  figures = {
    preset: {
      name: [curve.accuracy, curve.reached, curve.ranges, curve.means, curve.first]
      for name, curve in sorted(PUBLISHED[preset].curves.items())
    }
    for preset in _CHECKED
  }
  text = json.dumps(figures, default=dict, sort_keys=True)
  assert hashlib.sha256(text.encode()).hexdigest() == _FINGERPRINT


if _CURVES.exists():

  def test_published_figures_are_those_of_the_authors_curves():
    runs = _runs()
    curves = {(preset, name): curve for preset in _CHECKED for name, curve in PUBLISHED[preset].curves.items()}
    assert curves.keys() == runs.keys()
    for key, own in runs.items():
      curve = curves[key]
      for labels, values in curve.accuracy.items():
        # Runs end at their target accuracy; the quartiles are over the runs that reach this budget.
        at = [run[labels] for run in own if labels in run]
        expected = np.quantile(at, [0.25, 0.5, 0.75]) if len(values) == 3 else [np.mean(at)]
        np.testing.assert_allclose(values, expected, atol=6e-4, err_msg=f"{key}, {labels} labels")
      for accuracy, values in curve.reached.items():
        reached = sorted(labels_to_reach(accuracy, list(run), list(run.values())) for run in own)
        if len(values) == 1:
          reached = [np.median(reached)]
        assert list(values) == reached, (key, accuracy)
      for last, values in curve.means.items():
        means = [np.mean([run[labels] for labels in curve.budgets(last)]) for run in own]
        expected = [min(means), np.median(means), max(means)] if len(values) == 3 else [np.mean(means)]
        np.testing.assert_allclose(values, expected, atol=6e-5, err_msg=f"{key}, mean to {last} labels")
