"""A switch from one acquisition to another at a number of labels."""

import operator

import jax
import jax.numpy as jnp

from al_jax import types


def switch(first: types.Acquisition, second: types.Acquisition, *, labels: int) -> types.Acquisition:
  """Selects by one acquisition until a number of labels, and by another from then on.

  Typical images help most while there are few labels, uncertain ones once there are more. The published method
  estimates from the labeled images which of the two is the case; here the number of labels is given.

  In each phase the ids are those of that acquisition alone with the same key and the same view. The view has what
  either reads, in both phases: if one of the two compares posterior samples, the other reads the mean of these samples
  in place of a deterministic prediction. The result has no `score` and cannot be wrapped; wrap its parts.

  Formula: first if L < labels, else second
  Source: after Hacohen & Weinshall 2023

  Args:
    first: selects while fewer than `labels` images are labeled.
    second: selects from then on.
    labels: number of labels, the initial set included.

  Raises:
    ValueError: `first` or `second` is no Acquisition, or `labels` is not a whole number of at least 1.
  """
  for part in (first, second):
    if not isinstance(part, types.Acquisition):
      received = getattr(part, "__name__", repr(part))
      raise ValueError(
        f"switch takes two Acquisitions, not {received}: call a factory, such as al_jax.acquisition.margin()"
      )
  try:
    operator.index(labels)
  except TypeError:
    raise ValueError(f"labels must be a whole number, not {labels}") from None
  if labels < 1:
    raise ValueError(f"labels must be at least 1, not {labels}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    by = lambda part: lambda: part.select(key, view, num=num).astype(jnp.int32)
    return jax.lax.cond(view.labeled.sum() < labels, by(first), by(second))

  # A view of a random part of the pool has the labeled rows only if labels are read, and here their number counts.
  needs = types.Needs._make(map(max, first.needs, second.needs))._replace(labels=True)
  return types.Acquisition(select, None, needs)
