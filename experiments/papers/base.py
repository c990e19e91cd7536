"""What a file of this folder says about its publication: protocols, published numbers, and the runs that repeat them.

Labels are totals, the initial set included; accuracies are of the test set, in 0..1.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
from math import inf
from types import MappingProxyType
from typing import Any
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Preset:
  """Flag values, with where they come from and what to expect of them.

  Run by `python -m experiments.mnist --preset=NAME`; `python -m experiments.reproduce` runs those of publications and
  holds them against what was published.
  """

  summary: str  # one line for --help
  values: Mapping[str, Any]  # by flag
  source: str = ""  # whose protocol it is
  cost: str = ""  # what a run of it takes
  expect: str = ""  # what it should come to
  departures: tuple[str, ...] = ()  # where it does not do as its source did

  def __post_init__(self):
    object.__setattr__(self, "values", MappingProxyType(dict(self.values)))


@dataclasses.dataclass(frozen=True)
class Curve:
  """What was published of one strategy."""

  label: str  # method and setting, in the authors' terms
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


@dataclasses.dataclass(frozen=True)
class StudyCommand:
  """One command of experiments.mnist and the folder of its results."""

  name: str
  preset: str
  flags: tuple[str, ...] = ()
  suffix: str = ""  # behind the names of its strategies, where another study of the reproduction has the same


@dataclasses.dataclass(frozen=True)
class Reference:
  """One published number, of a study's full-data line or of its first round, for which alone the study is run."""

  study: str
  label: str
  published: float
  tolerance: float


@dataclasses.dataclass(frozen=True)
class Reproduction:
  """What one preset is to show."""

  title: str
  published: str | None  # key of the paper's PUBLISHED
  studies: Mapping[str, tuple[StudyCommand, ...]]  # by scale
  signs: tuple[tuple[str, str], ...] = ()  # the first above the second; names without hyper-parameters
  references: tuple[Reference, ...] = ()
  thresholds: tuple[float, ...] = ()  # accuracies whose labels are asked for, where nothing was published
  scope: Mapping[str, str] = dataclasses.field(default_factory=dict)  # by scale: what it does with less


class Notes(NamedTuple):
  """What is to be known of the rows that are kept of a reproduction at one scale."""

  remark: str  # at most five sentences
  findings: tuple[tuple[str, str, str], ...]  # what was asked, what was found, and how: a command, rows, a machine


def at(labels: Sequence[int], *percent: Sequence[float]) -> dict[int, tuple[float, ...]]:
  """Accuracies by labels out of rows of percentages: one row, or the lower ends, medians and upper ends of spreads."""
  columns = zip(*percent, strict=True)
  return {n: tuple(round(value / 100, 4) for value in column) for n, column in zip(labels, columns, strict=False)}


# As far as the rows of both papers of Kirsch et al. go.
to_300 = functools.partial(at, (20, 50, 100, 150, 200, 250, 300))
GPU = ("--chunk_size=500",)
BATCHBALD = "--acq=batchbald(max_configs=40000)"  # as published
BY_5 = ("--acq_size=5", "--rounds=56")
# Of both papers of Kirsch et al.
KIRSCH = {
  "dataset": "mnist",
  "model": "batchbald",
  "init": "batchbald",
  "init_labels": 20,
  "acq_size": 10,
  "rounds": 28,
  "input_mean": 0.1307,
  "input_std": 0.3081,
  "learning_rate": 1e-3,
  "batch_size": 64,
  "mc_samples": 100,
  "eval_posterior": "dropout",
}
