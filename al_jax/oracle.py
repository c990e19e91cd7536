"""The oracle: who is asked for a label, and how often the answer is wrong."""

import dataclasses

import jax
import jax.numpy as jnp

from al_jax import types
from al_jax.keys import Role
from al_jax.keys import role_key


def noisy_labels(key: jax.Array, data: types.Dataset, rate: float | jax.Array) -> jax.Array:
  """What the oracle says of every pool row: the one place where labels are read for training and validation.

  Each answer is with probability `rate` another class than the row's, each other class alike. Whether it is, and how
  far off, is drawn for the id and not for the question: asked again, in another round or by another strategy of the
  seed, the oracle says the same; copies err each for itself. No label influences another id's answer.

  Args:
    key: the run's base key; it is not consumed.
    data: the pool.
    rate: in [0, 1), a number or `[]` traced; with the number 0 the labels come back as they are and nothing is drawn.

  Returns:
    `[N]` int32; a label that is not known stays as it is.
  """
  labels = jnp.asarray(data.labels, jnp.int32)  # in a smaller type, another class might wrap
  if not isinstance(rate, jax.Array) and not rate:  # a traced number cannot be looked at
    return labels
  key_errs, key_shift = jax.random.split(role_key(key, Role.LABEL_NOISE))
  errs = jax.random.uniform(key_errs, labels.shape) < rate
  shift = jax.random.randint(key_shift, labels.shape, 1, data.num_classes, labels.dtype)
  return jnp.where(errs & (labels >= 0), (labels + shift) % data.num_classes, labels)


def answered(key: jax.Array, data: types.Dataset, rate: float | jax.Array) -> types.Dataset:
  """The data set with the oracle's `noisy_labels` for the pool's labels."""
  return dataclasses.replace(data, labels=noisy_labels(key, data, rate))
