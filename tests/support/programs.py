"""Programs run as a user runs them, and what they write."""

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
# What every process that a test starts has, but for those that are to be as a user's: without most optimisations, and
# with loops written the older way, compiling takes a quarter of the time. The older way puts fused multiply-adds
# elsewhere in every program; without them the same operations give the same bits.
_OLDER = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_max_isa=AVX")
# In one piece a program is compiled with a tenth less work, and other tests keep the processors busy.
_IN_ONE_PIECE = "--xla_cpu_parallel_codegen_split_count=1"
_X86 = platform.machine() in ("x86_64", "AMD64")
QUICK = {
  "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  "XLA_FLAGS": " ".join((*_OLDER, _IN_ONE_PIECE) if _X86 else (_IN_ONE_PIECE,)),
}
AS_USERS = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XLA_FLAGS": ""}


def environment(**changes: str) -> dict[str, str]:
  """That of a program on the CPU."""
  return {**os.environ, "JAX_PLATFORMS": "cpu", **changes}


def run(*words: str, expect: int = 0, **changes: str) -> str:
  """What a program printed, run from the project's root on the CPU; it must end with the exit code `expect`."""
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
  """A row without what differs from run to run."""
  return {k: v for k, v in row.items() if not k.startswith("seconds") and k != "peak_bytes"}


_PRINT_CONFIGS = (
  "import sys, json, dataclasses; from experiments.config import flags\n"
  "from experiments.config.resolve import resolve; from experiments.common.errors import UsageError\n"
  "for lines in map(json.loads, sys.stdin):\n"
  "  out = []\n"
  "  for line in lines:\n"
  "    flags.FLAGS.unparse_flags()\n"
  "    for name in [n for g in flags.GROUPS.values() for n in g]: flags.FLAGS[name].unparse()\n"
  "    try:\n"
  "      flags.parse(['main', *line]); config = resolve(); hash(config)\n"
  "      out.append(dataclasses.asdict(config))\n"
  "    except (UsageError, SystemExit) as error: out.append(str(error))\n"
  "  print(json.dumps(out), flush=True)\n"
)


@contextlib.contextmanager
def reader_of_flags() -> Iterator[Callable[..., list[dict | str]]]:
  """`(*lines) -> list`: each command line's Config as a dict, or the sentence that refused it, told by one process."""
  words, pipe = [sys.executable, "-c", _PRINT_CONFIGS], subprocess.PIPE
  with subprocess.Popen(words, cwd=ROOT, env=environment(), stdin=pipe, stdout=pipe, text=True) as process:

    def resolve(*lines: list[str]) -> list[dict | str]:
      process.stdin.write(json.dumps(lines) + "\n")
      process.stdin.flush()
      return json.loads(process.stdout.readline())

    yield resolve
