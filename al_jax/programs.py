"""Shares compiled programs between equivalent trainers and learners."""

from collections.abc import Hashable
import functools

import jax

from al_jax import alike
from al_jax import door
from al_jax import evaluation
from al_jax import rounds
from al_jax import states
from al_jax import training
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer

_TRAINERS: alike.Table[Trainer] = alike.Table()
_LEARNERS: alike.Table[Learner] = alike.Table()


def _shapes(*tree: types.PyTree) -> Hashable:
  leaves, structure = jax.tree.flatten(tree)
  return structure, tuple(map(jax.typeof, leaves))


def shared_trainer(key: jax.Array, data: types.Dataset, trainer: Trainer) -> Trainer:
  """The first trainer seen that computes the same on data of these shapes, so that its programs are reused.

  Under tracing, returns `trainer`.
  """
  if door.is_traced((key, data)):
    return trainer

  def computes(trainer: Trainer) -> Hashable:
    own = functools.partial(functools.partial, trainer=trainer)
    state = jax.eval_shape(own(states.initial), key, data)
    parts = (own(training.fit), own(evaluation.evaluate_round))
    return alike.form(own(states.initial), key, data), *(alike.form(part, state, data) for part in parts)

  # The plan decides what a round does with labels and masks; the traced functions above do not show it.
  settled = (trainer.plan, trainer.members, trainer.label_noise, trainer.eval_posterior)
  try:
    return _TRAINERS.first(trainer, (settled, _shapes(key, data)), computes)
  except TypeError:  # a part is unhashable, such as a traced number
    return trainer


def shared(key: jax.Array, data: types.Dataset, learner: Learner) -> tuple[Trainer, Learner]:
  """The first equivalent trainer and learner on data of these shapes, whose programs are reused.

  An equivalent learner has the same training, evaluation and acquisition; an equivalent trainer the same training and
  evaluation. Under tracing, returns the learner's own trainer and the learner itself.
  """
  if door.is_traced((key, data)):
    return learner.trainer, learner
  trainer = shared_trainer(key, data, learner.trainer)

  def acquires(learner: Learner) -> Hashable:
    state = jax.eval_shape(functools.partial(states.initial, trainer=learner.trainer), key, data)
    return alike.form(functools.partial(rounds.acquire_round, learner=learner), state, data)

  try:
    return trainer, _LEARNERS.first(learner, (trainer, learner.posterior, _shapes(key, data)), acquires)
  except TypeError:
    return trainer, learner
