"""Checkpoints of one run, after each round and during a long training; each is written whole or not at all."""

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

KEPT = 2  # the previous checkpoint stays until the next one is complete
_PLACES = 10**9  # exceeds the number of steps of any training


class Checkpoints:
  """The checkpoints of one run in `folder`: the last two of finished rounds, and the last two of a running training.

  A context manager. Orbax writes to a temporary folder and renames it when the checkpoint is on disk: killing the
  process at any moment leaves earlier checkpoints intact.
  """

  def __init__(self, folder: Path):
    """Opens or creates the folder.

    Raises:
      UsageError: the folder cannot be written.
    """
    self.folder = folder.absolute()
    self._rounds = self._open("rounds")
    self._training = None

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    with (
      _quiet(),
      contextlib.suppress(*[Exception] if kind else []),
    ):  # close() raises the error of a failed write again
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
    """Saves the state after a round; `state.round` is the number of the next round."""
    _save(self._rounds, int(state.round), state)
    if self._training is not None:
      self._training.close()
      self._training = None
      shutil.rmtree(self.folder / "training")

  def load_round(self, like: types.ALState, rounds: int) -> types.ALState | None:
    """Loads the state after `rounds` rounds, with the shapes of `like`; None if there is no such checkpoint.

    Deletes checkpoints of later rounds: their rows were not written. A checkpoint that an earlier version wrote with
    other fields than `ALState` has counts as missing.

    Raises:
      UsageError: the checkpoint is damaged.
    """
    for later in [kept for kept in self._rounds.checkpoints if kept.step > rounds]:
      self._rounds.delete(later.step)
    return _load(self._rounds, rounds, like)

  def has_other_parts(self, like: types.ALState, rounds: int) -> bool:
    """Whether the checkpoint after `rounds` rounds is of an earlier version, whose states have other fields."""
    kept = [kept for kept in self._rounds.checkpoints if kept.step == rounds]
    return bool(kept) and _has_other_parts(self._rounds, rounds, like)

  def save_training(self, round_: int, begun: fitting.Training) -> None:
    """Saves an unfinished training."""
    self._training = self._training or self._open("training")
    _save(self._training, _place(round_, begun), begun)

  def load_training(self, round_: int, like: fitting.Training) -> fitting.Training | None:
    """Loads the latest checkpoint of this round's training; None if there is none.

    Raises:
      UsageError: the checkpoint is damaged.
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
    raise UsageError(
      f"{checkpointer.directory} cannot be written: {_reason(error)}; earlier checkpoints are kept"
    ) from error


def _load(checkpointer: ocp.training.Checkpointer, step: int, like: types.PyTree) -> types.PyTree | None:
  if all(kept.step != step for kept in checkpointer.checkpoints):
    return None
  if _has_other_parts(checkpointer, step, like):
    return None
  abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), like)
  try:
    with _quiet():
      return checkpointer.load(step, abstract)
  except Exception as error:  # for a damaged file Orbax raises errors of many kinds, such as KeyError
    folder = checkpointer.directory / str(step)
    raise UsageError(f"{folder} is damaged: delete it, and --resume continues from what is left") from error


def _has_other_parts(checkpointer: ocp.training.Checkpointer, step: int, like: types.PyTree) -> bool:
  try:
    with _quiet():
      kept = checkpointer.metadata(step).metadata
  except Exception:  # damaged: loading will report it
    return False
  return isinstance(kept, dict) and set(kept) != set(like._fields)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Stops Orbax from logging a traceback of an error that it also raises."""
  before = logging.get_verbosity()
  if before < logging.INFO:
    logging.set_verbosity(logging.FATAL)
  try:
    yield
  finally:
    logging.set_verbosity(before)


def _reason(error: Exception) -> str:
  """The operating system's message, which Orbax puts at the end of a long line."""
  text = str(error).strip().splitlines()[0]
  words = re.search(r"([^:]+) \[os_error_code", text)
  return getattr(error, "strerror", None) or (words[1].strip() if words else text)
