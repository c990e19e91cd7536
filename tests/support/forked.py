"""Runs programs in forks of one process that has imported the libraries, which `python -m PROGRAM` imports each time.

`python -m tests.support.forked` reads lines of JSON from stdin: the words after `python -m`, changes of the
environment, and the file for the output. It answers with the process id and, when the program has ended, with its exit
code. A fork is a normal process: it can receive signals, be killed, and have its own limits. Environment variables that
JAX reads at import cannot be changed for one program.
"""

from collections.abc import Iterator
import contextlib
import importlib
import json
import os
from pathlib import Path
import runpy
import signal
import subprocess
import sys

from tests.support import programs

# Imports of the programs that start neither threads nor a device.
_LIBRARIES = (
  "absl.app",
  "chex",
  "flax.linen",
  "jax",
  "matplotlib.pyplot",
  "optax",
  "orbax.checkpoint.experimental.v1",
  "rich.progress",
  "rich.table",
  "scipy.stats",
  "sklearn.datasets",
  "sklearn.model_selection",
)


class Started:
  """A program that has been started."""

  def __init__(self, pid: int, output: Path, answers):
    self.pid, self._output, self._answers = pid, output, answers
    self.returncode: int | None = None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self.returncode is None:
      with contextlib.suppress(ProcessLookupError):
        self.send_signal(signal.SIGKILL)
      self.wait()

  def send_signal(self, number: int) -> None:
    os.kill(self.pid, number)

  def wait(self) -> int:
    """Waits for the program to end; returns its exit code, negative for a signal."""
    if self.returncode is None:
      self.returncode = int(self._answers.readline())
    return self.returncode

  def printed(self) -> str:
    """The output so far, stdout and stderr."""
    return self._output.read_text()


class Programs:
  """Starts programs, one at a time."""

  def __init__(self, process: subprocess.Popen, folder: Path):
    self._process, self._folder, self._count = process, folder, 0

  def start(self, *words: str, **environment: str) -> Started:
    """Starts `python -m WORDS` in the project's root."""
    self._count += 1
    output = self._folder / f"{self._count}.txt"
    self._process.stdin.write(json.dumps([words, environment, str(output)]) + "\n")
    self._process.stdin.flush()
    return Started(int(self._process.stdout.readline()), output, self._process.stdout)

  def run(self, *words: str, expect: int = 0, **environment: str) -> str:
    """Runs `python -m WORDS`, asserts the exit code `expect`, and returns the output."""
    with self.start(*words, **environment) as program:
      assert program.wait() == expect, program.printed()
    return program.printed()


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Programs]:
  """Starts the process that forks; the programs' output goes to files in `folder`."""
  words, pipe = [sys.executable, "-m", "tests.support.forked"], subprocess.PIPE
  with subprocess.Popen(
    words, cwd=programs.ROOT, env=programs.environment(), stdin=pipe, stdout=pipe, text=True
  ) as process:
    yield Programs(process, folder)
    process.stdin.close()


def _become(words: list[str], environment: dict[str, str], output: str) -> None:
  """Runs a program in this process, as `python -m` does."""
  descriptors = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  for own, descriptor in ((0, descriptors[0]), (1, descriptors[1]), (2, descriptors[1])):
    os.dup2(descriptor, own)
  os.environ.update(environment)
  sys.argv = words
  runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def main() -> None:
  for name in _LIBRARIES:
    importlib.import_module(name)
  for line in sys.stdin:
    pid = os.fork()
    if not pid:
      return _become(*json.loads(line))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
  main()
