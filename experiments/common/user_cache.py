"""Where this user's cache lies."""

import os
from pathlib import Path


def folder() -> Path:
  """`$XDG_CACHE_HOME/al_jax`, or the same under `~/.cache`."""
  root = os.environ.get("XDG_CACHE_HOME", "")
  return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "al_jax"
