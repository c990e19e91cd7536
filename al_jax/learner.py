"""The static parts of a run: `Trainer` and `Learner`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from al_jax import posterior
from al_jax import types


class Trainer(NamedTuple):
  """Everything static about training and evaluation. Hashable.

  Learners that share a trainer share its compiled programs.
  """

  network: types.Network
  optimizer: optax.GradientTransformation
  plan: types.Plan
  members: int = 1  # size of the ensemble; each network has its own initial weights, minibatches and dropout
  eval_posterior: types.Posterior = posterior.deterministic()  # predictions that the metrics are computed from; only an
  #   `ensemble` evaluates all members, any other posterior the first
  label_noise: float | jax.Array = 0.0  # probability in [0, 1) that the oracle, which gives the labels, returns a wrong
  #   class; an array only in a sweep


Acquire = Callable[..., tuple[jax.Array, jax.Array]]


class Learner(NamedTuple):
  """A trainer, an acquisition and its posterior: everything static about a run. Hashable.

  Within a process, a learner is compiled once per shape of the data.
  """

  trainer: Trainer
  acquisition: types.Acquisition
  posterior: types.Posterior = posterior.deterministic()  # samples that the acquisition reads
  acquire: Acquire | None = None  # (key, state, data, trainer, *, num) -> (ids, scores), `[num]`, in place of the
  #   acquisition: for references that read what no acquisition may read, such as `greedy_oracle`

  @property
  def plan(self) -> types.Plan:
    """The plan of the trainer."""
    return self.trainer.plan
