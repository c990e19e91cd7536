"""The types that describe a publication: its protocols, its published numbers, and the runs that reproduce them.

Numbers of labels are totals that include the initial set. Accuracies are test accuracies in 0..1.
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
class Features:
  """Frozen features of a data set, as a folder of the user holds them: NAME_train.npy and NAME_test.npy."""

  name: str
  source: str  # which published features they are

  sets = "features"  # the flag that names them

  def files(self, folder: str) -> tuple[str, ...]:
    """The paths of the features of the training and of the test rows."""
    return f"{folder}/{self.name}_train.npy", f"{folder}/{self.name}_test.npy"


@dataclasses.dataclass(frozen=True)
class Table:
  """A table, as a folder of the user holds it."""

  name: str  # of the file
  source: str  # which published data it holds
  sets = "dataset"  # the flag that names it

  def files(self, folder: str) -> tuple[str, ...]:
    """The path of the table."""
    return (f"{folder}/{self.name}",)


@dataclasses.dataclass(frozen=True)
class Preset:
  """Flag values, their source and their expected results.

  `python -m experiments.mnist --preset=NAME` runs a preset. `python -m experiments.reproduce` runs the presets of
  publications and compares the results with the published ones.
  """

  summary: str  # one line for --help
  values: Mapping[str, Any]  # by flag
  source: str = ""  # the publication whose protocol it is
  cost: str = ""  # run time
  expect: str = ""  # expected results
  departures: tuple[str, ...] = ()  # differences from the source's protocol
  brings: Features | Table | None = None  # files that the user has to give

  def __post_init__(self):
    object.__setattr__(self, "values", MappingProxyType(dict(self.values)))


@dataclasses.dataclass(frozen=True)
class Curve:
  """The published results of one strategy."""

  label: str  # method and setting, in the authors' terms
  accuracy: Mapping[int, tuple[float, ...]]  # by labels: one number, or (lower quartile, median, upper quartile)
  # By accuracy: the labels that each run needs (inf: never reached), or only their median.
  reached: Mapping[float, tuple[float, ...]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
  # By accuracy: minimum and maximum over runs, if `reached` has only the median.
  ranges: Mapping[float, tuple[float, float]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
  # By last label of `budgets`: mean accuracy over it; one number, or (minimum, median, maximum) over runs.
  means: Mapping[int, tuple[float, ...]] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
  first: int = 20  # size of the initial set
  step: int = 10  # labels between two budgets
  averaged: bool = False  # whether `means` are means over runs, not medians
  running_best: bool = False  # whether `accuracy` is the best of all rounds so far, not the accuracy of the round

  @property
  def has_points(self) -> bool:
    """Whether it has numbers besides mean accuracies."""
    return bool(self.accuracy or self.reached)

  def budgets(self, last: int) -> range:
    """The numbers of labels that a mean accuracy averages over: from `first` to `last` in steps of `step`."""
    return range(self.first, last + 1, self.step)

  def spread(self, accuracy: float) -> tuple[float, float] | None:
    """Minimum and maximum over runs of the labels needed for an accuracy; None if only one number was published."""
    if accuracy in self.ranges:
      return self.ranges[accuracy]
    runs = self.reached[accuracy]
    return (min(runs), max(runs)) if len(runs) > 1 or runs[0] == inf else None


class Publication(NamedTuple):
  """The published results of one protocol."""

  source: str
  curves: dict[str, Curve]  # by strategy without hyper-parameters; ", 5 a round" marks a second batch size
  full_data: float | None = None


@dataclasses.dataclass(frozen=True)
class StudyCommand:
  """One command of experiments.mnist, and the name of its results folder."""

  name: str
  preset: str
  flags: tuple[str, ...] = ()
  suffix: str = ""  # appended to strategy names that another study of the reproduction also has
  brief: bool = False  # archive only test accuracies and times, for runs of hundreds of rounds


@dataclasses.dataclass(frozen=True)
class Reference:
  """One published accuracy that a separate study reproduces: with its full-data line, or else with its first round."""

  study: str
  label: str
  published: float
  tolerance: float
  labels: int | None = None  # the budget, if the references of a reproduction make a curve


@dataclasses.dataclass(frozen=True)
class Reproduction:
  """The studies of one preset, and what they are compared with."""

  title: str
  published: str | None  # key of the paper's PUBLISHED
  studies: Mapping[str, tuple[StudyCommand, ...]]  # by scale
  orderings: tuple[tuple[str, str], ...] = ()  # (above, below) by area; names without hyper-parameters
  references: tuple[Reference, ...] = ()
  mean_difference: float | None = None  # tolerance of the mean absolute difference over `references`
  thresholds: tuple[float, ...] = ()  # accuracies whose needed labels are reported, if nothing was published
  scope: Mapping[str, str] = dataclasses.field(default_factory=dict)  # by scale: the differences from the protocol


class Notes(NamedTuple):
  """Comments on the archived rows of a reproduction at one scale."""

  remark: str  # at most five sentences
  findings: tuple[tuple[str, str, str], ...]  # topic, finding, and its source: a command, rows, a machine


def at(labels: Sequence[int], *percent: Sequence[float]) -> dict[int, tuple[float, ...]]:
  """Accuracies by labels from rows of percentages: one row, or three rows (lower quartile, median, upper quartile)."""
  columns = zip(*percent, strict=True)
  return {n: tuple(round(value / 100, 4) for value in column) for n, column in zip(labels, columns, strict=False)}


# The budgets of both papers of Kirsch et al.; a shorter row ends earlier.
to_300 = functools.partial(at, (20, 50, 100, 150, 200, 250, 300))
GPU = ("--chunk_size=500",)
BATCHBALD = "--acq=batchbald(max_configs=40000)"  # as published
BY_5 = ("--acq_size=5", "--rounds=56")
# Flags shared by both papers of Kirsch et al.
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
