"""Whether a data set is named by a path, and what it is called then."""

import os
from pathlib import Path

SUFFIXES = (".npz", ".npy", ".csv", ".parquet")


def written_as_path(name: str) -> bool:
  """Whether `--dataset` is written as a path is, whatever data sets there are."""
  return name.startswith((".", "/", "~")) or name.lower().endswith(SUFFIXES)


def title(name: str) -> str:
  """What people call a data set: its name, or the last part of its path."""
  return Path(os.path.abspath(name)).name if written_as_path(name) else name
