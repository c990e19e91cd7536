"""Tables: .csv and .parquet, a column of which holds the classes."""

import difflib
import functools
from pathlib import Path
import re
import warnings

import numpy as np
import pandas as pd

from al_jax import inputs
from experiments.data import scaling
from experiments.data.classes import said
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.rows import Options
from experiments.data.rows import Read
from experiments.data.rows import Rows

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "NULL", "null", "None", "<NA>", "#N/A"]
_MOST_CATEGORIES = 100  # of a column; more are free text, or a name


def rows(path: Path, options: Options) -> Rows:
  """The rows of a table. Numbers are scaled, text of few values becomes one column for each value.

  Raises:
    DataError: the file is damaged, or a column is no class, number or category.
  """
  table = _table(path, options.label_column)
  if options.label_column is None:
    raise DataError(f"{path} has the columns {said(table.columns)}: --label_column names that of the classes.")
  for name in (options.label_column, *options.ignore_columns):
    if name not in table.columns:
      close = difflib.get_close_matches(name, table.columns, 1)
      meant = f"did you mean {close[0]!r}?" if close else f"it has {said(table.columns)}."
      raise DataError(f"{path} has no column {name!r}: {meant}")
  if options.label_column in options.ignore_columns:
    raise DataError(f"--ignore_columns leaves out {options.label_column!r}, which is --label_column.")
  labels = table.pop(options.label_column)
  table = table.drop(columns=list(options.ignore_columns))
  if not len(table.columns) or not len(table):
    raise DataError(f"{path} has {len(table):,} rows of {len(table.columns)} columns beside its labels.")
  for name in table.columns:
    _check(path, table[name], options)
  where = f"column {options.label_column!r} of {path}"
  read = functools.partial(_read, table, options)
  return Rows(labels.astype(object).where(labels.notna(), None).to_numpy(), where, read, None)


def _from_csv(path: Path, label_column: str | None) -> pd.DataFrame:
  """As pandas reads it, but that words such as None and NA are classes in the column of these, and no row is cut."""
  names = pd.read_csv(path, nrows=0).columns
  missing = {name: [""] if name == label_column else _MISSING for name in names}
  with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
    return pd.read_csv(path, low_memory=False, index_col=False, keep_default_na=False, na_values=missing)


def _table(path: Path, label_column: str | None) -> pd.DataFrame:
  try:
    table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else _from_csv(path, label_column)
  except UnicodeDecodeError as error:
    raise DataError(f"{path} is not text in UTF-8 (byte {error.start}): save it in that encoding.") from error
  except Exception as error:  # pandas raises errors of many kinds for what is no table.
    raise DataError(f"{path} cannot be read as a table ({one_line(error)}).") from error
  names = [str(name) for name in table.columns]
  if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
    raise DataError(f"{path} has one column, {names[0]!r}: separate the values by commas.")
  if path.suffix.lower() == ".csv" and any(_is_number(name) and not name.isdecimal() for name in names):
    raise DataError(f"{path} begins with the row {said(names)}, and the first is due to name the columns.")
  if len(set(names)) < len(names):
    raise DataError(f"{path} names a column twice: {said([name for name in names if names.count(name) > 1])}.")
  table.columns = names
  return table


def _is_number(text: str) -> bool:
  try:
    float(text)
  except ValueError:
    return False
  return True


def _is_text(column: pd.Series) -> bool:
  return not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column))


def _check(path: Path, column: pd.Series, options: Options) -> None:
  """Raises DataError, with the column's name, for a column that is neither number nor category."""
  name, held = column.name, column.dropna()
  leave_out = f"--ignore_columns={name} leaves it out"
  if options.missing == "error" and len(held) < len(column):
    row = int(column.isna().to_numpy().argmax())
    raise DataError(f"{path}: column {name!r} has no value in {len(column) - len(held):,} rows, first in row {row}.")
  if not len(held):
    raise DataError(f"{path}: column {name!r} has no values: {leave_out}.")
  if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
    raise DataError(f"{path}: column {name!r} holds dates, of which no scale is known: {leave_out}.")
  if re.fullmatch(r"Unnamed: \d+|__index_level_\d+__", name):
    raise DataError(f"{path}: column {name!r} has no name in the file, as saved row numbers have none: {leave_out}.")
  if _is_text(column):
    texts = held.astype(str)
    numbers = texts.str.replace(",", ".", regex=False).map(_is_number)
    if numbers.mean() > 0.5:
      odd = texts[~numbers] if (~numbers).any() else texts
      raise DataError(
        f"{path}: column {name!r} holds numbers but for {odd.iloc[0][:40]!r}, say: mend it, or {leave_out}."
        if (~numbers).any()
        else f"{path}: column {name!r} has commas in its numbers, such as {odd.iloc[0]!r}: write points."
      )
    if _are_dates(texts):
      raise DataError(f"{path}: column {name!r} holds dates, such as {texts.iloc[0]!r}: {leave_out}.")
    count = texts.nunique()
    if count > _MOST_CATEGORIES:
      raise DataError(
        f"{path}: column {name!r} holds text of {count:,} values, such as {texts.iloc[0][:40]!r}, which are more"
        f" than {_MOST_CATEGORIES} categories: {leave_out}."
      )
  elif not np.isfinite(held.to_numpy(np.float64)).all():
    raise DataError(f"{path}: column {name!r} holds an infinite number.")


def _are_dates(texts: pd.Series) -> bool:
  """Whether every text has digits and reads as a date."""
  some = texts.iloc[:200]
  if not some.str.contains(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", regex=True).all():
    return False
  return bool(pd.to_datetime(some, errors="coerce", format="mixed").notna().all())


def _read(table: pd.DataFrame, options: Options, pool: np.ndarray, test: np.ndarray) -> Read:
  """Numbers first, in the order of their columns, then a 0 or 1 for each value that a category has in the pool."""
  own, others = table.iloc[pool], table.iloc[test]
  numbers = [name for name in table.columns if not _is_text(table[name])]
  texts = [name for name in table.columns if _is_text(table[name])]
  remarks, filled = [], {name: int(table[name].isna().sum()) for name in table.columns if table[name].isna().any()}
  x, x_test = (part[numbers].to_numpy(np.float64, na_value=np.nan) for part in (own, others))
  if (empty := np.isnan(x).all(axis=0)).any():
    raise DataError(f"column {numbers[int(empty.argmax())]!r} has no values in the pool.")
  median = np.nanmedian(x, axis=0) if numbers else np.zeros(0)
  x, x_test = (np.where(np.isnan(part), median, part) for part in (x, x_test))
  x, x_test, words = scaling.scaled(x, x_test, options.scale or "standard")
  columns, kinds = [[x], [x_test]], {}
  for name in texts:
    values = own[name].dropna().astype(str)
    if not len(values):
      raise DataError(f"column {name!r} has no values in the pool.")
    known, usual = sorted(values.unique()), values.mode().iloc[0]
    kinds[name] = len(known)
    for part, out in zip((own, others), columns, strict=True):
      out.append(part[name].fillna(usual).astype(str).to_numpy()[:, None] == np.array(known, object)[None])
  x, x_test = (np.concatenate(parts, axis=1).astype(np.float32) for parts in columns)
  if not x.shape[1]:
    raise DataError("the table has no columns of numbers or categories.")
  remarks.append(f"columns of numbers: {len(numbers)}, {words}")
  if texts:
    remarks.append(f"categories, with their values in the pool: {', '.join(f'{n!r} ({k})' for n, k in kinds.items())}")
  if filled:
    counts = ", ".join(f"{count:,} in {name!r}" for name, count in list(filled.items())[:5])
    remarks.append(f"missing values, filled by the pool's median or most frequent value: {counts}")
  return Read(x, x_test, inputs.as_they_are, remarks)
