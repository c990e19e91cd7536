"""Ranks over studies by hand."""

import numpy as np
import pytest

from experiments.reporting import across
from experiments.reporting import figures
from experiments.reporting import significance
from experiments.reporting.study import Chosen
from tests.support import studies as made


@pytest.fixture
def diagrams(monkeypatch) -> list[dict[str, float]]:
  """The ranks in the diagrams, which are not drawn."""
  drawn = []
  monkeypatch.setattr(figures, "critical_difference", lambda ranks, _: drawn.append(ranks) or figures.Drawing(b"", b""))
  return drawn


def chosen(areas: dict[str, list[float]], remarks=()) -> Chosen:
  """Runs whose accuracy stays at the given area, by strategy and seed."""
  runs = {name: {seed: made.run(name, seed, [area] * 2) for seed, area in enumerate(of)} for name, of in areas.items()}
  return Chosen(runs, tuple(range(len(next(iter(areas.values()))))), tuple(remarks))


FIRST = {"margin": [0.9, 0.7], "random": [0.8, 0.6], "bald": [0.5, 0.65]}
SECOND = {"random": [0.5, 0.6, 0.7], "bald": [0.4, 0.7, 0.7], "kmeans": [0.3] * 3, "margin": [0.2, 0.3, 0.1]}


def test_ranks_over_studies_by_hand(diagrams):
  """In `first` the means are 0.8, 0.7, 0.575; in `second` random and bald tie at 0.6, and margin has 0.2."""
  blocks, drawn = across.section({"first": chosen(FIRST), "second": chosen(SECOND, ["Left out: seed 3."])})
  assert [block.text for block in blocks[:2]] == [
    "second: Left out: seed 3.",
    "Left out, because not every study has a completed run of it: kmeans.",
  ]
  table = blocks[2]
  assert table.header == ["strategy", "mean rank", "rank, first", "area, first (2 seeds)"] + [
    "rank, second",
    "area, second (3 seeds)",
  ]
  assert table.rows == [
    ["random", "1.75", "2", "0.700 ± 0.141", "1.5", "0.600 ± 0.100"],
    ["margin", "2.00", "1", "0.800 ± 0.141", "3", "0.200 ± 0.100"],
    ["bald", "2.25", "3", "0.575 ± 0.106", "1.5", "0.600 ± 0.173"],
  ]
  # Within the five pairs of a study and a seed: margin 1, 1, 3, 3, 3; random 2, 3, 1, 2, 1.5; bald 3, 2, 2, 1, 1.5.
  assert diagrams == [{"margin": 11 / 5, "random": 9.5 / 5, "bald": 9.5 / 5}] and list(drawn) == [
    "critical_difference_studies"
  ]
  assert "over 5 pairs of a study and a seed: p = 0.854" in blocks[4].caption
  # Friedman: 12 / (5 * 3 * 4) * (11^2 + 2 * 9.5^2) - 3 * 5 * 4 = 0.3, divided by 1 - 6 / (5 * 24) for the tie.
  areas = {name: np.array(FIRST[name] + SECOND[name]) for name in FIRST}
  assert significance.friedman(areas) == pytest.approx(np.exp(-0.3 / 0.95 / 2))


def test_two_shared_strategies_have_ranks_but_no_test(diagrams):
  blocks, drawn = across.section({"a": chosen({"margin": [0.9], "random": [0.8]}), "b": chosen(FIRST)})
  assert blocks[1].rows[0] == ["margin", "1.00", "1", "0.900", "1", "0.800 ± 0.141"]
  assert "at least three strategies" in blocks[-1].text and not drawn and not diagrams


def test_studies_with_one_shared_strategy_are_not_ranked():
  blocks, drawn = across.section({"a": chosen({"margin": [0.9]}), "b": chosen(FIRST)})
  assert blocks[-1].text == "Ranks over studies need two strategies in every study; there are 1." and not drawn
