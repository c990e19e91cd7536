"""Runs programs as a user does, and reads the rows that they write."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import json
import os
from pathlib import Path
import platform
import subprocess
import sys

ROOT = Path(__file__).resolve().parents[2]
# The environment of the processes that tests start, except those that run as a user's. Without most optimizations, and
# with the older loop emitters, compiling takes a quarter of the time. The older emitters place fused multiply-adds
# differently in each program; without fused multiply-adds (AVX only), equal operations give equal bits.
_OLDER_EMITTERS = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_max_isa=AVX")
# Compiling a program in one piece takes a tenth less work; other tests keep the other processors busy.
_UNSPLIT = "--xla_cpu_parallel_codegen_split_count=1"
_X86 = platform.machine() in ("x86_64", "AMD64")
QUICK = {
  "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  "XLA_FLAGS": " ".join((*_OLDER_EMITTERS, _UNSPLIT) if _X86 else (_UNSPLIT,)),
}
AS_USERS = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XLA_FLAGS": ""}


def environment(**changes: str) -> dict[str, str]:
  """The environment of a program on the CPU."""
  return {**os.environ, "JAX_PLATFORMS": "cpu", **changes}


def run(*words: str, expect: int = 0, **changes: str) -> str:
  """Runs a program in the project's root on the CPU, asserts the exit code `expect`, and returns the output."""
  done = subprocess.run(
    words,
    cwd=ROOT,
    env=environment(**changes),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == expect, done.stdout + done.stderr
  return done.stdout + done.stderr


def read(folder: Path) -> list[dict]:
  """The rows of a workdir."""
  return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def untimed(row: dict) -> dict:
  """A row without the fields that differ between equal runs."""
  return {k: v for k, v in row.items() if not k.startswith("seconds") and k != "peak_bytes"}


_PRINT_CONFIGS = (
  "import sys, json, dataclasses; from experiments.config import command_line, flag_groups, flags\n"
  "from experiments.config.resolve import resolve; from experiments.common.errors import UsageError\n"
  "for lines in map(json.loads, sys.stdin):\n"
  "  out = []\n"
  "  for line in lines:\n"
  "    flags.FLAGS.unparse_flags()\n"
  "    for name in [n for g in flag_groups.GROUPS.values() for n in g]: flags.FLAGS[name].unparse()\n"
  "    try:\n"
  "      command_line.parse(['main', *line]); config = resolve(); hash(config)\n"
  "      out.append(dataclasses.asdict(config))\n"
  "    except (UsageError, SystemExit) as error: out.append(str(error))\n"
  "  print(json.dumps(out), flush=True)\n"
)


@contextlib.contextmanager
def reader_of_flags() -> Iterator[Callable[..., list[dict | str]]]:
  """`(*lines) -> list`: each command line's Config as a dict, or its error message; one process reads all."""
  words, pipe = [sys.executable, "-c", _PRINT_CONFIGS], subprocess.PIPE
  with subprocess.Popen(words, cwd=ROOT, env=environment(), stdin=pipe, stdout=pipe, text=True) as process:

    def resolve(*lines: list[str]) -> list[dict | str]:
      process.stdin.write(json.dumps(lines) + "\n")
      process.stdin.flush()
      return json.loads(process.stdout.readline())

    yield resolve
