"""Posteriors by name, with settings from the flags."""

from collections.abc import Callable

from al_jax import posterior
from al_jax import types

# Prior precision of a linear head's biases, which newton does not penalize: a standard deviation of 10.
_BIAS_PRECISION = 0.01


def _prior(config) -> dict[str, float]:
  """The prior of a head's Laplace approximation: for a linear head, that of its penalty."""
  return {"prior_precision": config.l2, "bias_precision": _BIAS_PRECISION} if config.model == "linear" else {}


# Each entry makes a posterior from a `Config`.
POSTERIORS: dict[str, Callable[..., types.Posterior]] = {
  "deterministic": lambda config: posterior.deterministic(),
  "dropout": lambda config: posterior.mc_dropout(config.mc_samples, per_example=config.dropout_masks == "per_example"),
  "laplace": lambda config: posterior.laplace(config.mc_samples, **_prior(config)),
  "ensemble": lambda config: posterior.ensemble(config.ensemble_size),
}
