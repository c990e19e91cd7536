"""The loop over rounds, as one compiled program or in the hands of the caller."""

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
  """The state before round 0: the initial set is labeled, the variables are those that round 0 starts from.

  Args:
    key: the run's base key, `jax.random.key(seed)`.
    data: the pool, its oracle and the test set.
    learner: what runs.
    variables: where the first training starts, such as pretrained weights, in place of new ones; read only where the
      plan starts warm, because otherwise every round begins anew.

  Raises:
    ValueError: the run cannot be carried out on this pool (see `checks`).
  """
  checks.check_run(key, data, learner)
  state = _jitted_initial(key, data, programs.shared_trainer(key, data, learner.trainer))
  if variables is None:
    return state
  if not learner.plan.train.warm_start:
    raise ValueError("variables are given, but every round starts from new ones: TrainPlan(warm_start=True) keeps them")
  checks.check_alike("variables", variables, state.variables)
  return state._replace(variables=variables, opt_state=training.init_opt_state(variables, learner.trainer))


_jitted_initial = jax.jit(states.initial, static_argnames="trainer")


def round_fn(
  state: types.ALState, data: types.Dataset, learner: Learner, phases: rounds.Phases | None = None
) -> tuple[types.ALState, types.RoundInfo]:
  """One round: train on the labeled part, evaluate, score the rest, label the most promising.

  Its parts are compiled once: a loop of one's own that calls it is as fast as `run`.

  Args:
    state: the state that the last round, or `init_state`, returned.
    data: the pool, its oracle and the test set. Test data reach neither the state nor the acquisition.
    learner: what runs.
    phases: how the parts are called, where not as compiled programs.

  Returns:
    The next round's state and this round's diagnostics. The last round acquires nothing.

  Raises:
    ValueError: the state is of another pool.
  """
  checks.check_state(state, data, learner)
  if phases is not None:
    return rounds.round_by(phases, state, data, learner)
  trainer, learner = programs.shared(state.key, data, learner)
  return rounds.round_by(rounds.JITTED_PHASES, state, data, learner, trainer)


def whole_run(
  key: jax.Array, data: types.Dataset, learner: Learner
) -> tuple[types.ALState, types.ALState, types.RoundInfo]:
  """The first state, the last one, and the diagnostics of all rounds: a pure function, for use in a program."""
  first = states.initial(key, data, learner.trainer)
  step = lambda state, _: rounds.pure_round(state, data, learner)
  return first, *lax.scan(step, first, length=learner.plan.rounds + 1)


_jitted_run = jax.jit(lambda key, data, learner: whole_run(key, data, learner)[1:], static_argnames="learner")


def run(key: jax.Array, data: types.Dataset, learner: Learner) -> tuple[types.ALState, types.RoundInfo]:
  """A whole run as one compiled program: `rounds + 1` trainings, `rounds` acquisitions.

  Args:
    key: the run's base key, `jax.random.key(seed)`.
    data: the pool, its oracle and the test set.
    learner: what runs.

  Returns:
    The final state, and a `RoundInfo` whose arrays have a leading axis of `rounds + 1`.

  Raises:
    ValueError: the run cannot be carried out on this pool (see `checks`).
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
  """Trains once on the labels of all available rows: full supervision, the line that active learning is held against.

  The labels are the same oracle's answers that a run with this key gets. Of the plan, `init_labels`, `acq_size` and
  `rounds` play no part; with `val_last`, the pool's last rows are held out. Returns the variables, how the training
  went, and the metrics; raises what `run` raises.
  """
  if not isinstance(trainer, Trainer) or not isinstance(trainer.plan, types.Plan):
    raise ValueError(f"fit_full takes a Trainer with a Plan, not {type(trainer).__name__}: learner.trainer")
  door.check_shapes(data)
  plan = trainer.plan
  size = data.pool_size - plan.val_size * data.copies
  plan = dataclasses.replace(plan, init_labels=size, rounds=0, pool_subset=None)
  trainer = trainer._replace(plan=plan)
  # Given initial ids count no more than a drawn initial set; they only say which rows are not for validation.
  unbounded = dataclasses.replace(plan, initial_ids=(), init_balanced=False)
  checks.check_trainer(trainer._replace(plan=unbounded), data)
  checks.check_key(key, data, trainer)
  checks.check_values(data)
  return _jitted_fit_full(key, data, programs.shared_trainer(key, data, trainer))
