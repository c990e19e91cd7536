"""What is run: a trainer, and the learner that acquires by what it trained."""

from typing import NamedTuple

import jax
import optax

from al_jax import posterior
from al_jax import types


class Trainer(NamedTuple):
  """What trains and evaluates: everything static about a run but what it acquires. Hashable.

  Strategies that share a trainer share its compiled programs.
  """

  network: types.Network
  optimizer: optax.GradientTransformation
  plan: types.Plan
  members: int = 1  # networks of an ensemble, each from its own weights, batches and dropout
  eval_posterior: types.Posterior = posterior.deterministic()  # what the metrics are measured on
  label_noise: float | jax.Array = 0.0  # probability that the oracle answers with another class: `oracle.noisy_labels`


class Learner(NamedTuple):
  """A trainer and a strategy: everything static about a run. Hashable: the same learner never compiles twice."""

  trainer: Trainer
  acquisition: types.Acquisition
  posterior: types.Posterior = posterior.deterministic()  # what the acquisition's samples are

  @property
  def plan(self) -> types.Plan:
    """The trainer's."""
    return self.trainer.plan
