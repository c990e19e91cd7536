"""Reads tables: .csv and .parquet files with one column of classes."""

import difflib
import functools
from pathlib import Path
import re
import warnings

import numpy as np
import pandas as pd

from al_jax import inputs
from experiments.data import scaling
from experiments.data.classes import format_names
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.rows import Options
from experiments.data.rows import Read
from experiments.data.rows import Rows

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "NULL", "null", "None", "<NA>", "#N/A"]
_MAX_CATEGORIES = 100  # per column; with more distinct values, text is refused as free text


def rows(path: Path, options: Options) -> Rows:
  """Reads a table. Numeric columns are scaled; text columns with few distinct values are one-hot encoded.

  Raises:
    DataError: the file is damaged, or a column holds neither classes nor numbers nor categories.
  """
  table = _table(path, options.label_column)
  if options.label_column is None:
    raise DataError(
      f"{path} has the columns {format_names(table.columns)}: name the column of the classes with --label_column."
    )
  for name in (options.label_column, *options.ignore_columns):
    if name not in table.columns:
      close = difflib.get_close_matches(name, table.columns, 1)
      meant = f"did you mean {close[0]!r}?" if close else f"it has {format_names(table.columns)}."
      raise DataError(f"{path} has no column {name!r}: {meant}")
  if options.label_column in options.ignore_columns:
    raise DataError(
      f"--ignore_columns has {options.label_column!r}, which is also --label_column: remove it from one of them."
    )
  labels = table.pop(options.label_column)
  table = table.drop(columns=list(options.ignore_columns))
  if not len(table.columns) or not len(table):
    raise DataError(
      f"{path} has {len(table):,} rows and {len(table.columns)} columns besides the labels: give at least one of each."
    )
  for name in table.columns:
    _check(path, table[name], options)
  where = f"column {options.label_column!r} of {path}"
  read = functools.partial(_read, table, options)
  return Rows(labels.astype(object).where(labels.notna(), None).to_numpy(), where, read, None)


def _from_csv(path: Path, label_column: str | None) -> pd.DataFrame:
  """Reads a CSV file. Words such as None and NA are missing values, except as classes; too long a row raises."""
  names = pd.read_csv(path, nrows=0).columns
  missing = {name: [""] if name == label_column else _MISSING for name in names}
  with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
    return pd.read_csv(path, low_memory=False, index_col=False, keep_default_na=False, na_values=missing)


def _table(path: Path, label_column: str | None) -> pd.DataFrame:
  try:
    table = pd.read_parquet(path) if path.suffix.lower() == ".parquet" else _from_csv(path, label_column)
  except UnicodeDecodeError as error:
    raise DataError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.") from error
  except Exception as error:  # pandas raises many types of errors for a file that is not a table.
    raise DataError(f"{path} cannot be read as a table ({one_line(error)}).") from error
  names = [str(name) for name in table.columns]
  if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
    raise DataError(f"{path} has one column, {names[0]!r}: separate the values with commas.")
  if path.suffix.lower() == ".csv" and any(_is_number(name) and not name.isdecimal() for name in names):
    raise DataError(f"{path} begins with the row {format_names(names)}, but the first row must name the columns.")
  if len(set(names)) < len(names):
    raise DataError(f"{path} names a column twice: {format_names([name for name in names if names.count(name) > 1])}.")
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
  """Raises DataError for a column that holds neither numbers nor categories; the message names the column."""
  name, held = column.name, column.dropna()
  leave_out = f"leave it out with --ignore_columns={name}"
  if options.missing == "error" and len(held) < len(column):
    row = int(column.isna().to_numpy().argmax())
    raise DataError(
      f"{path}: column {name!r} has no value in {len(column) - len(held):,} rows, the first is row {row}."
    )
  if not len(held):
    raise DataError(f"{path}: column {name!r} has no values: {leave_out}.")
  if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
    raise DataError(f"{path}: column {name!r} holds dates, which are not supported: {leave_out}.")
  if re.fullmatch(r"Unnamed: \d+|__index_level_\d+__", name):
    raise DataError(f"{path}: column {name!r} has no name in the file and may hold saved row numbers: {leave_out}.")
  if _is_text(column):
    texts = held.astype(str)
    numbers = texts.str.replace(",", ".", regex=False).map(_is_number)
    if numbers.mean() > 0.5:
      odd = texts[~numbers] if (~numbers).any() else texts
      raise DataError(
        f"{path}: column {name!r} holds numbers and other text, such as {odd.iloc[0][:40]!r}: fix it, or {leave_out}."
        if (~numbers).any()
        else f"{path}: column {name!r} has decimal commas, such as {odd.iloc[0]!r}: write decimal points."
      )
    if _are_dates(texts):
      raise DataError(f"{path}: column {name!r} holds dates, such as {texts.iloc[0]!r}: {leave_out}.")
    count = texts.nunique()
    if count > _MAX_CATEGORIES:
      raise DataError(
        f"{path}: column {name!r} holds text with {count:,} distinct values, such as {texts.iloc[0][:40]!r}, more"
        f" than the {_MAX_CATEGORIES} of a category: {leave_out}."
      )
  elif not np.isfinite(held.to_numpy(np.float64)).all():
    raise DataError(f"{path}: column {name!r} holds an infinite number: replace it, or {leave_out}.")


def _are_dates(texts: pd.Series) -> bool:
  """Whether each of the first 200 texts has the digits of a date and parses as one."""
  some = texts.iloc[:200]
  if not some.str.contains(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", regex=True).all():
    return False
  return bool(pd.to_datetime(some, errors="coerce", format="mixed").notna().all())


def _read(table: pd.DataFrame, options: Options, pool: np.ndarray, test: np.ndarray) -> Read:
  """The numeric columns in order, then a one-hot column for each value that a category has in the pool."""
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
    raise DataError("the table has no numeric or categorical columns.")
  remarks.append(f"numeric columns: {len(numbers)}, {words}")
  if texts:
    remarks.append(
      f"categorical columns, with their values in the pool: {', '.join(f'{n!r} ({k})' for n, k in kinds.items())}"
    )
  if filled:
    counts = ", ".join(f"{count:,} in {name!r}" for name, count in list(filled.items())[:5])
    remarks.append(f"missing values, filled with the pool's median or most frequent value: {counts}")
  return Read(x, x_test, inputs.as_they_are, remarks)
