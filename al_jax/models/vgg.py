"""VGG-16 for small images, the network of Sener & Savarese (2018) for core-set selection."""

import flax.linen as nn
import jax

from al_jax.models import layers

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG16(nn.Module):
  """Thirteen 3x3 convolutions with batch norm and ReLU in five stages, each followed by max-pool 2; dropout, Dense.

  14,728,266 parameters for 3 channels and 10 classes, not counting running statistics. Takes `[B, H, W, channels]`
  floats with H, W >= 32 and returns `[B, num_classes]` logits. The head is one dense layer on the mean over positions,
  as usual for small images. Initialization as in PyTorch's VGG: convolutions normal with variance 2 / (kh kw outputs),
  the dense layer normal with standard deviation 0.01. Running statistics have momentum 0.9.

  Raises:
    ValueError: the image is too small.

  Source: Simonyan & Zisserman (2015), table 1, D; with batch norm. Sener & Savarese (2018), section 5.
  """

  num_classes: int = 10
  dropout_rate: float = 0.5
  width: int = 64  # number of channels of the first stage
  head = "Dense_0"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    if x.ndim == 4 and min(x.shape[1:3]) < 32:  # layers.Conv refuses other ranks
      raise ValueError(f"VGG16 takes images of 32 x 32 or more, not {x.shape[1]} x {x.shape[2]}")
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    for channels, convolutions in _STAGES:
      for _ in range(convolutions):
        x = layers.Conv(channels * self.width // 64, (3, 3), padding="SAME", kernel_init=init)(x, train=train)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x))
      x = layers.max_pool_2x2(x)
    x = layers.Dropout(self.dropout_rate, deterministic=not train)(x.mean(axis=(1, 2)))
    return nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01))(x)
