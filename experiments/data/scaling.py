"""Numbers brought to one scale, fitted on the pool."""

import math

import numpy as np

from experiments.data.errors import DataError

KINDS = ("standard", "minmax", "none")


def divisor(scale: str | None) -> float | None:
  """The number that `--scale` is, or None where it is a kind of scaling or not given.

  Raises:
    DataError: it is neither.
  """
  if scale is None or scale in KINDS:
    return None
  try:
    number = float(scale)
  except ValueError:
    number = math.nan
  if not number > 0 or math.isinf(number):
    raise DataError(f"--scale={scale} must be {', '.join(KINDS)}, or what values are divided by, such as 65535.")
  return number


def scaled(x: np.ndarray, x_test: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray, str]:
  """Floats `[P, ...]` and `[T, ...]` on the scale that the pool gives each column, and what was done, in words.

  Columns that do not vary in the pool become 0.
  """
  number = divisor(scale)
  if number is not None:
    return x / x.dtype.type(number), x_test / x.dtype.type(number), f"divided by {number:g}"
  if scale == "none":
    return x, x_test, "as they are"
  of_pool = x.astype(np.float64)
  if scale == "standard":
    middle, width, words = of_pool.mean(axis=0), of_pool.std(axis=0), "by the pool's means and deviations"
  else:
    middle, width, words = of_pool.min(axis=0), np.ptp(of_pool, axis=0), "between the pool's least and most"
  apply = lambda values: ((values - middle) / np.where(width > 0, width, 1)).astype(np.float32)
  return apply(x), apply(x_test), f"scaled {words}"
