"""Runs an ablation as one compiled program: all rounds of every strategy on every key."""

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
  info: types.RoundInfo  # arrays `[K, rounds + 1, ...]`


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
  """`sweep` without the checks of array values, for drivers that lower and compile it themselves."""
  if pack not in PACKS:
    raise ValueError(f"unknown packing {pack!r}: choose from {', '.join(PACKS)}")
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
  """The learner that `recipe` returns for one point, with traced numbers."""
  made = []
  if not callable(recipe):
    raise ValueError(f"a sweep takes learners, or functions of a point that return one, not {type(recipe).__name__}")
  jax.eval_shape(lambda points: made.append(recipe(jax.tree.map(lambda leaf: leaf[0], points))), points)
  if not isinstance(made[0], Learner):
    raise ValueError(f"a function of a point must return a Learner, not {type(made[0]).__name__}")
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
  """Runs an ablation as one compiled program: all rounds of every strategy on every key.

  The program contains the code of each strategy once; all keys use the same code. There are no host transfers before
  the end, and the pool is stored once.

  Args:
    keys: `[K]` base keys, one per seed.
    data: the pool, its labels and the test set, shared by all runs.
    learners: one learner per strategy; with `points`, also functions that map a point to a
      learner: with `points={"rate": rates}` they get `{"rate": rate}`, a traced number.
    pack: `"map"` runs the keys one after another; on CPU, ids are bitwise those of `run`. `"vmap"` runs all keys at
      once, which suits accelerators; random draws are bitwise the same, but the order of sums may differ.
    points: hyper-parameters of the learners (learning rate, dropout rate, coldness) as arrays `[K, ...]`, one point
      per key. Functions in `learners` must be hashable; two that compare unequal are compiled separately.
    mesh: device mesh over which the keys are split; K must be a multiple of its size. Devices do not communicate.
      None: the device of the data.

  Returns:
    A tuple with the `Runs` of each strategy.

  Raises:
    ValueError: a learner cannot run on this pool, `pack` is unknown, or `keys` and `points` do not fit.
  """
  if isinstance(learners, Learner) or not learners:
    raise ValueError("a sweep takes a tuple of one or more learners")
  checks.check_keys(keys, points, 1 if mesh is None else mesh.size)
  door.check_shapes(data)
  for learner in learners:
    made = learner if isinstance(learner, Learner) else _made(learner, points)
    if isinstance(learner, Learner):
      checks.check_learner(made, data)
    # Traced values cannot be checked.
    checks.check_values(data, made.plan, targets=made.acquisition.needs.targets)
  return sweep_program(keys, data, tuple(learners), pack=pack, points=points, mesh=mesh)
