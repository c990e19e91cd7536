"""Fitting a classifier to the labeled part of the pool."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import inference
from al_jax import types

_MEMBERS = 2**32 - 1  # no step or epoch has this number under a member's key


def init_params(key: jax.Array, model: Any, data: types.Dataset) -> types.PyTree:
  """New parameters for images of the pool's shape. The key is consumed."""
  return model.init(key, inference.normalize(data.images[:1], data), train=False)["params"]


def member_keys(key: jax.Array, members: int) -> jax.Array:
  """`[members]` keys of an ensemble; the first is `key` itself, so that the first member is the lone network."""
  others = jax.vmap(functools.partial(jax.random.fold_in, jax.random.fold_in(key, _MEMBERS)))
  return jnp.concatenate([key[None], others(jnp.arange(1, members))])


def add_decayed_weights_over_labels(weight_decay: jax.Array | float) -> optax.GradientTransformationExtraArgs:
  """Coupled weight decay that `train_step` divides by the number of labels.

  The logarithm of a Gaussian prior weighs so beside a mean of losses; `weight_decay` is its precision. Keras's
  `l2(c / n)` is a `weight_decay` of 2 c.

  Source: Gal & Ghahramani (2016), Dropout as a Bayesian Approximation, section 3.
  """

  def update(updates, state, params=None, **extra):
    return optax.add_decayed_weights(weight_decay / extra["num_labels"]).update(updates, state, params)

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def train_step(
  key, params, opt_state, images, labels, weights, num_labels, *, model: Any, optimizer: optax.GradientTransformation
):
  """One optimiser step on the weighted mean cross-entropy of a batch.

  Args:
    key: the key of dropout; it is consumed.
    params: the model's parameters.
    opt_state: the optimiser's state.
    images: `[B, ...]` floats as the network takes them.
    labels: `[B]` int32.
    weights: `[B]` floats; 0 leaves an example out.
    num_labels: `[]` how many the training has in all; handed to optimisers that ask for it.
    model: a Flax module called as `model(images, train=True)`, returning `[B, C]` logits.
    optimizer: an optax transformation.

  Returns:
    `(params, opt_state, loss)`: the loss before the step, `[]` nats.
  """

  def loss_fn(params):
    logits = model.apply({"params": params}, images, train=True, rngs={"dropout": key})
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.sum(losses * weights) / jnp.sum(weights)

  loss, grads = jax.value_and_grad(loss_fn)(params)
  optimizer = optax.with_extra_args_support(optimizer)
  updates, opt_state = optimizer.update(grads, opt_state, params, num_labels=num_labels)
  return optax.apply_updates(params, updates), opt_state, loss


def epoch_steps(count: jax.Array | int, *, batch_size: int, epoch_draws: int = 0) -> jax.Array | int:
  """Batches of an epoch over `count` images; the last may be smaller."""
  draws = jnp.maximum(count, epoch_draws) if isinstance(count, jax.Array) else max(count, epoch_draws)
  return (draws + batch_size - 1) // batch_size


def shuffled_positions(key: jax.Array, count: jax.Array, *, size: int) -> jax.Array:
  """A random permutation of `0..count-1` in front of the places `count..size-1`: `[size]` int32."""
  places = jnp.arange(size)
  return jnp.argsort(jnp.where(places < count, jax.random.uniform(key, (size,)), jnp.inf), stable=True)


class Best(NamedTuple):
  """The best parameters so far, of those that were looked at."""

  params: types.PyTree
  score: jax.Array  # `[]` on the validation set; minus infinity before the first look
  waited: jax.Array  # `[]` int32: looks since


class Training(NamedTuple):
  """A training under way."""

  stretch: jax.Array | np.int32 | int  # `[]`: stretches taken, as `advance` counts them
  params: types.PyTree
  opt_state: types.PyTree
  info: types.FitInfo
  best: Best | None  # kept with early stopping alone


def begin(
  params: types.PyTree, *, optimizer: optax.GradientTransformation, early_stop: types.EarlyStop | None = None
) -> Training:
  """A training that has taken no step; the optimiser's state is new."""
  info = types.FitInfo(jnp.float32(0), jnp.int32(0), jnp.int32(-1))
  best = None if early_stop is None else Best(params, jnp.float32(-jnp.inf), jnp.int32(0))
  return Training(np.int32(0), params, optimizer.init(params), info, best)


def advance(
  key_batches: jax.Array,
  key_dropout: jax.Array,
  training: Training,
  data: types.Dataset,
  ids: jax.Array,
  count: jax.Array,
  *,
  model: Any,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  train_steps: int | None = None,
  epochs: int | None = None,
  epoch_draws: int = 0,
  early_stop: types.EarlyStop | None = None,
  validate: Callable[[types.PyTree], jax.Array] | None = None,
  limit: int | None = None,
) -> Training:
  """Trains on the pool images `ids[:count]`: nothing else of the pool is read.

  With `train_steps`, every step draws `batch_size` of them with replacement. With `epochs`, every epoch is one shuffled
  pass in `ceil(count / batch_size)` batches, the last of which may be smaller; with `epoch_draws`, an epoch is a
  permutation of `0..max(count, epoch_draws) - 1`, modulo `count`. With `early_stop`, these are ceilings:
  the model is looked at every so many steps, or after every epoch, and the training ends after `patience` looks in a
  row that were no better than the best; the best parameters are kept, the earliest of equals.

  Args:
    key_batches: decides which images are in which batch; the same in all calls of a training.
    key_dropout: decides the dropout masks; likewise.
    training: where it stands.
    data: the pool.
    ids: `[K]` int32 pool ids, valid in the first `count` places.
    count: `[]` int32, at least 1.
    model: a Flax module called as `model(images, train=True)`.
    optimizer: an optax transformation.
    batch_size: images a step.
    train_steps: how many steps; or
    epochs: how many passes.
    epoch_draws: images that an epoch has at least.
    early_stop: when to look and when to stop; or None to train to the end.
    validate: parameters -> score on the validation set, `[]`, higher is better; read with `early_stop` alone.
    limit: steps after which the call returns, at the next look or end of an epoch; None for the end of the training.
      It changes nothing in what is trained, but is the same in all calls of a training.

  Returns:
    The training, further on.
  """
  labels = jnp.asarray(data.labels)[ids]
  # A stretch goes from one look at the validation set to the next; without looks, as far as one call.
  if train_steps is not None:
    stretch = min(early_stop.every if early_stop else limit or train_steps, train_steps)
    stretches = -(-train_steps // stretch)
    stretch_steps = stretch
    everything = jax.random.randint(jax.random.fold_in(key_batches, 0), (train_steps * batch_size,), 0, count)

    def positions_of(i: jax.Array) -> tuple[jax.Array, jax.Array | int, jax.Array | int]:
      """A stretch's places among `ids`, its number of steps, and how many of the places count."""
      places = jnp.pad(everything, (0, stretches * stretch * batch_size - everything.size))
      places = jax.lax.dynamic_slice_in_dim(places, i * stretch * batch_size, stretch * batch_size)
      return places, jnp.minimum(stretch, train_steps - i * stretch), stretch * batch_size
  else:
    assert epochs is not None
    draws = jnp.maximum(count, epoch_draws)
    stretches, stretch_steps = epochs, epoch_steps(count, batch_size=batch_size, epoch_draws=epoch_draws)

    def positions_of(i: jax.Array) -> tuple[jax.Array, jax.Array | int, jax.Array | int]:
      most = max(ids.shape[0], epoch_draws)
      size = -(-most // batch_size) * batch_size
      places = shuffled_positions(jax.random.fold_in(key_batches, i), draws, size=most)
      places = jnp.pad(places % count if epoch_draws else places, (0, size - most))
      # Places of no weight repeat the first id: what lies behind `count` is not labeled and is never looked at.
      return jnp.where(jnp.arange(size) < draws, places, 0), stretch_steps, draws

  end = stretches
  if limit is not None:
    end = jnp.minimum(training.stretch + (limit + stretch_steps - 1) // stretch_steps, stretches)

  def one_stretch(i, carry):
    positions, steps, valid = positions_of(i)

    def one_step(j, carry):
      params, opt_state, info = carry
      batch = jax.lax.dynamic_slice_in_dim(positions, j * batch_size, batch_size)
      weights = (j * batch_size + jnp.arange(batch_size) < valid).astype(jnp.float32)
      params, opt_state, loss = train_step(
        jax.random.fold_in(key_dropout, info.steps),
        params,
        opt_state,
        inference.pool_inputs(data, ids[batch]),
        labels[batch],
        weights,
        count,
        model=model,
        optimizer=optimizer,
      )
      first_bad = jnp.where((info.first_bad_step < 0) & ~jnp.isfinite(loss), info.steps, info.first_bad_step)
      return params, opt_state, types.FitInfo(loss, info.steps + 1, first_bad)

    return jax.lax.fori_loop(0, steps, one_step, carry)

  def look(params: types.PyTree, best: Best) -> Best:
    assert validate is not None
    score = validate(params)
    better = score > best.score
    kept = jax.tree.map(functools.partial(jnp.where, better), params, best.params)
    return Best(kept, jnp.where(better, score, best.score), jnp.where(better, 0, best.waited + 1))

  def goes_on(training: Training) -> jax.Array:
    assert training.best is not None and early_stop is not None
    return jnp.logical_and(training.stretch < end, training.best.waited < early_stop.patience)

  def stretch_and_look(training: Training) -> Training:
    assert training.best is not None
    params, opt_state, info = one_stretch(training.stretch, (training.params, training.opt_state, training.info))
    return Training(training.stretch + 1, params, opt_state, info, look(params, training.best))

  if early_stop is not None:
    return jax.lax.while_loop(goes_on, stretch_and_look, training)
  start = (training.params, training.opt_state, training.info)
  params, opt_state, info = jax.lax.fori_loop(training.stretch, end, one_stretch, start)
  return Training(end, params, opt_state, info, None)


def unfinished(
  training: Training,
  count: jax.Array,
  *,
  batch_size: int,
  train_steps: int | None = None,
  epochs: int | None = None,
  epoch_draws: int = 0,
  early_stop: types.EarlyStop | None = None,
) -> jax.Array:
  """`[]` bool: whether a training has steps to take. Arguments as in `advance`."""
  steps: jax.Array | int | None = train_steps
  if steps is None:
    assert epochs is not None
    steps = epochs * epoch_steps(count, batch_size=batch_size, epoch_draws=epoch_draws)
  left = training.info.steps < steps
  if early_stop is None:
    return left
  assert training.best is not None
  return left & (training.best.waited < early_stop.patience)


def result(training: Training) -> tuple[types.PyTree, types.FitInfo]:
  """The fitted parameters, with early stopping the best ones, and how the training went."""
  params, info = (training.params if training.best is None else training.best.params), training.info
  # No loss was worked out after the last update.
  is_finite = jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
  bad = jnp.where((info.first_bad_step < 0) & ~is_finite, info.steps, info.first_bad_step)
  return params, info._replace(first_bad_step=bad)


def fit(
  key_batches: jax.Array,
  key_dropout: jax.Array,
  params: types.PyTree,
  data: types.Dataset,
  ids: jax.Array,
  count: jax.Array,
  *,
  optimizer: optax.GradientTransformation,
  early_stop: types.EarlyStop | None = None,
  **how: Any,
) -> tuple[types.PyTree, types.FitInfo]:
  """A whole training from `params`: `begin`, `advance` to the end, `result`; takes and returns what they do."""
  training = begin(params, optimizer=optimizer, early_stop=early_stop)
  how |= {"optimizer": optimizer, "early_stop": early_stop}
  return result(advance(key_batches, key_dropout, training, data, ids, count, **how))
