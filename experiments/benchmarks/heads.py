"""`--suite=heads`: active learning with a linear head on features, beside scikit-learn and PyTorch.

A run trains on 2 labels of each class, then `--rounds` times acquires 10 rows of the pool and trains from scratch.
After each training it predicts the test set. The JAX side does `--seeds` runs of every strategy in one program. In each
repeat, every other side does one run of every strategy, from the initial set of seed 0, 1, 2 and so on. The sides'
features, labels and initial sets are the same arrays; the JAX and the scikit-learn side fit the same convex loss.
"""

import contextlib
import importlib.util
import json
from pathlib import Path
import statistics
import tempfile
from typing import NamedTuple

from absl import flags
import numpy as np
from rich.table import Table

from al_jax import types
from experiments.benchmarks import bandwidth
from experiments.benchmarks import heads_data
from experiments.benchmarks import heads_plan
from experiments.benchmarks import loop as bench_loop
from experiments.benchmarks import sides as bench_sides
from experiments.benchmarks.heads_loop import PHASES
from experiments.benchmarks.heads_plan import SIDES
from experiments.benchmarks.heads_plan import Data
from experiments.benchmarks.heads_plan import Plan
from experiments.benchmarks.jax_side import JAX
from experiments.benchmarks.jax_side import JaxSide
from experiments.benchmarks.process import Process
from experiments.benchmarks.tables import paired_ratios
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.runs.runtime import cores

TASK = "run"
_TORCH = ("torch", "loader")


class Measured(NamedTuple):
  """The measurements of a side, one of each per repeat."""

  seconds: list[float]  # per run
  seeds: list[list[int]]
  accuracy: list[dict[str, list[list[float]]]]  # on the test set: strategy -> [seeds][rounds + 1]
  phases: list[dict[str, float]]  # seconds of each phase per run; empty for a side that is one program
  peak_bytes: list[int]  # of the process, since its start


def sides_of(config: flags.FlagValues) -> list[str]:
  """The sides that the flags select; without PyTorch, its sides are left out unless `--sides` is given.

  Raises:
    UsageError: `--sides` names a side of PyTorch, which is not installed.
  """
  if importlib.util.find_spec("torch") is not None:
    return config.sides
  if config["sides"].present and set(config.sides) & set(_TORCH):
    raise UsageError(
      f"--sides={','.join(config.sides)} needs PyTorch, which is not installed: install it with pip install torch, or"
      " leave out torch and loader"
    )
  return [side for side in config.sides if side not in _TORCH]


def start(side: str, data: Path, plan: Plan) -> Process:
  """Starts the process of a side, which may use as many threads as there are cores."""
  threads = str(cores())
  options = [f"--side={side}", f"--data={data}", f"--plan={json.dumps(plan)}", f"--threads={threads}"]
  limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
  return Process(SIDES[side], "heads_worker", options, limits)


def seeds_of(side: str, repeat: int, seeds: int) -> list[int]:
  """The seeds that a side runs in a repeat."""
  return list(range(seeds)) if side == "jax" else [repeat]


def prepare(processes: dict[str, Process], strategies: list[str], *, seeds: int, display: Display) -> dict[str, float]:
  """Compiles JAX's program, and warms the other sides up; returns the seconds that each side took."""
  seconds = {}
  for side, process in processes.items():
    display.phase(f"{process.name}: warm-up")
    request = {"kind": "prepare", "seeds": seeds_of(side, 0, seeds), "strategies": strategies}
    seconds[side] = process.ask(request)["seconds"]
  return seconds


def measure(
  processes: dict[str, Process], strategies: list[str], *, seeds: int, repeats: int, display: Display
) -> dict[str, Measured]:
  """Measures every side once per repeat, in turn; the first side changes from repeat to repeat."""
  out = {side: Measured([], [], [], [], []) for side in processes}
  for repeat in range(repeats):
    first = repeat % len(processes)
    for side in [*processes][first:] + [*processes][:first]:
      name, chosen = processes[side].name, seeds_of(side, repeat, seeds)
      display.phase(f"{name}: repeat {repeat + 1} of {repeats}")
      answer = processes[side].ask({"kind": "measure", "seeds": chosen, "strategies": strategies})
      runs = len(chosen) * len(strategies)
      out[side].seconds.append(answer["seconds"] / runs)
      out[side].seeds.append(chosen)
      out[side].accuracy.append(answer["accuracy"])
      out[side].phases.append({phase: seconds / runs for phase, seconds in answer["phases"].items()})
      out[side].peak_bytes.append(answer["peak_bytes"])
      # A repeat may take minutes: print each result, in case the benchmark is stopped.
      display.line(f"{name}, repeat {repeat + 1} of {repeats}: {out[side].seconds[-1]:.3f} s per run, runs: {runs}")
      display.advance()
  return out


def measure_machine(repeats: int, display: Display) -> tuple[float, bandwidth.Bandwidth]:
  """Measures and prints the peak rate of float32 matrix products and the memory bandwidth."""
  matmuls = [bench_loop.matmul_task(size) for size in bench_loop.MATMUL_SIZES]
  side = JaxSide(types.Plan.chunk_size)
  peak = bench_loop.peak_rate(bench_sides.measure(matmuls, [side], repeats, display), matmuls)
  memory = bandwidth.measure(cores(), repeats, bandwidth.BYTES)
  display.line(f"float32 matmul peak: {peak / 1e9:.0f} GFLOP/s, the best of {len(matmuls)} sizes")
  display.line(
    f"memory, {cores()} threads of NumPy on {bandwidth.BYTES / 2**20:.0f} MiB: a read moves {memory.read / 1e9:.1f}"
    f" GB/s, a copy {memory.copy / 1e9:.1f} GB/s (read and written)"
  )
  return peak, memory


def time_table(measured: dict[str, Measured], rounds: int) -> Table:
  """Time of a run and of a round, ratio to JAX's, and peak memory of each side."""
  table = Table(title="A run of one strategy and seed, a round (a run divided by its rounds), peak resident memory")
  table.add_column("side", no_wrap=True)
  for column in ("at once", "run", "min .. max", "round", "to JAX's", "min .. max", "memory"):
    table.add_column(column, justify="right")
  seconds = {TASK: {SIDES[side]: values.seconds for side, values in measured.items()}}
  ratios = {ratio.rival: ratio for ratio in (paired_ratios(seconds) if "jax" in measured else [])}
  for side, values in measured.items():
    median, ratio = statistics.median(values.seconds), ratios.get(SIDES[side])
    at_once = len(values.seeds[0]) * len(values.accuracy[0]) if side == "jax" else 1
    table.add_row(
      SIDES[side],
      str(at_once),
      f"{median:.3f} s",
      f"{min(values.seconds):.3f} .. {max(values.seconds):.3f}",
      f"{1e3 * median / rounds:,.1f} ms",
      f"{ratio.median:.1f}" if ratio else "",
      f"{ratio.low:.1f} .. {ratio.high:.1f}" if ratio else "",
      f"{max(values.peak_bytes) / 2**20:,.0f} MiB",
    )
  return table


def phase_table(measured: dict[str, Measured], rounds: int) -> Table:
  """Median time of one training, one evaluation and one acquisition of the sides that run a plain loop."""
  table = Table(
    title="Parts of a round, in ms: one training, one prediction of the test set, one scoring and selection"
  )
  table.add_column("side")
  for phase in PHASES:
    table.add_column(phase, justify="right")
  for side, values in measured.items():
    if values.phases[0]:
      times = {phase: rounds + (phase != "acquire") for phase in PHASES}
      medians = [statistics.median(row[phase] for row in values.phases) / times[phase] for phase in PHASES]
      table.add_row(SIDES[side], *(f"{1e3 * median:.1f}" for median in medians))
  return table


def accuracy_table(measured: dict[str, Measured]) -> Table:
  """Mean test accuracy of each side and strategy, and of JAX's runs with the same seeds."""
  table = Table(title="Test accuracy, mean over the runs: after the first training, and after the last")
  for column in ("strategy", "side", "runs", "first", "last", f"{JAX}, same seeds: first", "last"):
    table.add_column(column, justify="left" if column in ("strategy", "side") else "right")
  ours = measured["jax"].accuracy[0] if "jax" in measured else {}
  for strategy in next(iter(measured.values())).accuracy[0]:
    for side, values in measured.items():
      seeds = sorted({seed for chosen in values.seeds for seed in chosen})
      by_seed = {
        seed: curve
        for chosen, curves in zip(values.seeds, values.accuracy, strict=True)
        for seed, curve in zip(chosen, curves[strategy], strict=True)
      }
      ends = lambda curves: [f"{np.mean([curve[turn] for curve in curves]):.2%}" for turn in (0, -1)]
      same = [ours[strategy][seed] for seed in seeds if seed < len(ours.get(strategy, []))]
      cells = ends(same) if side != "jax" and len(same) == len(seeds) else []
      table.add_row(strategy, SIDES[side], str(len(seeds)), *ends(by_seed.values()), *cells)
    table.add_section()
  return table


def run(config: flags.FlagValues, display: Display) -> dict:
  """Measures and prints `--suite=heads`; returns its raw numbers.

  Raises:
    UsageError, DataError: a side or the data cannot be had.
  """
  sides, plan = sides_of(config), make_plan(config)
  data = heads_data.make(config)
  if len(sides) < len(config.sides):
    display.line("PyTorch is not installed: measuring without it.")
  for line in described(data, plan, config.features):
    display.line(line)
  with contextlib.ExitStack() as stack:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    heads_plan.save(data, folder / "data.npz")
    processes = {side: stack.enter_context(start(side, folder / "data.npz", plan)) for side in sides}
    prepared = prepare(processes, config.acq, seeds=config.seeds, display=display)
    peak, memory = measure_machine(config.repeats, display)
    measured = measure(processes, config.acq, seeds=config.seeds, repeats=config.repeats, display=display)
    idle = {SIDES[side]: process.idle_cpu / process.idle_wall for side, process in processes.items()}
  if "jax" in prepared:
    display.line(f"JAX compiled its program in {prepared['jax']:.1f} s, which its time does not include.")
  display.line(f"a waiting side uses at most {max(idle.values()):.1%} of a core")
  width = None if display.console.is_terminal else 120
  display.console.print(time_table(measured, plan.rounds), width=width)
  if any(values.phases[0] for values in measured.values()):
    display.console.print(phase_table(measured, plan.rounds), width=width)
  display.console.print(accuracy_table(measured), width=width)
  return {
    "plan": plan._asdict() | {"init_labels": data.initial.shape[1], "acq_size": heads_plan.ACQ_SIZE},
    "shape": {"pool": list(data.features.shape), "test": list(data.test_features.shape), "classes": data.num_classes},
    "threads": cores(),
    "peak_flops": peak,
    "bytes_per_second": memory._asdict(),
    "prepare_seconds": {SIDES[side]: seconds for side, seconds in prepared.items()},
    "idle_cores": idle,
    "sides": {SIDES[side]: values._asdict() for side, values in measured.items()},
  }


def make_plan(config: flags.FlagValues) -> Plan:
  """The plan that the flags select."""
  return Plan(config.rounds, config.epochs, int(config.batch_size[0]), config.chunk_size)


def described(data: Data, plan: Plan, features: list[str]) -> list[str]:
  """What every side does, as lines of text."""
  (pool, width), test, labels = data.features.shape, len(data.test_features), data.initial.shape[1]
  source = f"features of {features[0]} and {features[1]}" if features else "synthetic Gaussian clusters"
  return [
    f"{source}: {pool:,} x {width} pool, {test:,} test rows, {data.num_classes} classes",
    "features: float32, standardized on the pool",
    f"a run: {labels} labels, {plan.rounds} rounds of {heads_plan.ACQ_SIZE}, {plan.rounds + 1} trainings from scratch",
    f"PyTorch: SGD 1e-2, momentum 0.9, batch {plan.batch_size}, {plan.epochs} epochs; malloc as installed",
    f"threads: {cores()} for every side",
  ]
