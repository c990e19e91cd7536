"""The commands that reproduce publications, at three scales."""

import shlex

from experiments.common.spelling import split
from experiments.config import acquisitions
from experiments.config import presets
from experiments.papers.base import StudyCommand

SCALES = {
  "quick": "about an hour on two cores: orderings of strategies, and published numbers of single trainings",
  "cpu": "up to a night on two cores per protocol: fewer MC dropout samples, seeds or labels, smaller pools",
  "full": "as published, for a GPU; without BALD of one label per round",
}


def _value(study: StudyCommand, flag: str, default=None):
  """The value of a flag in a study: its own, else the preset's, else the default."""
  typed = dict(word.removeprefix("--").split("=", 1) for word in study.flags if "=" in word)
  return typed.get(flag, presets.PRESETS[study.preset].values.get(flag, default))


def all_seeds(study: StudyCommand) -> range:
  """The seeds of a study."""
  return range(int(_value(study, "seeds", 1)))


def strategies(study: StudyCommand) -> list[str]:
  """The strategies of a study, in the order of --acq and spelled as in the rows."""
  return [acquisitions.canonical(acquisitions.parse(entry)) for entry in split(_value(study, "acq", "")) if entry]


def folder_name(study: StudyCommand, seeds: range | None = None) -> str:
  """Name of the folder of a study, or of some of its seeds."""
  return study.name if seeds is None else f"{study.name}-{seeds.start}"


def words(study: StudyCommand, folder: str, seeds: range | None = None) -> list[str]:
  """Flags of experiments.mnist that run or resume a study, or only some seeds of it, in its subfolder of `folder`."""
  flags = list(study.flags)
  if seeds is not None:
    flags = [flag for flag in flags if not flag.startswith("--seeds=")]
    flags += [f"--seed={seeds.start}", f"--seeds={len(seeds)}"]
  return [f"--preset={study.preset}", *flags, f"--workdir={folder}/{folder_name(study, seeds)}", "--resume"]


def command(study: StudyCommand, folder: str, seeds: range | None = None) -> str:
  """The shell command that runs or resumes a study, or only some seeds of it."""
  return shlex.join(["python", "-m", "experiments.mnist", *words(study, folder, seeds)])
