"""From a Config to the pieces that the core runs on."""

import dataclasses

import optax

from al_jax import acquisition
from al_jax import types
from al_jax.models.cnn import CNN
from experiments.flags import Config


def optimizer(config: Config) -> optax.GradientTransformation:
  """The optimiser by name. Adadelta has Keras's settings, and L2 is coupled: it is part of the gradient."""
  core = {
    "adam": lambda: optax.adam(config.learning_rate),
    "sgd": lambda: optax.sgd(config.learning_rate, momentum=config.momentum),
    "adadelta": lambda: optax.adadelta(config.learning_rate, rho=0.95, eps=1e-7),
  }[config.optimizer]()
  if config.weight_decay:
    return optax.chain(optax.add_decayed_weights(config.weight_decay), core)
  return core


def protocol(config: Config) -> types.Protocol:
  """The static plan of a run."""
  return types.Protocol(
    init_labels=config.init_labels,
    acq_size=config.acq_size,
    rounds=config.rounds,
    batch_size=config.batch_size,
    train_steps=config.train_steps,
    epochs=config.epochs,
    init_balanced=config.init == "balanced",
    warm_start=config.warm_start,
    val_size=config.val_size,
    val_last=config.val_last,
    chunk_size=config.chunk_size,
  )


def learners(config: Config, num_classes: int) -> dict[str, types.Learner]:
  """One learner for each acquisition; all share the same model and optimiser objects, and so their programs."""
  model = CNN(num_classes=num_classes, dropout_rate=config.dropout_rate)
  shared_optimizer, plan = optimizer(config), protocol(config)
  return {name: types.Learner(model, shared_optimizer, acquisition.make(name), plan) for name in config.acq}


def full_data_learner(config: Config, num_classes: int) -> types.Learner:
  """The learner of full supervision: the same model and optimiser, trained for as long as `--full_data` says."""
  learner = next(iter(learners(config, num_classes).values()))
  plan = dataclasses.replace(
    learner.protocol,
    val_last=config.full_val_last,
    train_steps=None if config.epochs else config.full_train_steps,
  )
  return learner._replace(protocol=plan)
