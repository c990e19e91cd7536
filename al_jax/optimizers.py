"""Gradient transformations for `optax.chain` that read the number of labels or the progress of the round."""

import jax
import jax.numpy as jnp
import optax

__all__ = ("add_decayed_weights_over_labels", "scale_by_cosine")


def add_decayed_weights_over_labels(weight_decay: jax.Array | float) -> optax.GradientTransformationExtraArgs:
  """Coupled weight decay divided by the number of labels.

  Equivalent to a Gaussian prior of precision `weight_decay` when the loss is a mean over examples. `l2(c / n)` in
  Keras, with n the number of labels, corresponds to `weight_decay = 2 c`. Chain it before the optimizer.

  Source: Gal & Ghahramani (2016), Dropout as a Bayesian Approximation, section 3.
  """

  def update(updates, state, params=None, **extra):
    return optax.add_decayed_weights(weight_decay / extra["num_labels"]).update(updates, state, params)

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def scale_by_cosine() -> optax.GradientTransformationExtraArgs:
  """Scales updates by `(1 + cos(pi t)) / 2`, where t is the fraction of the round's steps already taken.

  Chain it after the optimizer. With early stopping, t refers to the largest number of steps.

  Source: Loshchilov & Hutter (2017), equation 5, without restarts.
  """

  def update(updates, state, params=None, **extra):
    del params
    factor = 0.5 * (1 + jnp.cos(jnp.pi * extra["progress"]))
    return jax.tree.map(lambda leaf: factor * leaf, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
