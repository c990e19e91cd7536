"""The round function driven from Python, round by round; and what a round becomes as a row of results.jsonl."""

from collections.abc import Callable
from collections.abc import Iterator
import functools
import math
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import loop
from al_jax import oracle
from al_jax import rounds
from al_jax import types
from experiments.common.errors import UsageError
from experiments.runs import long_training
from experiments.runs.checkpoints import Checkpoints

OnPhase = Callable[[int, str], None]  # (round, what is being done)
OnRound = Callable[[dict, types.ALState], None]  # (row, the state after its round, with the round's fitted model)
NOTHING: OnRound = lambda row, state: None


def run_python(
  acq: str,
  seed: int,
  data: types.Dataset,
  learner: types.Learner,
  done: list[dict],
  on_phase: OnPhase,
  on_round: OnRound = NOTHING,
  checkpoints: Checkpoints | None = None,
) -> Iterator[dict]:
  """Yields a row as each round ends; see `results.jsonl` in the README for its fields.

  A row is yielded when the checkpoint after its round is on the disk.

  Args:
    acq: the acquisition's name.
    seed: the run's seed.
    data: the data set, on the device.
    learner: what runs.
    done: the rows already there. They stand for their rounds: the run goes on from its checkpoint after them, or,
      where that is not kept, labels are revealed as they say; nothing is trained again, but with warm starts and
      without a checkpoint, where the parameters have to be made anew.
    on_phase: told what begins.
    on_round: given each new row before it is yielded.
    checkpoints: where the states are kept; None keeps none.

  Raises:
    UsageError: the rows are not of this run, or a checkpoint cannot be written or read.
  """
  key = jax.random.key(seed)
  state = loop.init_state(key, data, learner)
  initial = np.asarray(loop.initial_ids(state, learner.protocol)).tolist()
  labels = np.asarray(oracle.answers(key, data, learner.label_noise))
  if done:
    state = _resumed(state, done, learner, checkpoints)
  seconds: dict[str, float] = {}

  def timed(name: str, phase: Callable) -> Callable:
    def call(*args, **kwargs):
      on_phase(int(state.round), name)
      start = time.perf_counter()
      out = jax.block_until_ready(phase(*args, **kwargs))
      seconds[name] = time.perf_counter() - start
      return out

    return call

  phases = rounds.JITTED_PHASES
  if checkpoints is not None and long_training.is_long(learner.protocol):
    phases = phases._replace(fit=functools.partial(long_training.fit, checkpoints))
  phases = rounds.Phases(*(timed(name, phase) for name, phase in phases._asdict().items()))
  for r in range(int(state.round), learner.protocol.rounds + 1):
    start = time.perf_counter()
    state, info = loop.round_fn(state, data, learner, phases)
    info = jax.device_get(info)
    total = {"total": time.perf_counter() - start}
    row = _row(acq, seed, r, info, labels, seconds | total, initial, {}, learner.acquisition.score is not None)
    if r >= len(done):
      if "error" not in row:
        if checkpoints is not None:
          checkpoints.save_round(state)
        on_round(row, state)
      yield row
    if "error" in row:
      return


def _resumed(
  state: types.ALState, done: list[dict], learner: types.Learner, checkpoints: Checkpoints | None
) -> types.ALState:
  """The state that the next round, or of a warm start without a checkpoint the first one, starts from.

  Raises:
    UsageError: the rows did not start from this seed's initial set, or do not agree with the checkpoint.
  """
  whose = f"the rows of {done[0]['acq']}, seed {done[0]['seed']},"
  if done[0].get("initial") != np.asarray(loop.initial_ids(state, learner.protocol)).tolist():
    raise UsageError(f"{whose} have another initial set: --overwrite")
  kept = None if checkpoints is None else checkpoints.load_round(state, len(done))
  if kept is None and learner.protocol.warm_start:
    return state
  replayed = state
  for row in done:
    replayed = loop.label(replayed, jnp.array(row["selected"], jnp.int32), learner.protocol)
  if kept is None:
    return replayed
  if not (kept.labeled == replayed.labeled).all():
    raise UsageError(f"{whose} and its checkpoint hold other labels: delete {checkpoints.folder} or pass --overwrite")
  return kept


def rows_of(
  acq: str,
  seed: int,
  infos: types.RoundInfo,
  labels: np.ndarray,
  initial: list[int],
  seconds: float,
  point: dict,
  scored: bool,
) -> Iterator[dict]:
  """The rows of a whole run, whose arrays `[rounds + 1, ...]` are on the host; none after one that ended in an error.

  `labels` are the oracle's answers for the pool, `seconds` those of one round, `point` the values of a grid.
  `scored` is whether the acquisition scores single images.
  """
  for r in range(len(infos.num_labeled)):
    info = jax.tree.map(lambda leaf: leaf[r], infos)  # noqa: B023 (called at once)
    row = _row(acq, seed, r, info, labels, {"total": seconds}, initial, point, scored)
    yield row
    if "error" in row:
      return


def _row(
  acq: str,
  seed: int,
  r: int,
  info: types.RoundInfo,
  labels: np.ndarray,
  seconds: dict[str, float],
  initial: list[int],
  point: dict,
  scored: bool,
) -> dict:
  """One line of results.jsonl; where the numbers are not finite, one that says so in their place."""
  key = {"acq": acq, "seed": seed, "round": r} | ({"hyper": point} if point else {})
  if info.fit.first_bad_step >= 0:
    bad, steps = info.fit.first_bad_step, info.fit.steps
    # The loss is measured before a step: after the last one there is none.
    said = f"loss was not finite at step {bad} of {steps}" if bad < steps else f"model was not finite after step {bad}"
    return key | {"error": f"the {said}"}
  if not np.isfinite(info.metrics[:3]).all():
    return key | {"error": f"the model was not finite after step {info.fit.steps}"}
  selected = info.selected[info.selected >= 0]
  row = key | {
    "num_labeled": int(info.num_labeled),
    **metrics_row(info.metrics),
    "selected": selected.tolist(),
    "selected_scores": _finite_or_null(info.scores) if scored and selected.size else None,
    "selected_labels": labels[selected].tolist(),  # on the host: no program for each length
    "train_steps": int(info.fit.steps),
    "train_loss": float(info.fit.loss),
    "seconds_train": seconds.get("fit"),
    "seconds_acquire": seconds.get("acquire") if selected.size or "acquire" not in seconds else 0,
    "seconds_eval": seconds.get("evaluate"),
    "seconds_total": seconds["total"],
    "peak_bytes": _peak_bytes(),
  }
  if r == 0:
    row["initial"] = initial
  return row


def _finite_or_null(scores: np.ndarray) -> list[float | None]:
  """Scores as JSON has room for them: one that is not finite is null."""
  return [float(score) if math.isfinite(score) else None for score in scores]


def metrics_row(measured: types.Metrics) -> dict:
  """The metrics by name; a validation accuracy that was not measured is null."""
  row = {name: float(value) for name, value in measured._asdict().items()}
  if math.isnan(row["val_accuracy"]):
    row["val_accuracy"] = None
  return row


def _peak_bytes() -> int:
  """The most memory held so far: on the device where it counts that, else by this process."""
  stats = jax.local_devices()[0].memory_stats() or {}
  return stats.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
