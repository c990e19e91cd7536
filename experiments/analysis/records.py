"""Reads the files of a workdir and kept studies, without importing JAX."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import json
import math
import numbers
from pathlib import Path
import re
from typing import Any
from typing import Literal
from typing import NamedTuple

from experiments.analysis import kept
from experiments.common.errors import UsageError

# Flags that may differ on resuming, or between workdirs of one study: they do not change the rows already written.
MAY_DIFFER = {
  *("acq", "seeds", "seeds_per_program", "cpu_devices", "full_data"),
  *("data_dir", "workdir", "resume", "overwrite", "inspect", "compilation_cache", "profile"),
  *("tensorboard", "log_level", "describe"),
  "init_file",  # its ids are compared, as init_ids
  "features",  # they are part of the data that are compared
}

_FLAGS = {"acq", "seeds", "seed", "rounds"}

# What determines the random draws of a seed, with the values from before config.json recorded them.
_GENERATOR = {"draws": 1, "key_impl": "threefry2x32", "threefry_partitionable": True}


class Rows(NamedTuple):
  """The rows of a file."""

  rows: list[dict]
  lines: list[int]  # the number of each row's line, from 1
  size: int  # bytes of the complete lines
  head: dict  # the first line of a kept study; empty for a results.jsonl


def read_rows(path: Path) -> Rows:
  """Reads a results.jsonl or a kept study. Leaves out a last line truncated by a kill.

  Raises:
    UsageError: a line is neither a row nor a run; the message names the file and the line.
  """
  content = path.read_bytes()
  whole = content[: content.rfind(b"\n") + 1]
  found = Rows([], [], len(whole), {})
  parse = parser({})
  for number, line in enumerate(whole.splitlines(), 1):
    try:
      if number == 1 and is_head(head := json.loads(line)):
        found, parse = found._replace(head=head), parser(head)
        continue
      rows = parse(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
      raise UsageError(f"{path} is damaged in line {number}: repair it, or run again with --overwrite") from error
    found.rows.extend(rows)
    found.lines.extend([number] * len(rows))
  return found


def write_packed(path: Path, head: dict, rows: Iterable[dict]) -> None:
  """Writes a kept study: the first line has the entries of `head`, and what runs share. Replaces a file atomically."""
  shared, lines = kept.packed(list(runs_of(rows).values()))
  partial = path.with_suffix(".partial")
  spell = lambda line: json.dumps(line, allow_nan=False, separators=(",", ":")) + "\n"
  partial.write_text("".join(map(spell, [head | shared, *lines])))
  partial.replace(path)


def is_head(line: Any) -> bool:
  """Whether a parsed first line describes a study, as that of a kept study does, and is no row."""
  return isinstance(line, dict) and "full_data" in line and "acq" not in line


def parser(head: dict) -> Callable[[str | bytes], list[dict]]:
  """A function from a line to its rows: one, or those of a run if the line is of a kept study that begins with `head`.

  It raises ValueError, KeyError, TypeError or AttributeError if the line is neither.
  """
  unpacker = kept.Unpacker(head)

  def parse(line: str | bytes) -> list[dict]:
    found = json.loads(line)
    rows = unpacker.rows(found) if "rounds" in found else [found]
    for row in rows:
      key = [type(row[name]) for name in ("acq", "seed", "round")]
      if key != [str, int, int] or any(type(value) not in (int, float) for value in row.get("hyper", {}).values()):
        raise TypeError("not the key of a run")
    return rows

  return parse


def runs_of(rows: Iterable[dict]) -> dict[tuple, list[dict]]:
  """Rows by `run_of`; runs and the rows of each keep their order."""
  runs: dict[tuple, list[dict]] = {}
  for row in rows:
    runs.setdefault(run_of(row), []).append(row)
  return runs


def read_full_data(path: Path) -> list[dict]:
  """The rows of a full_data.json, one per seed; empty if there is no such file.

  Raises:
    UsageError: the file has other content.
  """
  return check_full_data(load_json(path), path) if path.exists() else []


def check_full_data(rows: Any, path: Path) -> list[dict]:
  """Returns the rows unchanged; raises UsageError with the file's name if they are not rows of full supervision."""
  is_row = lambda row: isinstance(row, dict) and is_finite(row.get("test_accuracy")) and type(row.get("seed")) is int
  if not isinstance(rows, list) or not all(map(is_row, rows)):
    raise UsageError(f"{path} is damaged: it must be a list of rows with seed and test_accuracy")
  return rows


def is_finite(value) -> bool:
  """Whether a value is a finite number."""
  return isinstance(value, numbers.Real) and math.isfinite(value)


def load_json(path: Path):
  """The content of a JSON file; raises UsageError if it is not JSON."""
  try:
    return json.loads(path.read_text())
  except ValueError as error:
    raise UsageError(f"{path} is damaged: repair it, or run again with --overwrite") from error


def load_config(path: Path, *further: str) -> dict:
  """The content of a config.json.

  Raises:
    UsageError: the file lacks an entry that identifies a study, or one of the `further` entries.
  """
  return check_config(load_json(path), path, *further)


def check_config(config: Any, path: Path, *further: str) -> dict:
  """Returns the content of a config.json unchanged; raises UsageError with the file's name as `load_config` does."""
  flags = config.get("flags") if isinstance(config, dict) else None
  if not isinstance(flags, dict) or not flags.keys() >= _FLAGS:
    raise UsageError(f"{path} is damaged: it lacks one of the flags {', '.join(sorted(_FLAGS))}")
  for name in ("data_sha256", *further):
    if name not in config:
      raise UsageError(f"{path} is damaged: it lacks {name}")
  return config


# Values of flags in runs from before the flags existed.
_WAS = {
  "schedule": "constant",
  "early_stop_keep": "best",
  "missing": "median",
  "test_size": 0.2,
  "unlabeled": "refuse",
}


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
  """The flags whose difference means that the rows of two runs belong to different studies.

  A flag that one of them lacks, because its version did not have it, counts as off: None, False, 0, empty or its value
  in `_WAS`.
  """
  names = [name for name in dict.fromkeys([*first, *second]) if name not in MAY_DIFFER]
  both = lambda name: name in first and name in second
  is_off = lambda name: (first | second)[name] in (None, False, 0, "", [], _WAS.get(name))
  first, second = dict(first), dict(second)
  return [name for name in names if (first[name] != second[name] if both(name) else not is_off(name))]


def generator(about: Mapping[str, Any]) -> dict[str, Any]:
  """What determined the random draws of a run, from its config.json or an archive of it."""
  return {name: about.get(name, before) for name, before in _GENERATOR.items()}


def other_generator(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
  """How the random draws of two runs differ, as in `draws 1 and 2`; empty if they agree and rows may be joined."""
  one, other = generator(first), generator(second)
  return ", ".join(f"{name} {one[name]} and {other[name]}" for name in one if one[name] != other[name])


def other_versions(abouts: Iterable[Mapping[str, Any]]) -> str | None:
  """A sentence on the versions of JAX and jaxlib that wrote the rows; None if there is one of each."""
  used = [own.get("versions", {}) for own in abouts]
  by_name = {name: sorted({own[name] for own in used if name in own}) for name in ("jax", "jaxlib")}
  versions = " and ".join(f"{name} {' and '.join(found)}" for name, found in by_name.items() if len(found) > 1)
  return (
    f"Rows were written with {versions}. Their sums may differ in the last digit, which in rare cases changes an"
    " acquired id."
    if versions
    else None
  )


def outcome(last: dict, rounds: int) -> Literal["completed", "failed", "unfinished"]:
  """The status of a run of `rounds` rounds whose last row is `last`."""
  if "error" in last:
    return "failed"
  return "completed" if last["round"] == rounds else "unfinished"


def run_of(row: dict) -> tuple:
  """The key of a row's run: strategy, seed and, in a grid, the point."""
  return row["acq"], row["seed"], tuple(sorted(row.get("hyper", {}).items()))


def ended_short(row: dict, rounds: int) -> bool:
  """Whether a row is the last of a run with fewer rounds: it acquired nothing, but in a longer run it would."""
  return row["round"] < rounds and row.get("selected") == []


def run_name(strategy: str, seed: int) -> str:
  """The file name of a run, as in `power_bald-coldness=8-seed0`."""
  return f"{re.sub(r'[^a-z0-9_.=-]+', '-', strategy).strip('-')}-seed{seed}"


def sheet_name(row: dict) -> str:
  """The file in `inspect/` that shows the images acquired at the end of a row's round."""
  return f"{run_name(row['acq'], row['seed'])}-round{row['round']:02}.png"
