"""The round function driven from Python, round by round."""

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

OnPhase = Callable[[int, str], None]  # (round, what is being done)
OnRound = Callable[[dict, types.ALState], None]  # (row, the state after its round, with the round's fitted model)
NOTHING: OnRound = lambda row, state: None
_PHASES = {"fit": "training", "evaluate": "evaluating", "acquire": "scoring the pool"}
PART = 1000  # steps; those of the default network take half a minute on two cores

_begin = jax.jit(training.begin, static_argnames="trainer")
_advance = jax.jit(training.advance, static_argnames=("trainer", "max_steps"))
_unfinished = jax.jit(training.unfinished, static_argnames="trainer")


def run_study(config: Config, data, workdir: Workdir, display: Display, stop: Interrupt) -> None:
  """Runs every acquisition on every seed, round by round, writing a checkpoint and the row after each."""
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
  """Yields a row as each round ends; docs/workdir.md has its fields.

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
    end: the last row of this run when it had fewer rounds, which follows `done`. Its training is taken from its
      checkpoint, where that is kept and has the parts of a longer run.

  Raises:
    UsageError: the rows are not of this run, or a checkpoint cannot be written or read.
  """
  key = jax.random.key(seed)
  state = loop.init_state(key, data, learner)
  initial = np.asarray(states.initial_ids(state, learner.plan)).tolist()
  labels = np.asarray(oracle.noisy_labels(key, data, learner.trainer.label_noise))
  fitted, kept = None, checkpoints
  if end is not None and learner.plan.val_last:
    kept = None  # kept states have room for fewer labels
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
    taken = phases if fitted is None or r > len(done) else phases._replace(fit=functools.partial(_as_kept, fitted, end))
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


def _as_kept(
  fitted: types.ALState, row: dict, state: types.ALState, data: types.Dataset, trainer: Trainer
) -> tuple[types.ALState, types.FitInfo]:
  """The training of a round that was run: its state from the checkpoint, its course from the row."""
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
  """The state that the next round, or of a warm start without a checkpoint the first one, starts from.

  Where `fitted` has that round's training, the rows alone say the state.

  Raises:
    UsageError: the rows did not start from this seed's initial set, or do not agree with the checkpoint.
  """
  whose = f"the rows of {done[0]['acq']}, seed {done[0]['seed']},"
  if done[0].get("initial") != np.asarray(states.initial_ids(state, learner.plan)).tolist():
    raise UsageError(f"{whose} have another initial set: --overwrite")
  kept = None if checkpoints is None or fitted is not None else checkpoints.load_round(state, len(done))
  if kept is None and fitted is None and learner.plan.train.warm_start:
    if checkpoints is not None and checkpoints.has_other_parts(state, len(done)):
      raise UsageError(
        f"{whose} go on from a checkpoint that an earlier version wrote, with other parts than this one reads: go on"
        f" with that version, or delete {checkpoints.folder} to train from the first round on"
      )
    return state
  replayed = state
  for row in done:
    replayed = rounds.label(replayed, jnp.array(row["selected"], jnp.int32), learner.plan)
  if kept is None:
    return replayed
  if not (kept.labeled == replayed.labeled).all():
    raise UsageError(f"{whose} and its checkpoint hold other labels: delete {checkpoints.folder} or pass --overwrite")
  return kept


def is_long(plan: types.Plan) -> bool:
  """Whether a training may take more steps than one part."""
  train = plan.train
  if train.epochs is None:
    return train.steps > PART
  first = (train.first_epochs or train.epochs) * fitting.epoch_steps(plan.init_labels, train)
  return max(first, train.epochs * fitting.epoch_steps(plan.max_labels, train)) > PART


def fit_in_parts(
  checkpoints: Checkpoints, state: types.ALState, data: types.Dataset, trainer: Trainer
) -> tuple[types.ALState, types.FitInfo]:
  """What `training.fit` returns, trained in parts that are saved: a kill costs the part in hand and not the round.

  Goes on where the checkpoints have this round's training.
  """
  this_round = int(state.round)
  begun = _begin(state, data, trainer=trainer)
  begun = checkpoints.load_training(this_round, begun) or begun
  while _unfinished(begun, state, trainer=trainer):
    begun = jax.block_until_ready(_advance(begun, state, data, trainer=trainer, max_steps=PART))
    checkpoints.save_training(this_round, begun)
  return training.result(begun, state, trainer)
