"""One round of active learning: train, evaluate, score the candidates, acquire a batch."""

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
  """Scores of the `chosen` `[num]` rows only, so that the pool is not scored twice."""
  if acquisition.score is None:
    return jnp.full(chosen.shape, jnp.nan, jnp.float32)
  if view.scores is not None:
    return view.scores[chosen]
  of_rows = ("labeled", "candidates", "tie_break", "labels", *acquisition.needs.fields)
  rows = {name: x[chosen] for name, x in view._asdict().items() if x is not None and name in of_rows}
  return acquisition.score(view._replace(**rows))


def select(state: types.ALState, data: types.Dataset, learner: Learner, *, num: int) -> tuple[jax.Array, jax.Array]:
  """Selects the rows to label next with the fitted model in `state`.

  Returns:
    `[num]` int32 pool ids, best first, and their `[num]` float scores, NaN if the acquisition has no `score`.
  """
  key = role_key(state.key, Role.ACQUISITION, state.round)
  if learner.acquire is not None:
    return learner.acquire(key, state, data, learner.trainer, num=num)
  with jax.named_scope("score"):
    view, ids = views.pool_view(state, data, learner)
  with jax.named_scope("select"):
    chosen = learner.acquisition.select(key, view, num=num)
    # Rows outside the view, which a custom acquisition may return, become the id -1 and acquire nothing.
    rows = jnp.where(chosen < 0, ids.shape[0], chosen)
    selected = ids.at[rows].get(mode="fill", fill_value=-1)
    return selected, _scores_of(chosen, view, learner.acquisition)


def acquire_round(state: types.ALState, data: types.Dataset, learner: Learner) -> tuple[jax.Array, jax.Array]:
  """`select` with `num=acq_size`. In the last round, all ids are -1 and all scores NaN, and nothing is scored."""
  num = learner.plan.acq_size
  nothing = jnp.full(num, -1, jnp.int32), jnp.full(num, jnp.nan, jnp.float32)
  acquires = state.round < learner.plan.rounds
  return lax.cond(acquires, lambda: select(state, data, learner, num=num), lambda: nothing)


def label(state: types.ALState, ids: jax.Array, plan: types.Plan) -> types.ALState:
  """The state of the next round, with `ids` `[num]` labeled; an id of -1 labels nothing."""
  order = state.order
  if plan.val_last:
    assert order is not None
    asked = ids >= 0
    places = splits.num_labeled(state) + jnp.cumsum(asked) - 1
    order = order.at[jnp.where(asked, places, plan.max_labels)].set(ids, mode="drop")
  return state._replace(labeled=pool.reveal(state.labeled, ids), order=order, round=state.round + 1)


class Phases(NamedTuple):
  """The three expensive phases of a round. A driver may pass timed versions of them to `round_fn`."""

  fit: Callable = training.fit  # (state, data, trainer) -> (state with the fitted model, FitInfo)
  evaluate: Callable = evaluation.evaluate_round  # (state, data, trainer) -> Metrics
  acquire: Callable = acquire_round  # (state, data, learner) -> ids and scores, `[acq_size]`


PURE_PHASES = Phases()

# Each phase compiled separately, for drivers that run round by round. On CPU, ids are the same as in one program. Only
# `acquire` depends on the acquisition, so `fit` and `evaluate` compile once for all strategies of a study.
JITTED_PHASES = Phases(
  fit=jax.jit(training.fit, static_argnames="trainer"),
  evaluate=jax.jit(evaluation.evaluate_round, static_argnames="trainer"),
  acquire=jax.jit(acquire_round, static_argnames="learner"),
)


def round_by(
  phases: Phases, state: types.ALState, data: types.Dataset, learner: Learner, trainer: Trainer | None = None
) -> tuple[types.ALState, types.RoundInfo]:
  """`loop.round_fn` with the given phases; `trainer` replaces the learner's by an equivalent one."""
  held, trainer = splits.num_labeled(state), learner.trainer if trainer is None else trainer
  state, fit_info = phases.fit(state, data, trainer=trainer)
  measured = phases.evaluate(state, data, trainer=trainer)
  selected, scores = phases.acquire(state, data, learner=learner)
  return label(state, selected, learner.plan), types.RoundInfo(held, measured, fit_info, selected, scores)


pure_round = functools.partial(round_by, PURE_PHASES)
