"""Fitting a classifier to the labeled part of the pool."""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from al_jax import inference
from al_jax import types


def init_params(key: jax.Array, model: Any, data: types.Dataset) -> types.PyTree:
  """New parameters for images of the pool's shape. The key is consumed."""
  return model.init(key, inference.normalize(data.images[:1], data), train=False)["params"]


def member_keys(key: jax.Array, members: int) -> jax.Array:
  """`[members]` keys of an ensemble; the first is `key` itself, so that the first member is the lone network."""
  return jnp.concatenate([key[None], jax.vmap(lambda m: jax.random.fold_in(key, m))(jnp.arange(1, members))])


def train_step(key, params, opt_state, images, labels, weights, *, model: Any, optimizer: optax.GradientTransformation):
  """One optimiser step on the weighted mean cross-entropy of a batch.

  Args:
    key: the key of dropout; it is consumed.
    params: the model's parameters.
    opt_state: the optimiser's state.
    images: `[B, ...]` floats as the network takes them.
    labels: `[B]` int32.
    weights: `[B]` floats; 0 leaves an example out.
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
  updates, opt_state = optimizer.update(grads, opt_state, params)
  return optax.apply_updates(params, updates), opt_state, loss


def shuffled_positions(key: jax.Array, count: jax.Array, *, size: int) -> jax.Array:
  """A random permutation of `0..count-1` in front of the places `count..size-1`: `[size]` int32."""
  places = jnp.arange(size)
  return jnp.argsort(jnp.where(places < count, jax.random.uniform(key, (size,)), jnp.inf), stable=True)


class _Best(NamedTuple):
  """The best parameters so far, of those that were looked at."""

  params: types.PyTree
  accuracy: jax.Array  # `[]` on the validation set; -1 before the first look
  waited: jax.Array  # `[]` int32: looks since


def fit(
  key_batches: jax.Array,
  key_dropout: jax.Array,
  params: types.PyTree,
  data: types.Dataset,
  ids: jax.Array,
  count: jax.Array,
  *,
  model: Any,
  optimizer: optax.GradientTransformation,
  batch_size: int,
  train_steps: int | None = None,
  epochs: int | None = None,
  early_stop: types.EarlyStop | None = None,
  validate: Callable[[types.PyTree], jax.Array] | None = None,
) -> tuple[types.PyTree, types.FitInfo]:
  """Trains on the pool images `ids[:count]`: nothing else of the pool is read.

  With `train_steps`, every step draws `batch_size` of them with replacement. With `epochs`, every epoch is one shuffled
  pass in `ceil(count / batch_size)` batches, the last of which may be smaller. With `early_stop`, these are ceilings:
  the model is looked at every so many steps, or after every epoch, and the training ends after `patience` looks in a
  row that were no better than the best; the best parameters are returned, the earliest of equals.

  Args:
    key_batches: decides which images are in which batch; it is consumed.
    key_dropout: decides the dropout masks; it is consumed.
    params: where to start.
    data: the pool.
    ids: `[K]` int32 pool ids, valid in the first `count` places.
    count: `[]` int32, at least 1.
    model: a Flax module called as `model(images, train=True)`.
    optimizer: an optax transformation; its state starts anew.
    batch_size: images a step.
    train_steps: how many steps; or
    epochs: how many passes.
    early_stop: when to look and when to stop; or None to train to the end.
    validate: parameters -> accuracy on the validation set, `[]`; read with `early_stop` alone.

  Returns:
    The fitted parameters and how it went.
  """
  labels = jnp.asarray(data.labels)[ids]
  # A stretch of training goes from one look at the validation set to the next: the whole of it without early stopping.
  if epochs is None:
    stretch = train_steps if early_stop is None else min(early_stop.every, train_steps)
    stretches = -(-train_steps // stretch)
    everything = jax.random.randint(jax.random.fold_in(key_batches, 0), (train_steps * batch_size,), 0, count)
  else:
    stretches = epochs

  def positions_of(i: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array | int]:
    """A stretch's places among `ids`, its number of steps, and how many of the places count."""
    if epochs is None:
      places = jnp.pad(everything, (0, stretches * stretch * batch_size - everything.size))
      places = jax.lax.dynamic_slice_in_dim(places, i * stretch * batch_size, stretch * batch_size)
      return places, jnp.minimum(stretch, train_steps - i * stretch), stretch * batch_size
    size = -(-ids.shape[0] // batch_size) * batch_size
    places = shuffled_positions(jax.random.fold_in(key_batches, i), count, size=ids.shape[0])
    places = jnp.pad(places, (0, size - ids.shape[0]))
    # Places of no weight repeat the first id: what lies behind `count` is not labeled and is never looked at.
    return jnp.where(jnp.arange(size) < count, places, 0), (count + batch_size - 1) // batch_size, count

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
        model=model,
        optimizer=optimizer,
      )
      first_bad = jnp.where((info.first_bad_step < 0) & ~jnp.isfinite(loss), info.steps, info.first_bad_step)
      return params, opt_state, types.FitInfo(loss, info.steps + 1, first_bad)

    return jax.lax.fori_loop(0, steps, one_step, carry)

  start = (params, optimizer.init(params), types.FitInfo(jnp.float32(0), jnp.int32(0), jnp.int32(-1)))
  if early_stop is None:
    params, _, info = jax.lax.fori_loop(0, stretches, one_stretch, start)
    return params, info

  def unfinished(carry) -> jax.Array:
    i, _, best = carry
    return (i < stretches) & (best.waited < early_stop.patience)

  def stretch_and_look(carry):
    i, trained, best = carry
    trained = one_stretch(i, trained)
    accuracy = validate(trained[0])
    better = accuracy > best.accuracy
    kept = jax.tree.map(functools.partial(jnp.where, better), trained[0], best.params)
    return i + 1, trained, _Best(kept, jnp.maximum(accuracy, best.accuracy), jnp.where(better, 0, best.waited + 1))

  best = _Best(params, jnp.float32(-1), jnp.int32(0))
  _, (_, _, info), best = jax.lax.while_loop(unfinished, stretch_and_look, (jnp.int32(0), start, best))
  return best.params, info
