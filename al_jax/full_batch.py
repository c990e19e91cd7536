"""Fits a network that is one dense layer to all its rows at once; see `types.FullBatch`."""

import math

import jax
import jax.numpy as jnp

from al_jax import fitting
from al_jax import inputs
from al_jax import logistic
from al_jax import types


def is_linear(variables: types.PyTree, batch: types.PyTree) -> bool:
  """Whether a network's only parameters are the kernel and the bias of a dense layer on the flattened inputs."""
  if len(jax.tree.leaves(batch)) != 1 or len(jax.tree.leaves(variables)) != 2:
    return False
  (inputs,) = jax.tree.leaves(batch)
  shapes = [{name: leaf.shape for name, leaf in layer.items()} for layer in variables["params"].values()]
  features = math.prod(inputs.shape[1:])
  return len(shapes) == 1 and shapes[0].get("kernel", ())[:1] == (features,) and shapes[0].keys() == {"kernel", "bias"}


def check_network(name: str, variables: types.PyTree, batch: types.PyTree, drops: bool) -> None:
  """Raises ValueError unless the network is a dense layer without dropout."""
  if drops or not is_linear(variables, batch):
    raise ValueError(
      f"full_batch trains one dense layer with a bias, such as models.Linear(), and {name} has other parts: give steps"
      " or epochs"
    )


def bootstrap_weights(key: jax.Array, count: jax.Array, *, size: int) -> jax.Array:
  """`[size]` floats: how often each of the first `count` positions is drawn in `count` draws with replacement."""
  places = jnp.arange(size)
  drawn = jax.random.randint(key, (size,), 0, count)
  return jnp.zeros(size).at[drawn].add(places < count)


def solve(
  training: fitting.Training, data: types.Dataset, ids: jax.Array, weights: jax.Array, *, plan: types.FullBatch
) -> fitting.Training:
  """Fits a linear head to the pool rows `ids` `[K]` with `weights` `[K]`; rows of weight 0 are not read as labels."""
  ((name, layer),) = training.variables["params"].items()
  rows = inputs.of_pool(data, ids)
  found = logistic.fit(
    rows.reshape((rows.shape[0], -1)),
    jnp.asarray(data.labels)[ids],
    weights,
    (layer["kernel"], layer["bias"]),
    **plan._asdict(),
  )
  fitted = training.variables | {"params": {name: {"kernel": found.kernel, "bias": found.bias}}}
  info = types.FitInfo(found.loss, found.iterations, jnp.where(jnp.isfinite(found.loss), -1, 0))
  return training._replace(stretch=jnp.int32(1), variables=fitted, info=info)
