"""What tests of strategies make pool views with."""

import jax.numpy as jnp

from al_jax import types


def ties_by_id(view: types.PoolView) -> types.PoolView:
  """A view whose ties go to the lowest id, as those of the references do."""
  size = view.candidates.shape[0]
  return view._replace(tie_break=jnp.arange(size, 0, -1, jnp.float32) / (size + 1))
