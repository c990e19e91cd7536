"""The flags of the benchmark, kept apart from those of the main program, and what of them does not go together."""

from pathlib import Path
import shlex
import sys

from absl import flags

from al_jax import types
from experiments.benchmarks import acquisition as bench_acquisition
from experiments.benchmarks import agreement as bench_agreement
from experiments.benchmarks.torch_loop import Plan
from experiments.common.errors import UsageError
from experiments.config import acquisitions

SUITES = ["step", "scoring", "run", "all", "acquisition", "loop", "lowering", "networks", "agreement"]
# What a suite takes in place of a flag's default.
DEFAULTS = {
  "loop": {"batch_size": ["64"], "pool": ["60000"]},
  "networks": {"batch_size": ["32"], "steps": 3},
  "agreement": {"acq": bench_agreement.NAMES, "rounds": 8, "train_steps": 100, "seeds": 4},
}


def _defined() -> flags.FlagValues:
  values = flags.FlagValues()
  own = {"flag_values": values}
  flags.DEFINE_enum("suite", "all", SUITES, "what to measure", **own)
  flags.DEFINE_integer("repeats", 5, "measurements of each number; but --suite=run is made once", lower_bound=1, **own)
  flags.DEFINE_list(
    "batch_size", ["32", "64", "128"], "images a training step, a comma list; one for --suite=loop", **own
  )
  flags.DEFINE_integer("steps", 30, "training steps in one measurement", lower_bound=1, **own)
  flags.DEFINE_integer("images", 60_000, "images to score", lower_bound=1, **own)
  flags.DEFINE_integer(
    "chunk_size", types.Plan.chunk_size, "images in one forward pass of scoring", lower_bound=1, **own
  )
  flags.DEFINE_list("acq", bench_acquisition.NAMES, "acquisitions to measure, a comma list", **own)
  flags.DEFINE_list("pool", ["10000", "60000"], "pool sizes of --suite=acquisition; one for --suite=loop", **own)
  flags.DEFINE_list("samples", ["10", "100"], "posterior samples of --suite=acquisition", **own)
  flags.DEFINE_list("num", ["10", "100"], "images selected; all but the set-valued on features take the first", **own)
  flags.DEFINE_integer("rounds", 10, "acquisitions in a run of --suite=loop or agreement", lower_bound=1, **own)
  flags.DEFINE_integer("train_steps", 200, "steps in a training of --suite=loop or agreement", lower_bound=1, **own)
  flags.DEFINE_integer("test", 10_000, "test images of --suite=loop", lower_bound=1, **own)
  flags.DEFINE_integer(
    "seeds", 8, "runs in one program of --suite=loop, where 0 leaves them out, or agreement", lower_bound=0, **own
  )
  flags.DEFINE_string("data_dir", None, "folder with MNIST for the run, as in the main program", **own)
  flags.DEFINE_string("run_args", "", "more flags of the run, as one string: '--rounds=2 --train_steps=50'", **own)
  flags.DEFINE_string("out", None, "JSON file to write the raw numbers to", **own)
  return values


def _help(values: flags.FlagValues) -> str:
  """A line a flag, with its default and those of suites that have their own."""
  text = lambda value: ",".join(value) if isinstance(value, list) else str(value or "")
  lines = []
  for name in values:
    own = [f"; {suite}: {text(given[name])}" for suite, given in DEFAULTS.items() if name in given]
    lines.append(f"  --{name:<12}{values[name].help} [{text(values[name].value)}{''.join(own)}]")
  return "\n".join(lines)


def parse(argv: list[str], description: str = "") -> flags.FlagValues:
  """The flags of the command line; `--help` prints them below a description, and ends the program.

  Raises:
    UsageError: a wrong flag, a stray word, or flags that do not go together.
  """
  values = _defined()
  if any(word.lstrip("-") in ("help", "h", "helpfull", "helpshort") for word in argv[1:] if word.startswith("-")):
    print(f"{description}\nFlags:\n{_help(values)}")
    sys.exit(0)
  try:
    rest = values(argv)
  except flags.Error as error:
    raise UsageError(error) from error
  if len(rest) > 1:
    raise UsageError(f"stray word {rest[1]!r} on the command line: every setting is a flag, --name=value")
  for name in values:
    if values[name].present > 1:
      raise UsageError(f"--{name} is given {values[name].present} times: give it once")
  for name, value in DEFAULTS.get(values.suite, {}).items():
    values.set_default(name, value)
  _check(values)
  return values


def _check(values: flags.FlagValues) -> None:
  """Raises UsageError for values that cannot be, or do not go together."""
  for name in ("batch_size", "pool", "samples", "num"):
    words = values[name].value
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
      raise UsageError(f"--{name}={','.join(words)} must be whole numbers from 1 on, such as 32,64")
    if len(set(map(int, words))) < len(words):
      raise UsageError(f"--{name}={','.join(words)} names a size twice")
  for name in values.acq or [""]:
    acquisitions.of(name)
  if values.suite == "acquisition" and max(map(int, values.num)) * 2 > min(map(int, values.pool)):
    raise UsageError(f"--num={','.join(values.num)} is more than half of a pool of --pool={','.join(values.pool)}")
  if values.suite == "loop":
    loop_plan(values)
  if values.suite == "agreement" and not values.seeds:
    raise UsageError("--seeds=0 leaves --suite=agreement no run to compare: give 1 or more")
  try:
    shlex.split(values.run_args)
  except ValueError as error:
    raise UsageError(f"--run_args={values.run_args} cannot be read: {error}") from error
  if values.out is not None and (not values.out or Path(values.out).is_dir() or not Path(values.out).parent.is_dir()):
    raise UsageError(f"--out={values.out} cannot be written: name a file in a folder that exists")


def loop_plan(config: flags.FlagValues) -> Plan:
  """The run of `--suite=loop`.

  Raises:
    UsageError: the flags give no single plan, or one that buys more labels than there are.
  """

  def only(name: str) -> int:
    words = config[name].value
    if len(words) > 1:
      raise UsageError(f"--{name}={','.join(words)} names several sizes, but --suite=loop takes one")
    return int(words[0])

  plan = Plan(config.rounds, config.train_steps, only("batch_size"), only("pool"), config.test)
  if plan.max_labels > plan.pool:
    raise UsageError(f"--rounds={plan.rounds} asks for {plan.max_labels} labels of a pool of --pool={plan.pool}")
  return plan
