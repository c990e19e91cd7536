"""EfficientNet-Lite0 and depthwise convolutions, compared with PyTorch's and with NumPy."""

import functools
import json
import pathlib

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import from_flax
from al_jax.models.depthwise import DepthwiseConv
from al_jax.models.depthwise import same_padding
from al_jax.models.efficientnet import EfficientNetLite0
from tests.support.formula import by_formula
from tests.support.formula import filled

pytestmark = pytest.mark.usefixtures("fast_compilation")

TORCH = json.loads((pathlib.Path(__file__).parent / "efficientnet_torch.json").read_text())
IMAGES = (2, 45, 38, 3)  # odd and even sizes at several depths, which the strides pad differently


def shapes(shape, **changes):
  """Shapes of the variables for a batch of images. Computes nothing."""
  return jax.eval_shape(EfficientNetLite0(**changes).init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


def count(tree) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_logits_and_features_are_those_of_pytorch():
  variables = filled(shapes(IMAGES, num_classes=10))
  network = from_flax(EfficientNetLite0(num_classes=10))
  logits, features = jax.jit(functools.partial(network.sample, None))(variables, by_formula(0, IMAGES, 1.0))
  assert features.shape == (2, 1280) and (np.abs(logits[0] - logits[1]) > 1e-3).all()
  np.testing.assert_allclose(logits, TORCH["eval"], rtol=0, atol=3e-5)
  np.testing.assert_allclose(features[:, ::64], TORCH["features"], rtol=0, atol=3e-5)
  np.testing.assert_allclose(network.head(variables, features), logits, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_training_is_that_of_pytorch_and_has_gradients():
  model = EfficientNetLite0(num_classes=10, dropout_rate=0.0)
  variables, x = filled(shapes(IMAGES, num_classes=10)), by_formula(0, IMAGES, 1.0)
  logits, updated = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))(variables, x)
  np.testing.assert_allclose(logits, TORCH["train"], rtol=0, atol=3e-4)
  kept = TORCH["statistics"]["top_norm"]
  before, after = variables["batch_stats"]["top_norm"], updated["batch_stats"]["top_norm"]
  np.testing.assert_allclose(after["mean"][:3], kept["mean"], rtol=0, atol=1e-5)
  # PyTorch's running variance is divided by n - 1.
  old, places = 0.99 * before["var"], kept["places"]
  np.testing.assert_allclose((old + (after["var"] - old) * places / (places - 1))[:3], kept["var"], rtol=1e-5)
  loss = lambda params: model.apply(variables | {"params": params}, x).sum()
  gradients = jax.jit(jax.grad(loss))(variables["params"])
  assert all((np.abs(leaf) > 0).any() for leaf in jax.tree.leaves(gradients))


def test_size():
  variables = shapes((1, 224, 224, 3))
  assert count(variables["params"]) == 4_652_008  # torchvision and timm count the same
  assert count(variables["batch_stats"]) == 42_016
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  assert len([path for path in flat if path.endswith("depthwise/kernel")]) == 16
  with pytest.raises(ValueError, match=r"^EfficientNetLite0 takes images of 32 x 32 or more, not 31 x 40\n"):
    shapes((1, 31, 40, 3))


def naive(x, kernel, strides):
  """The definition, in float64: every output is a sum over one window of one channel."""
  size, (_, height, width, _) = len(kernel), x.shape
  rows, columns = -(-height // strides), -(-width // strides)
  above, left = (max((n - 1) * strides + size - m, 0) // 2 for n, m in ((rows, height), (columns, width)))
  out = np.zeros((len(x), rows, columns, x.shape[-1]))
  for r, c, i, j in np.ndindex(rows, columns, size, size):
    row, column = r * strides + i - above, c * strides + j - left
    if 0 <= row < height and 0 <= column < width:
      out[:, r, c] += x[:, row, column].astype(float) * kernel[i, j]
  return out


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_depthwise_convolution_is_its_definition_however_it_is_lowered(size, strides):
  x = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype(np.float32)
  made = {low: DepthwiseConv(size, strides, low) for low in ("auto", "conv", "shifts")}
  variables = made["auto"].init(jax.random.key(0), x)
  expected = naive(x, np.asarray(variables["params"]["kernel"]), strides)
  weights = np.random.default_rng(1).normal(size=expected.shape)
  gradients = []
  for module in made.values():
    out = module.apply(variables, x)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
    gradients.append(jax.grad(lambda v, module=module: (module.apply(v, x) * weights).sum())(variables))
  for other in gradients[1:]:
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), gradients[0], other)


def test_an_odd_zero_of_padding_comes_last():
  assert same_padding(224, 3, 2) == (0, 1) and same_padding(112, 5, 2) == (1, 2)
  assert same_padding(7, 3, 2) == (1, 1) and same_padding(7, 5, 1) == (2, 2) and same_padding(1, 1, 2) == (0, 0)
