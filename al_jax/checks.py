"""Checks that a run can be carried out, before anything compiles. Every error is one sentence."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import door
from al_jax import full_batch
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
from al_jax.plan_checks import describe
from al_jax.plan_checks import require_fraction
from al_jax.plan_checks import require_hashable
from al_jax.plan_checks import require_integer


def check_trainer(trainer: Trainer, data: types.Dataset) -> None:
  """Raises ValueError if the parts of a trainer do not fit together or do not fit the pool."""
  door.check_shapes(data)
  _check_once(_check_trainer, trainer, data)


def _check_once(check: Callable, checked: Any, data: types.Dataset) -> None:
  """Runs a check that reads no data values, once per combination of parts and shapes."""
  leaves, tree = jax.tree.flatten(data)
  try:
    shapes = tuple(jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype) for leaf in leaves)
    _check_by_hash(check, checked, tree, shapes)
  except _Unhashable:
    check(checked, jax.tree.unflatten(tree, shapes))


class _Unhashable(Exception):
  """A part is unhashable, such as a traced number."""


def _check_by_hash(check: Callable, checked: Any, tree: Any, shapes: tuple) -> None:
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
    raise ValueError(f"a learner takes a Trainer, not {describe(trainer)}: give Trainer(network, optimizer, plan)")
  if not isinstance(trainer.network, types.Network):
    given = describe(trainer.network)
    raise ValueError(f"a trainer takes a Network, not {given}: use al_jax.from_flax(module) for a Flax module")
  if not isinstance(trainer.optimizer, optax.GradientTransformation):
    raise ValueError(f"a trainer takes an optax optimizer, not {describe(trainer.optimizer)}: give optax.adam(1e-3)")
  if not isinstance(trainer.plan, types.Plan):
    raise ValueError(f"a trainer takes a Plan, not {describe(trainer.plan)}")
  if not isinstance(trainer.eval_posterior, types.Posterior):
    given = describe(trainer.eval_posterior)
    raise ValueError(f"eval_posterior must be a Posterior, not {given}: give al_jax.posterior.mc_dropout(20)")
  check(trainer.plan, data)
  require_integer("members", trainer.members, least=1)
  if not isinstance(trainer.label_noise, jax.Array):
    require_fraction("label_noise", trainer.label_noise, "probability")
  if trainer.eval_posterior.members not in (1, trainer.members):
    raise ValueError(
      f"eval_posterior is an ensemble of {trainer.eval_posterior.members}, but the trainer has"
      f" members={trainer.members}: give both the same number"
    )
  check_network(trainer, data)


def check_network(trainer: Trainer, data: types.Dataset) -> None:
  """Raises ValueError if the network does not fit the inputs, the classes, the augmentation or the optimizer."""
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
        raise ValueError(f"augment changes {shapes[0]} to {shapes[1]}")
    return pair_of("apply", "variables", network.apply(variables, batch, key=key, weights=weights))

  def pair_of(part, second, out):
    if not isinstance(out, tuple) or len(out) != 2:
      raise ValueError(f"its {part} does not return a pair of logits and {second}")
    return out

  def update(params):
    return optimizer.update(params, optimizer.init(params), params, num_labels=jnp.int32(1), progress=jnp.float32(0))[0]

  try:
    example = jax.eval_shape(inputs.example, data)
    shapes = [x.shape for x in jax.tree.leaves(example)]
    if any(shape[:1] != (1,) for shape in shapes):
      raise ValueError(f"prepare returns shapes {shapes} for one row: keep the axis of rows")
    if data.noise and not jnp.issubdtype(jax.tree.leaves(example)[0].dtype, jnp.floating):
      raise ValueError(f"noise needs floats, but prepared inputs are {jax.tree.leaves(example)[0].dtype}")
    batch = jax.tree.map(as_batch, example)
    variables = networks.abstract(network, example)
    if not isinstance(variables, dict) or "params" not in variables:
      raise ValueError('its init does not return a dict with "params"')
    logits = {"sample": pair_of("sample", "features", jax.eval_shape(network.sample, None, variables, batch))[0]}
    logits["apply"], after = jax.eval_shape(train_on, key, variables, batch, weights)
    differ = networks.samples_differ(network, example)
  except Exception as error:  # networks and augmentations may raise anything
    raise ValueError(f"{name} cannot take {door.describe_inputs(data.inputs)}: {_first_line(error)}") from error
  for part, given in logits.items():
    if given.shape != (size, classes):
      raise ValueError(
        f"{part} of {name} returns logits of shape {given.shape} for {size} rows and {classes} classes: return"
        " [rows, classes]"
      )
    if not jnp.issubdtype(given.dtype, jnp.floating):
      raise ValueError(f"{name} returns logits of dtype {given.dtype} ({part}): return floats, before the softmax")
  if not isinstance(after, dict):
    raise ValueError(f"apply of {name} must return a dict of variables, not {describe(after)}")
  kept = lambda tree: {name: of for name, of in tree.items() if name != "params"}
  check_same_shapes(f"variables returned by apply of {name}", kept(after), kept(variables))
  try:
    updates = jax.eval_shape(update, variables["params"])
  except Exception as error:  # optimizers may raise anything
    raise ValueError(f"the optimizer cannot update the parameters of {name}: {_first_line(error)}") from error
  check_same_shapes("updates of the optimizer", updates, variables["params"])
  if train.full_batch is not None:
    full_batch.check_network(name, variables, batch, differ)
  check_dropout(trainer, differ, train.early_stop is not None and train.early_stop.samples > 1)
  check_dropout(trainer, differ, trainer.eval_posterior.drops)
  check_posterior_head(trainer, trainer.eval_posterior, data)


def _trace_shapes(network: types.Network, data: types.Dataset) -> tuple[types.PyTree, jax.Array, jax.Array]:
  """Shapes of a network's variables, and of logits and features of one row. Raises ValueError without features."""
  example = jax.eval_shape(inputs.example, data)
  variables = networks.abstract(network, example)
  logits, features = jax.eval_shape(network.sample, None, variables, example)
  return variables, logits, posteriors.features_of(network, features)


def check_posterior_head(trainer: Trainer, posterior: types.Posterior, data: types.Dataset) -> None:
  """Raises ValueError if the posterior needs a head and the network has none, or one of wrong shape."""
  if posterior.needs_head:
    check_head(trainer, f"a {posterior.name} posterior", data)


def check_head(trainer: Trainer, reader: str, data: types.Dataset) -> None:
  """Raises ValueError if the network has no head, or one of wrong shape. `reader` is what needs it, for the message."""
  network, way = trainer.network, networks.NAME_THE_HEAD
  if network.head is None:
    raise ValueError(f"{reader} needs a head, and {network.name} has none: {way}")
  variables, logits, features = _trace_shapes(network, data)
  try:
    shape = jax.eval_shape(network.head, variables, features).shape
  except Exception as error:
    raise ValueError(f"the head of {network.name} fails ({_first_line(error)}): {way}") from error
  if shape != logits.shape:
    raise ValueError(f"the head of {network.name} returns shape {shape} for features of shape {features.shape}: {way}")


def check_dropout(trainer: Trainer, differ: bool, wanted: bool) -> None:
  """Raises ValueError if MC dropout samples are needed and would all be equal."""
  if wanted and not differ:
    raise ValueError(
      f"MC dropout needs a network with dropout, and {trainer.network.name} has none: all samples would be equal"
    )


def _first_line(error: Exception) -> str:
  return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def check_learner(learner: Learner, data: types.Dataset) -> None:
  """Raises ValueError if the parts of a learner do not fit together or do not fit the pool."""
  if not isinstance(learner, Learner):
    raise ValueError(f"a run takes a Learner, not {describe(learner)}: give Learner(trainer, acquisition)")
  check_trainer(learner.trainer, data)
  _check_once(_check_learner, learner, data)


def _check_learner(learner: Learner, data: types.Dataset) -> None:
  trainer, acquisition, posterior = learner.trainer, learner.acquisition, learner.posterior
  if not isinstance(acquisition, types.Acquisition):
    given = describe(acquisition)
    raise ValueError(f"a learner takes an Acquisition, not {given}: give one, such as al_jax.acquisition.margin()")
  if not isinstance(posterior, types.Posterior):
    raise ValueError(f"posterior must be a Posterior, not {describe(posterior)}: give al_jax.posterior.mc_dropout(20)")
  needs = acquisition.needs
  if not isinstance(needs, types.Needs):
    raise ValueError(f"needs of an acquisition must be types.Needs, not {describe(needs)}: give types.Needs(samples=1)")
  if posterior.members not in (1, trainer.members):
    raise ValueError(
      f"the posterior is an ensemble of {posterior.members}, but the trainer has members={trainer.members}: give both"
      " the same number"
    )
  if needs.samples > posterior.samples:
    raise ValueError(
      f"this acquisition needs at least {needs.samples} posterior samples, but the posterior has {posterior.samples}:"
      " use a dropout, Laplace or ensemble posterior"
    )
  if needs.joint and not posterior.joint:
    raise ValueError(
      "this acquisition needs joint predictions of several rows, which per-example dropout masks do not give: use"
      " consistent masks"
    )
  if needs.targets > data.pool_size:
    raise ValueError(f"{needs.targets} targets are more than the pool's {data.pool_size} rows")
  check_posterior_head(trainer, posterior, data)
  if needs.head:
    check_head(trainer, "this acquisition", data)
  if posterior.drops:
    example = jax.eval_shape(inputs.example, data)
    check_dropout(trainer, networks.samples_differ(trainer.network, example), True)
  if needs.features or (needs.embedding and data.embedding is None):
    shape = _trace_shapes(trainer.network, data)[2].shape
    if len(shape) != 2 or shape[0] != 1:
      raise ValueError(f"{trainer.network.name} returns features of shape {shape} for one row: return [1, F]")
  _check_acquisition(learner, data)


def _check_acquisition(learner: Learner, data: types.Dataset) -> None:
  """Raises ValueError if `select` does not return ids, or `score` not one score per row. Reads no values."""
  acquisition, num = learner.acquisition, learner.plan.acq_size
  key = jax.eval_shape(jax.random.key, 0)
  state = jax.eval_shape(lambda key, data: states.initial(key, data, learner.trainer), key, data)
  # The view of the whole pool, from which an acquisition with `pointwise` selects as well.
  whole = learner._replace(acquisition=acquisition._replace(pointwise=None))
  view, ids = jax.eval_shape(lambda state, data: views.pool_view(state, data, whole), state, data)

  if (acquire := learner.acquire) is not None:
    shapes = jax.eval_shape(lambda *args: acquire(*args, learner.trainer, num=num), key, state, data)
    if not isinstance(shapes, tuple) or [getattr(part, "shape", None) for part in shapes] != [(num,)] * 2:
      raise ValueError(f"acquire returns {shapes} for num={num}: return ids and scores, [{num}] each")
    return

  def shape_of(part: Callable, *args) -> types.PyTree:
    try:
      return jax.eval_shape(part, *args)
    except Exception as error:  # custom acquisitions may raise anything
      unread = " (view fields outside its needs are None)" if "NoneType" in str(error) else ""
      raise ValueError(f"the acquisition cannot be computed: {_first_line(error)}{unread}") from error

  if acquisition.score is not None:
    scores = shape_of(acquisition.score, view)
    if getattr(scores, "shape", None) != ids.shape:
      given = f"shape {scores.shape}" if hasattr(scores, "shape") else f"a {type(scores).__name__}"
      raise ValueError(f"score returns {given} for {ids.shape[0]} rows: return one number per row")
  chosen = shape_of(lambda key, view: acquisition.select(key, view, num=num), key, view)
  if getattr(chosen, "shape", None) != (num,) or not jnp.issubdtype(chosen.dtype, jnp.integer):
    given = f"{chosen.dtype} of shape {chosen.shape}" if hasattr(chosen, "shape") else f"a {type(chosen).__name__}"
    raise ValueError(f"select returns {given} for num={num}: return [{num}] int32 ids")


def check_hash(learner: Learner) -> None:
  """Raises ValueError if a part of a learner is unhashable, because compiled programs are cached by hash."""
  for name, part in (learner.trainer._asdict() | learner._asdict()).items():
    require_hashable(name, part, "a number" if name == "label_noise" else "a function or a frozen dataclass")


def check_run(key: jax.Array, data: types.Dataset, learner: Learner) -> None:
  """Raises ValueError if a run cannot be carried out."""
  check_learner(learner, data)
  check_key(key, data, learner.trainer, learner)
  check_hash(learner)
  check_values(data, learner.plan, targets=learner.acquisition.needs.targets)


def check_values(
  data: types.Dataset, plan: types.Plan | None = None, *, all_known: bool = True, targets: int = 0
) -> None:
  """Raises ValueError if a value of the data would make a run go wrong. Does nothing if values are traced."""
  door.check_values(data, all_known=all_known)
  if plan is None or data.available is None or door.is_traced(data.available):
    return
  check_initial_available(data, plan)
  available = np.asarray(data.available)
  held = dataclasses.replace(data, labels=np.asarray(data.labels), available=available)
  validating = splits.may_validate(held, plan).sum()
  if plan.val_size > validating:
    raise ValueError(
      f"val_size={plan.val_size} is more than the {validating} originals with all copies available: give fewer"
    )
  if targets > available.sum():
    raise ValueError(f"{targets} targets are more than the {available.sum()} available rows")
  held_out = plan.val_size * data.copies
  if all_known and plan.max_labels + held_out > available.sum():
    raise ValueError(
      f"{plan.max_labels} labels and {held_out} rows for validation are more than the {available.sum()} available rows"
    )


def check_same_shapes(name: str, given: types.PyTree, wanted: types.PyTree) -> None:
  """Raises ValueError if a tree does not have the structure, shapes and dtypes of another."""
  describe_leaf = lambda leaf: f"{jnp.shape(leaf)} {jnp.result_type(leaf)}"
  shapes = lambda tree: {
    jax.tree_util.keystr(path): describe_leaf(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  given_shapes, wanted_shapes = shapes(given), shapes(wanted)
  for path in sorted(given_shapes.keys() | wanted_shapes.keys()):
    if given_shapes.get(path) != wanted_shapes.get(path):
      raise ValueError(
        f"{name} have {given_shapes.get(path, 'nothing')} at {path}, but the network has"
        f" {wanted_shapes.get(path, 'nothing')}"
      )


def check_key(key: jax.Array, data: types.Dataset, trainer: Trainer, learner: Learner | None = None) -> None:
  """Raises ValueError if keys are not typed, or their implementation does not give the independent draws needed."""
  door.check_single_key(key, "key")
  kinds = {str(jax.random.key_impl(k)) for k in (key, data.noise_key) if k is not None}
  if "unsafe_rbg" in kinds:
    raise ValueError("keys of unsafe_rbg do not give independent draws for different purposes: use threefry2x32 or rbg")
  read = (trainer.eval_posterior, *(() if learner is None else (learner.posterior,)))
  if "rbg" in kinds and (data.noise or trainer.members > 1 or not all(p.joint for p in read)):
    raise ValueError(
      "keys of rbg do not give independent draws per image (noise, per-example masks) or per network (ensembles) under"
      " vmap: use threefry2x32"
    )


def check_state(state: types.ALState, data: types.Dataset, learner: Learner) -> None:
  """Raises ValueError if the state belongs to a pool of another size, or an argument has a wrong type."""
  if not isinstance(learner, Learner):
    raise ValueError(f"a round takes a Learner, not {describe(learner)}: give Learner(trainer, acquisition)")
  if not isinstance(state, types.ALState):
    raise ValueError(f"state must be an ALState, not {describe(state)}: use init_state or start")
  if state.labeled.shape != (data.pool_size,):
    raise ValueError(f"the state is for a pool of {state.labeled.shape[0]} rows, but this pool has {data.pool_size}")
