"""The Python driver: calls the round function once per round."""

from collections.abc import Callable
from collections.abc import Iterator
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import fitting
from al_jax import loop
from al_jax import oracle
from al_jax import rounds
from al_jax import states
from al_jax import training
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer
from experiments.analysis import summary
from experiments.analysis.records import run_name
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config.resolve import Config
from experiments.runs import build
from experiments.runs import contact_sheets
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.interrupt import Interrupt
from experiments.runs.rows import row_of
from experiments.runs.workdir import Workdir

OnPhase = Callable[[int, str], None]  # (round, phase that begins)
OnRound = Callable[[dict, types.ALState], None]  # (row, state after its round, with the model fitted in that round)
NOTHING: OnRound = lambda row, state: None
_PHASES = {"fit": "training", "evaluate": "evaluating", "acquire": "scoring the pool"}
PART = 1000  # training steps between checkpoints: half a minute for the default network on two cores

_begin = jax.jit(training.begin, static_argnames="trainer")
_advance = jax.jit(training.advance, static_argnames=("trainer", "max_steps"))
_unfinished = jax.jit(training.unfinished, static_argnames="trainer")


def run_study(config: Config, data, workdir: Workdir, display: Display, stop: Interrupt) -> None:
  """Runs every strategy on every seed, and writes a checkpoint and a row after each round."""
  learners = build.learners(config, data.num_classes)
  width = max(16, *map(len, learners))
  for seed in range(config.seed, config.seed + config.seeds):
    for acq, learner in learners.items():
      done = workdir.done(acq, seed)
      display.advance(len(done))
      if workdir.ended(acq, seed, {}, config.rounds):
        continue
      before = done[-1]["test_accuracy"] if done else None
      display.run(f"{acq}, seed {seed}", config.rounds + 1, len(done))

      def on_phase(r: int, name: str, label: str = f"{acq}, seed {seed}") -> None:
        display.phase(f"{label}, round {r}/{config.rounds}: {_PHASES[name]}")

      sheets = functools.partial(contact_sheets.writer, workdir.path / "inspect", data, learner)
      on_round = sheets(workdir.class_names) if config.inspect else NOTHING
      with Checkpoints(workdir.path / "checkpoints" / run_name(acq, seed)) as checkpoints:
        end = workdir.short_end(acq, seed)
        for row in run_python(acq, seed, data, learner, done, on_phase, on_round, checkpoints, end):
          workdir.append(row)
          display.advance()
          display.line(summary.round_line(row, before, config.rounds, width))
          before = row.get("test_accuracy")
          stop.check()


def run_python(
  acq: str,
  seed: int,
  data: types.Dataset,
  learner: Learner,
  done: list[dict],
  on_phase: OnPhase,
  on_round: OnRound = NOTHING,
  checkpoints: Checkpoints | None = None,
  end: dict | None = None,
) -> Iterator[dict]:
  """Yields one row per round; docs/workdir.md describes its fields.

  A row is yielded once the checkpoint after its round is on disk.

  Args:
    acq: the strategy's name.
    seed: the run's seed.
    data: the data set, on the device.
    learner: the strategy's learner.
    done: rows of finished rounds, which are not run again. The run resumes from the checkpoint after them. Without that
      checkpoint, it labels the rows' `selected` ids; with warm starts it trains all rounds again, because the next
      round needs their parameters.
    on_phase: called with the round and the phase when a phase begins.
    on_round: called with each new row and its state before the row is yielded.
    checkpoints: stores the states; None stores none.
    end: the last row of this run under a smaller `--rounds`; None if `--rounds` was not raised. That row acquired
      nothing, so its round is repeated, with the model of its checkpoint if that can be read.

  Raises:
    UsageError: the rows are of another run, or a checkpoint cannot be written or read.
  """
  key = jax.random.key(seed)
  state = loop.init_state(key, data, learner)
  initial = np.asarray(states.initial_ids(state, learner.plan)).tolist()
  labels = np.asarray(oracle.noisy_labels(key, data, learner.trainer.label_noise))
  fitted, kept = None, checkpoints
  if end is not None and learner.plan.val_last:
    kept = None  # the states of the shorter run have room for fewer labels
  elif end is not None and checkpoints is not None:
    fitted = checkpoints.load_round(state, len(done) + 1)
  if done:
    state = _resumed(state, done, learner, kept, fitted)
  seconds: dict[str, float] = {}
  scored = learner.acquisition.score is not None

  def timed(name: str, phase: Callable) -> Callable:
    def call(*args, **kwargs):
      on_phase(int(state.round), name)
      start = time.perf_counter()
      out = jax.block_until_ready(phase(*args, **kwargs))
      seconds[name] = time.perf_counter() - start
      return out

    return call

  phases = rounds.JITTED_PHASES
  if checkpoints is not None and is_long(learner.plan):
    phases = phases._replace(fit=functools.partial(fit_in_parts, checkpoints))
  phases = rounds.Phases(*(timed(name, phase) for name, phase in phases._asdict().items()))
  for r in range(int(state.round), learner.plan.rounds + 1):
    start = time.perf_counter()
    taken = (
      phases if fitted is None or r > len(done) else phases._replace(fit=functools.partial(_saved_fit, fitted, end))
    )
    state, info = loop.round_fn(state, data, learner, taken)
    info = jax.device_get(info)
    total = {"total": time.perf_counter() - start}
    if taken is not phases:
      seconds["fit"] = end["seconds_train"] or 0.0
      total["total"] += seconds["fit"]
    row = row_of(acq, seed, r, info, labels, seconds | total, initial, {}, scored, data.test_size > 0)
    if r >= len(done):
      if "error" not in row:
        if checkpoints is not None:
          checkpoints.save_round(state)
        on_round(row, state)
      yield row
    if "error" in row:
      return


def _saved_fit(
  fitted: types.ALState, row: dict, state: types.ALState, data: types.Dataset, trainer: Trainer
) -> tuple[types.ALState, types.FitInfo]:
  """Stands for `fit` in a round that was trained before: parameters from the checkpoint, `FitInfo` from the row."""
  del data, trainer
  info = types.FitInfo(np.float32(row["train_loss"]), np.int32(row["train_steps"]), np.int32(-1))
  return state._replace(variables=fitted.variables, opt_state=fitted.opt_state), info


def _resumed(
  state: types.ALState,
  done: list[dict],
  learner: Learner,
  checkpoints: Checkpoints | None,
  fitted: types.ALState | None = None,
) -> types.ALState:
  """The state that the run resumes from: that of the next round, or of round 0 for a warm start without a checkpoint.

  If `fitted` holds the model of the next round, the state follows from the rows alone.

  Raises:
    UsageError: the rows have another initial set than this seed, or disagree with the checkpoint.
  """
  whose = f"the rows of {done[0]['acq']}, seed {done[0]['seed']},"
  if done[0].get("initial") != np.asarray(states.initial_ids(state, learner.plan)).tolist():
    raise UsageError(f"{whose} have another initial set than this run: pass --overwrite to start again")
  kept = None if checkpoints is None or fitted is not None else checkpoints.load_round(state, len(done))
  if kept is None and fitted is None and learner.plan.train.continues:
    if checkpoints is not None and checkpoints.has_other_parts(state, len(done)):
      raise UsageError(
        f"{whose} have a checkpoint of an earlier version that this version cannot read: resume with that version, or"
        f" delete {checkpoints.folder} to train again from round 0"
      )
    return state
  replayed = state
  for row in done:
    replayed = rounds.label(replayed, jnp.array(row["selected"], jnp.int32), learner.plan)
  if kept is None:
    return replayed
  if not (kept.labeled == replayed.labeled).all():
    raise UsageError(
      f"{whose} and their checkpoint have different labeled sets: delete {checkpoints.folder} or pass --overwrite"
    )
  return kept


def is_long(plan: types.Plan) -> bool:
  """Whether a training may take more than `PART` steps."""
  train = plan.train
  if train.full_batch is not None:
    return False
  if train.epochs is None:
    return train.steps > PART
  first = (train.first_epochs or train.epochs) * fitting.epoch_steps(plan.init_labels, train)
  return max(first, train.epochs * fitting.epoch_steps(plan.max_labels, train)) > PART


def fit_in_parts(
  checkpoints: Checkpoints, state: types.ALState, data: types.Dataset, trainer: Trainer
) -> tuple[types.ALState, types.FitInfo]:
  """`training.fit` with a checkpoint every `PART` steps: a kill loses at most these steps, not the round.

  Resumes from this round's training checkpoint if there is one.
  """
  this_round = int(state.round)
  begun = _begin(state, data, trainer=trainer)
  begun = checkpoints.load_training(this_round, begun) or begun
  while _unfinished(begun, state, trainer=trainer):
    begun = jax.block_until_ready(_advance(begun, state, data, trainer=trainer, max_steps=PART))
    checkpoints.save_training(this_round, begun)
  return training.result(begun, state, trainer)
