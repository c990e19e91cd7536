"""Checkpoints of one run: its state after each round, and within a long training; written whole or not at all."""

from collections.abc import Iterator
import contextlib
from pathlib import Path
import re
import shutil

from absl import logging
from etils import epath
import jax
from orbax.checkpoint import v1 as ocp

from al_jax import fitting
from al_jax import types
from experiments.common.errors import UsageError

KEPT = 2  # so that the one before is there while the last one is written
_PLACES = 10**9  # more than a training has steps


class Checkpoints:
  """The checkpoints of one run in `folder`: the last two after a round, and the last two of a training under way.

  A context manager. Orbax writes into a temporary folder and renames it when all is on the disk, so that a kill at any
  moment leaves the ones before as they were.
  """

  def __init__(self, folder: Path):
    """Opens, or makes, the folder.

    Raises:
      UsageError: it cannot be written.
    """
    self.folder = folder.absolute()
    self._rounds = self._open("rounds")
    self._training = None

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    with _quiet(), contextlib.suppress(*[Exception] if kind else []):  # a write that failed is raised again on closing
      self._rounds.close()
      if self._training is not None:
        self._training.close()

  def _open(self, name: str) -> ocp.training.Checkpointer:
    try:
      return ocp.training.Checkpointer(
        epath.Path(self.folder / name),
        save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
        preservation_policy=ocp.training.preservation_policies.LatestN(KEPT),
        cleanup_tmp_directories=True,
      )
    except OSError as error:
      raise UsageError(f"{self.folder} cannot be written: {error.strerror}") from error

  def save_round(self, state: types.ALState) -> None:
    """Keeps the state after a round; its `round` is that of the next one."""
    _save(self._rounds, int(state.round), state)
    if self._training is not None:
      self._training.close()
      self._training = None
      shutil.rmtree(self.folder / "training")

  def load_round(self, like: types.ALState, rounds: int) -> types.ALState | None:
    """The state after so many rounds, shaped `like` another of its run; None where it is not kept.

    What is kept of later rounds, whose rows are not written, is dropped. What an earlier version kept, with other
    parts than a state has now, counts as not kept.

    Raises:
      UsageError: it is damaged.
    """
    for later in [kept for kept in self._rounds.checkpoints if kept.step > rounds]:
      self._rounds.delete(later.step)
    return _load(self._rounds, rounds, like)

  def has_other_parts(self, like: types.ALState, rounds: int) -> bool:
    """Whether an earlier version wrote the state that is kept after that round, with other parts than one has now."""
    kept = [kept for kept in self._rounds.checkpoints if kept.step == rounds]
    return bool(kept) and _has_other_parts(self._rounds, rounds, like)

  def save_training(self, round_: int, begun: fitting.Training) -> None:
    """Keeps a training under way."""
    self._training = self._training or self._open("training")
    _save(self._training, _place(round_, begun), begun)

  def load_training(self, round_: int, like: fitting.Training) -> fitting.Training | None:
    """The training of this round as far as it is kept; None where nothing of it is.

    Raises:
      UsageError: it is damaged.
    """
    if not (self.folder / "training").exists():
      return None
    self._training = self._training or self._open("training")
    latest = self._training.latest
    if latest is None or latest.step // _PLACES != round_:
      return None
    return _load(self._training, latest.step, like)


def _place(round_: int, begun: fitting.Training) -> int:
  return round_ * _PLACES + int(begun.info.steps.max())


def _save(checkpointer: ocp.training.Checkpointer, step: int, tree: types.PyTree) -> None:
  try:
    with _quiet():
      checkpointer.save(step, tree, force=True, overwrite=True)
  except (OSError, ValueError, RuntimeError) as error:
    raise UsageError(f"{checkpointer.directory} cannot be written: {_said(error)}; what it held is kept") from error


def _load(checkpointer: ocp.training.Checkpointer, step: int, like: types.PyTree) -> types.PyTree | None:
  if all(kept.step != step for kept in checkpointer.checkpoints):
    return None
  if _has_other_parts(checkpointer, step, like):
    return None
  abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like)
  try:
    with _quiet():
      return checkpointer.load(step, abstract)
  except Exception as error:  # a damaged file makes Orbax raise many things, a KeyError among them
    folder = checkpointer.directory / str(step)
    raise UsageError(f"{folder} is damaged: delete it, and the run goes on from what is left") from error


def _has_other_parts(checkpointer: ocp.training.Checkpointer, step: int, like: types.PyTree) -> bool:
  try:
    with _quiet():
      kept = checkpointer.metadata(step).metadata
  except Exception:  # damaged, which loading will say
    return False
  return isinstance(kept, dict) and set(kept) != set(like._fields)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps Orbax from logging, with its stack, an error that it raises as well."""
  before = logging.get_verbosity()
  if before < logging.INFO:
    logging.set_verbosity(logging.FATAL)
  try:
    yield
  finally:
    logging.set_verbosity(before)


def _said(error: Exception) -> str:
  """The system's words, which are at the end of a long line in Orbax's."""
  text = str(error).strip().splitlines()[0]
  words = re.search(r"([^:]+) \[os_error_code", text)
  return getattr(error, "strerror", None) or (words[1].strip() if words else text)
