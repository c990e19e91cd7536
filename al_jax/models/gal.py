"""The network of Gal, Islam & Ghahramani (2017), who introduced MC dropout to active learning on images."""

import flax.linen as nn
import jax

from al_jax.models import layers


class GalNet(nn.Module):
  """Conv32 4x4, ReLU, Conv32 4x4, ReLU, max-pool 2, dropout, Dense128, ReLU, dropout, Dense.

  513,994 parameters for 28 x 28 x 1 images and 10 classes. Takes `[B, H, W, channels]` floats with H, W >= 8 and
  returns `[B, num_classes]` logits. Initialization as in Keras: Glorot uniform kernels, zero biases.

  Source: Gal, Islam & Ghahramani (2017), section 5.
  """

  num_classes: int = 10
  dropout_rate: float | None = None  # of both dropout layers; None: 0.25 and 0.5 as published
  head = "Dense_1"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    dense = lambda features: nn.Dense(features, kernel_init=nn.initializers.glorot_uniform())
    first, second = (0.25, 0.5) if self.dropout_rate is None else (self.dropout_rate, self.dropout_rate)
    x = nn.relu(layers.Conv(32, (4, 4))(x, train=train))
    x = nn.relu(layers.Conv(32, (4, 4))(x, train=train))
    x = layers.Dropout(first, deterministic=not train)(layers.max_pool_2x2(x))
    x = nn.relu(dense(128)(x.reshape((x.shape[0], -1))))
    x = layers.Dropout(second, deterministic=not train)(x)
    return dense(self.num_classes)(x)
