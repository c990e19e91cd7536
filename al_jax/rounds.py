"""One round of active learning: train, evaluate, score the rest, label the most promising."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from al_jax import evaluation
from al_jax import pool
from al_jax import splits
from al_jax import training
from al_jax import types
from al_jax import views
from al_jax.keys import Role
from al_jax.keys import role_key
from al_jax.learner import Learner
from al_jax.learner import Trainer


def _scores_of(chosen: jax.Array, view: types.PoolView, acquisition: types.Acquisition) -> jax.Array:
  """Scores of the rows `chosen` `[num]`, worked out for them alone: the whole pool's may be costly to have twice."""
  if acquisition.score is None:
    return jnp.full(chosen.shape, jnp.nan, jnp.float32)
  rows = {name: x[chosen] for name, x in view._asdict().items() if x is not None and name != "target_log_probs"}
  return acquisition.score(view._replace(**rows))


def select(state: types.ALState, data: types.Dataset, learner: Learner, *, num: int) -> tuple[jax.Array, jax.Array]:
  """What to label next, by the fitted model in `state`.

  Returns:
    `[num]` int32 pool ids, best first, and their `[num]` float scores, NaN where the acquisition gives none.
  """
  with jax.named_scope("score"):
    view, ids = views.pool_view(state, data, learner)
  key = role_key(state.key, Role.ACQUISITION, state.round)
  with jax.named_scope("select"):
    chosen = learner.acquisition.select(key, view, num=num)
    # A row that a strategy of one's own makes up asks for nothing.
    rows = jnp.where(chosen < 0, ids.shape[0], chosen)
    selected = ids.at[rows].get(mode="fill", fill_value=-1)
    return selected, _scores_of(chosen, view, learner.acquisition)


def acquire_round(state: types.ALState, data: types.Dataset, learner: Learner) -> tuple[jax.Array, jax.Array]:
  """`select` of `acq_size` ids; in the last round, which scores nothing, -1 and NaN throughout."""
  num = learner.plan.acq_size
  nothing = jnp.full(num, -1, jnp.int32), jnp.full(num, jnp.nan, jnp.float32)
  acquires = state.round < learner.plan.rounds
  return lax.cond(acquires, lambda: select(state, data, learner, num=num), lambda: nothing)


def label(state: types.ALState, ids: jax.Array, plan: types.Plan) -> types.ALState:
  """The next round's state after the oracle has answered for `ids` `[num]`; an id of -1 asks for nothing."""
  order = state.order
  if plan.val_last:
    assert order is not None
    asked = ids >= 0
    places = splits.num_labeled(state) + jnp.cumsum(asked) - 1
    order = order.at[jnp.where(asked, places, plan.max_labels)].set(ids, mode="drop")
  return state._replace(labeled=pool.reveal(state.labeled, ids), order=order, round=state.round + 1)


class Phases(NamedTuple):
  """The three costly parts of a round. A driver may pass timed versions of them to `round_fn`."""

  fit: Callable = training.fit  # (state, data, trainer) -> (state with the fitted model, FitInfo)
  evaluate: Callable = evaluation.evaluate_round  # (state, data, trainer) -> Metrics
  acquire: Callable = acquire_round  # (state, data, learner) -> ids and scores, `[acq_size]`


PURE_PHASES = Phases()

# Each compiled on its own: what a round-by-round driver calls. Same ids as in one program, on CPU. Only `acquire`
# depends on the acquisition, so the others compile once for all strategies of a study.
JITTED_PHASES = Phases(
  fit=jax.jit(training.fit, static_argnames="trainer"),
  evaluate=jax.jit(evaluation.evaluate_round, static_argnames="trainer"),
  acquire=jax.jit(acquire_round, static_argnames="learner"),
)


def round_by(
  phases: Phases, state: types.ALState, data: types.Dataset, learner: Learner, trainer: Trainer | None = None
) -> tuple[types.ALState, types.RoundInfo]:
  """`loop.round_fn`, its parts called as `phases` say; `trainer` is one that is alike to the learner's."""
  held, trainer = splits.num_labeled(state), learner.trainer if trainer is None else trainer
  state, fit_info = phases.fit(state, data, trainer=trainer)
  measured = phases.evaluate(state, data, trainer=trainer)
  selected, scores = phases.acquire(state, data, learner=learner)
  return label(state, selected, learner.plan), types.RoundInfo(held, measured, fit_info, selected, scores)


pure_round = functools.partial(round_by, PURE_PHASES)
