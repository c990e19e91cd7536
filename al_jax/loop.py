"""The active learning loop: `run` as one compiled program, or `init_state` and `round_fn` for a Python loop."""

import dataclasses
import functools

import jax
from jax import lax

from al_jax import checks
from al_jax import door
from al_jax import evaluation
from al_jax import programs
from al_jax import rounds
from al_jax import splits
from al_jax import states
from al_jax import training
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer


def init_state(key: jax.Array, data: types.Dataset, learner: Learner, variables: types.PyTree = None) -> types.ALState:
  """Returns the state before round 0, with the initial set labeled.

  Args:
    key: the run's base key, `jax.random.key(seed)`.
    data: the pool, its labels and the test set.
    learner: the learner of the run.
    variables: initial variables of the first training, such as pretrained weights, in place of new ones. Requires
      `warm_start` or `full_batch`, because otherwise every round starts from new variables.

  Raises:
    ValueError: the learner cannot run on this pool, or `variables` are given although every round starts from new ones
      or do not have the network's shapes and dtypes.
  """
  checks.check_run(key, data, learner)
  state = _jitted_initial(key, data, programs.shared_trainer(key, data, learner.trainer))
  if variables is None:
    return state
  if not learner.plan.train.continues:
    raise ValueError("variables are given, but every round starts from new ones: set TrainPlan(warm_start=True)")
  checks.check_same_shapes("variables", variables, state.variables)
  return state._replace(variables=variables, opt_state=training.init_opt_state(variables, learner.trainer))


_jitted_initial = jax.jit(states.initial, static_argnames="trainer")


def round_fn(
  state: types.ALState, data: types.Dataset, learner: Learner, phases: rounds.Phases | None = None
) -> tuple[types.ALState, types.RoundInfo]:
  """Runs one round: train on the labeled rows, evaluate, score the candidates, acquire a batch.

  Each phase is compiled once, so a Python loop over `round_fn` is as fast as `run`.

  Args:
    state: the state returned by `init_state` or by the previous round.
    data: the pool, its labels and the test set. Neither the state nor the acquisition depends on test data.
    learner: the learner of the run.
    phases: `al_jax.rounds.Phases(fit, evaluate, acquire)`, called in place of the compiled phases: `(state, data,
      trainer) -> (state, FitInfo)`, `(state, data, trainer) -> Metrics`, `(state, data, learner) -> (ids, scores)`.

  Returns:
    `(state, info)`: the state of the next round and the diagnostics of this one. The last round acquires nothing.

  Raises:
    ValueError: the state belongs to a pool of another size.
  """
  checks.check_state(state, data, learner)
  if phases is not None:
    return rounds.round_by(phases, state, data, learner)
  trainer, learner = programs.shared(state.key, data, learner)
  return rounds.round_by(rounds.JITTED_PHASES, state, data, learner, trainer)


def whole_run(
  key: jax.Array, data: types.Dataset, learner: Learner
) -> tuple[types.ALState, types.ALState, types.RoundInfo]:
  """The first state, the final state and the diagnostics of all rounds, as a pure function for use inside jit."""
  first = states.initial(key, data, learner.trainer)
  step = lambda state, _: rounds.pure_round(state, data, learner)
  return first, *lax.scan(step, first, length=learner.plan.rounds + 1)


_jitted_run = jax.jit(lambda key, data, learner: whole_run(key, data, learner)[1:], static_argnames="learner")


def run(key: jax.Array, data: types.Dataset, learner: Learner) -> tuple[types.ALState, types.RoundInfo]:
  """Executes a run as one compiled program: `rounds + 1` trainings and `rounds` acquisitions.

  Args:
    key: the run's base key, `jax.random.key(seed)`.
    data: the pool, its labels and the test set.
    learner: the learner of the run.

  Returns:
    `(state, info)`: the final state, and a `RoundInfo` whose arrays have a leading axis of `rounds + 1`.

  Raises:
    ValueError: the learner cannot run on this pool.
  """
  checks.check_run(key, data, learner)
  _, learner = programs.shared(key, data, learner)
  return _jitted_run(key, data, learner)


@functools.partial(jax.jit, static_argnames="trainer")
def _jitted_fit_full(key: jax.Array, data: types.Dataset, trainer: Trainer):
  state = states.labeled_state(key, data, trainer, splits.for_labeling(key, data, trainer.plan))
  state, info = training.fit(state, data, trainer)
  return state.variables, info, evaluation.evaluate_round(state, data, trainer)


def fit_full(
  key: jax.Array, data: types.Dataset, trainer: Trainer
) -> tuple[types.PyTree, types.FitInfo, types.Metrics]:
  """Trains once on all available rows except the validation rows: the full-supervision reference.

  Label noise is that of a run with the same key. The plan's `init_labels`, `acq_size`, `rounds` and `pool_subset` are
  ignored. With `val_last`, the last rows of the pool are held out.

  Args:
    key: the run's base key, `jax.random.key(seed)`.
    data: the pool, its labels and the test set.
    trainer: the trainer, such as `learner.trainer`.

  Returns:
    `(variables, info, metrics)`: the fitted variables, the diagnostics of the training, and its metrics.

  Raises:
    ValueError: the trainer cannot run on this pool.
  """
  if not isinstance(trainer, Trainer) or not isinstance(trainer.plan, types.Plan):
    raise ValueError(f"fit_full takes a Trainer with a Plan, not {type(trainer).__name__}: pass learner.trainer")
  door.check_shapes(data)
  plan = trainer.plan
  size = data.pool_size - plan.val_size * data.copies
  plan = dataclasses.replace(plan, init_labels=size, rounds=0, pool_subset=None)
  trainer = trainer._replace(plan=plan)
  # Like a drawn initial set, initial_ids do not limit the training set; they only keep rows out of the validation set.
  unbounded = dataclasses.replace(plan, initial_ids=(), init_balanced=False)
  checks.check_trainer(trainer._replace(plan=unbounded), data)
  checks.check_key(key, data, trainer)
  checks.check_values(data)
  return _jitted_fit_full(key, data, programs.shared_trainer(key, data, trainer))
