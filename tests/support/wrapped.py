"""All acquisitions by name, and one example of each wrapper."""

import functools

from al_jax import acquisition
from al_jax import types

NAMES = [*acquisition.REGISTRY, *(f"{wrapper}_bald" for wrapper in acquisition.WRAPPERS)]


def hyper_parameters(name: str) -> dict[str, int | float]:
  """Default hyper-parameters, including the wrapper's."""
  wrapper, _, base = name.partition("_")
  if wrapper not in acquisition.WRAPPERS:
    return acquisition.REGISTRY[name].hyper_parameters
  return acquisition.WRAPPERS[wrapper].hyper_parameters | acquisition.REGISTRY[base].hyper_parameters


@functools.cache
def make(name: str, **hyper) -> types.Acquisition:
  """One object for equal arguments, so that programs are shared. `hyper` is passed to the base acquisition."""
  wrapper, _, base = name.partition("_")
  if wrapper not in acquisition.WRAPPERS:
    return acquisition.make(name, **hyper)
  return acquisition.WRAPPERS[wrapper].factory(make(base, **hyper))
