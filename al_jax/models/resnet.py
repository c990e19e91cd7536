"""ResNet-18 for small images, a common network in deep active learning on natural images."""

import functools
import math

import flax.linen as nn
import jax

from al_jax.models import convolution
from al_jax.models import layers

NORMS = ("group", "batch")


class BasicBlock(nn.Module):
  """Two 3x3 convolutions, the first strided, added to the input or its 1x1 projection if the shape changes; ReLU.

  `[B, H, W, channels]` -> `[B, ceil(H / strides), ceil(W / strides), features]`.
  """

  features: int
  strides: int
  norm: str
  lowering: convolution.Lowering

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    convolve = functools.partial(_convolve_and_norm, norm=self.norm, lowering=self.lowering, train=train)
    out = nn.relu(convolve(x, self.features, 3, self.strides))
    out = convolve(out, self.features, 3)
    if self.strides > 1 or x.shape[-1] != self.features:
      x = convolve(x, self.features, 1, self.strides)
    return nn.relu(out + x)


def _convolve_and_norm(
  x: jax.Array, features: int, size: int, strides: int = 1, *, norm: str, lowering: convolution.Lowering, train: bool
) -> jax.Array:
  """A convolution without bias, followed by a norm, whose bias takes its place."""
  x = layers.Conv(
    features,
    (size, size),
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    lowering=lowering,
    strides=strides,
    padding="SAME",
    use_bias=False,
  )(x, train=train)
  if norm == "group":
    return nn.GroupNorm(math.gcd(32, features), epsilon=1e-5)(x)
  return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x)


class ResNet18(nn.Module):
  """Conv 3x3, norm, ReLU, eight basic blocks in four stages, mean over positions, dropout, Dense.

  11,173,962 parameters for 3 channels and 10 classes, for any image size. Takes `[B, H, W, channels]` floats with
  H, W >= 16 and returns `[B, num_classes]` logits. For small images, the stem has stride 1 and no pooling. The stages
  have `width` times 1, 2, 4 and 8 channels; all but the first begin with stride 2. Initialization as in
  torchvision: convolutions normal with variance 2 / (kh kw outputs), norms with scale 1 and bias 0; the dense layer as
  in PyTorch.

  `norm="group"` is group norm with gcd(32, channels) groups; it treats images independently and has no state.
  `norm="batch"` is batch norm: training uses the statistics of the minibatch and updates the running statistics in
  `batch_stats` with momentum 0.9. The running variance uses the biased batch variance (divided by n); PyTorch's is
  divided by n - 1. All else equals PyTorch's batch norm.

  Raises:
    ValueError: `norm` is unknown, or the image is too small.

  Source: He, Zhang, Ren & Sun (2016), table 1, with the usual stem for CIFAR; Wu & He (2018) for group norm.
  """

  num_classes: int = 10
  dropout_rate: float = 0.0  # dropout of the features before the dense layer
  norm: str = "group"
  width: int = 64
  lowering: convolution.Lowering = "auto"  # how convolutions are computed (see `layers.Conv`); "auto": by platform and
  #   pass
  head = "Dense_0"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    if self.norm not in NORMS:
      raise ValueError(f"norm={self.norm!r} is unknown: choose one of {', '.join(NORMS)}")
    if x.ndim == 4 and min(x.shape[1:3]) < 16:  # layers.Conv refuses other ranks
      raise ValueError(f"ResNet18 takes images of 16 x 16 or more, not {x.shape[1]} x {x.shape[2]}")
    norm, lowering = self.norm, self.lowering
    x = nn.relu(_convolve_and_norm(x, self.width, 3, norm=norm, lowering=lowering, train=train))
    for stage in range(4):
      for strides in (1 if stage == 0 else 2, 1):
        x = BasicBlock(self.width * 2**stage, strides, norm, lowering)(x, train=train)
    x = layers.Dropout(self.dropout_rate, deterministic=not train)(x.mean(axis=(1, 2)))
    init = layers.uniform_within(x.shape[-1] ** -0.5)
    return nn.Dense(self.num_classes, kernel_init=init, bias_init=init)(x)
