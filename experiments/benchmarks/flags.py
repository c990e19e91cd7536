"""The flags of the benchmark, separate from those of the main program, and their checks."""

from pathlib import Path
import shlex
import sys

from absl import flags

from al_jax import types
from experiments.benchmarks import acquisition as bench_acquisition
from experiments.benchmarks import agreement as bench_agreement
from experiments.benchmarks import heads_plan
from experiments.benchmarks.torch_loop import Plan
from experiments.common import flag_words
from experiments.common.errors import UsageError
from experiments.config import acquisitions

SUITES = ["step", "scoring", "run", "all", "acquisition", "loop", "lowering", "networks", "agreement", "heads"]
SUITES += ["labeling"]
# Defaults of a suite that replace those of the flags.
DEFAULTS = {
  "loop": {"batch_size": ["64"], "pool": ["60000"]},
  "networks": {"batch_size": ["32"], "steps": 3},
  "agreement": {"acq": bench_agreement.NAMES, "rounds": 8, "train_steps": 100, "seeds": 4},
  "heads": {
    "acq": list(heads_plan.STRATEGIES),
    "repeats": 3,
    "batch_size": ["64"],
    "chunk_size": 10_000,
    "pool": ["60000"],
    "rounds": 20,
    "seeds": 100,
  },
  "labeling": {"pool": ["5000"], "rounds": 38, "seeds": 1000},
}
_OF_SUITES = {
  "epochs": ("heads",),
  "features": ("heads", "labeling"),
  "dataset": ("heads", "labeling"),
  "sides": ("heads",),
  "targets": ("labeling",),
}  # flags of some suites alone


def _defined() -> flags.FlagValues:
  values = flags.FlagValues()
  own = {"flag_values": values}
  flags.DEFINE_enum("suite", "all", SUITES, "what to measure", **own)
  flags.DEFINE_integer("repeats", 5, "measurements of each number; --suite=run is measured once", lower_bound=1, **own)
  flags.DEFINE_list(
    "batch_size",
    ["32", "64", "128"],
    "images per training step, a comma list; one size for --suite=loop and heads",
    **own,
  )
  flags.DEFINE_integer("steps", 30, "training steps per measurement", lower_bound=1, **own)
  flags.DEFINE_integer("images", 60_000, "images to score", lower_bound=1, **own)
  flags.DEFINE_integer("chunk_size", types.Plan.chunk_size, "rows per forward pass of scoring", lower_bound=1, **own)
  flags.DEFINE_list("acq", bench_acquisition.NAMES, "acquisitions to measure, a comma list", **own)
  flags.DEFINE_list(
    "pool",
    ["10000", "60000"],
    "pool sizes of --suite=acquisition; one size for --suite=loop, heads and labeling",
    **own,
  )
  flags.DEFINE_list("samples", ["10", "100"], "posterior samples of --suite=acquisition", **own)
  flags.DEFINE_list(
    "num",
    ["10", "100"],
    "comma-separated batch sizes; acquisitions that score single images, and batchbald, use the first one",
    **own,
  )
  flags.DEFINE_integer(
    "rounds", 10, "acquisition rounds per run of --suite=loop, agreement, heads, labeling", lower_bound=1, **own
  )
  flags.DEFINE_integer("train_steps", 200, "steps per training of --suite=loop or agreement", lower_bound=1, **own)
  flags.DEFINE_integer("test", 10_000, "test rows of --suite=loop and heads", lower_bound=1, **own)
  flags.DEFINE_integer(
    "seeds",
    8,
    "runs of --suite=loop in one program (0: none), agreement, heads, labeling",
    lower_bound=0,
    **own,
  )
  flags.DEFINE_string(
    "data_dir", None, "folder with MNIST for --suite=run, heads, labeling, as in the main program", **own
  )
  flags.DEFINE_list(
    "features", [], "TRAIN.npy,TEST.npy: features for --suite=heads, labeling; else synthetic clusters", **own
  )
  flags.DEFINE_string("dataset", None, "data set with the labels of --features, such as mnist", **own)
  flags.DEFINE_list("targets", ["0.9", "0.95"], "accuracies, a comma list, for --suite=labeling", **own)
  flags.DEFINE_integer("epochs", 200, "epochs per training of PyTorch in --suite=heads", lower_bound=1, **own)
  flags.DEFINE_list("sides", list(heads_plan.SIDES), "sides of --suite=heads, a comma list", **own)
  flags.DEFINE_string("run_args", "", "more flags of --suite=run, as one string: '--rounds=2 --train_steps=50'", **own)
  flags.DEFINE_string("out", None, "JSON file to write the raw numbers to", **own)
  return values


def _help(values: flags.FlagValues) -> str:
  """One line per flag, with its default and those of suites that have another."""
  text = lambda value: ",".join(value) if isinstance(value, list) else str(value or "")
  lines = []
  for name in values:
    own = [f"; {suite}: {text(given[name])}" for suite, given in DEFAULTS.items() if name in given]
    lines.append(f"  --{name:<12}{values[name].help} [{text(values[name].value)}{''.join(own)}]")
  return "\n".join(lines)


def parse(argv: list[str], description: str = "") -> flags.FlagValues:
  """Parses the command line; `--help` prints the description and the flags, and ends the program.

  Raises:
    UsageError: a wrong flag, a word that is no flag, or flags that exclude each other.
  """
  values = _defined()
  if flag_words.ask_for_help(argv[1:]):
    print(f"{description}\nFlags:\n{_help(values)}")
    sys.exit(0)
  flag_words.read(values, argv)
  for name, value in DEFAULTS.get(values.suite, {}).items():
    values.set_default(name, value)
  _check(values)
  return values


def _check(values: flags.FlagValues) -> None:
  """Raises UsageError for invalid values and for flags that exclude each other."""
  for name in ("batch_size", "pool", "samples", "num"):
    words = values[name].value
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
      raise UsageError(f"--{name}={','.join(words)} must be integers of at least 1, such as 32,64")
    if len(set(map(int, words))) < len(words):
      raise UsageError(f"--{name}={','.join(words)} names a size twice: give each size once")
  for name in values.acq or [""]:
    acquisitions.of(name)
  if values.suite == "acquisition" and max(map(int, values.num)) * 2 > min(map(int, values.pool)):
    raise UsageError(
      f"--num={','.join(values.num)} exceeds half of the smallest pool of --pool={','.join(values.pool)}: select fewer"
    )
  one_size = {"loop": ("batch_size", "pool"), "heads": ("batch_size", "pool"), "labeling": ("pool",)}
  for name in one_size.get(values.suite, ()):
    if len(values[name].value) > 1:
      words = ",".join(values[name].value)
      raise UsageError(f"--{name}={words} gives several sizes, but --suite={values.suite} takes one")
  if values.suite == "loop":
    loop_plan(values)
  _check_suites(values)
  if values.suite == "agreement" and not values.seeds:
    raise UsageError("--seeds=0 leaves --suite=agreement without a run to compare: give 1 or more")
  try:
    shlex.split(values.run_args)
  except ValueError as error:
    raise UsageError(f"--run_args={values.run_args} cannot be read: {error}") from error
  if values.out is not None and (not values.out or Path(values.out).is_dir() or not Path(values.out).parent.is_dir()):
    raise UsageError(f"--out={values.out} cannot be written: name a file in a folder that exists")


def _check_suites(values: flags.FlagValues) -> None:
  """Raises UsageError for the flags of some suites with another suite, and for invalid values of these flags."""
  for name, suites in _OF_SUITES.items():
    if values[name].present and values.suite not in suites:
      raise UsageError(
        f"--{name} applies to --suite={' and '.join(suites)}, not to --suite={values.suite}: leave it out"
      )
  if values.suite == "heads":
    for name, known in (("acq", heads_plan.STRATEGIES), ("sides", heads_plan.SIDES)):
      words = values[name].value
      if not words or len(set(words)) < len(words) or not set(words) <= set(known):
        raise UsageError(f"--{name}={','.join(words)}: --suite=heads takes each of {', '.join(known)} at most once")
  if values.suite == "labeling" and not (values.targets and all(map(_is_share, values.targets))):
    raise UsageError(f"--targets={','.join(values.targets)} must be accuracies between 0 and 1, such as 0.9,0.95")
  if values.suite not in _OF_SUITES["features"]:
    return
  if not values.seeds:
    raise UsageError(f"--seeds=0 leaves --suite={values.suite} without a run: give 1 or more")
  if values["features"].present and len(values.features) != 2:
    raise UsageError(f"--features={','.join(values.features)} must name two files: TRAIN.npy,TEST.npy")
  if bool(values.features) != (values.dataset is not None):
    given, missing = ("features", "dataset") if values.features else ("dataset", "features")
    raise UsageError(f"--{given} needs --{missing}: the labels of --features are those of --dataset")


def _is_share(word: str) -> bool:
  try:
    return 0 < float(word) < 1
  except ValueError:
    return False


def loop_plan(config: flags.FlagValues) -> Plan:
  """The plan of `--suite=loop`.

  Raises:
    UsageError: the plan needs more labels than the pool has rows.
  """
  plan = Plan(config.rounds, config.train_steps, int(config.batch_size[0]), int(config.pool[0]), config.test)
  if plan.max_labels > plan.pool:
    raise UsageError(
      f"--rounds={plan.rounds} needs {plan.max_labels} labels, but --pool={plan.pool} has fewer: give fewer --rounds"
    )
  return plan
