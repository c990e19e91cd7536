"""The archived results of reproductions, read from results/reproductions/SCALE/STUDY.jsonl."""

from collections.abc import Mapping
from pathlib import Path

from experiments.analysis.records import other_generator
from experiments.common.errors import UsageError
from experiments.papers.base import Reproduction
from experiments.papers.registry import REPRODUCTIONS
from experiments.reproduction import archive
from experiments.reproduction import plan
from experiments.reproduction import verdicts
from experiments.reproduction.archive import Archived
from experiments.reproduction.verdicts import CompletedRuns

ROWS = Path("results", "reproductions")


class Results:
  """The archived results of one reproduction at one scale."""

  def __init__(self, part: Reproduction, scale: str, kept: Mapping[str, Archived]):
    self.part, self.scale, self.kept = part, scale, kept
    self.strategies: list[CompletedRuns] = []
    self.runs: dict[str, dict[int, list[dict]]] = {}
    alone = {reference.study for reference in part.references}
    for study in part.studies[scale]:
      if study.name in kept and study.name not in alone:
        flags = kept[study.name].about["flags"]
        rows = kept[study.name].rows
        by_seed: dict[str, dict[int, list[dict]]] = {}
        for row in rows:
          by_seed.setdefault(row["acq"], {}).setdefault(row["seed"], []).append(row)
        # Joined rows are in the order in which they were made, not in the order of --acq.
        order = {acq + study.suffix: place for place, acq in enumerate(plan.strategies(study))}
        ran = verdicts.completed(rows, flags["rounds"], flags["acq_size"], study.suffix)
        for found in sorted(ran, key=lambda strategy: order.get(strategy.name, len(order))):
          self.strategies.append(found)
          acq, seeds = found.name.removesuffix(study.suffix), {run.seed for run in found.runs}
          self.runs[found.name] = {seed: by_seed[acq][seed] for seed in sorted(seeds)}

  def named(self, base: str) -> CompletedRuns | None:
    """The runs of the strategy with this `base` (name without hyper-parameters, with its study's suffix), or None."""
    return next((strategy for strategy in self.strategies if strategy.base == base), None)

  def orderings(self) -> list[verdicts.Ordering]:
    """The orderings for which there are runs."""
    pairs = [(self.named(above), self.named(below)) for above, below in self.part.orderings]
    return [found for above, below in pairs if above and below and (found := verdicts.ordering(above, below))]

  def full_data(self) -> list[float]:
    """Test accuracies of full supervision."""
    return [row["test_accuracy"] for kept in self.kept.values() for row in kept.full_data]


def gather(out: Path) -> dict[str, dict[str, Results]]:
  """The archived results by reproduction and scale.

  Raises:
    UsageError: a file of rows is damaged, or studies that are compared differ in their random draws.
  """
  results = {}
  for name, part in REPRODUCTIONS.items():
    for scale, studies in part.studies.items():
      folder = out / ROWS / scale
      found = {study.name: own for study in studies if (own := archive.read(folder / f"{study.name}.jsonl"))}
      for own in found.values():
        if other := other_generator(next(iter(found.values())).about, own.about):
          raise UsageError(
            f"{folder}: the compared studies {', '.join(found)} differ in their random draws ({other}): run them again"
            " together"
          )
      if found:
        results.setdefault(name, {})[scale] = Results(part, scale, found)
  return results
