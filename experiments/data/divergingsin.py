"""DivergingSin: two noisy sine curves that move apart, as in CDALBench."""

import numpy as np

from al_jax.types import Dataset
from experiments.data import toys


def load() -> Dataset:
  """Draws 1,000 points along each of two curves, in a fixed split of 1,600 and 400.

  At x from 0 to 10, class 1 is around `sin(2x) + x / 2` and class 0 around `sin(2x) - x / 2`, with Gaussian noise of
  standard deviation 0.3.

  Returns:
    Points `[1600, 2]` and `[400, 2]` float32, scaled to 0..1 by the pool's minima and maxima, labels int32, 2 classes.

  References:
    T. Werner, J. Burchert, M. Stubbemann, L. Schmidt-Thieme, A Cross-Domain Benchmark for Active Learning (NeurIPS
    2024).
  """
  rng = np.random.default_rng(0)
  x = np.linspace(0, 10, 1000)
  curves = [np.sin(2 * x) + slope * x + 0.3 * rng.standard_normal(1000) for slope in (0.5, -0.5)]
  return toys.split(rng, np.stack([np.tile(x, 2), np.concatenate(curves)], axis=1), np.repeat([1, 0], 1000))
