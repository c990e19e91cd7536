"""A linear softmax head: multinomial logistic regression."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.models import layers


class Linear(nn.Module):
  """One dense layer, for frozen features: `F * C + C` parameters.

  Takes `[B, ...]` floats of any shape, which it flattens, and returns `[B, num_classes]` logits. All parameters start
  at 0, where the loss of a linear softmax model, which is convex, does not depend on a draw, or with
  `kernel_init="torch"` uniform within 1 / sqrt(F).
  """

  num_classes: int = 10
  kernel_init: str = "zeros"
  head = "Dense_0"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    del train  # nothing is dropped
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(f"a linear head takes floats, not {x.dtype}: use a transformer for tokens")
    x = x.reshape((x.shape[0], -1))
    return layers.dense(self.num_classes, x.shape[1], self.kernel_init)(x)
