"""The commands that repeat publications, at three scales."""

import shlex

from experiments.common.spelling import split
from experiments.config import acquisitions
from experiments.config import presets
from experiments.papers.base import StudyCommand

SCALES = {
  "quick": "about an hour on two cores: signs, and published numbers of single trainings",
  "cpu": "up to a night on two cores for each protocol: fewer samples of MC dropout, seeds or labels, smaller pools",
  "full": "as published, for a GPU; without BALD of one label a round",
}


def _value(study: StudyCommand, flag: str, default=None):
  """What a study sets a flag to: typed, or as its preset has it."""
  typed = dict(word.removeprefix("--").split("=", 1) for word in study.flags if "=" in word)
  return typed.get(flag, presets.PRESETS[study.preset].values.get(flag, default))


def all_seeds(study: StudyCommand) -> range:
  """The seeds of a study."""
  return range(int(_value(study, "seeds", 1)))


def strategies(study: StudyCommand) -> list[str]:
  """The strategies that a study or its preset names, in that order, as rows spell them."""
  return [acquisitions.canonical(acquisitions.parse(entry)) for entry in split(_value(study, "acq", "")) if entry]


def folder_name(study: StudyCommand, seeds: range | None = None) -> str:
  """The folder of a study's results or, with seeds, of those alone."""
  return study.name if seeds is None else f"{study.name}-{seeds.start}"


def words(study: StudyCommand, folder: str, seeds: range | None = None) -> list[str]:
  """Flags of experiments.mnist that run a study, or what is missing of it, in its place in a folder: all, or seeds."""
  flags = list(study.flags)
  if seeds is not None:
    flags = [flag for flag in flags if not flag.startswith("--seeds=")]
    flags += [f"--seed={seeds.start}", f"--seeds={len(seeds)}"]
  return [f"--preset={study.preset}", *flags, f"--workdir={folder}/{folder_name(study, seeds)}", "--resume"]


def command(study: StudyCommand, folder: str, seeds: range | None = None) -> str:
  """What repeats a study, or seeds of it, by hand."""
  return shlex.join(["python", "-m", "experiments.mnist", *words(study, folder, seeds)])
