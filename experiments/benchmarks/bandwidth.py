"""The machine's memory bandwidth, measured with NumPy."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import time
from typing import NamedTuple

import numpy as np

BYTES = 2**28  # of an array far larger than the caches


class Bandwidth(NamedTuple):
  """Bytes per second, the best of the repeats."""

  read: float  # of the array, by `np.max`
  copy: float  # read and written, by `np.copyto` into memory that was written before


def measure(threads: int, repeats: int, num_bytes: int) -> Bandwidth:
  """Measures `threads` threads that work at once on equal shares of a float32 array of `num_bytes` bytes."""
  source = np.ones(num_bytes // 4, np.float32)
  target = np.zeros_like(source)
  target.fill(2)  # touches every page
  shares = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
  with ThreadPoolExecutor(threads) as pool:

    def best(work: Callable[[tuple[np.ndarray, np.ndarray]], object]) -> float:
      seconds = []
      for _ in range(repeats):
        start = time.perf_counter()
        list(pool.map(work, shares))
        seconds.append(time.perf_counter() - start)
      return source.nbytes / min(seconds)

    return Bandwidth(best(lambda share: share[0].max()), 2 * best(lambda share: np.copyto(share[1], share[0])))
