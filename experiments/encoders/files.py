"""Files of features: the order of the rows, FILE.npy, and FILE.json, which says where they come from."""

from collections.abc import Iterator
import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
from pathlib import Path
import shutil
from typing import Any

import jax
import numpy as np

from experiments.common.errors import UsageError
from experiments.data import Loaded
from experiments.encoders.base import Encoded
from experiments.runs import runtime

_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "scikit-learn")


def machine() -> dict[str, Any]:
  """What of software and hardware may change the last digits of features."""
  return {
    "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    "platform": jax.default_backend(),
    "device_kind": jax.devices()[0].device_kind,
    "processor": runtime.default_cache().name,  # one name per processor model
  }


def in_order(encoded: Encoded, found: Loaded) -> tuple[np.ndarray, dict[str, Any]]:
  """All rows in the order of the file, and which are of the training set and of the test set, as ranges A:B.

  Data with a name: training rows before test rows. Data given as a path: one row per row of the source, in its order;
  rows that could not be read are zeros.
  """
  train, test = encoded.train, encoded.test
  if found.rows is None:
    ids = np.arange(len(train) + len(test))
    train_ids, test_ids, rows = ids[: len(train)], ids[len(train) :], np.concatenate([train, test])
  else:
    train_ids, test_ids = found.rows, found.test_rows
    rows = np.zeros((found.num_rows, train.shape[1]), np.float32)
    rows[train_ids], rows[test_ids] = train, test
  missing = np.setdiff1d(np.arange(len(rows)), np.concatenate([train_ids, test_ids]))
  of = {"training_rows": train_ids, "test_rows": test_ids, "unreadable_rows": missing}
  return rows, {name: list(_ranges(ids)) for name, ids in of.items()}


def _ranges(ids: np.ndarray) -> Iterator[str]:
  """Ascending ids as ranges A:B, B excluded."""
  for run in np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1):
    if len(run):
      yield f"{run[0]}:{run[-1] + 1}"


def write(path: Path, rows: np.ndarray, dtype: np.dtype, facts: dict[str, Any], part: Path | None) -> None:
  """Replaces FILE.npy, its numbers of type `dtype`, and FILE.json, each atomically; deletes the unfinished work `part`.

  Raises:
    UsageError: a number is not finite in the type of the file, or the files cannot be written.
  """
  with np.errstate(over="ignore"):
    rows = rows.astype(dtype)
  if not np.isfinite(rows).all():
    raise UsageError(f"the features have numbers that {dtype} cannot hold: give --dtype=float32")
  content = io.BytesIO()
  np.save(content, rows)
  facts = {
    **facts,
    "shape": list(rows.shape),
    "dtype": str(rows.dtype),
    "sha256": hashlib.sha256(content.getbuffer()).hexdigest(),
  }
  try:
    # The features last: if they are there, so is their description.
    _replace(path.with_suffix(".json"), (json.dumps(facts, indent=2, allow_nan=False) + "\n").encode())
    _replace(path, content.getbuffer())
    if part is not None and part.is_dir():
      shutil.rmtree(part)
    elif part is not None:
      part.unlink(missing_ok=True)
  except OSError as error:
    raise UsageError(f"{path} cannot be written: {error.strerror}; finished parts are kept") from error


def _replace(path: Path, content: bytes | memoryview) -> None:
  temporary = path.with_name(f".{path.name}.tmp")
  try:
    with open(temporary, "wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise
