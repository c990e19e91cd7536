"""The oracle: returns labels, with optional label noise."""

import dataclasses

import jax
import jax.numpy as jnp

from al_jax import types
from al_jax.keys import Role
from al_jax.keys import role_key


def noisy_labels(key: jax.Array, data: types.Dataset, rate: float | jax.Array) -> jax.Array:
  """The oracle's label of every pool row. All labels for training and validation are read here.

  With probability `rate`, a label is replaced by a uniformly drawn other class. The draw depends only on the key and
  the id, so the oracle gives the same label in every round and to every strategy of a seed. Copies of an original are
  drawn independently. A label does not depend on the labels of other ids.

  Args:
    key: the run's base key; it is not consumed.
    data: the pool.
    rate: in [0, 1), a number or a traced `[]` array; the number 0 draws nothing and returns the labels unchanged.

  Returns:
    `[N]` int32; negative (unknown) labels are unchanged.
  """
  labels = jnp.asarray(data.labels, jnp.int32)  # a smaller integer type could overflow below
  if not isinstance(rate, jax.Array) and not rate:  # a tracer has no concrete value
    return labels
  key_errs, key_shift = jax.random.split(role_key(key, Role.LABEL_NOISE))
  errs = jax.random.uniform(key_errs, labels.shape) < rate
  shift = jax.random.randint(key_shift, labels.shape, 1, data.num_classes, labels.dtype)
  return jnp.where(errs & (labels >= 0), (labels + shift) % data.num_classes, labels)


def answered(key: jax.Array, data: types.Dataset, rate: float | jax.Array) -> types.Dataset:
  """The data set with `noisy_labels` in place of the pool's labels."""
  return dataclasses.replace(data, labels=noisy_labels(key, data, rate))
