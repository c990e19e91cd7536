"""The residual network, compared with PyTorch's."""

import functools
import json
import pathlib

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.models import NETWORKS
from al_jax.models.resnet import ResNet18
from tests.support.formula import by_formula
from tests.support.formula import filled

pytestmark = pytest.mark.usefixtures("fast_compilation")

TORCH = json.loads((pathlib.Path(__file__).parent / "resnet18_torch.json").read_text())


def shapes(shape, **changes):
  """Shapes of the variables for a batch of images. Computes nothing."""
  return jax.eval_shape(ResNet18(**changes).init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.parametrize("norm", [pytest.param("group", marks=pytest.mark.slow), "batch"])
def test_outputs_are_those_of_pytorch(norm):
  """Images have an odd size, which the strides do not divide."""
  model, expected = ResNet18(norm=norm), TORCH[norm]
  x = by_formula(0, (2, 17, 19, 3), 1.0)
  variables = filled(shapes(x.shape, norm=norm))
  # The tolerance is far below the difference between any two classes or images.
  assert np.unique(np.round(expected["eval"], 4)).size == 20
  np.testing.assert_allclose(jax.jit(model.apply)(variables, x), expected["eval"], rtol=0, atol=3e-5)
  train = jax.jit(functools.partial(model.apply, train=True, mutable=["batch_stats"]))
  logits, updated = train(variables, x)
  np.testing.assert_allclose(logits, expected["train"], rtol=0, atol=3e-5)
  assert ("batch_stats" in updated) == (norm == "batch")
  for path, statistics in expected.get("statistics", {}).items():
    before, after = (traverse_util.flatten_dict(tree["batch_stats"], sep="/") for tree in (variables, updated))
    np.testing.assert_allclose(after[f"{path}/mean"][:3], statistics["mean"], rtol=0, atol=1e-5)
    # PyTorch's running variance is divided by n - 1.
    kept, places = 0.9 * before[f"{path}/var"], statistics["places"]
    population = kept + (after[f"{path}/var"] - kept) * places / (places - 1)
    np.testing.assert_allclose(population[:3], statistics["var"], rtol=1e-5)


def count(tree) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_size(norm):
  variables = shapes((2, 32, 32, 3), norm=norm)
  assert count(variables["params"]) == 11_173_962
  assert count(variables.get("batch_stats", {})) == (9_600 if norm == "batch" else 0)
  assert variables["params"]["Dense_0"]["kernel"].shape == (512, 10)
  assert NETWORKS["resnet18"](num_classes=10, norm=norm) == ResNet18(norm=norm)


def test_images_of_other_sizes_and_channels():
  for size, channels in [((16, 16), 1), ((17, 19), 4), ((28, 64), 3)]:
    model = ResNet18(num_classes=7, width=8)
    x = jax.ShapeDtypeStruct((3, *size, channels), jnp.float32)
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert logits.shape == (3, 7)
    assert variables["params"]["Conv_0"]["kernel"].shape == (3, 3, channels, 8)


@pytest.mark.slow
def test_initialised_as_torchvision_and_pytorch_do():
  variables = jax.jit(ResNet18(width=16, norm="batch").init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
  for path, values in traverse_util.flatten_dict(variables["params"], sep="/").items():
    if "Conv" in path:
      kh, kw, _, features = values.shape
      # A normal variable's variance has the relative standard error sqrt(2 / n).
      np.testing.assert_allclose(np.var(values) * kh * kw * features / 2, 1, rtol=5 * np.sqrt(2 / values.size))
    elif "Dense" in path:
      assert np.abs(values).max() <= 128**-0.5 and np.unique(values).size == values.size
    else:
      assert (values == (1 if path.endswith("scale") else 0)).all()


@pytest.mark.slow
def test_dropout_is_of_single_features():
  x = jnp.array(np.random.default_rng(0).normal(size=(3, 16, 16, 1)), jnp.float32)
  variables = filled(shapes(x.shape, width=8))

  @jax.jit
  def logits(variables, rate):
    dropped = functools.partial(ResNet18(width=8, dropout_rate=rate).apply, train=True)
    return dropped(variables, x, rngs={"dropout": jax.random.key(1)})

  jax.eval_shape(functools.partial(ResNet18(width=8).apply, train=True), variables, x)  # draws nothing, needs no key
  # With the identity in place of the dense layer, outputs show which features are dropped.
  variables["params"]["Dense_0"] = {"kernel": jnp.eye(64, 10), "bias": jnp.zeros(10)}
  features, dropped = np.asarray(logits(variables, 0.0)), np.asarray(logits(variables, 0.5))
  np.testing.assert_allclose(features, jax.jit(ResNet18(width=8).apply)(variables, x), rtol=1e-4, atol=1e-5)
  assert (features > 0).all() and (dropped == 0).any() and len(np.unique(dropped == 0, axis=0)) > 1
  np.testing.assert_allclose(dropped[dropped != 0], 2 * features[dropped != 0], rtol=1e-5)


def test_an_unknown_norm_and_too_small_an_image_are_refused():
  with pytest.raises(ValueError, match=r"^norm='layer' is unknown: choose one of group, batch\n"):
    shapes((1, 16, 16, 3), norm="layer")
  with pytest.raises(ValueError, match=r"^ResNet18 takes images of 16 x 16 or more, not 15 x 40\n"):
    shapes((1, 15, 40, 3))
