"""How fast is it? Training steps, scoring a pool and whole runs; beside PyTorch, where that is installed.

  python -m experiments.bench                                  everything, some ten minutes on two cores
  python -m experiments.bench --suite=step --batch_size=64     the training step alone, at one batch size
  python -m experiments.bench --suite=acquisition              every acquisition beside the passes it needs
  python -m experiments.bench --suite=loop                     whole runs in one program beside a plain PyTorch loop
  python -m experiments.bench --suite=lowering                 the convolutions, lowered in every way
  python -m experiments.bench --out=bench.json                 the raw numbers too

Each repeat measures every side once, in turn, so that a machine that slows down slows all of them; only one works at a
time. Each PyTorch variant is a process of its own (`experiments.bench_torch`, `experiments.bench_torch_loop`) that is
blocked while it waits.
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
from experiments import bench_loop
from experiments import bench_lowering
from experiments import data as data_sources
from experiments.bench_jax import IMAGE
from experiments.bench_jax import JAX
from experiments.bench_jax import JaxSide
from experiments.bench_jax import Task
from experiments.bench_jax import layer_flops
from experiments.bench_jax import matmul_task
from experiments.bench_jax import step_flops
from experiments.bench_report import Seconds
from experiments.bench_report import last_repeat
from experiments.bench_report import paired_ratios
from experiments.bench_report import ratio_table
from experiments.bench_report import ratios
from experiments.bench_report import time_table
from experiments.bench_torch import TorchSide
from experiments.bench_torch import environment
from experiments.bench_torch_loop import VARIANTS
from experiments.bench_torch_loop import Plan
from experiments.bench_torch_loop import TorchLoopSide
from experiments.errors import UsageError
from experiments.progress import Display
from experiments.runtime import cores

NO_TORCH = "PyTorch is not installed: JAX alone."
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "scikit-learn", "batchbald_redux")


def parse(argv: list[str]) -> flags.FlagValues:
  """The flags of the command line, kept apart from those of the main program.

  Raises:
    UsageError: a wrong flag or a stray word.
  """
  values = flags.FlagValues()
  own = {"flag_values": values}
  flags.DEFINE_enum(
    "suite", "all", ["step", "scoring", "run", "all", "acquisition", "loop", "lowering"], "what to measure", **own
  )
  flags.DEFINE_integer("repeats", 5, "measurements of each number; but --suite=run is made once", lower_bound=1, **own)
  flags.DEFINE_list(
    "batch_size",
    ["32", "64", "128"],
    "images a training step, a comma list; one for --suite=loop, 64 if not given",
    **own,
  )
  flags.DEFINE_integer("steps", 30, "training steps in one measurement", lower_bound=1, **own)
  flags.DEFINE_integer("images", 60_000, "images to score", lower_bound=1, **own)
  flags.DEFINE_integer(
    "chunk_size", types.Protocol.chunk_size, "images in one forward pass of scoring", lower_bound=1, **own
  )
  flags.DEFINE_list("acq", bench_acquisition.NAMES, "acquisitions to measure, a comma list", **own)
  flags.DEFINE_list(
    "pool", ["10000", "60000"], "pool sizes of --suite=acquisition; one for --suite=loop, 60000 if not given", **own
  )
  flags.DEFINE_list("samples", ["10", "100"], "posterior samples of --suite=acquisition", **own)
  flags.DEFINE_list("num", ["10", "100"], "images selected; all but the set-valued on features take the first", **own)
  flags.DEFINE_integer("rounds", 10, "acquisitions in a run of --suite=loop", lower_bound=1, **own)
  flags.DEFINE_integer("train_steps", 200, "steps in a training of --suite=loop", lower_bound=1, **own)
  flags.DEFINE_integer("test", 10_000, "test images of --suite=loop", lower_bound=1, **own)
  flags.DEFINE_integer(
    "seeds", 8, "runs in one program of --suite=loop, made once; 0 leaves them out", lower_bound=0, **own
  )
  flags.DEFINE_string("data_dir", None, "folder with MNIST for the run, as in the main program", **own)
  flags.DEFINE_string("run_args", "", "more flags of the run, as one string: '--rounds=2 --train_steps=50'", **own)
  flags.DEFINE_string("out", None, "JSON file to write the raw numbers to", **own)
  if any(word.lstrip("-") in ("help", "h", "helpfull", "helpshort") for word in argv[1:] if word.startswith("-")):
    print(f"{__doc__}\nFlags:")
    for name, flag in values.flag_values_dict().items():
      print(f"  --{name:<12}{values[name].help} [{','.join(flag) if isinstance(flag, list) else flag or ''}]")
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
  if values.suite == "loop":
    loop_plan(values)
  try:
    shlex.split(values.run_args)
  except ValueError as error:
    raise UsageError(f"--run_args={values.run_args} cannot be read: {error}") from error
  if values.out is not None and (not values.out or Path(values.out).is_dir() or not Path(values.out).parent.is_dir()):
    raise UsageError(f"--out={values.out} cannot be written: name a file in a folder that exists")
  return values


def loop_plan(config: flags.FlagValues) -> Plan:
  """The run of `--suite=loop`.

  Raises:
    UsageError: the flags give no single plan, or one that buys more labels than there are.
  """

  def only(name: str, default: int) -> int:
    words = config[name].value if config[name].present else [default]
    if len(words) > 1:
      raise UsageError(f"--{name}={','.join(words)} names several sizes, but --suite=loop takes one")
    return int(words[0])

  plan = Plan(config.rounds, config.train_steps, only("batch_size", 64), only("pool", 60_000), config.test)
  if plan.max_labels > plan.pool:
    raise UsageError(f"--rounds={plan.rounds} asks for {plan.max_labels} labels of a pool of --pool={plan.pool}")
  return plan


def make_tasks(config: flags.FlagValues) -> list[Task]:
  """What the flags ask for, the cores' matmul rate first."""
  layers = layer_flops(CNN(), IMAGE)
  tasks = []
  if config.suite in ("step", "all"):
    sizes = [int(size) for size in config.batch_size]
    tasks += [Task(f"step, batch {size}", "step", size, config.steps, step_flops(layers) * size) for size in sizes]
  if config.suite in ("scoring", "all"):
    tasks.append(Task(f"scoring {config.images:,}", "scoring", config.images, 1, sum(layers) * config.images))
  return [matmul_task(2048), *tasks] if tasks else []


def torch_sides() -> list[TorchSide]:
  """The four PyTorch variants, plain as installed first; none where PyTorch is not installed."""
  if importlib.util.find_spec("torch") is None:
    return []
  return [TorchSide(variant, tuned) for tuned in (False, True) for variant in ("plain", "channels_last")]


def torch_loop_sides(plan: Plan) -> list[TorchSide]:
  """The three PyTorch variants of the loop, plain as installed first; none where PyTorch is not installed."""
  if importlib.util.find_spec("torch") is None:
    return []
  return [TorchLoopSide(variant, tuned, plan) for variant, tuned in VARIANTS]


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
      if task.kind == "loop":  # which takes minutes: nothing is lost where somebody stops it
        display.line(f"{task.name}, repeat {repeat + 1} of {repeats}: {last_repeat(seconds[task.name])}")
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
    "cores": cores(),
    "load": os.getloadavg()[0],
    "backend": jax.default_backend(),
    "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
    "versions": versions,
    "environment": {k: v for k, v in os.environ.items() if k.startswith(("MALLOC_", "OMP_", "KMP_", "XLA_", "JAX_"))},
  }


def measure_acquisitions(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints `--suite=acquisition`; returns its raw numbers."""
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
  return {"acquisitions": measured}


def say_notes(tasks: list[Task], sides: list, display: Display) -> dict:
  """Prints what is not in the tables, JAX's side being the first; returns it as raw numbers."""
  notes = {
    "compile_seconds": sides[0].compile_seconds,
    "chunk_size": {side.name: side.chunk_size for side in sides},
    "idle_cores": {side.name: side.idle_cpu / side.idle_wall for side in (sides if sides[1:] else [])},
    "flops": {task.name: task.flops for task in tasks},
  }
  for name, value in notes["compile_seconds"].items():
    display.line(f"JAX compiled {name} in {value:.1f} s, which is not in its time.")
  if any(task.kind in ("scoring", "loop") for task in tasks):
    chunks = ", ".join(f"{name} {size}" for name, size in notes["chunk_size"].items())
    display.line(f"images in a forward pass of scoring: {chunks}")
  if notes["idle_cores"]:
    idle = max(notes["idle_cores"].values())
    display.line(f"PyTorch uses {cores()} threads; a side that waits uses at most {idle:.1%} of a core.")
  return notes


def measure_tasks(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints the suites of steps, scoring and runs; returns their raw numbers."""
  tasks, with_run = make_tasks(config), config.suite in ("run", "all")
  runs = measure_runs(config, display) if with_run else {}
  with contextlib.ExitStack() as stack:
    others = [stack.enter_context(side) for side in torch_sides()] if tasks else []
    if tasks and not others:
      display.line(NO_TORCH)
    sides = [JaxSide(config.chunk_size), *others]
    seconds = measure(tasks, sides, config.repeats, display) | runs
    notes = say_notes(tasks, sides, display)
  if seconds:
    width = None if display.console.is_terminal else 120
    display.console.print(time_table(seconds, tasks), width=width)
    if others:
      display.console.print(ratio_table(seconds), width=width)
  return {"seconds": seconds, "ratios": [ratio._asdict() for ratio in ratios(seconds)], **notes}


def measure_loop(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints `--suite=loop`; returns its raw numbers."""
  plan = loop_plan(config)
  tasks = bench_loop.tasks(plan)
  with contextlib.ExitStack() as stack:
    jax_side = bench_loop.JaxLoopSide(plan, config.chunk_size)
    others = [stack.enter_context(side) for side in torch_loop_sides(plan)]
    if not others:
      display.line(NO_TORCH)
    seconds = measure(tasks, [jax_side, *others], config.repeats, display)
    if config.seeds:
      tasks.append(bench_loop.loop_task(plan, config.seeds))
      seconds |= measure(tasks[-1:], [jax_side], 1, display)
    display.phase("JAX: a round by its parts")
    phases = bench_loop.measure_phases(jax_side, config.repeats)
    notes = say_notes(tasks, [jax_side, *others], display)
  peak, work = bench_loop.peak_rate(seconds, tasks), plan.work()
  display.line(f"float32 matmul peak: {peak / 1e9:.0f} GFLOP/s, the best of {len(bench_loop.MATMUL_SIZES)} sizes")
  display.line("a run, on every side: " + ", ".join(f"{number:,} {what}" for what, number in work.items()))
  width = None if display.console.is_terminal else 120
  display.console.print(time_table(seconds, tasks, peak), width=width)
  display.console.print(bench_loop.phase_table(phases, peak), width=width)
  display.line(f"a run of such parts would take {bench_loop.total_seconds(phases, plan):.2f} s")
  if others:
    display.console.print(ratio_table(seconds, paired_ratios), width=width)
  return {
    "plan": plan._asdict(),
    "work": work,
    "seconds": seconds,
    "ratios": [ratio._asdict() for ratio in paired_ratios(seconds)],
    "phases": [phase._asdict() for phase in phases],
    "peak_flops": peak,
    **notes,
  }


def measure_lowerings(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints `--suite=lowering`; returns its raw numbers."""
  measured = bench_lowering.run(
    display,
    batch_sizes=[int(size) for size in config.batch_size],
    pool=int(config.pool[0]),
    steps=config.steps,
    chunk_size=config.chunk_size,
    repeats=config.repeats,
  )
  display.console.print(bench_lowering.table(measured))
  return {"lowerings": measured}


def say_machine(display: Display) -> dict:
  """Prints where and with what this is measured; returns it as raw numbers."""
  where = machine()
  versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
  display.line(f"{where['cpu']}, {where['cores']} cores, JAX on {where['backend']}; {where['date']}")
  display.line(versions)
  if where["load"] > where["cores"] / 4:
    # A thread that loses its core holds up all of OpenMP's at their next barrier: PyTorch would look too slow.
    display.line(f"Load average {where['load']:.1f}: other programs may be running, and then no ratio below is fair.")
  for name, value in where["environment"].items():
    display.line(f"set in the environment: {name}={value}")
  return where


def measurements_of(config: flags.FlagValues) -> int:
  """What the bar counts: a task in a repeat, or a run."""
  if config.suite == "loop":
    return len(bench_loop.MATMUL_SIZES) * config.repeats + config.repeats + bool(config.seeds)
  return len(make_tasks(config)) * config.repeats + 2 * (config.suite in ("run", "all"))


def main(argv: list[str]) -> None:
  try:
    config = parse(argv)
    with Display(measurements_of(config)) as display:
      where = say_machine(display)
      suites = {"acquisition": measure_acquisitions, "loop": measure_loop, "lowering": measure_lowerings}
      raw = suites.get(config.suite, measure_tasks)(config, display)
      if config.out is not None:
        Path(config.out).write_text(json.dumps({"machine": where, **raw}, indent=1) + "\n")
        display.line(f"raw numbers in {config.out}")
  except (UsageError, data_sources.DataError, OSError) as error:
    sys.exit(f"error: {error}")
  except KeyboardInterrupt:
    sys.exit(130)


if __name__ == "__main__":
  main(sys.argv)
