"""The tasks of `experiments.bench`, the available sides (JAX, PyTorch variants), and their measurement in turn."""

import importlib.util

from absl import flags

from al_jax.models.cnn import CNN
from experiments.benchmarks.jax_side import IMAGE
from experiments.benchmarks.jax_side import JAX
from experiments.benchmarks.jax_side import Task
from experiments.benchmarks.jax_side import layer_flops
from experiments.benchmarks.jax_side import matmul_task
from experiments.benchmarks.jax_side import step_flops
from experiments.benchmarks.tables import Seconds
from experiments.benchmarks.tables import last_repeat
from experiments.benchmarks.torch_loop import VARIANTS
from experiments.benchmarks.torch_loop import Plan
from experiments.benchmarks.torch_loop import TorchLoopSide
from experiments.benchmarks.torch_worker import TorchSide
from experiments.common.console import Display
from experiments.runs.runtime import cores

NO_TORCH = "PyTorch is not installed: measuring JAX only."


def make_tasks(config: flags.FlagValues) -> list[Task]:
  """The tasks that the flags select; the matrix product that measures the cores' rate comes first."""
  layers = layer_flops(CNN(), IMAGE)
  tasks = []
  if config.suite in ("step", "all"):
    sizes = [int(size) for size in config.batch_size]
    tasks += [Task(f"step, batch {size}", "step", size, config.steps, step_flops(layers) * size) for size in sizes]
  if config.suite in ("scoring", "all"):
    tasks.append(Task(f"scoring {config.images:,}", "scoring", config.images, 1, sum(layers) * config.images))
  return [matmul_task(2048), *tasks] if tasks else []


def torch_sides() -> list[TorchSide]:
  """The four PyTorch variants, first the plain one as installed; empty if PyTorch is not installed."""
  if importlib.util.find_spec("torch") is None:
    return []
  return [TorchSide(variant, tuned) for tuned in (False, True) for variant in ("plain", "channels_last")]


def torch_loop_sides(plan: Plan) -> list[TorchSide]:
  """The three PyTorch variants of the loop, first the plain one as installed; empty if PyTorch is not installed."""
  if importlib.util.find_spec("torch") is None:
    return []
  return [TorchLoopSide(variant, tuned, plan) for variant, tuned in VARIANTS]


def measure(tasks: list[Task], sides: list, repeats: int, display: Display) -> Seconds:
  """Measures every task on every side, in turn; the first side changes from repeat to repeat."""
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
      if task.kind == "loop":  # it takes minutes: print each result, in case the benchmark is stopped
        display.line(f"{task.name}, repeat {repeat + 1} of {repeats}: {last_repeat(seconds[task.name])}")
      display.advance()
  return seconds


def say_notes(tasks: list[Task], sides: list, display: Display) -> dict:
  """Prints the numbers that are not in the tables, and returns them; the first side must be JAX."""
  notes = {
    "compile_seconds": sides[0].compile_seconds,
    "chunk_size": {side.name: side.chunk_size for side in sides},
    "idle_cores": {side.name: side.idle_cpu / side.idle_wall for side in (sides if sides[1:] else [])},
    "flops": {task.name: task.flops for task in tasks},
  }
  for name, value in notes["compile_seconds"].items():
    display.line(f"JAX compiled {name} in {value:.1f} s, which its time does not include.")
  if any(task.kind in ("scoring", "loop") for task in tasks):
    chunks = ", ".join(f"{name} {size}" for name, size in notes["chunk_size"].items())
    display.line(f"images per forward pass of scoring: {chunks}")
  if notes["idle_cores"]:
    idle = max(notes["idle_cores"].values())
    display.line(f"PyTorch uses {cores()} threads; a waiting side uses at most {idle:.1%} of a core.")
  return notes
