"""Fitting a classifier to the labeled part of the pool."""

from typing import Any

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
) -> tuple[types.PyTree, types.FitInfo]:
  """Trains on the pool images `ids[:count]`: nothing else of the pool is read.

  With `train_steps`, every step draws `batch_size` of them with replacement. With `epochs`, every epoch is one shuffled
  pass in `ceil(count / batch_size)` batches, the last of which may be smaller.

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

  Returns:
    The fitted parameters and how it went.
  """
  labels = jnp.asarray(data.labels)[ids]
  if epochs is None:
    passes, steps_a_pass = 1, jnp.int32(train_steps)
    draws = train_steps * batch_size
  else:
    passes, steps_a_pass = epochs, (count + batch_size - 1) // batch_size
    draws = -(-ids.shape[0] // batch_size) * batch_size

  def one_pass(i, carry):
    key = jax.random.fold_in(key_batches, i)
    if epochs is None:
      positions = jax.random.randint(key, (draws,), 0, count)
      valid = draws
    else:
      positions = jnp.pad(shuffled_positions(key, count, size=ids.shape[0]), (0, draws - ids.shape[0]))
      # Places of no weight repeat the first id: what lies behind `count` is not labeled and is never looked at.
      positions = jnp.where(jnp.arange(draws) < count, positions, 0)
      valid = count

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

    return jax.lax.fori_loop(0, steps_a_pass, one_step, carry)

  info = types.FitInfo(jnp.float32(0), jnp.int32(0), jnp.int32(-1))
  params, _, info = jax.lax.fori_loop(0, passes, one_pass, (params, optimizer.init(params), info))
  return params, info
