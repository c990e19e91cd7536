"""Measures the lowerings of convolutions on this machine, by use, for one network and for several vmapped ones.

The default network is trained and scores a pool. The BatchBALD network predicts a pool with MC dropout, whose samples
differ in the scale of its channels.
"""

from collections.abc import Callable
import functools
import statistics
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from rich.table import Table

from al_jax import fitting
from al_jax import from_flax
from al_jax import inputs
from al_jax import posterior as posteriors
from al_jax import types
from al_jax.models.batchbald import BatchBALDNet
from al_jax.models.cnn import CNN
from experiments.benchmarks.jax_side import IMAGE
from experiments.common.console import Display

LOWERINGS = ("conv", "matrix", "one_by_one", "auto")
NETWORKS = 4  # under vmap
SAMPLES = 20  # of MC dropout


class Case(NamedTuple):
  """One use of a network."""

  use: str  # "training", "scoring" or "sampling"
  networks: int  # 1, or the number of vmapped networks
  images: int  # in a batch, or in the pool


def cases(batch_sizes: list[int], pool: int) -> list[Case]:
  """Training and scoring with one and with several default networks, and sampling with one BatchBALD network."""
  sizes = [("training", size) for size in batch_sizes] + [("scoring", pool)]
  return [Case(use, networks, size) for use, size in sizes for networks in (1, NETWORKS)] + [Case("sampling", 1, pool)]


def made_pool(num: int, image: tuple[int, ...]) -> types.Dataset:
  """A pool of random images, uint8 `[num, *image]`, with ten classes."""
  images = jax.random.randint(jax.random.key(0), (num, *image), 0, 256, jnp.uint8)
  labels = jax.random.randint(jax.random.key(1), (num,), 0, 10)
  return types.Dataset(images, labels, images[:1], labels[:1], 10, inputs.images(std=255))


def training(network: types.Network, batch_size: int, steps: int) -> Callable:
  """A function `(variables, key, data) -> []` that takes `steps` steps of Adam and depends on all of their results."""

  def train(variables, key, data):
    fitted, _ = fitting.fit(
      fitting.Keys(key, key, key),
      variables,
      data,
      jnp.arange(data.pool_size),
      jnp.int32(data.pool_size),
      network=network,
      optimizer=optax.adam(1e-3),
      plan=types.TrainPlan(batch_size=batch_size, steps=steps),
    )
    # The loss alone would not depend on the last step's gradient.
    return sum(leaf.sum() for leaf in jax.tree.leaves(fitted))

  return train


def _program(case: Case, lowering: str, steps: int, chunk_size: int):
  """Returns `(compiled, arguments, units)`: a call does `units` steps or scorings of one network."""
  network = from_flax((BatchBALDNet if case.use == "sampling" else CNN)(lowering=lowering))
  data = made_pool(max(case.images, 256), IMAGE)
  keys = jax.random.split(jax.random.key(2), case.networks)
  variables = jax.vmap(lambda key: network.init(key, inputs.example(data)))(keys)
  images_of = lambda data: lambda ids: inputs.of_pool(data, ids)

  def predict(posterior, variables, key, data):
    ids = jnp.arange(case.images)
    return posterior.predict(
      key, network, variables, images_of(data), ids, chunk_size=chunk_size, features=False
    ).log_probs

  score = lambda *args: predict(posteriors.deterministic(), *args).sum(0)
  sample = functools.partial(predict, posteriors.mc_dropout(SAMPLES))
  one = {"training": training(network, case.images, steps), "scoring": score, "sampling": sample}[case.use]
  if case.networks == 1:
    variables, keys, packed = jax.tree.map(lambda leaf: leaf[0], variables), keys[0], one
  else:
    packed = jax.vmap(one, in_axes=(0, 0, None))
  units = case.networks * (steps if case.use == "training" else 1)
  return jax.jit(packed).lower(variables, keys, data).compile(), (variables, keys, data), units


def run(
  display: Display, *, batch_sizes: list[int], pool: int, steps: int, chunk_size: int, repeats: int
) -> list[dict]:
  """Measures every case with every lowering, in turn: seconds per step or scoring of one network, by lowering."""
  out = []
  for case in cases(batch_sizes, pool):
    programs, seconds = {}, {lowering: [] for lowering in LOWERINGS}
    for lowering in LOWERINGS:
      display.phase(f"{case.use}, {case.networks} networks, {lowering}: compiling")
      programs[lowering] = _program(case, lowering, steps, chunk_size)
      jax.block_until_ready(programs[lowering][0](*programs[lowering][1]))
    for _ in range(repeats):
      for lowering, (compiled, arguments, units) in programs.items():
        display.phase(f"{case.use}, {case.networks} networks, {lowering}")
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds[lowering].append((time.perf_counter() - start) / units)
    out.append(case._asdict() | {"seconds": seconds})
    medians = ", ".join(f"{lowering} {statistics.median(values):.4f} s" for lowering, values in seconds.items())
    display.line(f"{case.use}, {case.images:,} images, {case.networks} networks: {medians}")
  return out


def table(measured: list[dict]) -> Table:
  """Table of the medians by lowering; `auto` chooses one of the others."""
  out = Table(title="Milliseconds per step or scoring of one network")
  for column in ("use", "images", "networks", *LOWERINGS):
    out.add_column(column, justify="left" if column == "use" else "right")
  for row in measured:
    cells = [f"{1e3 * statistics.median(row['seconds'][lowering]):.1f}" for lowering in LOWERINGS]
    out.add_row(row["use"], f"{row['images']:,}", str(row["networks"]), *cells)
  return out
