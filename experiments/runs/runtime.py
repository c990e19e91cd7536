"""JAX settings of a process: device, compilation cache, profiler and random number generator."""

from collections.abc import Iterator
import contextlib
import hashlib
import importlib
import os
from pathlib import Path
import platform
import re
import stat

import jax
import threadpoolctl

from al_jax import keys
from experiments.common import user_cache
from experiments.common.errors import UsageError


def configure(device: str | None, cpu_devices: int | None, compilation_cache: str) -> None:
  """Sets the device, the number of virtual CPU devices, and the folder of the compilation cache.

  Raises:
    UsageError: JAX finds no such device, or the folder cannot be used.
  """
  if device is not None:
    jax.config.update("jax_platforms", {"gpu": "cuda,rocm"}.get(device, device))
  if cpu_devices is not None and "JAX_NUM_CPU_DEVICES" not in os.environ:
    jax.config.update("jax_num_cpu_devices", cpu_devices)
  try:
    jax.devices()
  except RuntimeError as error:
    raise UsageError(f"--platform={device}: JAX finds no such device on this machine") from error
  if cpu_devices is not None:
    # Devices factorize matrices at the same time; with threads of its own for each, a small one takes 20 times as long.
    # JAX loads SciPy's BLAS with its first factorization: what is not loaded yet is not limited.
    importlib.import_module("scipy.linalg")
    threadpoolctl.threadpool_limits(max(1, cores() // len(jax.local_devices())), user_api="blas")
  if compilation_cache == "none":
    return
  named = compilation_cache != "auto"
  folder = Path(os.path.expanduser(compilation_cache)) if named else default_cache()
  try:
    make_private(folder)
  except OSError as error:
    if named:
      raise UsageError(f"--compilation_cache={folder} cannot be used: {error.strerror}") from error
    return  # the home folder is not writable: programs are compiled again in each process
  jax.config.update("jax_compilation_cache_dir", str(folder))


def compiler_options() -> dict[str, bool]:
  """Options for a program of small operations: if the CPU counts as several devices, each of them uses one core.

  Otherwise every operation is split across all cores, and the devices wait for each other's parts.
  """
  devices = jax.local_devices()
  return {"xla_cpu_multi_thread_eigen": False} if devices[0].platform == "cpu" and len(devices) > 1 else {}


def free_bytes() -> int:
  """Free memory of a device: what it reports, or its share of the machine's available memory if it reports none."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if "bytes_limit" in stats:
    return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
  try:
    with open("/proc/meminfo") as file:
      available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
  except (OSError, StopIteration):
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return available // len(jax.local_devices())


def generator() -> dict[str, int | str | bool]:
  """What determines the random draws of a seed in this process, as written to config.json."""
  return {
    "draws": keys.DRAWS,
    "key_impl": str(jax.config.jax_default_prng_impl),
    "threefry_partitionable": bool(jax.config.jax_threefry_partitionable),
  }


def cores() -> int:
  """Number of cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def default_cache() -> Path:
  """One folder per processor model: programs compiled for one may crash on another that shares the home folder."""
  return user_cache.folder() / "programs" / hashlib.sha256(_processor().encode()).hexdigest()[:16]


def _processor() -> str:
  try:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return f"{platform.machine()} {platform.processor()}"
  facts = {}
  for line in lines:  # of the first processor: its model and instruction set
    name, _, value = line.partition(":")
    if re.fullmatch(r"model name|flags|Features|CPU part", name.strip()):
      facts.setdefault(name.strip(), value.strip())
  return f"{platform.machine()} {sorted(facts.items())}"


def make_private(folder: Path) -> None:
  """Creates the folder, readable by this user only, because its content is run as code.

  Raises:
    UsageError: it belongs to another user, or others may write to it.
    OSError: it cannot be created.
  """
  folder.mkdir(parents=True, exist_ok=True, mode=0o700)
  status = folder.stat()
  if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    raise UsageError(
      f"--compilation_cache={folder} belongs to another user or others may write to it, and its content is run as code:"
      " give a folder of your own, or none"
    )
  folder.chmod(0o700)


@contextlib.contextmanager
def profiled(folder: Path, wanted: bool) -> Iterator[None]:
  """Context manager that writes a trace of the enclosed code, for XProf or Perfetto."""
  if not wanted:
    yield
    return
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # Python calls during tracing and compiling would fill the trace
  with jax.profiler.trace(str(folder), create_perfetto_trace=True, profiler_options=options):
    yield
