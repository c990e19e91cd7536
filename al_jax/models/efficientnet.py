"""EfficientNet-Lite0, a small network for photographs, whose published ImageNet weights give features."""

from typing import NamedTuple

import flax.linen as nn
import jax

from al_jax.models import convolution
from al_jax.models import layers
from al_jax.models.depthwise import DepthwiseConv
from al_jax.models.depthwise import pad_same


class Stage(NamedTuple):
  """Inverted bottlenecks of one output width; the first has the stride, the others have stride 1."""

  blocks: int
  kernel: int
  strides: int
  expansion: int  # channels of the depthwise convolution per input channel
  features: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280


def _norm(name: str, train: bool) -> nn.BatchNorm:
  return nn.BatchNorm(use_running_average=not train, momentum=0.99, epsilon=1e-3, name=name)


def _conv(features: int, size: int, name: str, lowering: convolution.Lowering, strides: int = 1) -> layers.Conv:
  init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
  return layers.Conv(
    features, (size, size), kernel_init=init, lowering=lowering, strides=strides, use_bias=False, name=name
  )


class InvertedBottleneck(nn.Module):
  """Conv 1x1 to `expansion` times the channels, depthwise convolution, Conv 1x1; plus the input if shapes agree.

  Batch norm follows each convolution, and ReLU6 the first two. With `expansion=1` there is no first convolution.
  `[B, H, W, C]` -> `[B, ceil(H / strides), ceil(W / strides), features]`.
  """

  kernel: int
  strides: int
  expansion: int
  features: int
  lowering: convolution.Lowering

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    out = x
    if self.expansion > 1:
      out = _conv(x.shape[-1] * self.expansion, 1, "expand", self.lowering)(out, train=train)
      out = nn.relu6(_norm("expand_norm", train)(out))
    out = DepthwiseConv(self.kernel, self.strides, name="depthwise")(out)
    out = nn.relu6(_norm("depthwise_norm", train)(out))
    out = _conv(self.features, 1, "project", self.lowering)(out, train=train)
    out = _norm("project_norm", train)(out)
    return out + x if self.strides == 1 and x.shape[-1] == self.features else out


class EfficientNetLite0(nn.Module):
  """Conv 3x3, 16 inverted bottlenecks in seven stages, Conv 1x1, mean over positions, dropout, Dense.

  4,652,008 parameters for 3 channels and 1,000 classes, for any image size. Takes `[B, H, W, channels]` floats with
  H, W >= 32 and returns `[B, num_classes]` logits; its features are the 1,280 means. The published weights are for
  224 x 224 images `(x - 127) / 128`, x in 0..255. Batch norm has momentum 0.99 and epsilon 1e-3. Unlike the original's,
  training does not skip blocks at random (stochastic depth). Initialization as there: convolutions normal with variance
  2 / (kh kw outputs), or 2 / (kh kw) if depthwise; the dense kernel uniform within 1 / sqrt(num_classes); biases 0.

  Raises:
    ValueError: the image is too small.

  Source: Tan & Le (2019), table 1; without squeeze-and-excitation and with ReLU6, as in the authors' Lite variant
    (github.com/tensorflow/tpu, models/official/efficientnet/lite).
  """

  num_classes: int = 1000
  dropout_rate: float = 0.2  # dropout of the features before the dense layer
  lowering: convolution.Lowering = "auto"  # how the dense convolutions are computed, as in `layers.Conv`
  head = "Dense_0"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    if x.ndim == 4 and min(x.shape[1:3]) < 32:  # layers.Conv refuses other ranks
      raise ValueError(f"EfficientNetLite0 takes images of 32 x 32 or more, not {x.shape[1]} x {x.shape[2]}")
    stem = _conv(STEM, 3, "stem", self.lowering, strides=2)
    x = stem(pad_same(x, 3, 2) if x.ndim == 4 else x, train=train)
    x = nn.relu6(_norm("stem_norm", train)(x))
    for stage in STAGES:
      for i in range(stage.blocks):
        strides = stage.strides if i == 0 else 1
        block = InvertedBottleneck(stage.kernel, strides, stage.expansion, stage.features, self.lowering)
        x = block(x, train=train)
    x = _conv(HEAD, 1, "top", self.lowering)(x, train=train)
    x = nn.relu6(_norm("top_norm", train)(x)).mean(axis=(1, 2))
    x = layers.Dropout(self.dropout_rate, deterministic=not train)(x)
    init = layers.uniform_within(self.num_classes**-0.5)
    return nn.Dense(self.num_classes, kernel_init=init)(x)
