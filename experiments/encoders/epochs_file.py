"""The unfinished pretraining on disk: one file, replaced whole after each epoch."""

from collections.abc import Mapping
import contextlib
import json
import os
from pathlib import Path
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from al_jax import types
from experiments.common.errors import UsageError
from experiments.data.errors import DAMAGE


class Finished(NamedTuple):
  """What is known after an epoch."""

  state: types.PyTree
  losses: np.ndarray  # `[epochs, steps]` float32
  seconds: np.ndarray  # `[epochs]` float64: time of each epoch


def save(path: Path, identity: Mapping[str, Any], finished: Finished) -> None:
  """Replaces the file: a kill at any moment leaves the previous epoch or this one.

  Raises:
    UsageError: it cannot be written.
  """
  leaves = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(finished.state))}
  temporary = path.with_name(f".{path.name}.tmp")
  try:
    with open(temporary, "wb") as file:
      np.savez(file, identity=_text(identity), losses=finished.losses, seconds=finished.seconds, **leaves)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except OSError as error:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise UsageError(f"{path} cannot be written: {error.strerror}; the epochs before this one are kept") from error


def load(path: Path, identity: Mapping[str, Any], like: types.PyTree, *, overwrite: bool) -> Finished | None:
  """Reads the file; None if there is none, or if it is of another identity and `overwrite` is set.

  Args:
    path: the file.
    identity: JSON, all that determines the pretraining.
    like: a state with the shapes to expect.
    overwrite: whether other work may be replaced.

  Raises:
    UsageError: the file is damaged, or of another identity and not to be overwritten.
  """
  if not path.exists():
    return None
  leaves, structure = jax.tree.flatten(like)
  try:
    with np.load(path, allow_pickle=False) as kept:
      if str(kept["identity"]) == str(_text(identity)):
        state = [kept[f"leaf{i}"] for i in range(len(leaves))]
        finished = Finished(jax.tree.unflatten(structure, state), kept["losses"], kept["seconds"])
        wrong = [a for a, b in zip(state, leaves, strict=True) if (a.shape, a.dtype) != (b.shape, b.dtype)]
        if wrong or len(finished.losses) != len(finished.seconds):
          raise ValueError("other shapes")
        return finished
  except DAMAGE as error:
    if not overwrite:
      raise UsageError(f"{path} is damaged: delete it, or --overwrite, to pretrain from the first epoch") from error
    return None
  if not overwrite:
    raise UsageError(
      f"{path} holds unfinished features of other settings, data or versions: give the same flags to continue them,"
      " another --out, or --overwrite"
    )
  return None


def _text(identity: Mapping[str, Any]) -> np.ndarray:
  return np.array(json.dumps(identity, sort_keys=True))
