"""The default network: the small CNN of the Keras MNIST example."""

import flax.linen as nn
import jax

from al_jax.models import convolution
from al_jax.models import layers


class CNN(nn.Module):
  """Conv32 3x3, ReLU, Conv64 3x3, ReLU, max-pool 2, dropout, Dense128, ReLU, Dense.

  1,199,882 parameters for 28 x 28 x 1 images and 10 classes. Takes `[B, H, W, channels]` floats with H, W >= 6 and
  returns `[B, num_classes]` logits. Initialization as in Keras: Glorot uniform kernels, zero biases.

  Source: the network of notenail.github.io, "Active learning on MNIST" (2020), after the Keras MNIST example.
  """

  num_classes: int = 10
  dropout_rate: float = 0.25
  lowering: convolution.Lowering = "auto"  # how convolutions are computed (see `layers.Conv`); "auto": by platform and
  #   pass
  head = "Dense_1"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    dense = lambda features: nn.Dense(features, kernel_init=nn.initializers.glorot_uniform())
    x = nn.relu(layers.Conv(32, (3, 3), lowering=self.lowering)(x, train=train))
    x = nn.relu(layers.Conv(64, (3, 3), lowering=self.lowering)(x, train=train))
    x = layers.max_pool_2x2(x)
    x = layers.Dropout(self.dropout_rate, deterministic=not train)(x)
    x = x.reshape((x.shape[0], -1))
    x = nn.relu(dense(128)(x))
    return dense(self.num_classes)(x)
