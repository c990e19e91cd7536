"""Tables of times, rates and ratios that `experiments.bench` measured, and their JSON file."""

from collections.abc import Callable
import json
import statistics
from typing import NamedTuple

from rich.table import Table

from experiments.benchmarks.jax_side import JAX
from experiments.benchmarks.jax_side import Task

PLAIN = "PyTorch plain, as installed"

Seconds = dict[str, dict[str, list[float]]]  # per unit, by task and side, one number per repeat


class Ratio(NamedTuple):
  """Time of a PyTorch variant divided by JAX's: above 1, JAX is faster."""

  task: str
  rival: str
  median: float  # ratio of the medians, or median of the pairs
  low: float  # range of the ratios paired repeat by repeat
  high: float


def ratios(seconds: Seconds) -> list[Ratio]:
  """For every task, the ratios of plain PyTorch as installed, and of the fastest other variant, to JAX."""
  out = []
  for task, by_side in seconds.items():
    medians = {side: statistics.median(values) for side, values in by_side.items()}
    tuned = [side for side in by_side if side not in (JAX, PLAIN)]
    rivals = [side for side in (PLAIN,) if side in by_side] + sorted(tuned, key=medians.get)[:1]
    for rival in rivals:
      paired = _paired(by_side, rival)
      out.append(Ratio(task, rival, medians[rival] / medians[JAX], min(paired), max(paired)))
  return out


def paired_ratios(seconds: Seconds) -> list[Ratio]:
  """For every task, the ratios of all variants to JAX, paired by repeat.

  For runs of minutes, during which the speed of the machine may drift.
  """
  out = []
  for task, by_side in seconds.items():
    for rival in by_side:
      if rival != JAX:
        paired = _paired(by_side, rival)
        out.append(Ratio(task, rival, statistics.median(paired), min(paired), max(paired)))
  return out


def last_repeat(by_side: dict[str, list[float]]) -> str:
  """A task's last measurement on every side, with its ratio to JAX's."""
  ours = by_side[JAX][-1]
  others = [f"{side} {values[-1]:.2f} s ({values[-1] / ours:.2f})" for side, values in by_side.items() if side != JAX]
  return "; ".join([f"{JAX} {ours:.2f} s", *others])


def _paired(by_side: dict[str, list[float]], rival: str) -> list[float]:
  return [theirs / ours for theirs, ours in zip(by_side[rival], by_side[JAX], strict=True)]


def time_table(seconds: Seconds, tasks: list[Task], peak: float = 0.0) -> Table:
  """Median and range of every task and side, and its rate as a share of the rate of a large matrix product.

  The rate of the matrix product is `peak`; if that is 0, the rate of the first task.
  """
  table = Table(title="Time: median and range of the repeats; operations per second as a share of the large matmul's")
  table.add_column("task")
  table.add_column("side")
  for column in ("median", "min .. max", "GFLOP/s", "of matmul"):
    table.add_column(column, justify="right")
  flops = {task.name: task.flops for task in tasks}
  for task, by_side in seconds.items():
    for side, values in by_side.items():
      median = statistics.median(values)
      unit, scale = ("ms", 1e3) if task.startswith(("step", "matmul")) else ("s", 1.0)
      low, high = scale * min(values), scale * max(values)
      cells = [f"{scale * median:.2f} {unit}", f"{low:.2f} .. {high:.2f}"]
      if task in flops:
        rate = flops[task] / median
        peak = peak or rate
        cells += [f"{rate / 1e9:.0f}", f"{rate / peak:.0%}"]
      table.add_row(task, side, *cells)
    table.add_section()
  return table


def ratio_table(seconds: Seconds, compare: Callable[[Seconds], list[Ratio]] = ratios) -> Table:
  """Table of the ratios that `compare` computes."""
  table = Table(title="PyTorch's time divided by JAX's: above 1, JAX is faster")
  table.add_column("task")
  table.add_column("beside")
  table.add_column("ratio", justify="right")
  table.add_column("min .. max", justify="right")
  for ratio in compare(seconds):
    table.add_row(ratio.task, ratio.rival, f"{ratio.median:.2f}", f"{ratio.low:.2f} .. {ratio.high:.2f}")
  return table


def to_json(value, indent: int = 0) -> str:
  """Readable JSON: a list or object of at most 120 characters takes one line, a longer one has one line per entry."""
  line = json.dumps(value)
  if not isinstance(value, dict | list) or len(line) <= 120:
    return line
  if isinstance(value, dict):
    brackets, entries = "{}", [f"{json.dumps(key)}: {to_json(entry, indent + 1)}" for key, entry in value.items()]
  else:
    brackets, entries = "[]", [to_json(entry, indent + 1) for entry in value]
  start = "\n" + " " * (indent + 1)
  return f"{brackets[0]}{start}{f',{start}'.join(entries)}\n{' ' * indent}{brackets[1]}"
