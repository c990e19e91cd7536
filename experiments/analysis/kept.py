"""The form of a kept study: one line per run, with a list per field, after a first line for what runs share.

A run of 21 rounds that acquires 10 ids each takes 2 kB, a tenth of its rows in results.jsonl.
"""

from collections.abc import Sequence
import itertools
from typing import Any

import numpy as np

from experiments.common.errors import UsageError

# Fields of the rows that a kept study has, in addition to the initial set and the errors.
FIELDS = (
  *("num_labeled", "test_accuracy", "test_nll", "test_ece", "val_accuracy", "selected", "selected_labels"),
  *("train_steps", "seconds_total"),
)
_KEY = ("acq", "seed", "round", "hyper", "initial", "error")
_COUNTED = "test_accuracy"  # always a list in a run's line, so that its length is the number of rounds


def packed(runs: Sequence[Sequence[dict]]) -> tuple[dict[str, Any], list[dict]]:
  """Packs rows, given run by run and in order of rounds.

  Accuracies are the shortest decimals that give the same float32, and so the same number of correct rows. Other numbers
  that are not whole have three digits.

  Returns:
    What runs share: `shared`, the fields with equal values in all runs; `initial`, the initial sets by seed; and
    `labels`, for each class the ids acquired with this label, ascending, each minus the one before. An entry that would
    be empty is left out.
    And a dict per run: `acq`, `seed`, `hyper` in a grid, an `initial` set unlike that of its seed, an `error` in the
    round after the last, and in `rounds` the other fields: lists with a value per round, or a value for all rounds.

  Raises:
    UsageError: a run lacks a round.
  """
  for run in runs:
    if (found := [row["round"] for row in run]) != [*range(len(run))]:
      raise UsageError(f"{run[0]['acq']}, seed {run[0]['seed']}, has rounds {found}, not 0 to {len(run) - 1} in order")
  tables = [_columns([row for row in run if "error" not in row]) for run in runs]
  labels: dict[int, int] = {}
  if not all(_share_labels(table, labels) for table in tables):
    labels = {}  # the oracle labels a row differently in another seed
  shared = _shared(tables)
  initial: dict[str, list[int] | None] = {}
  lines = []
  for run, table in zip(runs, tables, strict=True):
    first, last = run[0], run[-1]
    line = {name: first[name] for name in ("acq", "seed", "hyper") if name in first}
    if initial.setdefault(str(first["seed"]), first.get("initial")) != first.get("initial"):
      line["initial"] = first.get("initial")
    left_out = {*shared, *(["selected_labels"] if labels else [])}
    line["rounds"] = {name: _short(name, column) for name, column in table.items() if name not in left_out}
    lines.append(line | ({"error": last["error"]} if "error" in last else {}))
  by_class = [
    np.diff(sorted(i for i, own in labels.items() if own == c), prepend=0).tolist()
    for c in range(max(labels.values(), default=-1) + 1)
  ]
  given = {seed: ids for seed, ids in initial.items() if ids is not None}
  parts = {"shared": shared, "initial": given, "labels": by_class}
  return {name: part for name, part in parts.items() if part}, lines


def _columns(rows: Sequence[dict]) -> dict[str, list]:
  """The values by field; None in rows that lack a field."""
  names = dict.fromkeys(name for row in rows for name in row if name not in _KEY)
  return {name: [_rounded(name, row.get(name)) for row in rows] for name in names}


def _rounded(name: str, value: Any) -> Any:
  if not isinstance(value, float):
    return value
  return float(str(np.float32(value))) if "accuracy" in name else float(f"{value:.3g}")


def _short(name: str, column: list) -> Any:
  """A column, or its value if that is the same in all rounds."""
  first = column[0]
  return column if name == _COUNTED or isinstance(first, list) or any(own != first for own in column) else first


def _share_labels(table: dict[str, list], labels: dict[int, int]) -> bool:
  """Adds a run's acquired labels by id to `labels`; False if they are missing or differ from those of other runs."""
  pairs = [table.get(name, []) for name in ("selected", "selected_labels")]
  if not all(isinstance(own, list) for column in pairs for own in column) or [*map(len, pairs[0])] != [
    *map(len, pairs[1])
  ]:
    return False
  return all(
    labels.setdefault(i, c) == c for ids, own in zip(*pairs, strict=True) for i, c in zip(ids, own, strict=True)
  )


def _shared(tables: Sequence[dict[str, list]]) -> dict[str, list]:
  """The columns that begin with the same values in all runs, as long as in the longest run."""
  used = [table for table in tables if table]
  longest = max(used, key=lambda table: len(table.get(_COUNTED, [])), default={})
  names = longest.keys() - {_COUNTED, "selected", "selected_labels"} if len(used) > 1 else ()
  agree = lambda name: all(name in table and table[name] == longest[name][: len(table[name])] for table in used)
  return {name: longest[name] for name in longest if name in names and agree(name)}


class Unpacker:
  """Makes rows of the lines of a kept study."""

  def __init__(self, head: dict):
    """`head` is the first line, with the entries that `packed` returns for all runs."""
    self._shared, self._initial = head.get("shared", {}), head.get("initial", {})
    self._labels = {i: c for c, steps in enumerate(head.get("labels", [])) for i in itertools.accumulate(steps)}

  def rows(self, line: dict) -> list[dict]:
    """The rows of a run, with the fields of results.jsonl that were kept.

    Raises:
      ValueError, KeyError, TypeError or AttributeError: the line is no run.
    """
    key = {name: line[name] for name in ("acq", "seed", "hyper") if name in line}
    own = line["rounds"]
    if not own and "error" not in line:
      raise ValueError("a run without a row")
    count = len(own[_COUNTED]) if own else 0
    columns = {name: values[:count] for name, values in self._shared.items()} if own else {}
    columns |= {name: values if isinstance(values, list) else [values] * count for name, values in own.items()}
    if self._labels and own:
      columns["selected_labels"] = [[self._labels[i] for i in ids] for ids in columns["selected"]]
    if any(len(values) != count for values in columns.values()):
      raise ValueError("fields with other numbers of rounds")
    numbered = lambda r: {"acq": key["acq"], "seed": key["seed"], "round": r, **key}
    rows = [numbered(r) | {name: values[r] for name, values in columns.items()} for r in range(count)]
    initial = line.get("initial", self._initial.get(str(line["seed"])))
    if rows and initial is not None:
      rows[0]["initial"] = initial
    return rows + ([numbered(count) | {"error": line["error"]}] if "error" in line else [])
