"""Modified learners."""

import dataclasses

from al_jax import types
from al_jax.learner import Learner


def changed(learner: Learner, **changes) -> Learner:
  """The learner with changed fields of its `TrainPlan`, `Plan`, trainer or itself."""
  of = lambda fields: {field: changes.pop(field) for field in list(changes) if field in fields}
  train = {"train": dataclasses.replace(learner.plan.train, **of(types.TrainPlan.__annotations__))}
  plan = dataclasses.replace(learner.plan, **train | of(types.Plan.__annotations__))
  trainer = learner.trainer._replace(plan=plan, **of(learner.trainer._fields))
  return learner._replace(trainer=trainer, **changes)
