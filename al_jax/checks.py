"""Whether a run can be carried out: every mistake is refused in one sentence before anything compiles."""

from collections.abc import Callable
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import door
from al_jax import inputs
from al_jax import network as networks
from al_jax import posterior as posteriors
from al_jax import states
from al_jax import types
from al_jax import views
from al_jax.learner import Learner
from al_jax.learner import Trainer


def check(plan: types.Plan, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a plan that cannot be carried out on this pool."""
  size, originals = data.pool_size, data.num_originals
  _check_whole(plan, ("init_labels", "acq_size", "rounds", "val_size", "pool_subset", "chunk_size"))
  for name in ("init_labels", "acq_size", "chunk_size"):
    if getattr(plan, name) < 1:
      raise ValueError(f"{name} must be at least 1, not {getattr(plan, name)}")
  for name in ("rounds", "val_size"):
    if getattr(plan, name) < 0:
      raise ValueError(f"{name} must not be negative, but is {getattr(plan, name)}")
  if plan.val_size and plan.val_last:
    raise ValueError("val_size and val_last are two kinds of validation set: give one of them")
  check_training(plan)
  if plan.score_dtype not in types.SCORE_DTYPES:
    raise ValueError(f"unknown score_dtype {plan.score_dtype!r}; choose from {', '.join(types.SCORE_DTYPES)}")
  if not 0 <= plan.val_last < 1:
    raise ValueError(f"val_last is a share of the labeled rows in [0, 1), not {plan.val_last}")
  if math.floor(plan.init_labels * (1 - plan.val_last)) < 1:
    raise ValueError(f"val_last={plan.val_last} leaves none of the {plan.init_labels} initial labels to train")
  held_out = plan.val_size * (size // originals)
  if plan.max_labels + held_out > size:
    raise ValueError(
      f"{plan.init_labels} initial labels + {plan.rounds} rounds of {plan.acq_size}"
      f" + {held_out} for validation = {plan.max_labels + held_out}, but the pool holds {size}"
    )
  check_initial(plan, data)
  if plan.pool_subset is not None and not plan.acq_size <= plan.pool_subset <= size:
    raise ValueError(
      f"pool_subset={plan.pool_subset} must lie between acq_size, {plan.acq_size}, and the pool's {size} images"
    )
  if plan.init_balanced and not plan.initial_ids and plan.init_labels < data.num_classes:
    raise ValueError(
      f"a balanced initial set of {plan.init_labels} labels cannot hold all {data.num_classes} classes;"
      f" ask for at least {data.num_classes} or for a random initial set"
    )


def check_training(plan: types.Plan) -> None:
  """Raises ValueError, in one sentence, for a training that cannot be carried out."""
  train = plan.train
  if not isinstance(train, types.TrainPlan):
    raise ValueError(f"a plan's train is a TrainPlan, not {_said(train)}: Plan(..., train=TrainPlan(steps=200))")
  _check_whole(train, ("batch_size", "steps", "epochs", "first_epochs", "min_epoch_size"))
  if train.batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, not {train.batch_size}")
  lengths = [length for length in (train.steps, train.epochs) if length is not None]
  if len(lengths) != 1:
    raise ValueError("exactly one of steps and epochs must be given")
  if lengths[0] < 1:
    raise ValueError("steps or epochs must be at least 1")
  if train.first_epochs is not None and (train.epochs is None or train.first_epochs < 1):
    raise ValueError(f"first_epochs={train.first_epochs} are the epochs of round 0: give epochs, and 1 or more")
  if train.min_epoch_size < 0 or (train.min_epoch_size and train.epochs is None):
    raise ValueError(
      f"min_epoch_size={train.min_epoch_size} is the least length of an epoch: give epochs, and 0 or more"
    )
  if not 0 <= train.label_smoothing < 1:
    raise ValueError(f"label_smoothing is a share in [0, 1), not {train.label_smoothing}")
  if train.keep_optimizer and not train.warm_start:
    raise ValueError("keep_optimizer goes on with the last round's optimizer: give warm_start too")
  if train.early_stop is None:
    return
  if not plan.val_size:
    raise ValueError("early stopping checks a validation set: give val_size")
  least = min(train.early_stop[:3])
  if least < 1:
    raise ValueError(f"patience, steps between checks and samples of a check must be at least 1, not {least}")
  for name, value, known in [
    ("metric", train.early_stop.metric, types.STOP_METRICS),
    ("keep", train.early_stop.keep, types.KEPT),
  ]:
    if value not in known:
      raise ValueError(f"unknown {name} of early stopping {value!r}; choose from {', '.join(known)}")


def check_initial(plan: types.Plan, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for given initial ids that cannot be this pool's initial set."""
  ids, size, originals = plan.initial_ids, data.pool_size, data.num_originals
  if not ids:
    return
  if len(ids) != plan.init_labels:
    raise ValueError(f"{len(ids)} initial ids are given, but init_labels is {plan.init_labels}")
  for i in ids:
    if not 0 <= i < size:
      raise ValueError(f"initial id {i} is not in the pool, whose ids are 0 to {size - 1}")
  if len(set(ids)) < len(ids):
    raise ValueError(f"initial id {next(i for i in ids if ids.count(i) > 1)} is given more than once")
  free = originals - len({i % originals for i in ids})
  if plan.val_size > free:
    raise ValueError(f"val_size={plan.val_size}, but the initial ids leave {free} images for validation")


def _check_whole(plan: types.Plan | types.TrainPlan, names: tuple[str, ...]) -> None:
  """Raises ValueError for a size that is no whole number."""
  for name in names:
    value = getattr(plan, name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
      raise ValueError(f"{name} must be a whole number, not {value!r}")


def _said(value: object) -> str:
  """What was given in place of another thing, for people."""
  if isinstance(value, type):
    return f"the class {value.__name__}"
  name = getattr(value, "__name__", None)
  return f"the function {name}" if name else f"{type(value).__name__}"


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
    raise ValueError(f"a learner takes a Trainer, not {_said(trainer)}: Trainer(network, optimizer, plan)")
  if not isinstance(trainer.network, types.Network):
    given = _said(trainer.network)
    raise ValueError(f"a trainer takes a Network, not {given}: al_jax.from_flax(module) makes one of a Flax module")
  if not isinstance(trainer.optimizer, optax.GradientTransformation):
    raise ValueError(f"a trainer takes an optax optimizer, not {_said(trainer.optimizer)}: optax.adam(1e-3), say")
  if not isinstance(trainer.plan, types.Plan):
    raise ValueError(f"a trainer takes a Plan, not {_said(trainer.plan)}")
  if not isinstance(trainer.eval_posterior, types.Posterior):
    given = _said(trainer.eval_posterior)
    raise ValueError(f"eval_posterior is no Posterior but {given}: al_jax.posterior.mc_dropout(20), say")
  check(trainer.plan, data)
  if trainer.members < 1:
    raise ValueError(f"members must be at least 1, not {trainer.members}")
  if not isinstance(trainer.label_noise, jax.Array) and not 0 <= trainer.label_noise < 1:
    raise ValueError(f"label_noise is a probability in [0, 1), not {trainer.label_noise}")
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
  weights = None if train.steps else jax.ShapeDtypeStruct((size,), jnp.float32)
  as_batch = lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)

  def train_on(key, variables, batch, weights):
    if train.augment is not None:
      before, batch = batch, train.augment(key, batch)
      shapes = [[(x.shape, x.dtype) for x in jax.tree.leaves(tree)] for tree in (before, batch)]
      if shapes[0] != shapes[1]:
        raise ValueError(f"augment makes {shapes[1]} of {shapes[0]}")
    out = network.apply(variables, batch, key=key, weights=weights)
    if not isinstance(out, tuple) or len(out) != 2:
      raise ValueError("its apply returns no pair of logits and variables")
    return out

  try:
    example = jax.eval_shape(inputs.example, data)
    if any(x.shape[:1] != (1,) for x in jax.tree.leaves(example)):
      raise ValueError(f"prepare makes {[x.shape for x in jax.tree.leaves(example)]} of one row")
    batch = jax.tree.map(as_batch, example)
    variables = networks.abstract(network, example)
    if not isinstance(variables, dict) or "params" not in variables:
      raise ValueError('its init returns no dict with "params"')
    logits = {"sample": jax.eval_shape(network.sample, None, variables, batch)[0].shape}
    logits["apply"] = jax.eval_shape(train_on, key, variables, batch, weights)[0].shape
    differ = networks.samples_differ(network, example)
  except Exception as error:  # a network, or an augmentation, may raise anything
    raise ValueError(f"{name} cannot take {door.described(data.inputs)}: {_first_line(error)}") from error
  for part, shape in logits.items():
    if shape != (size, classes):
      raise ValueError(
        f"{name} gives logits of shape {shape} for a batch of {size} ({part}), and there are {classes} classes: it must"
        f" give [{size}, {classes}]"
      )
  check_drops(trainer, differ, train.early_stop is not None and train.early_stop.samples > 1)
  check_drops(trainer, differ, trainer.eval_posterior.drops)
  check_head(trainer, trainer.eval_posterior, data)


def check_head(trainer: Trainer, posterior: types.Posterior, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, where a posterior reads a head that the network has not."""
  if not posterior.needs_head:
    return
  network, way = trainer.network, "al_jax.from_flax(module, head='Dense_1') names the layer that gives the logits"
  if network.head is None:
    raise ValueError(f"{network.name} has no head, which a {posterior.name} posterior reads: {way}")
  example = jax.eval_shape(inputs.example, data)
  variables = networks.abstract(network, example)
  logits, features = jax.eval_shape(network.sample, None, variables, example)
  features = posteriors.features_of(network, features)
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
  return (str(error).strip() or type(error).__name__).splitlines()[0]


def check_learner(learner: Learner, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a learner whose parts do not fit together or not this pool."""
  if not isinstance(learner, Learner):
    raise ValueError(f"a run takes a Learner, not {_said(learner)}: Learner(trainer, acquisition)")
  check_trainer(learner.trainer, data)
  _once(_check_learner, learner, data)


def _check_learner(learner: Learner, data: types.Dataset) -> None:
  trainer, acquisition, posterior = learner.trainer, learner.acquisition, learner.posterior
  if not isinstance(acquisition, types.Acquisition):
    given = _said(acquisition)
    raise ValueError(f"a learner takes an Acquisition, not {given}: al_jax.acquisition.margin(), with its brackets")
  if not isinstance(posterior, types.Posterior):
    raise ValueError(f"a learner's posterior is no Posterior but {_said(posterior)}: al_jax.posterior.mc_dropout(20)")
  needs = acquisition.needs
  if not isinstance(needs, types.Needs):
    raise ValueError(f"an acquisition's needs are {_said(needs)}: give types.Needs(samples=1), say")
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
  example = jax.eval_shape(inputs.example, data)
  check_head(trainer, posterior, data)
  if posterior.drops:
    check_drops(trainer, networks.samples_differ(trainer.network, example), True)
  if needs.features or (needs.embedding and data.embedding is None):
    variables = networks.abstract(trainer.network, example)
    _, features = jax.eval_shape(trainer.network.sample, None, variables, example)
    posteriors.features_of(trainer.network, features)
  _check_acquisition(learner, data)


def _check_acquisition(learner: Learner, data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for a strategy that gives no ids, or no score for each row. Reads no value."""
  acquisition, num = learner.acquisition, learner.plan.acq_size
  key, state = (
    jax.eval_shape(jax.random.key, 0),
    jax.eval_shape(
      lambda key, data: states.initial(key, data, learner.trainer), jax.eval_shape(jax.random.key, 0), data
    ),
  )
  view, ids = jax.eval_shape(lambda state, data: views.pool_view(state, data, learner), state, data)
  try:
    chosen = jax.eval_shape(lambda key, view: acquisition.select(key, view, num=num), key, view)
    scores = None if acquisition.score is None else jax.eval_shape(acquisition.score, view)
  except Exception as error:  # a strategy of one's own may raise anything
    raise ValueError(f"the acquisition cannot be computed: {_first_line(error)}") from error
  if chosen.shape != (num,) or not jnp.issubdtype(chosen.dtype, jnp.integer):
    raise ValueError(
      f"select gives {chosen.dtype} of shape {chosen.shape}, and {num} ids were asked for: give [{num}] int32"
    )
  if scores is not None and scores.shape != ids.shape:
    raise ValueError(f"score gives shape {scores.shape} for {ids.shape[0]} rows: give one number for each")


def check_run(key: jax.Array, data: types.Dataset, learner: Learner) -> None:
  """Raises ValueError, in one sentence, for a run that cannot be carried out."""
  check_learner(learner, data)
  check_key(key, data, learner.trainer, learner)
  check_values(data, learner.plan)


def check_values(data: types.Dataset, plan: types.Plan | None = None, *, all_known: bool = True) -> None:
  """Raises ValueError, in one sentence, for values by which a run would go wrong; nothing where they are traced."""
  door.check_values(data, all_known=all_known)
  if plan is None or data.available is None or door.is_traced(data.available):
    return
  check_initial_available(data, plan)
  available = np.asarray(data.available)
  held_out = plan.val_size * data.copies
  if plan.max_labels + held_out > available.sum():
    raise ValueError(
      f"{plan.max_labels} labels and {held_out} rows for validation are more than the {available.sum()} available rows"
    )


def check_initial_available(data: types.Dataset, plan: types.Plan) -> None:
  """Raises ValueError, in one sentence, for given initial ids that are not available."""
  if data.available is None:
    return
  available = np.asarray(data.available)
  for i in plan.initial_ids:
    if not available[i]:
      raise ValueError(f"initial id {i} is not available")


def check_alike(name: str, given: types.PyTree, wanted: types.PyTree) -> None:
  """Raises ValueError, in one sentence, where a tree has not the shapes of another."""
  shapes = lambda tree: {
    jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
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
  for name, given in (("key", key), ("noise_key", data.noise_key)):
    if given is not None and not jnp.issubdtype(getattr(given, "dtype", jnp.int32), jax.dtypes.prng_key):
      raise ValueError(f"{name} is no typed key: jax.random.key(seed) makes one")
  kinds = {str(jax.random.key_impl(k)) for k in (key, data.noise_key) if k is not None}
  if "unsafe_rbg" in kinds:
    raise ValueError("keys of unsafe_rbg are not independent by role: use threefry2x32 or rbg")
  read = (trainer.eval_posterior, *(() if learner is None else (learner.posterior,)))
  if "rbg" in kinds and (data.noise or trainer.members > 1 or not all(p.joint for p in read)):
    raise ValueError(
      "keys of rbg give no image (noise, per-example masks) and no network (ensembles) draws of its own where several"
      " are drawn together: use threefry2x32"
    )


def check_packing(key: jax.Array, pack: str) -> None:
  """Raises ValueError, in one sentence, for a kind of key by which packed runs would not draw as each does alone."""
  if pack == "vmap" and str(jax.random.key_impl(key)) == "rbg":
    raise ValueError("runs packed by vmap would share their draws under keys of rbg: pack by map, or use threefry2x32")
