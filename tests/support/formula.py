"""Arrays by a formula that PyTorch's outputs in the tests' JSON files were computed from."""

from flax import traverse_util
import numpy as np


def by_formula(i: int, shape, scale: float, shift: float = 0.0) -> np.ndarray:
  """The i-th array, by the formula in the file of PyTorch's outputs."""
  n = np.arange(np.prod(shape), dtype=np.float64)
  values = shift + scale * np.sin(i + 0.7 * n + 0.001 * n * np.sqrt(n))
  return values.reshape(shape).astype(np.float32)


def filled(variables):
  """Variables of these shapes with values by the formula."""
  flat = traverse_util.flatten_dict(variables, sep="/")
  for i, path in enumerate(sorted(flat)):
    shape = flat[path].shape
    if path.endswith("kernel"):
      flat[path] = by_formula(i, shape, np.sqrt(3 / np.prod(shape[:-1])))
    else:
      flat[path] = by_formula(i, shape, *((0.5, 1.0) if path.endswith(("scale", "var")) else (0.3,)))
  return traverse_util.unflatten_dict(flat, sep="/")
