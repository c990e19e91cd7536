"""ThreeClust: a linear problem with a cluster in which labels are noise, as in CDALBench."""

import numpy as np

from al_jax.types import Dataset
from experiments.data import toys


def load() -> Dataset:
  """Draws 600 points in the plane, 150 from each of four unit Gaussians, in a fixed split of 480 and 120.

  Class 1 is around (0, 0) and (4, 3), class 0 around (0, 6) and (4, 3): in the cluster at (4, 3), which two Gaussians
  share, labels are noise.

  Returns:
    Points `[480, 2]` and `[120, 2]` float32, scaled to 0..1 by the pool's minima and maxima, labels int32, 2 classes.

  References:
    T. Werner, J. Burchert, M. Stubbemann, L. Schmidt-Thieme, A Cross-Domain Benchmark for Active Learning (NeurIPS
    2024).
  """
  rng = np.random.default_rng(0)
  centers = np.array([(0, 0), (4, 3), (0, 6), (4, 3)])
  points = (centers[:, None] + rng.standard_normal((4, 150, 2))).reshape(-1, 2)
  return toys.split(rng, points, np.repeat([1, 1, 0, 0], 150))
