"""Measures the speed of training steps, pool scoring and whole runs, next to PyTorch if it is installed.

  python -m experiments.bench                                  steps, scoring and a run, about ten minutes on two cores
  python -m experiments.bench --suite=step --batch_size=64     the training step only, at one batch size
  python -m experiments.bench --suite=acquisition              every acquisition and the forward passes it needs
  python -m experiments.bench --suite=loop                     whole runs as one program and a plain PyTorch loop
  python -m experiments.bench --suite=lowering                 the convolutions under every lowering
  python -m experiments.bench --suite=networks                 a training step of each built-in network
  python -m experiments.bench --suite=agreement                effect of packing and precision on runs
  python -m experiments.bench --suite=heads                    linear heads on features, beside scikit-learn and PyTorch
  python -m experiments.bench --suite=labeling                 estimates of the labeling page, on known labels
  python -m experiments.bench --out=bench.json                 also writes the raw numbers

Each repeat measures every side (JAX and each PyTorch variant) once, one after another, so that a slowdown of the
machine affects all of them. Each PyTorch variant is a separate process (`benchmarks.torch_worker`,
`benchmarks.torch_loop`) that blocks while it waits; in `--suite=heads`, so is every side (`benchmarks.heads_worker`).
"""

import contextlib
import datetime
import importlib.metadata
import os
from pathlib import Path
import platform
import shlex
import sys

from absl import flags
import jax

from experiments.benchmarks import acquisition as bench_acquisition
from experiments.benchmarks import agreement as bench_agreement
from experiments.benchmarks import flags as bench_flags
from experiments.benchmarks import heads as bench_heads
from experiments.benchmarks import labeling as bench_labeling
from experiments.benchmarks import loop as bench_loop
from experiments.benchmarks import lowering as bench_lowering
from experiments.benchmarks import networks as bench_networks
from experiments.benchmarks import program as bench_runs
from experiments.benchmarks import sides as bench_sides
from experiments.benchmarks.jax_side import JaxSide
from experiments.benchmarks.tables import paired_ratios
from experiments.benchmarks.tables import ratio_table
from experiments.benchmarks.tables import ratios
from experiments.benchmarks.tables import time_table
from experiments.benchmarks.tables import to_json
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.data import DataError
from experiments.runs.runtime import cores

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "scikit-learn", "batchbald_redux")


def machine() -> dict:
  """The machine, software versions and environment of a measurement."""
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


def measure_tasks(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints the suites of steps, scoring and runs; returns their raw numbers."""
  tasks, with_run = bench_sides.make_tasks(config), config.suite in ("run", "all")
  runs = bench_runs.measure_runs(config, display) if with_run else {}
  with contextlib.ExitStack() as stack:
    others = [stack.enter_context(side) for side in bench_sides.torch_sides()] if tasks else []
    if tasks and not others:
      display.line(bench_sides.NO_TORCH)
    sides = [JaxSide(config.chunk_size), *others]
    seconds = bench_sides.measure(tasks, sides, config.repeats, display) | runs
    notes = bench_sides.say_notes(tasks, sides, display)
  if seconds:
    width = None if display.console.is_terminal else 120
    display.console.print(time_table(seconds, tasks), width=width)
    if others:
      display.console.print(ratio_table(seconds), width=width)
  return {"seconds": seconds, "ratios": [ratio._asdict() for ratio in ratios(seconds)], **notes}


def measure_loop(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints `--suite=loop`; returns its raw numbers."""
  plan = bench_flags.loop_plan(config)
  tasks = bench_loop.tasks(plan)
  with contextlib.ExitStack() as stack:
    jax_side = bench_loop.JaxLoopSide(plan, config.chunk_size)
    others = [stack.enter_context(side) for side in bench_sides.torch_loop_sides(plan)]
    if not others:
      display.line(bench_sides.NO_TORCH)
    seconds = bench_sides.measure(tasks, [jax_side, *others], config.repeats, display)
    if config.seeds:
      tasks.append(bench_loop.loop_task(plan, config.seeds))
      seconds |= bench_sides.measure(tasks[-1:], [jax_side], 1, display)
    display.phase("JAX: the parts of a round")
    phases = bench_loop.measure_phases(jax_side, config.repeats)
    notes = bench_sides.say_notes(tasks, [jax_side, *others], display)
  peak, work = bench_loop.peak_rate(seconds, tasks), plan.work()
  display.line(f"float32 matmul peak: {peak / 1e9:.0f} GFLOP/s, the best of {len(bench_loop.MATMUL_SIZES)} sizes")
  display.line("work of a run, on every side: " + ", ".join(f"{number:,} {what}" for what, number in work.items()))
  width = None if display.console.is_terminal else 120
  display.console.print(time_table(seconds, tasks, peak), width=width)
  display.console.print(bench_loop.phase_table(phases, peak), width=width)
  display.line(f"a run made of these parts would take {bench_loop.total_seconds(phases, plan):.2f} s")
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


def measure_networks(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints `--suite=networks`; returns its raw numbers."""
  sizes = [int(size) for size in config.batch_size]
  measured = bench_networks.run(display, batch_sizes=sizes, steps=config.steps, repeats=config.repeats)
  display.console.print(bench_networks.table(measured))
  return {"networks": measured}


def measure_agreements(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints `--suite=agreement`; returns its raw numbers."""
  raw = bench_agreement.run(
    display,
    names=config.acq,
    seeds=config.seeds,
    rounds=config.rounds,
    train_steps=config.train_steps,
    chunk_size=config.chunk_size,
  )
  display.console.print(bench_agreement.table(raw["agreements"]), width=None if display.console.is_terminal else 140)
  return raw


# Suites with their own function; `measure_tasks` measures the others.
MEASURES = {
  "acquisition": measure_acquisitions,
  "loop": measure_loop,
  "lowering": measure_lowerings,
  "networks": measure_networks,
  "agreement": measure_agreements,
  "heads": bench_heads.run,
  "labeling": bench_labeling.run,
}


def print_machine(display: Display) -> dict:
  """Prints the machine, software versions and environment; returns them as raw numbers."""
  where = machine()
  versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
  display.line(f"{where['cpu']}, {where['cores']} cores, JAX on {where['backend']}; {where['date']}")
  display.line(versions)
  if where["load"] > where["cores"] / 4:
    # A preempted thread delays all OpenMP threads at their next barrier, so that PyTorch would look too slow.
    display.line(
      f"Load average {where['load']:.1f}: other programs may be running, which makes the ratios below unfair."
    )
  for name, value in where["environment"].items():
    display.line(f"set in the environment: {name}={value}")
  return where


def count_measurements(config: flags.FlagValues) -> int:
  """The total of the progress bar, which counts each repeat of a task, each run and each program of runs."""
  if config.suite == "loop":
    return len(bench_loop.MATMUL_SIZES) * config.repeats + config.repeats + bool(config.seeds)
  if config.suite == "heads":
    return (len(bench_loop.MATMUL_SIZES) + len(bench_heads.sides_of(config))) * config.repeats
  if config.suite == "labeling":
    return -(-config.seeds // bench_labeling.CHUNK)
  if config.suite == "agreement":
    return len(config.acq) * (1 + len(bench_agreement.OTHERS))
  return len(bench_sides.make_tasks(config)) * config.repeats + 2 * (config.suite in ("run", "all"))


def main(argv: list[str]) -> None:
  try:
    config = bench_flags.parse(argv, __doc__)
    with Display(count_measurements(config)) as display:
      where = print_machine(display)
      raw = MEASURES.get(config.suite, measure_tasks)(config, display)
      if config.out is not None:
        command = shlex.join(["python", "-m", "experiments.bench", *argv[1:]])
        Path(config.out).write_text(to_json({"command": command, "machine": where, **raw}) + "\n")
        display.line(f"raw numbers in {config.out}")
  except (UsageError, DataError, OSError) as error:
    sys.exit(f"error: {error}")
  except KeyboardInterrupt:
    sys.exit(130)


if __name__ == "__main__":
  main(sys.argv)
