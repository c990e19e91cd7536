"""Scales numbers; the scaling is fitted on the pool."""

import math

import numpy as np

from experiments.data.errors import DataError

KINDS = ("standard", "minmax", "none")


def divisor(scale: str | None) -> float | None:
  """`--scale` as a number, or None if it is one of `KINDS` or not given.

  Raises:
    DataError: it is neither one of `KINDS` nor a positive number.
  """
  if scale is None or scale in KINDS:
    return None
  try:
    number = float(scale)
  except ValueError:
    number = math.nan
  if not number > 0 or math.isinf(number):
    raise DataError(f"--scale={scale} must be {', '.join(KINDS)}, or a positive divisor such as 65535.")
  return number


def scaled(x: np.ndarray, x_test: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray, str]:
  """Scales pool `[P, ...]` and test inputs `[T, ...]`, fitted per column on the pool; also returns a description.

  Columns that are constant in the pool are 0 there after scaling.
  """
  number = divisor(scale)
  if number is not None:
    return x / x.dtype.type(number), x_test / x.dtype.type(number), f"divided by {number:g}"
  if scale == "none":
    return x, x_test, "unscaled"
  of_pool = x.astype(np.float64)
  if scale == "standard":
    middle, width, words = of_pool.mean(axis=0), of_pool.std(axis=0), "by the pool's means and standard deviations"
  else:
    middle, width, words = of_pool.min(axis=0), np.ptp(of_pool, axis=0), "by the pool's minima and maxima"
  apply = lambda values: ((values - middle) / np.where(width > 0, width, 1)).astype(np.float32)
  return apply(x), apply(x_test), f"scaled {words}"
