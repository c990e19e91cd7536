"""The network that core-set selection was first shown with."""

import flax.linen as nn
import jax

from al_jax.models import layers

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG16(nn.Module):
  """Thirteen convolutions 3x3, each before batch norm and ReLU, in five stages with max-pool 2 behind; dropout, Dense.

  14,728,266 parameters for 3 channels and 10 classes, beside running statistics. Takes `[B, H, W, channels]` floats
  with H, W >= 32 and returns `[B, num_classes]` logits. One dense layer on the mean over positions, as is usual for
  small images. Initialised as PyTorch's VGG: convolutions normal of variance 2 / (kh kw outputs), the dense layer
  normal of deviation 0.01. Statistics move a tenth of the way to a batch's.

  Raises:
    ValueError: too small an image.

  Source: Simonyan & Zisserman (2015), table 1, D; with batch norm. Sener & Savarese (2018), section 5.
  """

  num_classes: int = 10
  dropout_rate: float = 0.5
  width: int = 64  # channels of the first stage
  head = "Dense_0"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    if x.ndim == 4 and min(x.shape[1:3]) < 32:  # what is no image, a convolution refuses
      raise ValueError(f"VGG16 takes images of 32 x 32 or more, not {x.shape[1]} x {x.shape[2]}")
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    for channels, convolutions in _STAGES:
      for _ in range(convolutions):
        x = layers.Conv(channels * self.width // 64, (3, 3), padding="SAME", kernel_init=init)(x, train=train)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x))
      x = layers.max_pool_2x2(x)
    x = layers.Dropout(self.dropout_rate, deterministic=not train)(x.mean(axis=(1, 2)))
    return nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01))(x)
