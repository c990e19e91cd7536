"""The network of the BatchBALD paper, with spatial dropout."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax.models import convolution
from al_jax.models import layers
from al_jax.models import pooling


class BatchBALDNet(nn.Module):
  """Conv32 5x5 and Conv64 5x5, each followed by spatial dropout, max-pool 2 and ReLU; Dense128, dropout, ReLU, Dense.

  184,586 parameters for 28 x 28 x 1 images and 10 classes. Takes `[B, H, W, channels]` floats with H, W >= 16 and
  returns `[B, num_classes]` logits. Spatial dropout drops whole channels. Initialization as in PyTorch: kernels and
  biases uniform within +-1 / sqrt(fan-in).

  Source: Kirsch, van Amersfoort & Gal (2019), section 4.1, after the PyTorch MNIST example.
  """

  num_classes: int = 10
  dropout_rate: float | None = None  # of all three dropout layers; None: 0.5 as published
  lowering: convolution.Lowering = "auto"  # how convolutions are computed: see `layers.Conv`; "auto": by platform and
  #   pass; "winograd": also faster pooling, with other gradients where pixels are equal
  head = "Dense_1"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    rate = 0.5 if self.dropout_rate is None else self.dropout_rate

    def convolve(x: jax.Array, features: int, scale: jax.Array | None = None) -> jax.Array:
      init = layers.uniform_within((25 * x.shape[-1]) ** -0.5)
      conv = layers.Conv(features, (5, 5), kernel_init=init, bias_init=init, lowering=self.lowering)
      out = conv(x, train=train, scale=scale)
      return pooling.relu_max_pool_2x2(out) if self.lowering == "winograd" else nn.relu(layers.max_pool_2x2(out))

    def drop_channels(x: jax.Array) -> jax.Array:
      return layers.Dropout(rate, broadcast_dims=(1, 2), deterministic=not train)(x)

    def dense(x: jax.Array, features: int) -> jax.Array:
      init = layers.uniform_within(x.shape[-1] ** -0.5)
      return nn.Dense(features, kernel_init=init, bias_init=init)(x)

    # Scaling a channel by a nonnegative factor commutes with max-pooling and ReLU. The dropout of the first convolution
    # is therefore passed as `scale` to the next one, so that all MC dropout samples share its per-channel convolutions.
    x = convolve(x, 32)
    scale = drop_channels(jnp.ones((x.shape[0] if train else 1, 1, 1, x.shape[-1]), x.dtype))
    x = drop_channels(convolve(x, 64, scale))
    x = dense(x.reshape((x.shape[0], -1)), 128)
    x = nn.relu(layers.Dropout(rate, deterministic=not train)(x))
    return dense(x, self.num_classes)
