"""How fast is it? Training steps, scoring a pool and whole runs; beside PyTorch, where that is installed.

  python -m experiments.bench                                  everything, some ten minutes on two cores
  python -m experiments.bench --suite=step --batch_size=64     the training step alone, at one batch size
  python -m experiments.bench --suite=acquisition              every acquisition beside the passes it needs
  python -m experiments.bench --out=bench.json                 the raw numbers too

Each repeat measures every side once, in turn, so that a machine that slows down slows all of them; only one works at a
time. Each PyTorch variant is a process of its own (`experiments.bench_torch`) that is blocked while it waits.
"""

import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path
import platform
import shlex
import subprocess
import sys
import tempfile
import time

from absl import flags
import jax

from al_jax import acquisition
from al_jax import types
from al_jax.models.cnn import CNN
from experiments import bench_acquisition
from experiments import data as data_sources
from experiments.bench_jax import IMAGE
from experiments.bench_jax import JAX
from experiments.bench_jax import JaxSide
from experiments.bench_jax import Task
from experiments.bench_jax import layer_flops
from experiments.bench_report import Seconds
from experiments.bench_report import ratio_table
from experiments.bench_report import ratios
from experiments.bench_report import time_table
from experiments.bench_torch import TorchSide
from experiments.bench_torch import environment
from experiments.bench_torch import num_cores
from experiments.errors import UsageError
from experiments.progress import Display

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "scikit-learn", "batchbald_redux")


def parse(argv: list[str]) -> flags.FlagValues:
  """The flags of the command line, kept apart from those of the main program.

  Raises:
    UsageError: a wrong flag or a stray word.
  """
  values = flags.FlagValues()
  own = {"flag_values": values}
  flags.DEFINE_enum("suite", "all", ["step", "scoring", "run", "all", "acquisition"], "what to measure", **own)
  flags.DEFINE_integer("repeats", 5, "measurements of each number; a whole run is made once", lower_bound=1, **own)
  flags.DEFINE_list("batch_size", ["32", "64", "128"], "images a training step, a comma list", **own)
  flags.DEFINE_integer("steps", 30, "training steps in one measurement", lower_bound=1, **own)
  flags.DEFINE_integer("images", 60_000, "images to score", lower_bound=1, **own)
  flags.DEFINE_integer(
    "chunk_size", types.Protocol.chunk_size, "images in one forward pass of scoring", lower_bound=1, **own
  )
  flags.DEFINE_list("acq", bench_acquisition.NAMES, "acquisitions to measure, a comma list", **own)
  flags.DEFINE_list("pool", ["10000", "60000"], "pool sizes of --suite=acquisition", **own)
  flags.DEFINE_list("samples", ["10", "100"], "posterior samples of --suite=acquisition", **own)
  flags.DEFINE_list("num", ["10", "100"], "images selected; all but the set-valued on features take the first", **own)
  flags.DEFINE_string("data_dir", None, "folder with MNIST for the run, as in the main program", **own)
  flags.DEFINE_string("run_args", "", "more flags of the run, as one string: '--rounds=2 --train_steps=50'", **own)
  flags.DEFINE_string("out", None, "JSON file to write the raw numbers to", **own)
  if any(word.lstrip("-") in ("help", "h", "helpfull", "helpshort") for word in argv[1:] if word.startswith("-")):
    print(f"{__doc__}\nFlags:")
    for name, flag in values.flag_values_dict().items():
      print(f"  --{name:<11}{values[name].help} [{','.join(flag) if isinstance(flag, list) else flag or ''}]")
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
  for name in ("batch_size", "pool", "samples", "num"):
    words = values[name].value
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
      raise UsageError(f"--{name}={','.join(words)} must be whole numbers from 1 on, such as 32,64")
    if len(set(map(int, words))) < len(words):
      raise UsageError(f"--{name}={','.join(words)} names a size twice")
  for name in values.acq or [""]:
    try:
      acquisition.make(name)
    except ValueError as error:
      raise UsageError(error) from error
  if values.suite == "acquisition" and max(map(int, values.num)) * 2 > min(map(int, values.pool)):
    raise UsageError(f"--num={','.join(values.num)} is more than half of a pool of --pool={','.join(values.pool)}")
  try:
    shlex.split(values.run_args)
  except ValueError as error:
    raise UsageError(f"--run_args={values.run_args} cannot be read: {error}") from error
  if values.out is not None and (not values.out or Path(values.out).is_dir() or not Path(values.out).parent.is_dir()):
    raise UsageError(f"--out={values.out} cannot be written: name a file in a folder that exists")
  return values


def make_tasks(config: flags.FlagValues) -> list[Task]:
  """What the flags ask for, the cores' matmul rate first."""
  layers = layer_flops(CNN(), IMAGE)
  step_flops = 3 * sum(layers) - layers[0]  # back-propagation costs twice the forward pass; images need no gradient
  tasks = []
  if config.suite in ("step", "all"):
    sizes = [int(size) for size in config.batch_size]
    tasks += [Task(f"step, batch {size}", "step", size, config.steps, step_flops * size) for size in sizes]
  if config.suite in ("scoring", "all"):
    tasks.append(Task(f"scoring {config.images:,}", "scoring", config.images, 1, sum(layers) * config.images))
  return [Task("matmul 2048", "matmul", 2048, 4, 2 * 2048**3), *tasks] if tasks else []


def torch_sides() -> list[TorchSide]:
  """The four PyTorch variants, plain as installed first; none where PyTorch is not installed."""
  if importlib.util.find_spec("torch") is None:
    return []
  return [TorchSide(variant, tuned) for tuned in (False, True) for variant in ("plain", "channels_last")]


def measure(tasks: list[Task], sides: list, repeats: int, display: Display) -> Seconds:
  """Every task on every side, in turn; the side that goes first changes from repeat to repeat."""
  seconds: Seconds = {task.name: {side.name: [] for side in sides} for task in tasks}
  seconds |= {task.name: {JAX: []} for task in tasks if task.kind == "matmul"}
  pairs = [(task, side) for task in tasks for side in sides if side.name in seconds[task.name]]
  for task, side in pairs:
    display.phase(f"{side.name}: {task.name}, warm-up")
    side.prepare(task)
  for repeat in range(repeats):
    first = repeat % len(sides)
    for task in tasks:
      for side in sides[first:] + sides[:first]:
        if (task, side) in pairs:
          display.phase(f"{side.name}: {task.name}, repeat {repeat + 1} of {repeats}")
          seconds[task.name][side.name].append(side.measure(task) / task.count)
      display.advance()
  return seconds


def run_once(dataset: str, config: flags.FlagValues) -> float:
  """Seconds of one run of the main program, its start and compilation included.

  Raises:
    UsageError: the run failed.
  """
  arguments = [f"--dataset={dataset}", *shlex.split(config.run_args)]
  if dataset == "mnist" and config.data_dir is not None:
    arguments.append(f"--data_dir={config.data_dir}")
  with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "-m", "experiments.mnist", f"--workdir={folder}/run", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
  if done.returncode:
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise UsageError(f"the run of {dataset} ended with exit code {done.returncode}: {last.removeprefix('error: ')}")
  return seconds


def measure_runs(config: flags.FlagValues, display: Display) -> Seconds:
  """One run of the main program on each data set that is here."""
  seconds: Seconds = {}
  for dataset in ("digits", "mnist"):
    display.phase(f"a run of {dataset}")
    try:
      data_sources.load(dataset, config.data_dir, download=False)
    except data_sources.DataError as error:
      if config.data_dir is not None:
        raise
      display.line(f"run of {dataset}: left out. {error}")
    else:
      seconds[f"run, {dataset}"] = {JAX: [run_once(dataset, config)]}
    display.advance()
  return seconds


def machine() -> dict:
  """Where and with what this was measured."""
  cpuinfo = Path("/proc/cpuinfo")
  lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
  models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
  versions = {"python": platform.python_version()}
  for package in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  return {
    "cpu": models[0] if models else platform.processor() or platform.machine(),
    "cores": num_cores(),
    "load": os.getloadavg()[0],
    "backend": jax.default_backend(),
    "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
    "versions": versions,
    "environment": {k: v for k, v in os.environ.items() if k.startswith(("MALLOC_", "OMP_", "KMP_", "XLA_", "JAX_"))},
  }


def measure_acquisitions(config: flags.FlagValues, display: Display, where: dict) -> None:
  """Measures, prints and writes `--suite=acquisition`."""
  numbers = {name: [int(word) for word in config[name].value] for name in ("pool", "samples", "num")}
  measured = bench_acquisition.run(
    display,
    names=config.acq,
    sizes=numbers["pool"],
    samples=numbers["samples"],
    nums=numbers["num"],
    chunk_size=config.chunk_size,
    repeats=config.repeats,
  )
  display.console.print(bench_acquisition.table(measured), width=None if display.console.is_terminal else 140)
  if config.out is not None:
    Path(config.out).write_text(json.dumps({"machine": where, "acquisitions": measured}, indent=1) + "\n")
    display.line(f"raw numbers in {config.out}")


def main(argv: list[str]) -> None:
  try:
    config = parse(argv)
    tasks = make_tasks(config)
    with_run = config.suite in ("run", "all")
    with contextlib.ExitStack() as stack:
      display = stack.enter_context(Display(len(tasks) * config.repeats + 2 * with_run))
      where = machine()
      versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
      display.line(f"{where['cpu']}, {where['cores']} cores, JAX on {where['backend']}; {where['date']}")
      display.line(versions)
      if where["load"] > where["cores"] / 4:
        # A thread that loses its core holds up all of OpenMP's at their next barrier: PyTorch would look too slow.
        display.line(
          f"Load average {where['load']:.1f}: other programs may be running, and then no ratio below is fair."
        )
      for name, value in where["environment"].items():
        display.line(f"set in the environment: {name}={value}")
      if config.suite == "acquisition":
        measure_acquisitions(config, display, where)
        return
      runs = measure_runs(config, display) if with_run else {}
      jax_side = JaxSide(config.chunk_size)
      others = [stack.enter_context(side) for side in torch_sides()] if tasks else []
      if tasks and not others:
        display.line("PyTorch is not installed: JAX alone.")
      sides = [jax_side, *others]
      seconds = measure(tasks, sides, config.repeats, display) | runs
      notes = {
        "compile_seconds": jax_side.compile_seconds,
        "chunk_size": {side.name: side.chunk_size for side in sides},
        "idle_cores": {side.name: side.idle_cpu / side.idle_wall for side in (sides if others else [])},
        "flops": {task.name: task.flops for task in tasks},
      }
      for name, value in jax_side.compile_seconds.items():
        display.line(f"JAX compiled {name} in {value:.1f} s, which is not in its time.")
      if any(task.kind == "scoring" for task in tasks):
        chunks = ", ".join(f"{name} {size}" for name, size in notes["chunk_size"].items())
        display.line(f"images in a forward pass of scoring: {chunks}")
      if others:
        idle = max(notes["idle_cores"].values())
        display.line(f"PyTorch uses {num_cores()} threads; a side that waits uses at most {idle:.1%} of a core.")
      if seconds:
        width = None if display.console.is_terminal else 120
        display.console.print(time_table(seconds, tasks), width=width)
        if others:
          display.console.print(ratio_table(seconds), width=width)
      if config.out is not None:
        raw = {"machine": where, "seconds": seconds, "ratios": [r._asdict() for r in ratios(seconds)], **notes}
        Path(config.out).write_text(json.dumps(raw, indent=1) + "\n")
        display.line(f"raw numbers in {config.out}")
  except (UsageError, data_sources.DataError, OSError) as error:
    sys.exit(f"error: {error}")
  except KeyboardInterrupt:
    sys.exit(130)


if __name__ == "__main__":
  main(sys.argv)
