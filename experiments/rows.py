"""What lies in a workdir, read without starting JAX."""

import json
from pathlib import Path
import re
from typing import Literal

from experiments.errors import UsageError

# What a resumed run, or another workdir of the same study, may change without changing a row that is already written.
MAY_DIFFER = {
  *("acq", "seeds", "seeds_per_program", "cpu_devices", "full_data"),
  *("data_dir", "workdir", "resume", "overwrite", "inspect", "compilation_cache", "profile"),
  *("tensorboard", "log_level"),
  "init_file",  # what it lists is compared, as init_ids
}


def read_rows(path: Path) -> tuple[list[dict], int]:
  """The whole rows of a results.jsonl, and the bytes they take: a last line that a kill cut short is left out.

  Raises:
    UsageError: a line is no row; the message names file and line.
  """
  content = path.read_bytes()
  whole = content[: content.rfind(b"\n") + 1]
  rows = []
  for number, line in enumerate(whole.splitlines(), 1):
    try:
      row = json.loads(line)
      key = [type(row[name]) for name in ("acq", "seed", "round")]
      if key != [str, int, int] or any(type(value) not in (int, float) for value in row.get("hyper", {}).values()):
        raise TypeError("not the key of a run")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise UsageError(f"{path} is damaged in line {number}: mend it, or run again with --overwrite") from error
    rows.append(row)
  return rows, len(whole)


def load_json(path: Path):
  """The content of a JSON file; raises UsageError where it is none."""
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UsageError(f"{path} is damaged: mend it, or run again with --overwrite") from error


def outcome(last: dict, rounds: int) -> Literal["completed", "failed", "unfinished"]:
  """What became of a run of `rounds` rounds whose last row is `last`."""
  if "error" in last:
    return "failed"
  return "completed" if last["round"] == rounds else "unfinished"


def run_name(strategy: str, seed: int) -> str:
  """A run as a part of a path: `power_bald-coldness=8-seed0`."""
  return f"{re.sub(r'[^a-z0-9_.=-]+', '-', strategy).strip('-')}-seed{seed}"


def sheet_name(row: dict) -> str:
  """The file in `inspect/` that shows the images bought at the end of a row's round."""
  return f"{run_name(row['acq'], row['seed'])}-round{row['round']:02}.png"
