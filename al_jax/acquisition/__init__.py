"""Which images to label next: one registry, one file a family.

A registry value is a factory `(**hyper) -> Acquisition`, in the way of `optax.adam(learning_rate)`.
"""

from collections.abc import Callable

from al_jax.acquisition import pointwise
from al_jax.acquisition.pointwise import from_score as from_score
from al_jax.types import Acquisition

REGISTRY: dict[str, Callable[..., Acquisition]] = {
  "random": pointwise.random,
  "least_confidence": pointwise.least_confidence,
  "margin": pointwise.margin,
  "entropy": pointwise.entropy,
}


def make(name: str, **hyper) -> Acquisition:
  """The acquisition of that name. Raises ValueError, with the choices, where there is none."""
  if name not in REGISTRY:
    raise ValueError(f"unknown acquisition {name!r}; choose from {', '.join(REGISTRY)}")
  return REGISTRY[name](**hyper)
