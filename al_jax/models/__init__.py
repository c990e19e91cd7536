"""Linen modules for `al_jax.from_flax`. Any other module called as `module(inputs, train=bool)` can be used, too."""

from al_jax.models.batchbald import BatchBALDNet
from al_jax.models.cnn import CNN
from al_jax.models.efficientnet import EfficientNetLite0
from al_jax.models.gal import GalNet
from al_jax.models.linear import Linear
from al_jax.models.mlp import MLP
from al_jax.models.resnet import ResNet18
from al_jax.models.transformer import Transformer
from al_jax.models.vgg import VGG16

__all__ = (
  "CNN",
  "MLP",
  "NETWORKS",
  "VGG16",
  "BatchBALDNet",
  "EfficientNetLite0",
  "GalNet",
  "Linear",
  "ResNet18",
  "Transformer",
)

# The classes of the networks by name. EfficientNetLite0 is not among them: trained on a few small images from random
# weights it is not a choice that anybody makes, and its published weights are for features.
NETWORKS = {
  "cnn": CNN,
  "batchbald": BatchBALDNet,
  "gal": GalNet,
  "mlp": MLP,
  "linear": Linear,
  "resnet18": ResNet18,
  "vgg16": VGG16,
  "transformer": Transformer,
}
TOKENS = ("transformer",)  # these take rows of tokens; the others take floats
