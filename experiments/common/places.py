"""Data sets given as paths: detection and titles."""

import os
from pathlib import Path

SUFFIXES = (".npz", ".npy", ".csv", ".parquet")


def written_as_path(name: str) -> bool:
  """Whether `--dataset` has the form of a path, whether or not it exists."""
  return name.startswith((".", "/", "~")) or name.lower().endswith(SUFFIXES)


def title(name: str) -> str:
  """The title of a data set: its name, or the last part of its path."""
  return Path(os.path.abspath(name)).name if written_as_path(name) else name
