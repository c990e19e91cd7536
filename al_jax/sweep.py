"""A whole ablation as one compiled program: every strategy on every key, all rounds."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.sharding import PartitionSpec

from al_jax import checks
from al_jax import door
from al_jax import loop
from al_jax import states
from al_jax import types
from al_jax.learner import Learner


class Runs(NamedTuple):
  """K runs of one strategy."""

  initial: jax.Array  # `[K, init_labels]` int32: ids of the initial sets
  info: types.RoundInfo  # arrays of `[K, rounds + 1, ...]`


PACKS = {"map": lax.map, "vmap": lambda f, xs: jax.vmap(f)(xs)}

Recipes = tuple[Learner | Callable[[types.PyTree], Learner], ...]


@functools.partial(jax.jit, static_argnames=("learners", "pack", "mesh"))
def sweep_program(
  keys: jax.Array,
  data: types.Dataset,
  learners: Recipes,
  *,
  pack: str,
  points: types.PyTree = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[Runs, ...]:
  """`sweep` itself, for a driver that lowers and compiles it; checks what a program can."""
  if pack not in PACKS:
    raise ValueError(f"unknown packing {pack!r}; choose from {', '.join(PACKS)}")
  checks.check_packing(keys, pack)

  def every_strategy(key: jax.Array, point: types.PyTree, data: types.Dataset) -> tuple[Runs, ...]:
    out = []
    for learner in learners:
      made = learner if isinstance(learner, Learner) else learner(point)
      checks.check_learner(made, data)
      checks.check_key(key, data, made.trainer, made)
      first, _, info = loop.whole_run(key, data, made)
      out.append(Runs(states.initial_ids(first, made.plan), info))
    return tuple(out)

  def all_runs(keys: jax.Array, points: types.PyTree, data: types.Dataset) -> tuple[Runs, ...]:
    return PACKS[pack](lambda packed: every_strategy(packed[0], packed[1], data), (keys, points))

  if mesh is not None:
    split, same = PartitionSpec(mesh.axis_names), PartitionSpec()
    all_runs = jax.shard_map(all_runs, mesh=mesh, in_specs=(split, split, same), out_specs=split, check_vma=False)
  return all_runs(keys, points, data)


def _made(recipe: Callable[[types.PyTree], Learner], points: types.PyTree) -> Learner:
  """What is made of a point, whose numbers are traced."""
  made = []
  if not callable(recipe):
    raise ValueError(f"a sweep takes learners, and functions of a point that make one, not {type(recipe).__name__}")
  jax.eval_shape(lambda points: made.append(recipe(jax.tree.map(lambda leaf: leaf[0], points))), points)
  if not isinstance(made[0], Learner):
    raise ValueError(f"a function of a point returns {type(made[0]).__name__}, and a Learner is due")
  return made[0]


def sweep(
  keys: jax.Array,
  data: types.Dataset,
  learners: Recipes,
  *,
  pack: str,
  points: types.PyTree = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[Runs, ...]:
  """A whole ablation as one compiled program: every strategy on every key, all rounds.

  Strategies are unrolled, because each is another computation; keys share one. Nothing is read from the host and
  nothing returned to it before the end; the pool is held once.

  Args:
    keys: `[K]` base keys, one a seed.
    data: the pool, its oracle and the test set, shared by all runs.
    learners: one a strategy; or, with `points`, functions of a point that return one.
    pack: `"map"` runs one key after another and gives each run's ids bit for bit as `run` does, on CPU. `"vmap"` runs
      all at once, as accelerators like it: draws are the same bit for bit, but sums may be taken in another order.
    points: hyper-parameters that the learners' numbers depend on (learning rate, dropout rate, coldness); arrays of
      `[K, ...]`, one point a key. A function must be hashable, and equal where its learners are.
    mesh: devices of one axis that the keys are split over, each working on its own; K is a multiple of their number.
      None is the one device that the data lie on.

  Returns:
    `Runs` for each strategy.

  Raises:
    ValueError: a run cannot be carried out on this pool (see `checks`), or `pack` is unknown.
  """
  if isinstance(learners, Learner) or not learners:
    raise ValueError("a sweep takes a tuple of learners, one or more")
  checks.check_keys(keys, points, 1 if mesh is None else mesh.size)
  door.check_shapes(data)
  for learner in learners:
    made = learner if isinstance(learner, Learner) else _made(learner, points)
    if isinstance(learner, Learner):
      checks.check_learner(made, data)
    # Values cannot be seen in a program.
    checks.check_values(data, made.plan, targets=made.acquisition.needs.targets)
  return sweep_program(keys, data, tuple(learners), pack=pack, points=points, mesh=mesh)
