"""A long training, in parts that are saved: a kill costs the part in hand and not the round."""

import jax

from al_jax import rounds
from al_jax import training
from al_jax import types
from experiments.runs.checkpoints import Checkpoints

PART = 1000  # steps; those of the default network take half a minute on two cores

_begin = rounds.jit_without_acquisition(rounds.begin_fit)
_advance = rounds.jit_without_acquisition(rounds.advance_fit, static_argnames=("learner", "limit"))
_unfinished = rounds.jit_without_acquisition(rounds.fit_unfinished)


def is_long(protocol: types.Protocol) -> bool:
  """Whether the last round's training may take more steps than one part."""
  if protocol.epochs is None:
    return protocol.train_steps > PART
  size, draws = protocol.batch_size, protocol.epoch_draws
  return protocol.epochs * training.epoch_steps(protocol.max_labels, batch_size=size, epoch_draws=draws) > PART


def fit(
  checkpoints: Checkpoints, state: types.ALState, data: types.Dataset, learner: types.Learner
) -> tuple[types.PyTree, types.FitInfo]:
  """What `rounds.fit_round` returns, from where the checkpoints have this round's training, or from its start."""
  this_round = int(state.round)
  begun = _begin(state, data, learner=learner)
  begun = checkpoints.load_training(this_round, begun) or begun
  while _unfinished(begun, state, learner=learner):
    begun = jax.block_until_ready(_advance(begun, state, data, learner=learner, limit=PART))
    checkpoints.save_training(this_round, begun)
  return rounds.end_fit(begun, learner)
