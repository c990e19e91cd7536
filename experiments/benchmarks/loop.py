"""The JAX side of `--suite=loop`: whole runs as one compiled program, and the time of each phase of a round."""

import functools
import statistics
import time
from typing import NamedTuple

import jax
import numpy as np
import optax
from rich.table import Table

from al_jax import acquisition
from al_jax import from_flax
from al_jax import inputs
from al_jax import loop
from al_jax import rounds
from al_jax import types
from al_jax import views
from al_jax.learner import Learner
from al_jax.learner import Trainer
from al_jax.models.cnn import CNN
from al_jax.sweep import Runs
from al_jax.sweep import sweep_program
from experiments.benchmarks.jax_side import IMAGE
from experiments.benchmarks.jax_side import JAX
from experiments.benchmarks.jax_side import JaxSide
from experiments.benchmarks.jax_side import Task
from experiments.benchmarks.jax_side import layer_flops
from experiments.benchmarks.jax_side import matmul_task
from experiments.benchmarks.jax_side import step_flops
from experiments.benchmarks.tables import Seconds
from experiments.benchmarks.torch_loop import Plan
from experiments.benchmarks.torch_loop import synthetic_data

MATMUL_SIZES = (2048, 4096)  # the higher rate is the peak of the cores


def phase_flops(plan: Plan) -> dict[str, int]:
  """Floating-point operations of each phase of a round; `select` is not counted."""
  layers = layer_flops(CNN(), IMAGE)
  return {
    "train": plan.train_steps * plan.batch_size * step_flops(layers),
    "evaluate": plan.test * sum(layers),
    "score": plan.pool * sum(layers),
    "select": 0,
  }


def loop_task(plan: Plan, seeds: int | None = None) -> Task:
  """The task of one run, or of `seeds` runs in one program, with a run as the unit."""
  flops = phase_flops(plan)
  run_flops = (plan.rounds + 1) * (flops["train"] + flops["evaluate"]) + plan.rounds * flops["score"]
  if seeds is None:
    return Task("loop", "loop", 1, 1, run_flops)
  return Task(f"loop, each of {seeds} seeds", "loop", seeds, seeds, run_flops)


def tasks(plan: Plan) -> list[Task]:
  """All tasks; the matrix products that measure the cores' peak rate come first."""
  return [*map(matmul_task, MATMUL_SIZES), loop_task(plan)]


def peak_rate(seconds: Seconds, measured: list[Task]) -> float:
  """The highest rate of the large matrix products, in operations per second."""
  return max(task.flops / min(seconds[task.name][JAX]) for task in measured if task.kind == "matmul")


def done(runs: Runs) -> dict[str, int]:
  """The parts of `Plan.work` that the runs did, counted from their diagnostics."""
  info = jax.device_get(runs.info)
  return {
    "trainings": info.fit.steps.size,
    "steps": int(info.fit.steps.sum()),
    "evaluations": int(np.isfinite(info.metrics.test_accuracy).sum()),
    "scorings": int(np.isfinite(info.scores).all(axis=-1).sum()),
    "labels": int((info.selected >= 0).sum()),
  }


class JaxLoopSide(JaxSide):
  """This process; it runs any number of runs as one compiled program."""

  def __init__(self, plan: Plan, chunk_size: int, model=None):
    super().__init__(chunk_size)
    synthetic = synthetic_data(plan)
    labels, test_labels = synthetic.labels.astype(np.int32), synthetic.test_labels.astype(np.int32)
    self.plan = plan
    self.data = jax.device_put(
      types.Dataset(synthetic.images, labels, synthetic.test_images, test_labels, 10, inputs.images(std=255))
    )
    own = types.Plan(
      init_labels=plan.init_labels,
      acq_size=plan.acq_size,
      rounds=plan.rounds,
      train=types.TrainPlan(batch_size=plan.batch_size, steps=plan.train_steps),
      chunk_size=chunk_size,
      init_balanced=False,
    )
    trainer = Trainer(from_flax(model or CNN()), optax.adam(1e-3), own)
    self.learner = Learner(trainer, acquisition.make("entropy"))

  def prepare(self, task: Task) -> None:
    """Compiles the task's program and runs it once; a loop, which takes minutes, is only compiled."""
    if task.kind == "loop":
      self.compile(task)
    else:
      super().prepare(task)

  def _program(self, task: Task):
    if task.kind != "loop":
      return super()._program(task)
    seeds, data = task.size, self.data
    sweep = functools.partial(sweep_program, learners=(self.learner,), pack="map")
    compiled = self._compile(task, sweep, jax.random.split(jax.random.key(0), seeds), data)
    expected = self.plan.work()

    def run(keys: jax.Array) -> Runs:
      (runs,) = jax.block_until_ready(compiled(jax.random.split(keys[0], seeds), data))
      for what, number in done(runs).items():
        if number != seeds * expected[what]:
          raise RuntimeError(f"JAX's loop did {number} {what}, not {seeds * expected[what]}")
      return runs

    return run


class Phase(NamedTuple):
  """Times of a phase of a round."""

  name: str
  seconds: list[float]  # one per repeat
  flops: int  # 0 if not counted


def measure_phases(side: JaxLoopSide, repeats: int) -> list[Phase]:
  """Measures the phases of the first round, each compiled separately, in the order of a round."""
  learner, data = side.learner, side.data
  state = loop.init_state(jax.random.key(0), data, learner)
  fitted, _ = rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer)
  score = jax.jit(views.pool_view, static_argnames="learner")
  view, _ = score(fitted, data, learner=learner)
  select = jax.jit(functools.partial(learner.acquisition.select, num=side.plan.acq_size))
  key = jax.random.key(1)
  calls = {
    "train": lambda: rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer),
    "evaluate": lambda: rounds.JITTED_PHASES.evaluate(fitted, data, trainer=learner.trainer),
    "score": lambda: score(fitted, data, learner=learner),
    "select": lambda: select(key, view),
  }
  seconds = {name: [] for name in calls}
  for _ in range(repeats + 1):
    for name, call in calls.items():
      start = time.perf_counter()
      jax.block_until_ready(call())
      seconds[name].append(time.perf_counter() - start)
  flops = phase_flops(side.plan)
  return [Phase(name, values[1:], flops[name]) for name, values in seconds.items()]  # the first call compiles


def phase_table(phases: list[Phase], peak: float) -> Table:
  """Median time, share of the round, and share of the matmul peak rate of each phase of a round."""
  table = Table(title="Phases of a round in JAX: time, and operations per second as a share of the matmul peak")
  table.add_column("part")
  for column in ("median", "min .. max", "of a round", "GFLOP/s", "of the peak"):
    table.add_column(column, justify="right")
  medians = {phase.name: statistics.median(phase.seconds) for phase in phases}
  for name, values, flops in phases:
    rate = flops / medians[name]
    cells = [f"{rate / 1e9:.0f}", f"{rate / peak:.0%}"] if flops else []
    spread = f"{min(values):.3f} .. {max(values):.3f}"
    table.add_row(name, f"{medians[name]:.3f} s", spread, f"{medians[name] / sum(medians.values()):.1%}", *cells)
  return table


def total_seconds(phases: list[Phase], plan: Plan) -> float:
  """Seconds of a whole run, computed from the medians of the phases."""
  medians = {phase.name: statistics.median(phase.seconds) for phase in phases}
  acquiring = medians["score"] + medians["select"]
  return (plan.rounds + 1) * (medians["train"] + medians["evaluate"]) + plan.rounds * acquiring
