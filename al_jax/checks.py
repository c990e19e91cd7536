"""Whether a run can be carried out: every mistake is refused in one sentence before anything compiles."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import door
from al_jax import inputs
from al_jax import network as networks
from al_jax import posterior as posteriors
from al_jax import splits
from al_jax import states
from al_jax import types
from al_jax import views
from al_jax.learner import Learner
from al_jax.learner import Trainer
from al_jax.plan_checks import check as check
from al_jax.plan_checks import check_initial as check_initial
from al_jax.plan_checks import check_initial_available
from al_jax.plan_checks import hashed
from al_jax.plan_checks import said
from al_jax.plan_checks import share
from al_jax.plan_checks import whole


def check_trainer(trainer: Trainer, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a trainer whose parts do not fit together or not this pool."""
  door.check_shapes(data)
  _once(_check_trainer, trainer, data)


def _once(check: Callable, checked: Any, data: types.Dataset) -> None:
  """A check that reads no value of the data: carried out once for the same parts and the same shapes."""
  leaves, tree = jax.tree.flatten(data)
  try:
    shapes = tuple(jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype) for leaf in leaves)
    _passed(check, checked, tree, shapes)
  except _Unhashable:
    check(checked, jax.tree.unflatten(tree, shapes))


class _Unhashable(Exception):
  """A part that has no hash, such as a traced number."""


def _passed(check: Callable, checked: Any, tree: Any, shapes: tuple) -> None:
  try:
    hash((checked, tree))
  except TypeError as error:
    raise _Unhashable from error
  _cached(check, checked, tree, shapes)


@functools.lru_cache(maxsize=128)
def _cached(check: Callable, checked: Any, tree: Any, shapes: tuple) -> None:
  check(checked, jax.tree.unflatten(tree, shapes))


def _check_trainer(trainer: Trainer, data: types.Dataset) -> None:
  if not isinstance(trainer, Trainer):
    raise ValueError(f"a learner takes a Trainer, not {said(trainer)}: Trainer(network, optimizer, plan)")
  if not isinstance(trainer.network, types.Network):
    given = said(trainer.network)
    raise ValueError(f"a trainer takes a Network, not {given}: al_jax.from_flax(module) makes one of a Flax module")
  if not isinstance(trainer.optimizer, optax.GradientTransformation):
    raise ValueError(f"a trainer takes an optax optimizer, not {said(trainer.optimizer)}: optax.adam(1e-3), say")
  if not isinstance(trainer.plan, types.Plan):
    raise ValueError(f"a trainer takes a Plan, not {said(trainer.plan)}")
  if not isinstance(trainer.eval_posterior, types.Posterior):
    given = said(trainer.eval_posterior)
    raise ValueError(f"eval_posterior is no Posterior but {given}: al_jax.posterior.mc_dropout(20), say")
  check(trainer.plan, data)
  whole("members", trainer.members, least=1)
  if not isinstance(trainer.label_noise, jax.Array):
    share("label_noise", trainer.label_noise, "probability")
  if trainer.eval_posterior.members not in (1, trainer.members):
    raise ValueError(
      f"an ensemble of {trainer.eval_posterior.members} can be evaluated only where as many networks are trained:"
      f" the trainer has members={trainer.members}"
    )
  check_network(trainer, data)


def check_network(trainer: Trainer, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a network that cannot take these inputs or give these classes."""
  network, train, key = trainer.network, trainer.plan.train, jax.eval_shape(jax.random.key, 0)
  name, classes, size = network.name, data.num_classes, 2
  optimizer = optax.with_extra_args_support(trainer.optimizer)
  weights = None if train.steps else jax.ShapeDtypeStruct((size,), jnp.float32)
  as_batch = lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)

  def train_on(key, variables, batch, weights):
    if train.augment is not None:
      before, batch = batch, train.augment(key, batch)
      shapes = [[(x.shape, x.dtype) for x in jax.tree.leaves(tree)] for tree in (before, batch)]
      if shapes[0] != shapes[1]:
        raise ValueError(f"augment makes {shapes[1]} of {shapes[0]}")
    return pair_of("apply", "variables", network.apply(variables, batch, key=key, weights=weights))

  def pair_of(part, second, out):
    if not isinstance(out, tuple) or len(out) != 2:
      raise ValueError(f"its {part} returns no pair of logits and {second}")
    return out

  def update(params):
    return optimizer.update(params, optimizer.init(params), params, num_labels=jnp.int32(1), progress=jnp.float32(0))[0]

  try:
    example = jax.eval_shape(inputs.example, data)
    if any(x.shape[:1] != (1,) for x in jax.tree.leaves(example)):
      raise ValueError(f"prepare makes {[x.shape for x in jax.tree.leaves(example)]} of one row")
    if data.noise and not jnp.issubdtype(jax.tree.leaves(example)[0].dtype, jnp.floating):
      raise ValueError(f"noise is for floats, and they enter the network as {jax.tree.leaves(example)[0].dtype}")
    batch = jax.tree.map(as_batch, example)
    variables = networks.abstract(network, example)
    if not isinstance(variables, dict) or "params" not in variables:
      raise ValueError('its init returns no dict with "params"')
    logits = {"sample": pair_of("sample", "features", jax.eval_shape(network.sample, None, variables, batch))[0]}
    logits["apply"], after = jax.eval_shape(train_on, key, variables, batch, weights)
    differ = networks.samples_differ(network, example)
  except Exception as error:  # a network, or an augmentation, may raise anything
    raise ValueError(f"{name} cannot take {door.described(data.inputs)}: {_first_line(error)}") from error
  for part, given in logits.items():
    if given.shape != (size, classes):
      raise ValueError(
        f"{name} gives logits of shape {given.shape} for a batch of {size} ({part}), and there are {classes} classes:"
        f" it must give [{size}, {classes}]"
      )
    if not jnp.issubdtype(given.dtype, jnp.floating):
      raise ValueError(f"{name} gives logits of {given.dtype} ({part}): give floats, before the softmax")
  if not isinstance(after, dict):
    raise ValueError(f"apply of {name} returns {said(after)} in place of the dict of variables")
  kept = lambda tree: {name: of for name, of in tree.items() if name != "params"}
  check_alike(f"variables that apply of {name} returns", kept(after), kept(variables))
  try:
    updates = jax.eval_shape(update, variables["params"])
  except Exception as error:  # so may an optimizer
    raise ValueError(f"the optimizer cannot update the parameters of {name}: {_first_line(error)}") from error
  check_alike("updates of the optimizer", updates, variables["params"])
  check_drops(trainer, differ, train.early_stop is not None and train.early_stop.samples > 1)
  check_drops(trainer, differ, trainer.eval_posterior.drops)
  check_head(trainer, trainer.eval_posterior, data)


def _shown(network: types.Network, data: types.Dataset) -> tuple[types.PyTree, jax.Array, jax.Array]:
  """Shapes of a network's variables, and of its logits and features of one row. Raises ValueError without features."""
  example = jax.eval_shape(inputs.example, data)
  variables = networks.abstract(network, example)
  logits, features = jax.eval_shape(network.sample, None, variables, example)
  return variables, logits, posteriors.features_of(network, features)


def check_head(trainer: Trainer, posterior: types.Posterior, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, where a posterior reads a head that the network has not."""
  if not posterior.needs_head:
    return
  network, way = trainer.network, "al_jax.from_flax(module, head='Dense_1') names the layer that gives the logits"
  if network.head is None:
    raise ValueError(f"{network.name} has no head, which a {posterior.name} posterior reads: {way}")
  variables, logits, features = _shown(network, data)
  try:
    shape = jax.eval_shape(network.head, variables, features).shape
  except Exception as error:
    raise ValueError(f"the head of {network.name} does not work ({_first_line(error)}): {way}") from error
  if shape != logits.shape:
    raise ValueError(f"the head of {network.name} gives {shape} of features {features.shape}: {way}")


def check_drops(trainer: Trainer, differ: bool, wanted: bool) -> None:
  """Raises ValueError, in one sentence, where samples of MC dropout are wanted and would all agree."""
  if wanted and not differ:
    raise ValueError(
      f"MC dropout needs a network with dropout, and {trainer.network.name} drops nothing: its samples would all agree"
    )


def _first_line(error: Exception) -> str:
  return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def check_learner(learner: Learner, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a learner whose parts do not fit together or not this pool."""
  if not isinstance(learner, Learner):
    raise ValueError(f"a run takes a Learner, not {said(learner)}: Learner(trainer, acquisition)")
  check_trainer(learner.trainer, data)
  _once(_check_learner, learner, data)


def _check_learner(learner: Learner, data: types.Dataset) -> None:
  trainer, acquisition, posterior = learner.trainer, learner.acquisition, learner.posterior
  if not isinstance(acquisition, types.Acquisition):
    given = said(acquisition)
    raise ValueError(f"a learner takes an Acquisition, not {given}: al_jax.acquisition.margin(), with its brackets")
  if not isinstance(posterior, types.Posterior):
    raise ValueError(f"a learner's posterior is no Posterior but {said(posterior)}: al_jax.posterior.mc_dropout(20)")
  needs = acquisition.needs
  if not isinstance(needs, types.Needs):
    raise ValueError(f"an acquisition's needs are {said(needs)}: give types.Needs(samples=1), say")
  if posterior.members not in (1, trainer.members):
    raise ValueError(
      f"the posterior is an ensemble of {posterior.members}, but the trainer has members={trainer.members}: give both"
      " the same number"
    )
  if needs.samples > posterior.samples:
    raise ValueError(
      f"this acquisition compares posterior samples, {needs.samples} or more, and has {posterior.samples}: choose a"
      " dropout or ensemble posterior of so many"
    )
  if needs.joint and not posterior.joint:
    raise ValueError(
      "this acquisition compares predictions of several rows under one sample, which per-example dropout masks do"
      " not give: choose consistent ones"
    )
  if needs.targets > data.pool_size:
    raise ValueError(f"{needs.targets} targets are more than the pool's {data.pool_size} rows")
  check_head(trainer, posterior, data)
  if posterior.drops:
    example = jax.eval_shape(inputs.example, data)
    check_drops(trainer, networks.samples_differ(trainer.network, example), True)
  if needs.features or (needs.embedding and data.embedding is None):
    shape = _shown(trainer.network, data)[2].shape
    if len(shape) != 2 or shape[0] != 1:
      raise ValueError(f"{trainer.network.name} gives features of shape {shape} for one row: give [1, F]")
  _check_acquisition(learner, data)


def _check_acquisition(learner: Learner, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a strategy that gives no ids, or no score for each row. Reads no value."""
  acquisition, num = learner.acquisition, learner.plan.acq_size
  key = jax.eval_shape(jax.random.key, 0)
  state = jax.eval_shape(lambda key, data: states.initial(key, data, learner.trainer), key, data)
  view, ids = jax.eval_shape(lambda state, data: views.pool_view(state, data, learner), state, data)

  def shape_of(part: Callable, *args) -> types.PyTree:
    try:
      return jax.eval_shape(part, *args)
    except Exception as error:  # a strategy of one's own may raise anything
      unread = ", and what its needs do not name is None" if "NoneType" in str(error) else ""
      raise ValueError(f"the acquisition cannot be computed: {_first_line(error)}{unread}") from error

  if acquisition.score is not None:
    scores = shape_of(acquisition.score, view)
    if getattr(scores, "shape", None) != ids.shape:
      given = f"shape {scores.shape}" if hasattr(scores, "shape") else f"a {type(scores).__name__}"
      raise ValueError(f"score gives {given} for {ids.shape[0]} rows: give one number for each")
  chosen = shape_of(lambda key, view: acquisition.select(key, view, num=num), key, view)
  if getattr(chosen, "shape", None) != (num,) or not jnp.issubdtype(chosen.dtype, jnp.integer):
    given = f"{chosen.dtype} of shape {chosen.shape}" if hasattr(chosen, "shape") else f"a {type(chosen).__name__}"
    raise ValueError(f"select gives {given}, and {num} ids were asked for: give [{num}] int32")


def check_hash(learner: Learner) -> None:
  """Raises ValueError, in one sentence, for a learner that no program can be kept for."""
  for name, part in (learner.trainer._asdict() | learner._asdict()).items():
    hashed(name, part)


def check_run(key: jax.Array, data: types.Dataset, learner: Learner) -> None:
  """Raises ValueError, in one sentence, for a run that cannot be carried out."""
  check_learner(learner, data)
  check_key(key, data, learner.trainer, learner)
  check_hash(learner)
  check_values(data, learner.plan, targets=learner.acquisition.needs.targets)


def check_values(
  data: types.Dataset, plan: types.Plan | None = None, *, all_known: bool = True, targets: int = 0
) -> None:
  """Raises ValueError, in one sentence, for values by which a run would go wrong; nothing where they are traced."""
  door.check_values(data, all_known=all_known)
  if plan is None or data.available is None or door.is_traced(data.available):
    return
  check_initial_available(data, plan)
  available = np.asarray(data.available)
  held = dataclasses.replace(data, labels=np.asarray(data.labels), available=available)
  validating = splits.may_validate(held, plan).sum()
  if plan.val_size > validating:
    raise ValueError(
      f"val_size={plan.val_size} is more than the {validating} originals that are available in all copies"
    )
  if targets > available.sum():
    raise ValueError(f"{targets} targets are more than the {available.sum()} available rows")
  held_out = plan.val_size * data.copies
  if all_known and plan.max_labels + held_out > available.sum():
    raise ValueError(
      f"{plan.max_labels} labels and {held_out} rows for validation are more than the {available.sum()} available rows"
    )


def check_alike(name: str, given: types.PyTree, wanted: types.PyTree) -> None:
  """Raises ValueError, in one sentence, where a tree has not the shapes and dtypes of another."""
  said_of = lambda leaf: f"{jnp.shape(leaf)} {jnp.result_type(leaf)}"
  shapes = lambda tree: {
    jax.tree_util.keystr(path): said_of(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  given_shapes, wanted_shapes = shapes(given), shapes(wanted)
  for path in sorted(given_shapes.keys() | wanted_shapes.keys()):
    if given_shapes.get(path) != wanted_shapes.get(path):
      raise ValueError(
        f"{name} have {given_shapes.get(path, 'nothing')} at {path}, and the network has"
        f" {wanted_shapes.get(path, 'nothing')}"
      )


def check_key(key: jax.Array, data: types.Dataset, trainer: Trainer, learner: Learner | None = None) -> None:
  """Raises ValueError, in one sentence, for a kind of key whose draws would not be what they are taken for."""
  door.check_typed(key, "key")
  kinds = {str(jax.random.key_impl(k)) for k in (key, data.noise_key) if k is not None}
  if "unsafe_rbg" in kinds:
    raise ValueError("keys of unsafe_rbg are not independent by role: use threefry2x32 or rbg")
  read = (trainer.eval_posterior, *(() if learner is None else (learner.posterior,)))
  if "rbg" in kinds and (data.noise or trainer.members > 1 or not all(p.joint for p in read)):
    raise ValueError(
      "keys of rbg give no image (noise, per-example masks) and no network (ensembles) draws of its own where several"
      " are drawn together: use threefry2x32"
    )


def check_state(state: types.ALState, data: types.Dataset, learner: Learner) -> None:
  """Raises ValueError, in one sentence, for a state of another pool, or what is no learner. Reads no value."""
  if not isinstance(learner, Learner):
    raise ValueError(f"a round takes a Learner, not {said(learner)}: Learner(trainer, acquisition)")
  if not isinstance(state, types.ALState):
    raise ValueError(f"a state is due, not {said(state)}: init_state or start gives one")
  if state.labeled.shape != (data.pool_size,):
    raise ValueError(f"the state is of a pool of {state.labeled.shape[0]} rows, and this one has {data.pool_size}")


def check_keys(keys: jax.Array, points: types.PyTree, devices: int) -> None:
  """Raises ValueError, in one sentence, for what is no `[K]` keys, with points that are not as many, over devices."""
  if not jnp.issubdtype(getattr(keys, "dtype", jnp.int32), jax.dtypes.prng_key) or len(keys.shape) != 1:
    raise ValueError("keys are no array of typed keys: jax.random.split(jax.random.key(seed), 5) makes five")
  for leaf in jax.tree.leaves(points):
    if jnp.shape(leaf)[:1] != keys.shape:
      raise ValueError(f"points are arrays of shape {jnp.shape(leaf)}, and there are {keys.shape[0]} keys: one each")
  if keys.shape[0] % devices or not keys.shape[0]:
    raise ValueError(f"{keys.shape[0]} keys cannot be split over {devices} devices alike")


def check_packing(key: jax.Array, pack: str) -> None:
  """Raises ValueError, in one sentence, for a kind of key by which packed runs would not draw as each does alone."""
  if pack == "vmap" and str(jax.random.key_impl(key)) == "rbg":
    raise ValueError("runs packed by vmap would share their draws under keys of rbg: pack by map, or use threefry2x32")
