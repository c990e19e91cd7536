"""Runs an ablation as one compiled program: all rounds of every strategy on every key."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from al_jax import checks
from al_jax import door
from al_jax import lockstep
from al_jax import types
from al_jax.learner import Learner
from al_jax.lockstep import PACKS as PACKS
from al_jax.lockstep import Runs as Runs

Learners = tuple[Learner, ...] | Callable[[types.PyTree], tuple[Learner, ...]]


def _check_keys(keys: jax.Array, points: types.PyTree, devices: int) -> None:
  """Raises ValueError unless there are `[K]` typed keys, K points (if any), and K is a multiple of `devices`."""
  if not jnp.issubdtype(getattr(keys, "dtype", jnp.int32), jax.dtypes.prng_key) or len(keys.shape) != 1:
    raise ValueError("keys must be an array of typed keys, such as jax.random.split(jax.random.key(seed), 5) for five")
  for leaf in jax.tree.leaves(points):
    if jnp.shape(leaf)[:1] != keys.shape:
      raise ValueError(f"points of shape {jnp.shape(leaf)} do not match {keys.shape[0]} keys: give one point per key")
  if keys.shape[0] % devices or not keys.shape[0]:
    raise ValueError(f"{keys.shape[0]} keys cannot be split evenly over {devices} devices: give a positive multiple")


def check_packing(key: jax.Array, pack: str) -> None:
  """Raises ValueError if keys of this kind would make packed runs draw differently from single runs."""
  if set(PACKS[pack]) != {1} and str(jax.random.key_impl(key)) == "rbg":
    raise ValueError(f"with keys of rbg, runs packed by {pack} would share their draws: use pack='map' or threefry2x32")


@functools.partial(jax.jit, static_argnames=("learners", "pack", "mesh"))
def sweep_program(
  keys: jax.Array,
  data: types.Dataset,
  learners: Learners,
  *,
  pack: str,
  points: types.PyTree = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[Runs, ...]:
  """`sweep` without the checks of array values, for drivers that lower and compile it themselves."""
  if pack not in PACKS:
    raise ValueError(f"unknown packing {pack!r}: choose from {', '.join(PACKS)}")
  check_packing(keys, pack)
  make = learners if callable(learners) else lambda point: learners

  def all_runs(keys: jax.Array, points: types.PyTree, data: types.Dataset) -> tuple[Runs, ...]:
    return lockstep.run_all(keys, points, data, make, PACKS[pack])

  if mesh is not None:
    split, same = PartitionSpec(mesh.axis_names), PartitionSpec()
    all_runs = jax.shard_map(all_runs, mesh=mesh, in_specs=(split, split, same), out_specs=split, check_vma=False)
  return all_runs(keys, points, data)


def _made(make: Callable, points: types.PyTree) -> tuple[Learner, ...]:
  """The learners that `make` returns for one point, with traced numbers."""
  made = []
  jax.eval_shape(lambda points: made.append(make(jax.tree.map(lambda leaf: leaf[0], points))), points)
  return made[0]


def sweep(
  keys: jax.Array,
  data: types.Dataset,
  learners: Learners,
  *,
  pack: str,
  points: types.PyTree = None,
  mesh: jax.sharding.Mesh | None = None,
) -> tuple[Runs, ...]:
  """Runs an ablation as one compiled program: all rounds of every strategy on every key.

  All runs advance round by round. Strategies with the same trainer share the code of training and evaluation, and the
  strategies of a key share round 0's training. There are no host transfers before the end, and the pool is stored once.

  Args:
    keys: `[K]` base keys, one per seed.
    data: the pool, its labels and the test set, shared by all runs.
    learners: one learner per strategy; with `points`, also a function that maps a point to such a tuple: with
      `points={"rate": rates}` it gets `{"rate": rate}`, a traced number.
    pack: `"map"` computes one run after another; on CPU, ids are bitwise those of `run`. `"vmap"` computes all keys of
      a strategy at once, which suits accelerators; random draws are bitwise the same, but the order of sums may differ.
      `"heads"`, for small models on frozen features on a CPU, trains one after another and scores ten at once.
    points: hyper-parameters of the learners (learning rate, dropout rate, coldness) as arrays `[K, ...]`, one point
      per key. A function `learners` must be hashable; two that compare unequal are compiled separately.
    mesh: device mesh over which the keys are split; K must be a multiple of its size. Devices do not communicate.
      None: the device of the data.

  Returns:
    A tuple with the `Runs` of each strategy.

  Raises:
    ValueError: a learner cannot run on this pool, `pack` is unknown, or `keys` and `points` do not fit.
  """
  if isinstance(learners, Learner) or not learners:
    raise ValueError("a sweep takes a tuple of one or more learners")
  _check_keys(keys, points, 1 if mesh is None else mesh.size)
  door.check_shapes(data)
  made = _made(learners, points) if callable(learners) else tuple(learners)
  which = "a function that returns a tuple of learners" if callable(learners) else "a tuple of learners"
  if type(made) is not tuple or not made:  # a Learner is a tuple, too
    raise ValueError(f"a sweep takes {which}, not {checks.describe(made) if made else 'an empty one'}")
  for part in made:
    if not isinstance(part, Learner):
      raise ValueError(f"a sweep takes {which}, and this one holds {checks.describe(part)}")
  for learner in made:
    if not callable(learners):
      checks.check_learner(learner, data)
    # Traced values cannot be checked.
    checks.check_values(data, learner.plan, targets=learner.acquisition.needs.targets)
  return sweep_program(keys, data, learners if callable(learners) else made, pack=pack, points=points, mesh=mesh)
