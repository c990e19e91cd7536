"""The scan driver: many runs in one compiled program, with packed seeds and grid points, and a scan over rounds."""

from collections.abc import Iterator
import dataclasses
import itertools
import time

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from al_jax import checks
from al_jax import oracle
from al_jax import types
from al_jax.sweep import PACKS
from al_jax.sweep import Learners
from al_jax.sweep import Runs
from al_jax.sweep import sweep_program
from experiments.analysis import grid
from experiments.analysis import summary
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config.resolve import Config
from experiments.runs import build
from experiments.runs import runtime
from experiments.runs.interrupt import Interrupt
from experiments.runs.rows import rows_of
from experiments.runs.runtime import free_bytes
from experiments.runs.workdir import Workdir

_SHARE_OF_MEMORY = 0.9  # the rest is for fragmentation


@dataclasses.dataclass(frozen=True)
class Job:
  """One seed at one point of the grid; every strategy runs on it."""

  seed: int
  point: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled sweep over `size` jobs."""

  compiled: jax.stages.Compiled
  size: int  # jobs, a multiple of the number of devices
  bytes: int  # temporaries and results on each device, without the data
  seconds: float  # of compiling


def run_study(config: Config, data: types.Dataset, workdir: Workdir, display: Display, stop: Interrupt) -> None:
  """Runs every strategy on every seed and grid point, one program at a time; writes the rows when a program ends."""
  checks.check_values(data)  # a compiled program cannot raise for bad values
  data = jax.device_put(data, NamedSharding(mesh(), PartitionSpec()))
  for seed, point, acq in itertools.product(_seeds(config), grid.points(config.vmap_over), config.acq):
    display.advance(len(workdir.done(acq, seed, point)))
  for acqs, jobs in missing(config, workdir):
    learners = _learners(config, acqs, data.num_classes)
    display.phase(f"compiling {len(acqs)} strategies")
    program = fitting(config, data, learners, jobs)
    display.line(
      f"compiled in {program.seconds:.1f} s: {', '.join(acqs)}; {program.size} run{'s' * (program.size > 1)} of each"
      f" per program ({build.packing(config)}, {describe_devices()}), {program.bytes / 2**20:.0f} MiB per device"
      " without the data"
    )
    for start in range(0, len(jobs), program.size):
      packed = jobs[start : start + program.size]
      display.phase(f"runs {start + 1}..{start + len(packed)} of {len(jobs)}, {len(acqs)} strategies: one program")
      _write(config, data, workdir, display, acqs, packed, *execute(program, data, packed))
      stop.check()


def mesh() -> jax.sharding.Mesh:
  """A mesh of all local devices; the jobs are split across them."""
  devices = jax.local_devices()
  return jax.make_mesh((len(devices),), ("runs",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,))


def describe_devices() -> str:
  """Number and kind of the local devices, as in `2 cpu devices`."""
  devices = jax.local_devices()
  return f"{len(devices)} {devices[0].platform} device{'s' * (len(devices) > 1)}"


def _seeds(config: Config) -> range:
  return range(config.seed, config.seed + config.seeds)


def missing(config: Config, workdir: Workdir) -> Iterator[tuple[list[str], list[Job]]]:
  """Groups the unfinished runs: yields strategies with the jobs in which exactly these strategies are unfinished."""
  gaps: dict[tuple[str, ...], list[Job]] = {}
  for seed in _seeds(config):
    for point in grid.points(config.vmap_over):
      open_ = [acq for acq in config.acq if not workdir.ended(acq, seed, point, config.rounds)]
      if open_:
        gaps.setdefault(tuple(open_), []).append(Job(seed, tuple(point.items())))
  for acqs, jobs in gaps.items():
    yield list(acqs), jobs


def _learners(config: Config, acqs: list[str], num_classes: int) -> Learners:
  if config.vmap_over:
    return build.Recipe(dataclasses.replace(config, acq=tuple(acqs)), num_classes)
  made = build.learners(config, num_classes)
  return tuple(made[acq] for acq in acqs)


def _arguments(jobs: list[Job]) -> tuple[jax.Array, dict[str, jax.Array] | None]:
  keys = jax.vmap(jax.random.key)(jnp.array([job.seed for job in jobs], jnp.uint32))
  names = [name for name, _ in jobs[0].point]
  points = {name: jnp.array([dict(job.point)[name] for job in jobs], jnp.float32) for name in names} or None
  return jax.device_put((keys, points), NamedSharding(mesh(), PartitionSpec("runs")))


def _padded(jobs: list[Job], size: int) -> list[Job]:
  """Pads the jobs to `size` by repeating the last one."""
  return jobs + [jobs[-1]] * (size - len(jobs))


def compiled(
  keys: jax.Array, data: types.Dataset, learners: Learners, *, pack: str, points: types.PyTree = None
) -> jax.stages.Compiled:
  """Compiles a sweep over these keys, split across the local devices."""
  lowered = sweep_program.lower(keys, data, learners, pack=pack, points=points, mesh=mesh())
  return lowered.compile(compiler_options=runtime.compiler_options() if pack == "heads" else None)


def compile_for(config: Config, data: types.Dataset, learners: Learners, jobs: list[Job]) -> Program:
  """Compiles the program that runs these jobs; the learners have passed `build.check`."""
  start = time.perf_counter()
  keys, points = _arguments(jobs)
  program = compiled(keys, data, learners, pack=build.packing(config), points=points)
  analysis = program.memory_analysis()
  need = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
  return Program(program, len(jobs), need, time.perf_counter() - start)


def _first_line(error: Exception) -> str:
  return str(error).strip().splitlines()[0]


def fitting(config: Config, data: types.Dataset, learners: Learners, jobs: list[Job]) -> Program:
  """Compiles a program of `--seeds_per_program` jobs; default: as many as fit in memory.

  The default with a packing that computes a fixed number of jobs at once is that number per device: more would save no
  time, and rows are written when a program ends.

  Raises:
    UsageError: one job per device does not fit in memory, or `--seeds_per_program` does not.
  """
  devices = len(jax.local_devices())
  room = int(_SHARE_OF_MEMORY * free_bytes())
  at_once = PACKS[build.packing(config)].scoring
  per_device = -(-len(jobs) // devices) if at_once is None else min(at_once, -(-len(jobs) // devices))
  if config.seeds_per_program:
    per_device = -(-min(config.seeds_per_program, len(jobs)) // devices)
  while True:
    size = per_device * devices
    program = compile_for(config, data, learners, _padded(jobs[:size], size))
    if program.bytes <= room:
      return program
    problem = (
      f"a program of {size} runs needs {program.bytes / 2**20:.0f} MiB per device, but {room / 2**20:.0f} are free"
    )
    if per_device == 1:
      raise UsageError(f"{problem}: give a smaller --chunk_size, --mc_samples or --pool_subset")
    if config.seeds_per_program:
      raise UsageError(f"{problem}: give a smaller --seeds_per_program")
    per_device = max(1, min(per_device - 1, per_device * room // program.bytes))


def execute(program: Program, data: types.Dataset, jobs: list[Job]) -> tuple[tuple[Runs, ...], float]:
  """Runs the jobs; returns their results on the host, and the seconds taken. Pads a smaller last group with repeats."""
  keys, points = _arguments(_padded(jobs, program.size))
  start = time.perf_counter()
  try:
    runs = jax.block_until_ready(program.compiled(keys, data, points=points))
  except jax.errors.JaxRuntimeError as error:
    raise UsageError(f"the program of {program.size} runs failed: {_first_line(error)}") from error
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
      workdir.append_rows(rows[len(done) :])
      display.advance(len(rows) - len(done))
      display.line(summary.run_line(rows, max(16, *map(len, acqs))))
  if config.early_stop is not None and build.packing(config) == "vmap":
    steps = np.stack([run.info.fit.steps[: len(jobs)] for run in runs])  # [strategies, seeds, rounds + 1]
    paid = steps.max(1).sum() * len(jobs)
    display.line(f"early stopping: runs spent {1 - steps.sum() / paid:.0%} of all steps waiting for the slowest run")
