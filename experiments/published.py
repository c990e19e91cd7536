"""Published figures of the protocols that presets repeat: numbers as their authors had them, with where they are from.

Labels are totals, the initial set included; accuracies are of the test set, in 0..1.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from experiments.analysis import styles


@dataclasses.dataclass(frozen=True)
class Curve:
  """What was published of one strategy."""

  said: str  # method and setting, in the authors' terms
  accuracy: Mapping[int, tuple[float, ...]]  # by labels: one number, or lower quartile, median and upper quartile
  # By accuracy: labels of each run, inf for never, or their median alone.
  reached: Mapping[float, tuple[float, ...]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
  # By accuracy: the fewest and the most labels over runs, where `reached` has the median alone.
  ranges: Mapping[float, tuple[float, float]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
  # By the last of the labels: mean accuracy over `stretch`; one number, or the least, the median and the most of runs.
  means: Mapping[int, tuple[float, ...]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
  first: int = 20  # labels with which the runs start

  def stretch(self, last: int) -> range:
    """The labels over which the curve's mean accuracy is taken: every tenth from the first on."""
    return range(self.first, last + 1, 10)

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


def _at(labels: Sequence[int], *percent: Sequence[float]) -> dict[int, tuple[float, ...]]:
  """Accuracies by labels out of rows of percentages: one row, or the lower ends, medians and upper ends of spreads."""
  columns = zip(*percent, strict=True)
  return {n: tuple(round(value / 100, 4) for value in column) for n, column in zip(labels, columns, strict=False)}


_to_300 = functools.partial(_at, (20, 50, 100, 150, 200, 250, 300))  # as far as the rows go

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
    "Kirsch, van Amersfoort & Gal 2019 (BatchBALD), logs of the authors: quartiles of 6 trials; random: means of 20"
    " runs of a later program of theirs",
    {
      "batchbald": Curve(
        "BatchBALD, 10 a round",
        _to_300(
          (66.1, 80.8, 88.3, 92.4, 94.6, 95.0),
          (66.6, 81.6, 89.6, 92.5, 94.7, 95.4),
          (66.9, 82.0, 90.1, 93.2, 94.8, 95.7),
        ),
        {0.90: (80, 80, 100, 110, 120, 120), 0.95: (180, 200, 210, 240, 240, 260)},
        means=_at((100, 250), (78.13, 87.13), (81.76, 89.30), (82.45, 89.66)),
      ),
      "batchbald, 5 a round": Curve(
        "BatchBALD, 5 a round",
        _to_300((66.0, 82.4, 89.6, 93.1, 94.4), (66.3, 83.7, 90.1, 93.4, 94.9), (66.5, 84.5, 91.0, 93.8, 95.2)),
        {0.90: (75, 90, 90, 100, 105, 105), 0.95: (170, 175, 190, 200, 220, 235)},
        means=_at((210,), (88.15,), (88.66,), (89.32,)),
      ),
      "bald": Curve(
        "BALD, 10 a round",
        _to_300(
          (65.6, 75.8, 84.6, 88.9, 91.5, 93.8),
          (66.2, 76.8, 86.1, 89.6, 92.0, 94.4),
          (66.6, 79.8, 86.7, 91.2, 92.2, 94.9),
        ),
        {0.90: (130, 130, 130, 180, 180, 200), 0.95: (250, 260, 260, inf, inf, inf)},
        means=_at((100, 290), (75.72, 85.97), (77.57, 87.33), (79.57, 88.44)),
      ),
      "random": Curve(
        "random, 5 a round",
        _to_300((64.1, 75.2, 81.6, 86.5, 88.9, 90.5, 91.7)),
        {0.90: (200,), 0.95: (inf,)},
        {0.90: (165, 280)},
        means=_at((100, 300), (73.35, 82.43), (75.46, 84.56), (79.03, 86.65)),
      ),
    },
  ),
  # Recomputed from the authors' result logs; pools of three copies, K = 10.
  "repeated_batchbald": Publication(
    "Kirsch, van Amersfoort & Gal 2019 (BatchBALD), logs of the authors: quartiles of 6 trials, three copies",
    {
      "batchbald": Curve(
        "BatchBALD, 10 a round",
        _to_300(
          (62.3, 73.9, 87.9, 90.5, 92.3, 94.1),
          (62.6, 76.0, 88.4, 90.8, 92.5, 94.4),
          (63.3, 77.5, 88.6, 91.7, 92.9, 94.6),
        ),
        {0.90: (120, 130, 130, 140, 140, 150), 0.95: (250, 270, 270, 270, 290, inf)},
        means=_at((250,), (85.41,), (86.24,), (87.56,)),
      ),
      "bald": Curve(
        "BALD, 10 a round",
        _to_300(
          (62.4, 69.6, 73.3, 79.4, 83.7, 86.1),
          (63.1, 71.5, 77.1, 81.3, 85.6, 86.9),
          (63.3, 73.8, 79.8, 84.5, 86.3, 87.4),
        ),
        {0.90: (260, 270, 290, inf, inf, inf), 0.95: (inf,)},
        means=_at((290,), (77.30,), (80.58,), (82.86,)),
      ),
      "random": Curve(
        "random, 5 a round",
        _to_300(
          (62.6, 72.2, 77.6, 83.2, 87.8, 89.7),
          (63.6, 74.9, 81.4, 84.4, 88.1, 90.1),
          (64.2, 76.2, 82.1, 85.8, 89.3, 90.9),
        ),
        {0.90: (165, 190, 200, 205, 230, 265), 0.95: (inf,)},
        means=_at((290,), (80.75,), (83.08,), (85.12,)),
      ),
    },
  ),
  # Recomputed from the authors' result logs; 5 seeds.
  "repeated_mnist": Publication(
    "Kirsch et al. 2021 (Stochastic Batch Acquisition), logs of the authors: quartiles of 5 seeds, four copies",
    {
      "random": Curve(
        "random, 10 a round",
        _to_300(
          (59.0, 74.2, 87.3, 90.0, 91.1, 92.3, 93.0),
          (59.1, 77.9, 87.4, 90.0, 91.4, 92.6, 93.3),
          (59.8, 81.2, 87.8, 90.0, 91.5, 92.9, 93.5),
        ),
        means=_at((100, 150, 300), (73.26, 77.92, 85.11), (76.59, 81.19, 86.67), (79.08, 82.87, 87.78)),
      ),
      "bald": Curve(
        "BALD top-k, 10 a round",
        _to_300(
          (59.6, 65.0, 73.8, 81.3, 83.2, 85.1, 87.1),
          (60.2, 67.8, 76.1, 81.7, 84.5, 86.7, 88.0),
          (60.3, 68.4, 78.1, 82.8, 86.4, 89.9, 91.2),
        ),
        means=_at((100, 150, 300), (65.53, 70.10, 77.35), (69.76, 72.22, 79.74), (71.95, 76.00, 82.14)),
      ),
      "entropy": Curve(
        "entropy top-k, 10 a round",
        _to_300(
          (59.8, 64.9, 76.0, 81.4, 84.0, 85.7, 88.1),
          (60.0, 67.6, 77.2, 83.1, 87.3, 87.6, 88.6),
          (60.7, 67.8, 77.9, 84.1, 87.8, 88.2, 89.8),
        ),
        means=_at((100, 150, 300), (67.70, 72.00, 78.75), (69.17, 72.83, 80.69), (70.63, 73.73, 81.11)),
      ),
      "margin": Curve(
        "margin top-k of the MC average, 10 a round",
        _to_300(
          (58.8, 81.2, 91.7, 93.9, 94.8, 95.3, 96.7),
          (59.1, 81.5, 91.7, 94.1, 95.1, 95.8, 96.8),
          (60.3, 83.1, 91.9, 94.5, 95.2, 96.2, 96.9),
        ),
        means=_at((100, 150, 300), (79.86, 84.05, 89.85), (81.34, 85.43, 90.67), (83.72, 87.10, 91.61)),
      ),
      "power_bald": Curve(
        "PowerBALD, coldness 8, 10 a round",
        _to_300(
          (59.4, 80.8, 90.9, 93.4, 95.0, 96.1, 96.6),
          (59.5, 81.6, 91.1, 94.0, 95.5, 96.3, 96.6),
          (60.0, 82.1, 92.3, 94.4, 95.6, 96.6, 96.9),
        ),
        means=_at((100, 150, 300), (78.05, 83.09, 89.44), (80.41, 84.95, 90.55), (83.07, 86.70, 91.40)),
      ),
      "softmax_bald": Curve(
        "SoftmaxBALD, coldness 8, 10 a round",
        _to_300(
          (59.1, 80.0, 90.8, 93.8, 94.6, 95.7, 96.4),
          (60.1, 80.4, 90.9, 94.0, 94.9, 95.8, 96.5),
          (60.1, 82.0, 91.4, 94.1, 95.2, 96.1, 96.6),
        ),
        means=_at((100, 150, 300), (80.92, 85.37, 90.48), (81.54, 85.60, 90.72), (82.30, 86.37, 91.17)),
      ),
      "batchbald": Curve(
        "BatchBALD, 5 a round",
        _to_300(
          (59.5, 76.8, 88.7, 92.2, 93.9, 95.2, 95.8),
          (59.8, 78.6, 89.1, 93.1, 94.0, 95.2, 96.0),
          (60.6, 80.1, 89.3, 94.1, 94.5, 95.6, 96.2),
        ),
        means=_at((100, 150, 300), (77.89, 82.93, 89.15), (80.01, 83.96, 89.36), (80.63, 84.40, 89.78)),
      ),
      "softrank_bald": Curve(
        "SoftRankBALD, coldness 1, 5 a round",
        _to_300(
          (58.8, 79.4, 88.9, 92.7, 94.7, 94.9, 95.9),
          (59.2, 82.3, 89.1, 92.7, 94.9, 95.5, 96.0),
          (59.8, 82.3, 90.0, 92.9, 95.0, 95.5, 96.1),
        ),
        means=_at((100, 150, 300), (78.17, 83.18, 89.43), (79.65, 84.12, 89.76), (81.54, 85.18, 90.04)),
      ),
    },
  ),
  "stochastic_mnist": Publication(
    "Kirsch et al. 2021 (Stochastic Batch Acquisition), logs of the authors: quartiles of 5 seeds, one noisy copy",
    {
      "random": Curve(
        "random, 10 a round",
        _to_300(
          (72.6, 78.2, 85.2, 88.7, 90.4, 91.9, 92.2),
          (73.2, 79.5, 85.4, 89.1, 91.5, 92.3, 92.5),
          (74.0, 80.3, 85.6, 89.9, 92.2, 93.2, 92.7),
        ),
        means=_at((100, 150, 300), (78.12, 81.59, 86.81), (79.75, 82.73, 87.25), (80.90, 83.21, 88.19)),
      ),
      "bald": Curve(
        "BALD top-k, 10 a round",
        _to_300(
          (72.8, 81.2, 86.2, 89.5, 92.8, 94.7, 95.6),
          (73.0, 81.4, 86.6, 91.2, 94.0, 95.3, 95.7),
          (73.1, 82.1, 87.1, 91.6, 94.5, 95.4, 95.9),
        ),
        means=_at((100, 150, 300), (80.61, 83.09, 88.38), (81.18, 84.05, 89.38), (81.66, 84.94, 89.84)),
      ),
      "power_bald": Curve(
        "PowerBALD, coldness 8, 10 a round",
        _to_300(
          (72.0, 81.9, 90.7, 93.4, 94.8, 95.6, 96.2),
          (72.2, 82.2, 90.7, 93.7, 95.3, 95.8, 96.5),
          (72.2, 82.4, 91.0, 94.3, 95.5, 96.1, 96.7),
        ),
        means=_at((100, 150, 300), (82.74, 86.14, 91.06), (83.46, 86.66, 91.16), (84.41, 87.29, 91.56)),
      ),
      "softmax_bald": Curve(
        "SoftmaxBALD, coldness 8, 10 a round",
        _to_300(
          (71.9, 84.0, 90.8, 93.7, 95.3, 95.5, 96.2),
          (72.7, 84.3, 91.9, 93.7, 95.4, 96.0, 96.4),
          (73.9, 84.7, 92.2, 94.7, 95.6, 96.0, 96.6),
        ),
        means=_at((100, 150, 300), (83.78, 86.90, 91.22), (84.17, 87.38, 91.62), (85.97, 88.52, 92.23)),
      ),
      "batchbald": Curve(
        "BatchBALD, 5 a round",
        _to_300(
          (71.4, 81.7, 89.3, 92.2, 93.9, 95.2, 95.8),
          (72.4, 81.9, 89.3, 92.6, 94.0, 95.3, 96.1),
          (73.4, 85.4, 90.8, 92.8, 94.2, 95.7, 96.4),
        ),
        means=_at((100, 150, 300), (82.16, 85.62, 90.25), (83.29, 86.15, 90.61), (85.32, 87.99, 91.62)),
      ),
      "softrank_bald": Curve(
        "SoftRankBALD, coldness 1, 5 a round",
        _to_300(
          (69.9, 81.1, 90.6, 93.0, 94.6, 95.2, 96.0),
          (71.4, 81.5, 90.9, 93.4, 94.6, 95.6, 96.2),
          (72.5, 85.8, 91.5, 94.5, 94.6, 96.2, 96.3),
        ),
        means=_at((100, 150, 300), (82.92, 86.38, 90.90), (84.01, 87.22, 91.23), (85.27, 87.89, 91.73)),
      ),
    },
  ),
}


def _of_arrays(rows: Mapping[str, tuple], labels: Sequence[int], lasts: Sequence[int], first: int = 20):
  """Curves of a series of the authors' arrays, by acquisition: accuracies at `labels` and means to `lasts`.

  A row has the name, the accuracies, the labels to 90% and to 95%, and the means.
  """
  return {
    name: Curve(said, _at(labels, accuracies), {0.90: (ten,), 0.95: (five,)}, means=_at(lasts, means), first=first)
    for name, (said, accuracies, ten, five, means) in rows.items()
  }


# The runs with 20 initial labels and 10 a step.
_FROM_20 = {
  "bald": ("BALD", (54.8, 64.3, 69.9, 85.2, 89.0, 95.1, 98.2), 320, 500, (79.34, 89.64)),
  "variation_ratio": ("variation ratios", (58.3, 62.6, 76.3, 91.7, 95.1, 96.7, 98.2), 170, 300, (84.39, 92.33)),
  "entropy": ("max entropy", (59.4, 55.4, 71.6, 91.2, 93.1, 95.8, 98.0), 200, 370, (82.33, 91.22)),
  "mean_std": ("mean STD", (56.1, 64.2, 74.0, 89.0, 92.3, 94.6, 96.2), 220, 570, (83.14, 90.49)),
  "random": ("random", (59.9, 65.7, 77.1, 89.4, 90.9, 94.6, 96.6), 220, 590, (83.17, 90.54)),
}
PUBLISHED["gal2017"] = Publication(
  "Gal, Islam & Ghahramani 2017 (Deep Bayesian Active Learning), arrays of the authors: means of their repeats",
  _of_arrays(_FROM_20, (20, 50, 100, 200, 300, 500, 1000), (400, 1000)),
)

# The runs of table 1 of the same paper, which start from 100 labels; it prints the images bought until 10% and 5% test
# error, 100 fewer than the labels here.
_TABLE_1 = {
  "bald": ("BALD", (83.0, 84.4, 89.3, 93.1, 94.3, 97.2, 97.8), 245, 435, (86.55, 93.99)),
  "variation_ratio": ("variation ratios", (85.6, 85.3, 88.9, 94.1, 95.4, 97.1, 98.0), 220, 395, (87.68, 94.50)),
  "entropy": ("max entropy", (84.7, 84.0, 88.2, 91.2, 93.9, 96.8, 97.6), 265, 455, (86.70, 93.75)),
  "mean_std": ("mean STD", (85.4, 81.7, 85.4, 88.9, 91.3, 94.0, 95.4), 330, 795, (84.44, 91.39)),
  "random": ("random", (85.4, 81.5, 84.9, 89.2, 89.8, 93.7, 95.0), 355, 935, (84.36, 91.19)),
}
PUBLISHED["gal2017_table1"] = Publication(
  "Gal, Islam & Ghahramani 2017 (Deep Bayesian Active Learning), table 1, with the 100 initial labels added, and the"
  " authors' arrays behind it: means of their repeats",
  _of_arrays(_TABLE_1, (100, 150, 200, 300, 400, 700, 1000), (300, 1000), first=100),
)


def curve_of(preset: str | None, name: str) -> Curve | None:
  """What a preset's source published of a strategy; None where it did not, and for the points of a grid."""
  if preset not in PUBLISHED or " [" in name:
    return None
  wrapper, base = styles.base_of(name)
  return PUBLISHED[preset].curves.get(f"{wrapper}_{base}" if wrapper else base)
