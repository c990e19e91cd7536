"""The commands that reproduce publications, at three scales."""

import shlex

from experiments.common.spelling import split
from experiments.config import acquisitions
from experiments.config import presets
from experiments.papers.base import Features
from experiments.papers.base import StudyCommand
from experiments.papers.base import Table

SCALES = {
  "quick": "about an hour on two cores: orderings of strategies, and published numbers of single trainings",
  "cpu": "up to a night on two cores per protocol: fewer MC dropout samples, seeds or labels, smaller pools",
  "full": "as published, for a GPU; without BALD of one label per round",
}
FILES_DIR = "DIR"  # stands for the user's folder of files in the commands on the pages


def _value(study: StudyCommand, flag: str, default=None):
  """The value of a flag in a study: its own, else the preset's, else the default."""
  typed = dict(word.removeprefix("--").split("=", 1) for word in study.flags if "=" in word)
  return typed.get(flag, presets.PRESETS[study.preset].values.get(flag, default))


def all_seeds(study: StudyCommand) -> range:
  """The seeds of a study."""
  first = int(_value(study, "seed", 0))
  return range(first, first + int(_value(study, "seeds", 1)))


def brings(study: StudyCommand) -> Features | Table | None:
  """The files that the user has to give for a study."""
  return presets.PRESETS[study.preset].brings


def is_one_program(study: StudyCommand) -> bool:
  """Whether a study runs all its seeds as one program."""
  return _value(study, "driver") == "scan"


def strategies(study: StudyCommand) -> list[str]:
  """The strategies of a study, in the order of --acq and spelled as in the rows."""
  return [acquisitions.canonical(acquisitions.parse(entry)) for entry in split(_value(study, "acq", "")) if entry]


def folder_name(study: StudyCommand, seeds: range | None = None) -> str:
  """Name of the folder of a study, or of some of its seeds."""
  return study.name if seeds is None else f"{study.name}-{seeds.start}"


def words(study: StudyCommand, folder: str, seeds: range | None = None, files_dir: str | None = None) -> list[str]:
  """Flags of experiments.mnist that run or resume a study, or only some seeds of it, in its subfolder of `folder`.

  Args:
    study: the study.
    folder: parent of the study's folder.
    seeds: the seeds; None for all.
    files_dir: the user's folder of files, for a study that needs them.
  """
  flags = list(study.flags)
  if seeds is not None:
    flags = [flag for flag in flags if not flag.startswith(("--seed=", "--seeds="))]
    flags += [f"--seed={seeds.start}", f"--seeds={len(seeds)}"]
  if (needed := brings(study)) is not None:
    flags.append(f"--{needed.sets}={','.join(needed.files(files_dir or FILES_DIR))}")
  return [f"--preset={study.preset}", *flags, f"--workdir={folder}/{folder_name(study, seeds)}", "--resume"]


def command(study: StudyCommand, folder: str, seeds: range | None = None, files_dir: str | None = None) -> str:
  """The shell command that runs or resumes a study, or only some seeds of it; arguments as those of `words`."""
  return shlex.join(["python", "-m", "experiments.mnist", *words(study, folder, seeds, files_dir)])
