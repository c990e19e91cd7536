"""The flags of `experiments.label`."""

import copy
import math
import os
from pathlib import Path
import sys
from typing import NamedTuple

from absl import flags

from experiments.common import flag_words
from experiments.common.errors import UsageError
from experiments.common.spelling import ORACLE
from experiments.config import flags as study_flags
from experiments.config.flag_groups import GROUPS
from experiments.config.resolve import Config
from experiments.config.resolve import image_size
from experiments.config.resolve import resolve
from experiments.encoders import efficientnet_lite0
from experiments.labeling.answers import LONGEST
from experiments.labeling.answers import is_name

# Flags of the main program that this one has, too. Trainings here have no validation set and begin anew every time.
_CHOICE = ("acq", "acq_size", "init_labels", "pool_subset", "seed")
_RUNNING = ("platform", "compilation_cache", "log_level")
_LEFT_OUT = {"vocabulary", "warm_start", "keep_optimizer", "first_epochs", "full_train_steps", "eval_posterior"}
_STOPPING = ("early_stop", "eval_every", "first_early_stop")
_FEATURES = ("auto", "pixels", "pretrained")
_DEFAULTS = {"acq": "margin", "model": "linear"}
_HELP = {  # of flags that mean something else here
  "acq": "acquisition function that chooses the images once there is a model, spelled as in experiments.mnist",
  "acq_size": "number of new labels after which the model is trained again",
  "init_labels": "number of labels before the first model",
  "seed": "seed of the audit's permutation and of the model",
  "model": "the model: a linear head on --features, or a network that is given the images",
  "image_size": "size at which a network and the pixel features see the images: 64, or 64x48 (height x width) (default:"
  " their own if they share one of at most 64 x 64, else 32)",
}


def _of_group(start: str) -> tuple[str, ...]:
  names = next(names for heading, names in GROUPS.items() if heading.startswith(start))
  return tuple(name for name in names if name not in _LEFT_OUT and not name.startswith(_STOPPING))


_MODEL = (*_of_group("Model"), *_of_group("Posterior"))
_STUDY = (*_CHOICE, *_MODEL, *_RUNNING)


class Command(NamedTuple):
  """What a command asks for."""

  values: flags.FlagValues
  source: str | None  # the folder, or the file of paths
  config: Config  # of the model and the acquisition
  words: list[str]  # the flags of `config`

  @property
  def classes(self) -> list[str]:
    """The names of the classes, those of the demonstration if none are given."""
    names = self.values.classes or (list("1234567890") if self.values.demo else [])
    return [name.strip() for name in names]

  @property
  def features(self) -> str:
    """`--features`, with the whole path of a file."""
    given = self.values.features
    return given if given in _FEATURES else os.path.abspath(os.path.expanduser(given))

  @property
  def image_size(self) -> tuple[int, int] | None:
    return image_size(self.values.image_size)


def _defined() -> flags.FlagValues:
  values = flags.FlagValues()
  own = {"flag_values": values}
  share = {"lower_bound": 0.0, "upper_bound": 1.0}
  flags.DEFINE_list("classes", [], "comma-separated class names; more can be added on the page", **own)
  flags.DEFINE_boolean("demo", False, "label scikit-learn's digits, written as files to runs/label_demo", **own)
  flags.DEFINE_string("root", None, "folder that the paths in a .csv or .jsonl start from (default: its own)", **own)
  flags.DEFINE_string("workdir", None, "folder of the labels and caches (default: .al_jax in FOLDER)", **own)
  flags.DEFINE_string(
    "features",
    "auto",
    "what the model and the clusters see: pixels, pretrained (EfficientNet-Lite0), or a .npy file with one row per"
    " image file, in the order of the paths; auto: pretrained for images above 64 x 64, if its weights are installed",
    **own,
  )
  flags.DEFINE_float(
    "audit", 0.1, "share of the images shown that measure the accuracy and train no model", **own, **share
  )
  flags.DEFINE_float("target", 0.95, "accuracy that is wanted, for the advice on stopping", **own, **share)
  flags.DEFINE_float("overlap", 0.0, "share of the images shown that another annotator has labeled", **own, **share)
  flags.DEFINE_string("host", "127.0.0.1", "address to serve on; others than loopback let the network in", **own)
  flags.DEFINE_integer("port", 0, "port to serve on; 0: a free one", 0, 65535, **own)
  flags.DEFINE_boolean("open", True, "open the page in a browser", **own)
  flags.DEFINE_string(
    "export",
    None,
    "write the labels and exit: csv:FILE, folders:DIR (hard links), copies:DIR or label_studio:FILE",
    **own,
  )
  flags.DEFINE_string("import", None, "read labels and exit: csv:FILE or label_studio:FILE", **own)
  for name in (*_STUDY, "image_size"):  # the latter is not passed on: there it belongs to a data set
    values[name] = copy.deepcopy(study_flags.FLAGS[name])
    values[name].unparse()
  for name, value in _DEFAULTS.items():
    values.set_default(name, value)
  for name, text in _HELP.items():
    values[name].help = text
  return values


def _help(values: flags.FlagValues, description: str) -> str:
  own = [name for name in values if name not in _STUDY and name != "image_size"]
  groups = {"Labeling": own, "Images to ask for": _CHOICE, "Model": (*_MODEL, "image_size")}
  return "\n".join([description.strip(), *flag_words.described(values, groups | {"Running": _RUNNING})])


def parse(argv: list[str], description: str) -> Command:
  """Parses the command line. Prints the help text and exits with 0 if it is asked for.

  Raises:
    UsageError: a wrong flag, or flags that contradict each other.
  """
  values = _defined()
  if flag_words.ask_for_help(argv[1:]):
    print(_help(values, description))
    sys.exit(0)
  _, *rest = flag_words.read(values, argv, words=1)
  if values.demo == bool(rest):
    given = "both are given" if rest else "neither is given"
    raise UsageError(f"name one FOLDER of images, or --demo ({given})")
  words = [values[name].serialize() for name in _STUDY if values[name].present]
  words += [f"--{name}={value}" for name, value in _DEFAULTS.items() if not values[name].present]
  study_flags.FLAGS(["experiments.label", *words])
  config = resolve()
  command = Command(values, rest[0] if rest else None, config, words)
  _check(command)
  return command


def _check(command: Command) -> None:
  """Raises UsageError for values that cannot be."""
  values, classes = command.values, command.classes
  if len(command.config.acq) > 1:
    raise UsageError(f"--acq={values.acq} names {len(command.config.acq)} strategies: give one")
  if command.config.acq[0].startswith(ORACLE):
    raise UsageError(f"--acq={ORACLE} reads labels that nobody has given yet: give an acquisition")
  for name in classes:
    if not is_name(name):
      raise UsageError(f"--classes: {name!r} is no class name: give 1 to {LONGEST} printable characters")
    if classes.count(name) > 1:
      raise UsageError(f"--classes names {name!r} twice")
  for name in ("target", "audit", "overlap"):
    if math.isnan(values[name].value):
      raise UsageError(f"--{name}=nan is not a number: give one from 0 to 1")
  if values.target == 1.0:
    raise UsageError("--target=1 is never reached: give less")
  if values.audit == 1.0:
    raise UsageError("--audit=1 leaves no image to train on: give less")
  if not values.host:
    raise UsageError("--host= names no address: omit it, or give 0.0.0.0 for all of this machine's")
  features = command.features
  if features not in _FEATURES and not (features.endswith(".npy") and Path(features).is_file()):
    raise UsageError(f"--features={values.features} is neither {', '.join(_FEATURES)} nor a .npy file that exists")
  if features == "pretrained":
    efficientnet_lite0.find()
  command.image_size  # noqa: B018 (raises)
