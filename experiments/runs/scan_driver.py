"""Many runs as one compiled program: seeds and the points of a grid packed, strategies unrolled, rounds scanned."""

from collections.abc import Iterator
import dataclasses
import itertools
import os
import time

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from al_jax import checks
from al_jax import oracle
from al_jax import types
from al_jax.learner import Learner
from al_jax.sweep import Runs
from al_jax.sweep import sweep_program
from experiments.analysis import grid
from experiments.analysis import summary
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config.resolve import Config
from experiments.runs import build
from experiments.runs.interrupt import Interrupt
from experiments.runs.rows import rows_of
from experiments.runs.workdir import Workdir

_SHARE_OF_MEMORY = 0.9  # the rest is for what the allocator cannot place


@dataclasses.dataclass(frozen=True)
class Job:
  """One seed at one point of the grid, on which every strategy runs."""

  seed: int
  point: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled sweep over `size` jobs."""

  compiled: jax.stages.Compiled
  size: int  # a multiple of the devices
  bytes: int  # beside the data, on each device: temporaries and results
  seconds: float  # that compiling took


def run_study(config: Config, data: types.Dataset, workdir: Workdir, display: Display, stop: Interrupt) -> None:
  """Runs every strategy on every seed and point, a program of jobs at a time, writing its rows when it has ended."""
  checks.check_values(data)  # which a program cannot see
  data = jax.device_put(data, NamedSharding(mesh(), PartitionSpec()))
  for seed, point, acq in itertools.product(_seeds(config), grid.points(config.vmap_over), config.acq):
    display.advance(len(workdir.done(acq, seed, point)))
  for acqs, jobs in missing(config, workdir):
    learners = _learners(config, acqs, data.num_classes)
    display.phase(f"compiling {len(acqs)} strategies")
    program = fitting(config, data, learners, jobs)
    display.line(
      f"compiled in {program.seconds:.1f} s: {', '.join(acqs)}; {program.size} run{'s' * (program.size > 1)} of each a"
      f" program ({build.packing(config)}, {said_devices()}), {program.bytes / 2**20:.0f} MiB a device beside the data"
    )
    for start in range(0, len(jobs), program.size):
      packed = jobs[start : start + program.size]
      display.phase(f"runs {start + 1}..{start + len(packed)} of {len(jobs)}, {len(acqs)} strategies: one program")
      _write(config, data, workdir, display, acqs, packed, *execute(program, data, packed))
      stop.check()


def mesh() -> jax.sharding.Mesh:
  """All local devices, side by side: each runs jobs of its own."""
  devices = jax.local_devices()
  return jax.make_mesh((len(devices),), ("runs",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,))


def said_devices() -> str:
  """`2 cpu devices`, for people."""
  devices = jax.local_devices()
  return f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}"


def _seeds(config: Config) -> range:
  return range(config.seed, config.seed + config.seeds)


def missing(config: Config, workdir: Workdir) -> Iterator[tuple[list[str], list[Job]]]:
  """Strategies that have rows to come, with the jobs where they have: as few groups as there are kinds of gap."""
  gaps: dict[tuple[str, ...], list[Job]] = {}
  for seed in _seeds(config):
    for point in grid.points(config.vmap_over):
      open_ = [acq for acq in config.acq if not workdir.ended(acq, seed, point, config.rounds)]
      if open_:
        gaps.setdefault(tuple(open_), []).append(Job(seed, tuple(point.items())))
  for acqs, jobs in gaps.items():
    yield list(acqs), jobs


def _learners(config: Config, acqs: list[str], num_classes: int) -> dict[str, Learner | build.Recipe]:
  if config.vmap_over:
    return {acq: build.Recipe(config, acq, num_classes) for acq in acqs}
  made = build.learners(config, num_classes)
  return {acq: made[acq] for acq in acqs}


def _arguments(jobs: list[Job]) -> tuple[jax.Array, dict[str, jax.Array] | None]:
  keys = jax.vmap(jax.random.key)(jnp.array([job.seed for job in jobs], jnp.uint32))
  names = [name for name, _ in jobs[0].point]
  points = {name: jnp.array([dict(job.point)[name] for job in jobs], jnp.float32) for name in names} or None
  return jax.device_put((keys, points), NamedSharding(mesh(), PartitionSpec("runs")))


def _filled(jobs: list[Job], size: int) -> list[Job]:
  """So many jobs, the last one again and again behind the others."""
  return jobs + [jobs[-1]] * (size - len(jobs))


def compile_for(config: Config, data: types.Dataset, learners: dict, jobs: list[Job]) -> Program:
  """The program that runs these jobs, of learners that `build.check` has let pass."""
  start, pack = time.perf_counter(), build.packing(config)
  keys, points = _arguments(jobs)
  lowered = sweep_program.lower(keys, data, tuple(learners.values()), pack=pack, points=points, mesh=mesh())
  compiled = lowered.compile()
  analysis = compiled.memory_analysis()
  need = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
  return Program(compiled, len(jobs), need, time.perf_counter() - start)


def _first_line(error: Exception) -> str:
  return str(error).strip().splitlines()[0]


def fitting(config: Config, data: types.Dataset, learners: dict, jobs: list[Job]) -> Program:
  """The program of as many jobs as `--seeds_per_program` says, or as fit the memory.

  One run after another takes no more memory for many than for one and saves no time either: a program of one job a
  device writes its rows soonest.

  Raises:
    UsageError: not even one job a device fits, or fewer than asked for.
  """
  devices = len(jax.local_devices())
  room = int(_SHARE_OF_MEMORY * free_bytes())
  per_device = 1 if build.packing(config) == "map" else -(-len(jobs) // devices)
  if config.seeds_per_program:
    per_device = -(-min(config.seeds_per_program, len(jobs)) // devices)
  while True:
    size = per_device * devices
    program = compile_for(config, data, learners, _filled(jobs[:size], size))
    if program.bytes <= room:
      return program
    said = f"a program of {size} runs needs {program.bytes / 2**20:.0f} MiB a device and {room / 2**20:.0f} are free"
    if per_device == 1:
      raise UsageError(f"{said}: give a smaller --chunk_size, --mc_samples or --pool_subset")
    if config.seeds_per_program:
      raise UsageError(f"{said}: give fewer --seeds_per_program")
    per_device = max(1, min(per_device - 1, per_device * room // program.bytes))


def free_bytes() -> int:
  """Memory that a program may still take on a device: by its own count, or else its share of the machine's."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if "bytes_limit" in stats:
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
  try:
    with open("/proc/meminfo") as file:
      available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))

  except (OSError, StopIteration):
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return available // len(jax.local_devices())


def execute(program: Program, data: types.Dataset, jobs: list[Job]) -> tuple[tuple[Runs, ...], float]:
  """What the jobs came to, on the host, and the seconds they took. A last, smaller group is filled up with repeats."""
  keys, points = _arguments(_filled(jobs, program.size))
  start = time.perf_counter()
  try:
    runs = jax.block_until_ready(program.compiled(keys, data, points=points))
  except jax.errors.JaxRuntimeError as error:
    raise UsageError(f"the program of {program.size} seeds stopped: {_first_line(error)}") from error
  return jax.device_get(runs), time.perf_counter() - start


def _write(config, data, workdir, display, acqs: list[str], jobs: list[Job], runs, seconds: float) -> None:
  each = seconds / (len(acqs) * len(jobs) * (config.rounds + 1))
  scored = {acq: build.scores_images(acq) for acq in acqs}
  for k, job in enumerate(jobs):
    rate = dict(job.point).get("label_noise", config.label_noise)
    labels = np.asarray(oracle.noisy_labels(jax.random.key(job.seed), data, rate))
    for acq, run in zip(acqs, runs, strict=True):
      own = jax.tree.map(lambda leaf, k=k: leaf[k], run)
      done = workdir.done(acq, job.seed, dict(job.point))
      initial = own.initial.tolist()
      rows = list(
        rows_of(acq, job.seed, own.info, labels, initial, each, dict(job.point), scored[acq], data.test_size > 0)
      )
      for row in rows[len(done) :]:
        workdir.append(row)
      display.advance(len(rows) - len(done))
      display.line(summary.run_line(rows, max(16, *map(len, acqs))))
  if config.early_stop is not None and build.packing(config) == "vmap":
    steps = np.stack([run.info.fit.steps[: len(jobs)] for run in runs])  # [strategies, seeds, rounds + 1]
    paid = steps.max(1).sum() * len(jobs)
    display.line(f"early stopping: seeds waited for the slowest during {1 - steps.sum() / paid:.0%} of all steps")
