"""Published figures: numbers that can be numbers, of strategies that exist."""

import pytest

from al_jax import acquisition
from experiments.published import PUBLISHED
from experiments.published import curve_of


@pytest.mark.parametrize("preset", PUBLISHED)
def test_accuracies_and_labels_are_in_range_and_quartiles_in_order(preset):
  for name, curve in PUBLISHED[preset].curves.items():
    acquisition.make(name.partition(",")[0])  # raises for a name that is none
    for labels, numbers in curve.accuracy.items():
      assert labels >= 20 and len(numbers) in (1, 3) and list(numbers) == sorted(numbers)
      assert 0.5 < numbers[0] <= numbers[-1] < 1
    for accuracy, labels in curve.reached.items():
      assert 0.5 < accuracy < 1 and list(labels) == sorted(labels) and labels[0] > 20


def test_a_strategy_is_found_by_its_acquisition_and_wrapper():
  theirs = PUBLISHED["repeated_mnist"].curves
  assert curve_of("repeated_mnist", "power_bald(coldness=8)") is theirs["power_bald"]
  assert curve_of("repeated_mnist", "margin(posterior=dropout)") is theirs["margin"]
  assert curve_of("repeated_mnist", "bald [coldness=8]") is None  # a point of a grid is nobody's protocol
  assert curve_of("repeated_mnist", "badge") is None and curve_of(None, "bald") is None
