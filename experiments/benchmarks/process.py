"""A worker process of the benchmark: the client, which asks it, and the server, which answers.

The worker reads JSON requests from stdin, one per line, and answers each with one line of JSON. To every answer it adds
`idle_cpu` and `idle_wall`: the CPU time of all its threads and the wall time since the previous answer. It ends when
stdin is closed.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import json
import os
from pathlib import Path
import subprocess
import sys
import time

from experiments.common.errors import UsageError


def environment() -> dict[str, str]:
  """The environment of a child process: this one's, with the project on PYTHONPATH."""
  paths = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
  return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


class Process:
  """A worker process that runs a module of `experiments.benchmarks`. A context manager."""

  def __init__(self, name: str, module: str, options: Sequence[str] = (), variables: Mapping[str, str] | None = None):
    """Starts the process; of the settings of malloc, it has only those in the environment `variables`."""
    self.name = name
    self.idle_cpu = self.idle_wall = 0.0
    bare = {name: value for name, value in environment().items() if not name.startswith("MALLOC_")}
    self._process = subprocess.Popen(
      [sys.executable, "-m", f"experiments.benchmarks.{module}", *options],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=bare | dict(variables or {}),
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()

  def ask(self, request: dict) -> dict:
    """Sends a request and waits for the answer.

    Raises:
      UsageError: the answer is the sentence of a UsageError, or the process ended; its error is on stderr.
    """
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.write(json.dumps(request) + "\n")
      self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise UsageError(f"the process of {self.name} ended with exit code {self._process.wait()}: see its error above")
    answer = json.loads(line)
    if "error" in answer:
      raise UsageError(answer["error"])
    self.idle_cpu += answer["idle_cpu"]
    self.idle_wall += answer["idle_wall"]
    return answer


def serve(answer: Callable[[dict], dict]) -> None:
  """Answers requests until stdin ends."""
  cpu, wall = time.process_time(), time.perf_counter()
  for line in sys.stdin:
    idle = {"idle_cpu": time.process_time() - cpu, "idle_wall": time.perf_counter() - wall}
    try:
      out = answer(json.loads(line)) | idle
    except UsageError as error:
      out = {"error": str(error)}
    cpu, wall = time.process_time(), time.perf_counter()
    print(json.dumps(out), flush=True)
