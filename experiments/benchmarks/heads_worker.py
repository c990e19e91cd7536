"""The process of a side of `--suite=heads` (see `process`), a separate one per side so that each has its own memory.

A request `{"kind": "prepare", "seeds", "strategies"}` warms up, or compiles. `{"kind": "measure", "seeds",
"strategies"}` runs every strategy on every seed. Answers: `{"seconds", "accuracy", "phases", "peak_bytes"}`, with the
test accuracy after each training as lists [seeds][rounds + 1] by strategy, and the seconds of each phase over all runs
if the side's phases can be told apart.
"""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import functools
import json
from pathlib import Path
import resource
import sys
import time

import numpy as np

from experiments.benchmarks import heads_loop
from experiments.benchmarks import heads_plan
from experiments.benchmarks.heads_plan import SIDES
from experiments.benchmarks.heads_plan import Data
from experiments.benchmarks.heads_plan import Plan
from experiments.benchmarks.process import serve

Measure = Callable[[Sequence[int], Sequence[str]], dict]


def peak_bytes() -> int:
  """The peak of this process's resident memory."""
  status = Path("/proc/self/status")
  if status.exists():  # ru_maxrss also counts the memory of the process that started this one
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_all(make: Callable[[Plan, int], heads_loop.Head], data: Data, plan: Plan, seeds, strategies) -> dict:
  """Runs every strategy on every seed, one run at a time."""
  accuracy = {strategy: [] for strategy in strategies}
  phases = dict.fromkeys(heads_loop.PHASES, 0.0)
  for strategy in strategies:
    for seed in seeds:
      outcome = heads_loop.run_loop(make(plan, seed), data.initial[seed], strategy, plan.rounds)
      labels = data.initial.shape[1] + plan.rounds * heads_plan.ACQ_SIZE
      if len(set(outcome.ids)) != labels:
        raise RuntimeError(f"the loop labeled {len(set(outcome.ids))} rows, not {labels}")
      accuracy[strategy].append(outcome.accuracy)
      for phase in phases:
        phases[phase] += outcome.seconds[phase]
  return {"accuracy": accuracy, "phases": phases}


def loop_side(make: Callable[[Plan, int], heads_loop.Head], data: Data, plan: Plan) -> tuple[Measure, Measure]:
  """Functions that warm up by one acquisition, and that measure, with a plain loop."""
  small = plan._replace(rounds=1, epochs=min(plan.epochs, 2))
  warm_up = lambda seeds, strategies: run_all(make, data, small, seeds[:1], strategies)
  return warm_up, functools.partial(run_all, make, data, plan)


def jax_side(data: Data, plan: Plan) -> tuple[Measure, Measure]:
  """Functions that compile, and that measure, the runs as one program."""
  from experiments.benchmarks.heads_ours import ours

  programs = {}

  def compiled(seeds, strategies) -> dict:
    programs[len(seeds), tuple(strategies)] = ours(data, plan, len(seeds), tuple(strategies))
    return {"accuracy": {}, "phases": {}}

  def measure(seeds, strategies) -> dict:
    found = programs[len(seeds), tuple(strategies)]()
    return {"accuracy": {name: np.asarray(rows).tolist() for name, rows in found.items()}, "phases": {}}

  return compiled, measure


def make_side(name: str, data: Data, plan: Plan, threads: int) -> tuple[Measure, Measure]:
  """The functions that prepare and measure a side of `SIDES`."""
  if name == "jax":
    return jax_side(data, plan)
  if name == "sklearn":
    from experiments.benchmarks.heads_sklearn import sklearn_head

    return loop_side(lambda plan, seed: sklearn_head(data), data, plan)
  import torch

  from experiments.benchmarks import heads_torch

  torch.set_num_threads(threads)
  head = heads_torch.tensor_head if name == "torch" else heads_torch.loader_head
  return loop_side(functools.partial(head, data), data, plan)


def main(options: argparse.Namespace) -> None:
  prepare, measure = make_side(options.side, heads_plan.read(options.data), options.plan, options.threads)
  kinds = {"prepare": prepare, "measure": measure}

  def answer(request: dict) -> dict:
    start = time.perf_counter()
    out = kinds[request["kind"]](request["seeds"], request["strategies"])
    return {"seconds": time.perf_counter() - start} | out | {"peak_bytes": peak_bytes()}

  try:
    serve(answer)
  except KeyboardInterrupt:
    sys.exit(130)


if __name__ == "__main__":
  _flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  _flags.add_argument("--side", choices=SIDES, required=True)
  _flags.add_argument("--data", type=Path, required=True, help="a file that heads_plan.save wrote")
  _flags.add_argument("--plan", type=lambda text: Plan(*json.loads(text)), required=True)
  _flags.add_argument("--threads", type=int, required=True)
  main(_flags.parse_args())
