"""Labels of any kind as numbered classes, and a test set split off by class."""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np

from al_jax import types
from experiments.data.errors import DataError

_MOST_SAID = 8


class Classes(NamedTuple):
  """Labels as numbers, and what the numbers stand for."""

  names: tuple[str, ...]
  labels: np.ndarray  # `[N]` int32; `types.UNKNOWN` where a row has no label


def said(names: Sequence[Any]) -> str:
  """Some names in a sentence, each as Python writes it, so that odd characters do no harm."""
  shown = ", ".join(repr(str(name)) for name in names[:_MOST_SAID])
  return shown + (f" and {len(names) - _MOST_SAID:,} more" if len(names) > _MOST_SAID else "")


def of_labels(labels: np.ndarray, where: str, *, keep_unlabeled: bool = False) -> Classes:
  """Numbers the classes: whole numbers in their order, all else in the order of its text.

  Args:
    labels: `[N]` whole numbers, booleans, text or objects; None, NaN and empty text are no label.
    where: what holds them, for a sentence.
    keep_unlabeled: rows without a label stay, as `types.UNKNOWN`; so do those of -1 beside whole numbers from 0 on.

  Raises:
    DataError: they are not classes, some are missing, or there are too few rows of each.
  """
  labels = np.asarray(labels)
  if labels.dtype.kind == "S":
    labels = np.char.decode(labels, "utf-8", "replace")
  if labels.dtype.kind == "c":
    raise DataError(f"{where} holds complex numbers, and classes are whole numbers or text.")
  if labels.ndim == 2 and 1 in labels.shape:
    labels = labels.reshape(-1)
  if labels.ndim != 1:
    raise DataError(f"{where} has shape {labels.shape}: give one class for each row, not one-hot or several labels.")
  missing = np.array([value is None or value != value or value == "" for value in labels.tolist()], bool)
  values = labels[~missing]
  if np.issubdtype(values.dtype, np.floating) or (values.dtype == object and _all_numbers(values)):
    odd = next((float(value) for value in values if not float(value).is_integer() or abs(value) > 2**53), None)
    if odd is not None:
      raise DataError(f"{where} holds {odd:g}, and classes are whole numbers or text.")
    values = values.astype(np.int64)
  if np.issubdtype(values.dtype, np.integer) and (values == -1).any():
    missing[np.flatnonzero(~missing)[values == -1]] = True
    values = values[values != -1]
  if missing.any() and not keep_unlabeled:
    row = int(missing.argmax())
    raise DataError(
      f"{where} has {int(missing.sum()):,} rows without a label, the first of them row {row} ({labels[row]}):"
      " --unlabeled=keep leaves such rows in the pool, where nobody is asked for them."
    )
  whole = np.issubdtype(values.dtype, np.integer)
  if not whole:
    values = np.array([str(value) for value in values.tolist()], object)
  found, numbers = np.unique(values, return_inverse=True)
  names = tuple(str(value) for value in found.tolist())
  if len(names) < 2:
    raise DataError(f"{where} has {'no class' if not names else f'one class, {names[0]!r}'}: two are the least.")
  if len(names) > len(values) / 2:
    raise DataError(
      f"{where} has {len(names):,} classes among {len(values):,} rows, less than two rows each: is it a number of the"
      " row, or of the file?"
    )
  out = np.full(len(labels), types.UNKNOWN, np.int32)
  out[~missing] = numbers
  return Classes(names, out)


def _all_numbers(values: np.ndarray) -> bool:
  is_one = lambda value: isinstance(value, int | float | np.number) and not isinstance(value, bool)
  return len(values) > 0 and all(map(is_one, values.tolist()))


def held_out(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
  """`[N]` bool: the rows of a test set, that share of each class, drawn by a seed; a class keeps one row in the pool.

  Rows without a label are not among them.
  """
  generator, out = np.random.default_rng(seed), np.zeros(len(labels), bool)
  for c in range(labels.max() + 1):
    rows = np.flatnonzero(labels == c)
    count = min(round(share * len(rows)), len(rows) - 1)
    out[generator.permutation(rows)[:count]] = True
  return out


def named_rows(text: str, size: int) -> np.ndarray:
  """`[N]` bool: the rows of a test set that `A:B` names, from A on and before B, counted from 0.

  Raises:
    DataError: these are not rows, or all of them.
  """
  first, colon, last = text.partition(":")
  if not colon or not all(not word or word.isdecimal() for word in (first, last)):
    raise DataError(f"--test_rows={text} must be A:B, rows from A on and before B: 8000:10000, or 8000: for the rest.")
  start, stop = int(first or 0), int(last or size)
  if not 0 <= start < stop <= size or stop - start == size:
    raise DataError(f"--test_rows={text} must be some of the rows 0:{size}, and leave others for the pool.")
  out = np.zeros(size, bool)
  out[start:stop] = True
  return out
