"""Measures whole runs of the main program, from start to end of its process."""

import shlex
import subprocess
import sys
import tempfile
import time

from absl import flags

from experiments import data as data_sources
from experiments.benchmarks.jax_side import JAX
from experiments.benchmarks.process import environment
from experiments.benchmarks.tables import Seconds
from experiments.common.console import Display
from experiments.common.errors import UsageError


def run_once(dataset: str, config: flags.FlagValues) -> float:
  """Seconds of one run of the main program, including start and compilation.

  Raises:
    UsageError: the run failed.
  """
  arguments = [f"--dataset={dataset}", *shlex.split(config.run_args)]
  if dataset == "mnist" and config.data_dir is not None:
    arguments.append(f"--data_dir={config.data_dir}")
  with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "-m", "experiments.mnist", f"--workdir={folder}/run", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
  if done.returncode:
    last = (done.stderr.strip().splitlines() or ["it printed no error"])[-1]
    raise UsageError(f"the run of {dataset} ended with exit code {done.returncode}: {last.removeprefix('error: ')}")
  return seconds


def measure_runs(config: flags.FlagValues, display: Display) -> Seconds:
  """Measures one run of the main program on each data set that is available."""
  seconds: Seconds = {}
  for dataset in ("digits", "mnist"):
    display.phase(f"a run of {dataset}")
    try:
      data_sources.load(dataset, config.data_dir, download=False)
    except data_sources.DataError as error:
      if config.data_dir is not None:
        raise
      display.line(f"run of {dataset}: skipped. {error}")
    else:
      seconds[f"run, {dataset}"] = {JAX: [run_once(dataset, config)]}
    display.advance()
  return seconds
