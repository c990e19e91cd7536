"""Fits one network to given pool rows: `begin`, `advance` and `result`, or `fit` for all three."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import inputs
from al_jax import types


class Keys(NamedTuple):
  """Random keys of a training; the same in all calls of a training."""

  batches: jax.Array  # draws the rows of each minibatch
  dropout: jax.Array
  augment: jax.Array


def train_step(
  key: jax.Array,
  variables: types.PyTree,
  opt_state: types.PyTree,
  batch: types.PyTree,
  labels: jax.Array,
  weights: jax.Array,
  *,
  network: types.Network,
  optimizer: optax.GradientTransformation,
  padded: bool = True,
  label_smoothing: float = 0.0,
  **extra: Any,
) -> tuple[types.PyTree, types.PyTree, jax.Array]:
  """One optimizer step on the weighted mean cross-entropy of a minibatch.

  Args:
    key: the dropout key; it is consumed.
    variables: the network's variables.
    opt_state: the optimizer's state.
    batch: `[B, ...]` prepared inputs.
    labels: `[B]` int32.
    weights: `[B]` floats; rows of weight 0 are left out.
    network: the network to train.
    optimizer: an optax transformation.
    padded: whether any weight may be 0.
    label_smoothing: share of each label that is spread uniformly over all classes (Szegedy et al. 2016, section 7).
    **extra: extra arguments of the optimizer.

  Returns:
    `(variables, opt_state, loss)`; the loss is that before the step, `[]` nats.
  """

  def loss_fn(params):
    own = variables | {"params": params}
    logits, new = network.apply(own, batch, key=key, weights=weights if padded else None)
    logits = logits.astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if label_smoothing:
      uniform = -jax.nn.log_softmax(logits).mean(axis=-1)
      losses = (1 - label_smoothing) * losses + label_smoothing * uniform
    return jnp.sum(losses * weights) / jnp.sum(weights), new

  (loss, new), grads = jax.value_and_grad(loss_fn, has_aux=True)(variables["params"])
  optimizer = optax.with_extra_args_support(optimizer)
  updates, opt_state = optimizer.update(grads, opt_state, variables["params"], **extra)
  return new | {"params": optax.apply_updates(variables["params"], updates)}, opt_state, loss


def epoch_steps(count: jax.Array | int, plan: types.TrainPlan) -> jax.Array | int:
  """Number of minibatches in an epoch over `count` rows, at least 1; the last one may be smaller."""
  most = jnp.maximum if isinstance(count, jax.Array) else max
  draws = most(count, plan.min_epoch_size)
  return most(draws // plan.batch_size, 1) if plan.drop_last else (draws + plan.batch_size - 1) // plan.batch_size


def num_epochs(plan: types.TrainPlan, round: jax.Array | int) -> jax.Array | int:
  """Number of epochs of a round's training; needs a plan that counts epochs."""
  assert plan.epochs is not None
  if plan.first_epochs is None:
    return plan.epochs
  return jnp.where(jnp.asarray(round) == 0, plan.first_epochs, plan.epochs)


def patience(plan: types.TrainPlan, round: jax.Array | int) -> jax.Array | int:
  """Checks without improvement after which a round's training stops; needs early stopping."""
  assert plan.early_stop is not None
  own, first = plan.early_stop.patience, plan.early_stop.first_patience
  return own if first is None else jnp.where(jnp.asarray(round) == 0, first, own)


def shuffled_positions(key: jax.Array, count: jax.Array, *, size: int) -> jax.Array:
  """`[size]` int32: a random permutation of `0..count-1`, followed by `count..size-1`."""
  places = jnp.arange(size)
  return jnp.argsort(jnp.where(places < count, jax.random.uniform(key, (size,)), jnp.inf), stable=True)


class Batches(NamedTuple):
  """The minibatches of a training, in stretches from one validation check or epoch end to the next."""

  stretches: jax.Array | int  # number of stretches in the whole training
  steps: jax.Array | int  # steps per stretch
  draw: Callable  # (stretch) -> positions among the rows, steps of this stretch, number of valid positions
  padded: bool  # whether a minibatch may be smaller than the others


def drawn_with_replacement(
  key: jax.Array, count: jax.Array, plan: types.TrainPlan, *, size: int, max_steps: int | None
) -> Batches:
  """`plan.steps` minibatches of rows drawn with replacement.

  A stretch has `early_stop.every` steps; without early stopping `max_steps`, or all of them.
  """
  del size
  assert plan.steps is not None
  total, batch = plan.steps, plan.batch_size
  steps = min(plan.early_stop.every if plan.early_stop else max_steps or total, total)
  stretches = -(-total // steps)
  everything = jax.random.randint(jax.random.fold_in(key, 0), (total * batch,), 0, count)

  def draw(i: jax.Array) -> tuple[jax.Array, jax.Array | int, jax.Array | int]:
    places = jnp.pad(everything, (0, stretches * steps * batch - everything.size))
    places = jax.lax.dynamic_slice_in_dim(places, i * steps * batch, steps * batch)
    return places, jnp.minimum(steps, total - i * steps), steps * batch

  return Batches(stretches, steps, draw, padded=False)


def shuffled_passes(
  key: jax.Array, count: jax.Array, plan: types.TrainPlan, *, size: int, epochs: jax.Array | int
) -> Batches:
  """Shuffled passes; a stretch is one epoch."""
  batch, draws, steps = plan.batch_size, jnp.maximum(count, plan.min_epoch_size), epoch_steps(count, plan)
  most = max(size, plan.min_epoch_size)
  padded_size = -(-most // batch) * batch

  def draw(i: jax.Array) -> tuple[jax.Array, jax.Array | int, jax.Array | int]:
    places = shuffled_positions(jax.random.fold_in(key, i), draws, size=most)
    places = jnp.pad(places % count if plan.min_epoch_size else places, (0, padded_size - most))
    # Positions of weight 0 repeat the first id, because ids beyond `count` are not labeled and must not be read.
    return jnp.where(jnp.arange(padded_size) < draws, places, 0), steps, draws

  return Batches(epochs, steps, draw, padded=True)


class Best(NamedTuple):
  """The best variables of all validation checks so far."""

  variables: types.PyTree
  score: jax.Array  # `[]` validation score; minus infinity before the first check
  waited: jax.Array  # `[]` int32: checks since the best one


class Training(NamedTuple):
  """State of a training. For an ensemble, arrays have a leading axis of members."""

  stretch: jax.Array | np.int32 | int  # `[]`: stretches completed, see `Batches`
  variables: types.PyTree
  opt_state: types.PyTree
  info: types.FitInfo
  best: Best | None  # None without early stopping


def begin(
  variables: types.PyTree, *, optimizer: optax.GradientTransformation, plan: types.TrainPlan, opt_state=None
) -> Training:
  """A training before its first step, with a new optimizer state unless one is given."""
  info = types.FitInfo(jnp.float32(0), jnp.int32(0), jnp.int32(-1))
  best = None if plan.early_stop is None else Best(variables, jnp.float32(-jnp.inf), jnp.int32(0))
  opt_state = optimizer.init(variables["params"]) if opt_state is None else opt_state
  return Training(np.int32(0), variables, opt_state, info, best)


def advance(
  keys: Keys,
  training: Training,
  data: types.Dataset,
  ids: jax.Array,
  count: jax.Array,
  *,
  network: types.Network,
  optimizer: optax.GradientTransformation,
  plan: types.TrainPlan,
  round: jax.Array | int = 0,
  validate: Callable[[types.PyTree], jax.Array] | None = None,
  max_steps: int | None = None,
) -> Training:
  """Trains on the pool rows `ids[:count]` and reads no other pool rows.

  With `plan.steps`, every step draws `batch_size` rows with replacement. With `plan.epochs`, every epoch is one
  shuffled pass of `ceil(count / batch_size)` minibatches, the last of which may be smaller; with `drop_last` it is left
  out then, unless it is the only one. With `min_epoch_size`, an
  epoch is a permutation of `0..max(count, min_epoch_size) - 1`, modulo `count`. With `early_stop`, steps and epochs are
  upper limits: the model is checked every `every` steps, or after every epoch, and training stops after `patience`
  checks in a row that do not exceed the best score. The best variables are kept, the earliest among ties.

  Args:
    keys: random keys; they are not consumed.
    training: the state of the training.
    data: the pool.
    ids: `[K]` int32 pool ids, valid in the first `count` positions.
    count: `[]` int32, at least 1.
    network: the network to train.
    optimizer: an optax transformation; it gets `num_labels` and `progress` as extra arguments.
    plan: the training plan.
    round: the round, which determines the number of epochs and the patience.
    validate: variables -> validation score `[]`, higher is better; required with early stopping.
    max_steps: the call returns at the first check or epoch end after this many steps; None: at the end of the training.
      It does not change the result, but must be the same in all calls of a training.

  Returns:
    The new state of the training.
  """
  labels, size = jnp.asarray(data.labels)[ids], ids.shape[0]
  if plan.steps is not None:
    batches = drawn_with_replacement(keys.batches, count, plan, size=size, max_steps=max_steps)
    total_steps: Any = plan.steps
  else:
    batches = shuffled_passes(keys.batches, count, plan, size=size, epochs=num_epochs(plan, round))
    total_steps = batches.stretches * batches.steps
  end = batches.stretches
  if max_steps is not None:
    end = jnp.minimum(training.stretch + (max_steps + batches.steps - 1) // batches.steps, batches.stretches)

  def one_stretch(i, carry):
    positions, steps, valid = batches.draw(i)

    def one_step(j, carry):
      variables, opt_state, info = carry
      places = jax.lax.dynamic_slice_in_dim(positions, j * plan.batch_size, plan.batch_size)
      weights = (j * plan.batch_size + jnp.arange(plan.batch_size) < valid).astype(jnp.float32)
      batch = inputs.of_pool(data, ids[places])
      if plan.augment is not None:
        batch = plan.augment(jax.random.fold_in(keys.augment, info.steps), batch)
      variables, opt_state, loss = train_step(
        jax.random.fold_in(keys.dropout, info.steps),
        variables,
        opt_state,
        batch,
        labels[places],
        weights,
        network=network,
        optimizer=optimizer,
        padded=batches.padded,
        label_smoothing=plan.label_smoothing,
        num_labels=count,
        progress=info.steps / total_steps,
      )
      first_bad = jnp.where((info.first_bad_step < 0) & ~jnp.isfinite(loss), info.steps, info.first_bad_step)
      return variables, opt_state, types.FitInfo(loss, info.steps + 1, first_bad)

    return jax.lax.fori_loop(0, steps, one_step, carry)

  start = (training.variables, training.opt_state, training.info)
  early_stop = plan.early_stop
  if early_stop is None:
    variables, opt_state, info = jax.lax.fori_loop(training.stretch, end, one_stretch, start)
    return Training(end, variables, opt_state, info, None)

  def check(variables: types.PyTree, best: Best) -> Best:
    assert validate is not None
    score = validate(variables)
    better = score > best.score
    kept = jax.tree.map(functools.partial(jnp.where, better), variables, best.variables)
    return Best(kept, jnp.where(better, score, best.score), jnp.where(better, 0, best.waited + 1))

  def keeps_going(training: Training) -> jax.Array:
    assert training.best is not None
    return jnp.logical_and(training.stretch < end, training.best.waited < patience(plan, round))

  def stretch_and_check(training: Training) -> Training:
    assert training.best is not None
    start = (training.variables, training.opt_state, training.info)
    variables, opt_state, info = one_stretch(training.stretch, start)
    return Training(training.stretch + 1, variables, opt_state, info, check(variables, training.best))

  return jax.lax.while_loop(keeps_going, stretch_and_check, training)


def unfinished(training: Training, count: jax.Array, *, plan: types.TrainPlan, round: jax.Array | int = 0) -> jax.Array:
  """`[]` bool: whether a training has steps left. Arguments as in `advance`."""
  if plan.full_batch is not None:
    return jnp.asarray(training.stretch) < 1
  steps: Any = num_epochs(plan, round) * epoch_steps(count, plan) if plan.steps is None else plan.steps
  left = training.info.steps < steps
  if plan.early_stop is None:
    return left
  assert training.best is not None
  return left & (training.best.waited < patience(plan, round))


def result(training: Training, *, plan: types.TrainPlan) -> tuple[types.PyTree, types.FitInfo]:
  """The fitted variables (with early stopping those that `keep` names) and the training diagnostics."""
  keeps_best = plan.early_stop is not None and plan.early_stop.keep == "best"
  variables, info = training.variables, training.info
  if keeps_best:
    assert training.best is not None
    variables = training.best.variables
  # No loss is computed after the last update, so the parameters are checked.
  is_finite = jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(variables["params"])]).all()
  bad = jnp.where((info.first_bad_step < 0) & ~is_finite, info.steps, info.first_bad_step)
  return variables, info._replace(first_bad_step=bad)


def fit(
  keys: Keys,
  variables: types.PyTree,
  data: types.Dataset,
  ids: jax.Array,
  count: jax.Array,
  *,
  network: types.Network,
  optimizer: optax.GradientTransformation,
  plan: types.TrainPlan,
  validate: Callable[[types.PyTree], jax.Array] | None = None,
) -> tuple[types.PyTree, types.FitInfo]:
  """A whole training from `variables`, as in round 0. Arguments as in `advance`, returns as in `result`."""
  training = begin(variables, optimizer=optimizer, plan=plan)
  how: dict[str, Any] = {"network": network, "optimizer": optimizer, "plan": plan, "validate": validate}
  return result(advance(keys, training, data, ids, count, **how), plan=plan)
