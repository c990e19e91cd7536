"""Gradient transformations that use `num_labels` and `progress`, which `fitting.advance` passes as extra arguments."""

import jax
import jax.numpy as jnp
import optax

__all__ = ("add_decayed_weights_over_labels", "scale_by_cosine")


def add_decayed_weights_over_labels(weight_decay: jax.Array | float) -> optax.GradientTransformationExtraArgs:
  """Coupled weight decay divided by the number of labels.

  Equivalent to a Gaussian prior of precision `weight_decay` when the loss is a mean over examples. Keras's `l2(c / n)`
  is `weight_decay = 2 c`.

  Source: Gal & Ghahramani (2016), Dropout as a Bayesian Approximation, section 3.
  """

  def update(updates, state, params=None, **extra):
    return optax.add_decayed_weights(weight_decay / extra["num_labels"]).update(updates, state, params)

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def scale_by_cosine() -> optax.GradientTransformationExtraArgs:
  """Scales updates by `(1 + cos(pi t)) / 2`, where t is the fraction of the round's steps already taken.

  With early stopping, t refers to the largest number of steps.

  Source: Loshchilov & Hutter (2017), equation 5, without restarts.
  """

  def update(updates, state, params=None, **extra):
    del params
    factor = 0.5 * (1 + jnp.cos(jnp.pi * extra["progress"]))
    return jax.tree.map(lambda leaf: factor * leaf, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
