"""Parts of optimizers that are told more than gradients: `num_labels` and `progress`, by `fitting.advance`."""

import jax
import jax.numpy as jnp
import optax

__all__ = ("add_decayed_weights_over_labels", "scale_by_cosine")


def add_decayed_weights_over_labels(weight_decay: jax.Array | float) -> optax.GradientTransformationExtraArgs:
  """Coupled weight decay that is divided by the number of labels, which `fitting.advance` tells.

  The logarithm of a Gaussian prior weighs so beside a mean of losses; `weight_decay` is its precision. Keras's
  `l2(c / n)` is a `weight_decay` of 2 c.

  Source: Gal & Ghahramani (2016), Dropout as a Bayesian Approximation, section 3.
  """

  def update(updates, state, params=None, **extra):
    return optax.add_decayed_weights(weight_decay / extra["num_labels"]).update(updates, state, params)

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def scale_by_cosine() -> optax.GradientTransformationExtraArgs:
  """Updates times `(1 + cos(pi t)) / 2`, t the share of the round's steps that are behind.

  `fitting.advance` tells it; where early stopping may end a training, of the steps that it takes at most.

  Source: Loshchilov & Hutter (2017), equation 5, without restarts.
  """

  def update(updates, state, params=None, **extra):
    del params
    factor = 0.5 * (1 + jnp.cos(jnp.pi * extra["progress"]))
    return jax.tree.map(lambda leaf: factor * leaf, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
