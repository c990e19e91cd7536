"""Helpers for pool views in tests of strategies."""

import jax.numpy as jnp

from al_jax import types


def ties_by_id(view: types.PoolView) -> types.PoolView:
  """The view with ties going to the lowest id, as in the references."""
  size = view.candidates.shape[0]
  return view._replace(tie_break=jnp.arange(size, 0, -1, jnp.float32) / (size + 1))
