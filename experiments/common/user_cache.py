"""The user's cache folder."""

import os
from pathlib import Path


def folder() -> Path:
  """`$XDG_CACHE_HOME/al_jax`, or `~/.cache/al_jax` if the variable is not an absolute path."""
  root = os.environ.get("XDG_CACHE_HOME", "")
  return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "al_jax"
