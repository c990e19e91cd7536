"""Published figures of the protocols that presets repeat: numbers as their authors had them, with where they are from.

Labels are totals, the initial set included; accuracies are of the test set, in 0..1.
"""

from collections.abc import Mapping
import dataclasses
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from experiments import styles


@dataclasses.dataclass(frozen=True)
class Curve:
  """What was published of one strategy."""

  said: str  # method and setting, in the authors' terms
  accuracy: Mapping[int, tuple[float, ...]]  # by labels: one number, or lower quartile, median and upper quartile
  # By accuracy: labels of each run, inf for never, or their median alone.
  reached: Mapping[float, tuple[float, ...]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
  # By accuracy: the fewest and the most labels over runs, where `reached` has the median alone.
  ranges: Mapping[float, tuple[float, float]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

  def spread(self, accuracy: float) -> tuple[float, float] | None:
    """The fewest and the most labels at which a run reached an accuracy; None where one number was published."""
    if accuracy in self.ranges:
      return self.ranges[accuracy]
    runs = self.reached[accuracy]
    return (min(runs), max(runs)) if len(runs) > 1 or runs[0] == inf else None


class Publication(NamedTuple):
  """What was published of one protocol."""

  source: str
  curves: dict[str, Curve]  # by acquisition, with its wrapper, without hyper-parameters; ", 5 a round" tells two apart
  full_data: float | None = None


_BLOG = "notenail.github.io (2020-08-29), Active learning on MNIST, part 2"

PUBLISHED: dict[str, Publication] = {
  "blog": Publication(
    f"{_BLOG}: the printed rows, the running best on the test set of one seed",
    {
      "entropy": Curve(
        "entropy",
        {18_760: (0.789,), 18_860: (0.820,), 18_960: (0.824,), 29_660: (0.867,), 30_360: (0.874,), 33_560: (0.876,)},
      )
    },
    full_data=0.881,
  ),
  "blog_posted": Publication(f"{_BLOG}: the supervised reference", {}, full_data=0.881),
  # Recomputed from the authors' result logs; 6 trials, random 20 (means, of batches of 5).
  "batchbald": Publication(
    "Kirsch, van Amersfoort & Gal 2019 (BatchBALD), logs of the authors: quartiles of 6 trials; random: means of 20",
    {
      "batchbald": Curve(
        "BatchBALD, 10 a round",
        {
          20: (0.661, 0.666, 0.669),
          50: (0.808, 0.816, 0.820),
          100: (0.883, 0.896, 0.901),
          150: (0.924, 0.925, 0.932),
          200: (0.946, 0.947, 0.948),
          250: (0.950, 0.954, 0.957),
        },
        {0.90: (80, 80, 100, 110, 120, 120), 0.95: (180, 200, 210, 240, 240, 260)},
      ),
      "batchbald, 5 a round": Curve(
        "BatchBALD, 5 a round",
        {},
        {0.90: (75, 90, 90, 100, 105, 105), 0.95: (170, 175, 190, 200, 220, 235)},
      ),
      "bald": Curve(
        "BALD, 10 a round",
        {
          20: (0.656, 0.662, 0.666),
          50: (0.758, 0.768, 0.798),
          100: (0.846, 0.861, 0.867),
          150: (0.889, 0.896, 0.912),
          200: (0.915, 0.920, 0.922),
          250: (0.938, 0.944, 0.949),
        },
        {0.90: (130, 130, 130, 180, 180, 200), 0.95: (250, 260, 260, inf, inf, inf)},
      ),
      "random": Curve(
        "random, 5 a round",
        {20: (0.641,), 50: (0.752,), 100: (0.816,), 150: (0.865,), 200: (0.889,), 250: (0.905,), 300: (0.917,)},
        {0.90: (202,), 0.95: (inf,)},
        {0.90: (165, 280)},
      ),
    },
  ),
  "repeated_batchbald": Publication(
    "Kirsch, van Amersfoort & Gal 2019 (BatchBALD), Repeated MNIST of three copies",
    {
      "batchbald": Curve("BatchBALD, 10 a round", {}, {0.90: (130,)}),
      "bald": Curve("BALD, 10 a round", {}, {0.90: (290,)}),
      "random": Curve("random, 5 a round", {}, {0.90: (200,)}),
    },
  ),
  # Recomputed from the authors' result logs; pools of four copies.
  "repeated_mnist": Publication(
    "Kirsch et al. 2021 (Stochastic Batch Acquisition), logs of the authors: means of 5 seeds, four copies",
    {
      "random": Curve("random, 10 a round", {100: (0.862,), 200: (0.913,), 300: (0.934,)}),
      "bald": Curve("BALD top-k, 10 a round", {100: (0.764,), 200: (0.846,), 300: (0.886,)}),
      "entropy": Curve("entropy top-k, 10 a round", {100: (0.764,), 200: (0.864,), 300: (0.887,)}),
      "batchbald": Curve("BatchBALD, 5 a round", {100: (0.887,), 200: (0.940,), 300: (0.960,)}),
      "power_bald": Curve("PowerBALD, coldness 8, 10 a round", {100: (0.913,), 200: (0.954,), 300: (0.967,)}),
      "margin": Curve("margin top-k of the MC average, 10 a round", {100: (0.916,), 200: (0.951,), 300: (0.968,)}),
    },
  ),
  # From the authors' arrays of the runs with 20 initial labels and 10 a step; means of their repeats.
  "gal2017": Publication(
    "Gal, Islam & Ghahramani 2017 (Deep Bayesian Active Learning), arrays of the authors: means of their repeats",
    {
      "bald": Curve("BALD", {1000: (0.982,)}, {0.90: (320,), 0.95: (500,)}),
      "variation_ratio": Curve("variation ratios", {1000: (0.982,)}, {0.90: (170,), 0.95: (300,)}),
      "entropy": Curve("max entropy", {1000: (0.980,)}, {0.90: (200,), 0.95: (370,)}),
      "mean_std": Curve("mean STD", {1000: (0.962,)}, {0.90: (220,), 0.95: (570,)}),
      "random": Curve("random", {1000: (0.966,)}, {0.90: (220,), 0.95: (590,)}),
    },
  ),
}

# Table 1 of the same paper: images bought until 10% and 5% test error, in runs that start from 100 labels.
_TABLE_1 = {
  "bald": ("BALD", 145, 335),
  "variation_ratio": ("variation ratios", 120, 295),
  "entropy": ("max entropy", 165, 355),
  "mean_std": ("mean STD", 230, 695),
  "random": ("random", 255, 835),
}
PUBLISHED["gal2017_table1"] = Publication(
  "Gal, Islam & Ghahramani 2017 (Deep Bayesian Active Learning), table 1, with the 100 initial labels added",
  {name: Curve(said, {}, {0.90: (100 + ten,), 0.95: (100 + five,)}) for name, (said, ten, five) in _TABLE_1.items()},
)


def curve_of(preset: str | None, name: str) -> Curve | None:
  """What a preset's source published of a strategy; None where it did not, and for the points of a grid."""
  if preset not in PUBLISHED or " [" in name:
    return None
  wrapper, base = styles.base_of(name)
  return PUBLISHED[preset].curves.get(f"{wrapper}_{base}" if wrapper else base)
