"""Optimizers by name, with settings from the flags."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import optax


class Optimizer(NamedTuple):
  """Makes an optax optimizer from a `Config`, whose numbers may be traced."""

  make: Callable[..., optax.GradientTransformation]  # (config), or if `decays` (config, mask of parameters)
  decays: bool = False  # whether it applies `--weight_decay` itself (decoupled)


def _adamw(config: Any, mask: Callable | None) -> optax.GradientTransformation:
  return optax.adamw(config.learning_rate, weight_decay=config.weight_decay, mask=mask)


NEWTON = "newton"  # full-batch training of a linear head, in place of an optimizer

OPTIMIZERS = {
  "adam": Optimizer(lambda config: optax.adam(config.learning_rate)),
  "adamw": Optimizer(_adamw, decays=True),
  "nadam": Optimizer(lambda config: optax.nadam(config.learning_rate)),
  "sgd": Optimizer(lambda config: optax.sgd(config.learning_rate, momentum=config.momentum, nesterov=config.nesterov)),
  "adadelta": Optimizer(lambda config: optax.adadelta(config.learning_rate, rho=0.95, eps=1e-7)),  # Keras's defaults
}
