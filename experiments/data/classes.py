"""Numbers the classes of labels of any type, and chooses the rows of the test set."""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

from al_jax import types
from experiments.data.errors import DataError

_MAX_SHOWN = 8


class Classes(NamedTuple):
  """Class names and integer labels."""

  names: tuple[str, ...]
  labels: np.ndarray  # `[N]` int32; `types.UNKNOWN` where a row has no label


def format_names(names: Sequence[Any]) -> str:
  """The first names as text for a message, each as its `repr`, which escapes unusual characters."""
  shown = ", ".join(repr(str(name)) for name in names[:_MAX_SHOWN])
  return shown + (f" and {len(names) - _MAX_SHOWN:,} more" if len(names) > _MAX_SHOWN else "")


def of_labels(labels: np.ndarray, where: str, *, keep_unlabeled: bool = False) -> Classes:
  """Numbers the classes: integers in numerical order, other labels in the order of their text.

  Args:
    labels: `[N]` integers, booleans, text or objects. None, NaN, empty text and, among integers, -1 are missing labels.
    where: what holds them, for messages.
    keep_unlabeled: whether to keep rows whose label is missing, as `types.UNKNOWN`, instead of raising.

  Raises:
    DataError: the labels are not classes, some are missing, or there are fewer than two classes, or fewer than two rows
      per class on average.
  """
  labels = np.asarray(labels)
  if labels.dtype.kind == "S":
    labels = np.char.decode(labels, "utf-8", "replace")
  if labels.dtype.kind == "c":
    raise DataError(f"{where} holds complex numbers, but classes must be integers or text.")
  if labels.ndim == 2 and 1 in labels.shape:
    labels = labels.reshape(-1)
  if labels.ndim != 1:
    raise DataError(f"{where} has shape {labels.shape}: give one class per row, not one-hot or multiple labels.")
  missing = np.array([value is None or value != value or value == "" for value in labels.tolist()], bool)
  values = labels[~missing]
  if np.issubdtype(values.dtype, np.floating) or (values.dtype == object and _all_numbers(values)):
    odd = next((float(value) for value in values if not float(value).is_integer() or abs(value) > 2**53), None)
    if odd is not None:
      raise DataError(f"{where} holds {odd:g}, but classes must be integers or text.")
    values = values.astype(np.int64)
  if np.issubdtype(values.dtype, np.integer) and (values == -1).any():
    missing[np.flatnonzero(~missing)[values == -1]] = True
    values = values[values != -1]
  if missing.any() and not keep_unlabeled:
    row = int(missing.argmax())
    raise DataError(
      f"{where} has {int(missing.sum()):,} rows without a label, the first is row {row} ({labels[row]}): use"
      " --unlabeled=keep to keep such rows in the pool, where they are never queried."
    )
  whole = np.issubdtype(values.dtype, np.integer)
  if not whole:
    values = np.array([str(value) for value in values.tolist()], object)
  found, numbers = np.unique(values, return_inverse=True)
  names = tuple(str(value) for value in found.tolist())
  if len(names) < 2:
    raise DataError(f"{where} has {'no class' if not names else f'one class, {names[0]!r}'}: at least two are needed.")
  if len(names) > len(values) / 2:
    raise DataError(
      f"{where} has {len(names):,} classes among {len(values):,} rows, fewer than two per class on average: does it"
      " hold row numbers or file names instead of classes?"
    )
  out = np.full(len(labels), types.UNKNOWN, np.int32)
  out[~missing] = numbers
  return Classes(names, out)


def _all_numbers(values: np.ndarray) -> bool:
  is_one = lambda value: isinstance(value, int | float | np.number) and not isinstance(value, bool)
  return len(values) > 0 and all(map(is_one, values.tolist()))


def held_out(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
  """`[N]` bool: a random test set, the fraction `share` of each class; at least one row per class stays in the pool.

  Rows without a label are never in the test set.
  """
  generator, out = np.random.default_rng(seed), np.zeros(len(labels), bool)
  for c in range(labels.max() + 1):
    rows = np.flatnonzero(labels == c)
    count = min(round(share * len(rows)), len(rows) - 1)
    out[generator.permutation(rows)[:count]] = True
  return out


def named_rows(text: str, size: int) -> np.ndarray:
  """`[N]` bool: the test set given as a range of rows `A:B`, counted from 0, B excluded.

  Raises:
    DataError: the text is not a range, or the range is not in the data or holds all rows.
  """
  first, colon, last = text.partition(":")
  if not colon or not all(not word or word.isdecimal() for word in (first, last)):
    raise DataError(f"--test_rows={text} must be a range A:B (B excluded), such as 8000:10000 or 8000: (to the end).")
  start, stop = int(first or 0), int(last or size)
  if not 0 <= start < stop <= size or stop - start == size:
    raise DataError(f"--test_rows={text} must be a range within 0:{size} that leaves rows for the pool.")
  out = np.zeros(size, bool)
  out[start:stop] = True
  return out
