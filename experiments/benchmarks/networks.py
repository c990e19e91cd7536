"""Measures a training step of each image network, on images of the size that it is designed for."""

import statistics
import time

import jax
from rich.table import Table

from al_jax import from_flax
from al_jax import inputs
from al_jax.models import NETWORKS
from al_jax.models import TOKENS
from experiments.benchmarks import lowering
from experiments.benchmarks.jax_side import IMAGE
from experiments.common.console import Display

COLOR = (32, 32, 3)
# (network, settings, image shape) of each measurement.
CASES = [(name, {}, COLOR if name in ("resnet18", "vgg16") else IMAGE) for name in NETWORKS if name not in TOKENS]
CASES.insert([name for name, _, _ in CASES].index("resnet18") + 1, ("resnet18", {"norm": "batch"}, COLOR))


def _program(name: str, settings: dict, image: tuple[int, ...], batch_size: int, steps: int):
  network, data, key = from_flax(NETWORKS[name](**settings)), lowering.made_pool(256, image), jax.random.key(2)
  variables = jax.jit(network.init)(key, inputs.example(data))
  train = jax.jit(lowering.training(network, batch_size, steps))
  return train.lower(variables, key, data).compile(), (variables, key, data)


def run(display: Display, *, batch_sizes: list[int], steps: int, repeats: int) -> list[dict]:
  """Seconds per step and of compiling, of every network and batch size; each repeat measures all networks in turn."""
  programs, out = {}, []
  for name, settings, image in CASES:
    for size in batch_sizes:
      label = " ".join([name, *(f"{key}={value}" for key, value in settings.items())])
      display.phase(f"{label}, batch {size}: compiling")
      start = time.perf_counter()
      compiled, arguments = programs[len(out)] = _program(name, settings, image, size, steps)
      seconds = time.perf_counter() - start
      out.append({"network": label, "image": image, "batch": size, "compiling": seconds, "seconds": []})
      jax.block_until_ready(compiled(*arguments))
  for _ in range(repeats):
    for i, (compiled, arguments) in programs.items():
      display.phase(f"{out[i]['network']}, batch {out[i]['batch']}")
      start = time.perf_counter()
      jax.block_until_ready(compiled(*arguments))
      out[i]["seconds"].append((time.perf_counter() - start) / steps)
  return out


def table(measured: list[dict]) -> Table:
  """Table of median step times and seconds of compiling."""
  out = Table(title="A training step of each network")
  for column in ("network", "image", "batch", "ms a step", "range", "compiled in"):
    out.add_column(column, justify="left" if column == "network" else "right")
  for row in measured:
    times = [1e3 * value for value in row["seconds"]]
    image, between = " x ".join(map(str, row["image"])), f"{min(times):,.0f} .. {max(times):,.0f}"
    cells = [image, str(row["batch"]), f"{statistics.median(times):,.0f}", between, f"{row['compiling']:.0f} s"]
    out.add_row(row["network"], *cells)
  return out
