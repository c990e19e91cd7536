"""The side of `--suite=heads` that is this project's: all runs of all strategies as one compiled program."""

from collections.abc import Callable
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np
import optax

from al_jax import acquisition
from al_jax import from_flax
from al_jax import models
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer
from al_jax.lockstep import PACKS
from al_jax.sweep import Runs
from experiments.benchmarks import heads_data
from experiments.benchmarks.heads_plan import ACQ_SIZE
from experiments.benchmarks.heads_plan import PER_CLASS
from experiments.benchmarks.heads_plan import Data
from experiments.benchmarks.heads_plan import Plan
from experiments.config.flags import LINEAR_CHUNK
from experiments.runs import runtime
from experiments.runs import scan_driver

_PACK = "heads"


def ours(data: Data, plan: Plan, seeds: int, strategies: Sequence[str]) -> Callable[[], dict[str, np.ndarray]]:
  """Compiles the runs of seeds 0 to `seeds` - 1, which start from `data.initial[:seeds]`.

  As `experiments.ablation --model=linear` does: as many seeds per program as are scored at once on every device.

  Returns:
    A function that runs the program on all seeds and waits for its end: `[seeds, rounds + 1]` test accuracies by
    strategy.
  """
  runtime.configure("cpu", runtime.cores(), "none")
  init_labels = PER_CLASS * data.num_classes
  training = types.TrainPlan(full_batch=types.FullBatch())
  settings = types.Plan(init_labels, ACQ_SIZE, plan.rounds, training, chunk_size=LINEAR_CHUNK)
  trainer = Trainer(from_flax(models.Linear(data.num_classes)), optax.identity(), settings)
  learners = tuple(Learner(trainer, acquisition.make(name)) for name in strategies)
  mesh = scan_driver.mesh()
  pool = jax.device_put(heads_data.dataset(data), NamedSharding(mesh, PartitionSpec()))
  size = mesh.size * min(PACKS[_PACK].scoring or seeds, -(-seeds // mesh.size))

  def keys_from(start: int) -> jax.Array:
    chosen = jnp.minimum(jnp.arange(start, start + size), seeds - 1)  # the last group repeats the last seed
    keys = jax.vmap(jax.random.key)(chosen.astype(jnp.uint32))
    return jax.device_put(keys, NamedSharding(mesh, PartitionSpec("runs")))

  program = scan_driver.compiled(keys_from(0), pool, learners, pack=_PACK)

  def run() -> dict[str, np.ndarray]:
    parts: list[tuple[Runs, ...]] = []
    for start in range(0, seeds, size):
      parts.append(jax.device_get(program(keys_from(start), pool, points=None)))
    accuracy = lambda i: np.concatenate([part[i].info.metrics.test_accuracy for part in parts])[:seeds]
    return {name: accuracy(i) for i, name in enumerate(strategies)}

  return run
