"""Posteriors by name, with settings from the flags."""

from collections.abc import Callable

from al_jax import posterior
from al_jax import types

# Each entry makes a posterior from a `Config`.
POSTERIORS: dict[str, Callable[..., types.Posterior]] = {
  "deterministic": lambda config: posterior.deterministic(),
  "dropout": lambda config: posterior.mc_dropout(config.mc_samples, per_example=config.dropout_masks == "per_example"),
  "laplace": lambda config: posterior.laplace(config.mc_samples),
  "ensemble": lambda config: posterior.ensemble(config.ensemble_size),
}
