"""The side of `--suite=heads` that is this project's: all runs of all strategies as one compiled program."""

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from experiments.benchmarks.heads_plan import Data
from experiments.benchmarks.heads_plan import Plan
from experiments.common.errors import UsageError


def ours(data: Data, plan: Plan, seeds: int, strategies: Sequence[str]) -> Callable[[], dict[str, np.ndarray]]:
  """Compiles the runs of seeds 0 to `seeds` - 1, which start from `data.initial[:seeds]`.

  Returns:
    A function that runs the program once and waits for its end: `[seeds, rounds + 1]` test accuracies by strategy.

  Raises:
    UsageError: always; packed runs of a linear head are not built yet.
  """
  raise UsageError("--sides=jax is not built yet: give the others, --sides=sklearn,torch,loader")
