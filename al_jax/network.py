"""Converts Flax modules to `types.Network`.

Rows of weight 0, which pad the last minibatch of an epoch, must not enter batch statistics: batch normalization gets a
mask. Networks with other state cannot leave rows out; they are refused for plans with padded minibatches.
"""

from collections.abc import Callable
import functools
from typing import Any

from flax.core import tracers
import flax.linen as nn
import jax
from jax.interpreters import partial_eval
import jax.numpy as jnp

from al_jax import types
from al_jax.models import layers

FULL_BATCHES = (
  "{} has state other than parameters and batch statistics, which padded rows would enter: use steps instead of epochs,"
  " so that all minibatches are full"
)

NAME_THE_HEAD = "name the layer of the logits, as in al_jax.from_flax(module, head='Dense_1')"


def row_by_row(one: Callable[[types.PyTree], types.PyTree], inputs: types.PyTree) -> types.PyTree:
  """Applies `one` to each row as a batch of one: `[B, ...]` -> stacked results.

  Random draws in `one` do not depend on the row, so a key gives all rows the same draws.
  """
  if jax.tree.leaves(inputs)[0].shape[0] == 1:
    return one(inputs)
  first = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)
  return jax.vmap(lambda row: first(one(jax.tree.map(lambda leaf: leaf[None], row))))(inputs)


def sampler(one_pass: Callable) -> types.SampleFn:
  """Makes `Network.sample` from a forward pass `(key or None, variables, inputs)`. With a key, it runs row by row."""

  def sample(key: jax.Array | None, variables: types.PyTree, inputs: types.PyTree):
    if key is None:
      return one_pass(None, variables, inputs)
    return row_by_row(lambda row: one_pass(key, variables, row), inputs)

  return sample


def reachable(seen: list[tuple[jax.Array, Any]], trace: Any) -> jax.Array | None:
  """Features of a forward pass: the last dense layer's input, as float32 rows; None if it belongs to another trace."""
  if not seen or seen[-1][1] != trace:
    return None
  last = seen[-1][0]
  return last.reshape((last.shape[0], -1)).astype(jnp.float32)


def row_mask(weights: jax.Array, x: jax.Array) -> jax.Array:
  """Mask of the rows with positive weight, in the shape that `nn.BatchNorm` expects."""
  return (weights > 0).reshape((-1,) + (1,) * (x.ndim - 1))


def from_flax(module: nn.Module, *, head: str | None = None) -> types.Network:
  """Makes a network from a Linen module that is called as `module(inputs, train=bool)` and returns `[B, C]` logits.

  All layers that draw from the `dropout` stream in training also draw in posterior samples. There, `nn.BatchNorm` uses
  its running statistics. A network with other state trains with `steps` only: with
  `epochs` the last minibatch is padded, and its padding would enter that state. Features
  are the input of the last `nn.Dense` called; there are none if it is called within `nn.remat`, `scan` or `jit`. Equal
  modules give equal networks.

  Args:
    module: the module; collections other than `params` are kept in the variables.
    head: path of the dense layer that returns the logits, such as `"Dense_1"`; default: the module's attribute `head`
      if it has one.

  Returns:
    The network.

  Raises:
    ValueError: `module` is not an instance of a Linen module.
  """
  if not isinstance(module, nn.Module):
    of = "its class" if isinstance(module, type) else f"a {type(module).__name__}"
    raise ValueError(f"from_flax takes an instance of a Linen module, not {of}: create one, or use from_nnx for nnx")
  path = getattr(module, "head", None) if head is None else head
  try:
    return _from_hashable(module, path)
  except TypeError:  # a field is unhashable, such as a list, an array or a traced number
    return _from_flax(module, path)


@functools.lru_cache(maxsize=256)
def _from_hashable(module: nn.Module, head: str | None) -> types.Network:
  return _from_flax(module, head)


def _from_flax(module: nn.Module, head: str | None) -> types.Network:
  name = type(module).__name__

  def init(key: jax.Array, inputs: types.PyTree) -> types.PyTree:
    made = module.init(key, inputs, train=False)
    return {"params": {}} | dict(made)

  def apply(variables: types.PyTree, inputs: types.PyTree, *, key: jax.Array, weights: jax.Array | None):
    own = _state_of(variables)
    masked = set()

    def mask(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
      if weights is not None and context.method_name == "__call__" and isinstance(context.module, nn.BatchNorm):
        masked.add(context.module.path)
        kwargs = kwargs | {"mask": kwargs.get("mask", True) & row_mask(weights, args[0])}
      return call(*args, **kwargs)

    with nn.intercept_methods(mask):
      logits, new = module.apply(variables, inputs, train=True, rngs={"dropout": key}, mutable=list(own))
    if weights is not None and any(path not in masked for path in _owners(own)):
      raise ValueError(FULL_BATCHES.format(name))
    return logits, variables | dict(new)

  def one_pass(key: jax.Array | None, variables: types.PyTree, inputs: types.PyTree):
    # Inputs of dense layers in call order, with their traces.
    seen, trace = [], tracers.current_trace()

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
      if context.method_name != "__call__":
        return call(*args, **kwargs)
      inner = context.module
      if isinstance(inner, nn.Dense):
        seen.append((args[0], tracers.current_trace()))
      if isinstance(inner, layers.Conv):
        kwargs = kwargs | {"train": False}  # the training lowering is slower without gradients
      if isinstance(inner, nn.BatchNorm):
        object.__setattr__(inner, "use_running_average", None)
        args, kwargs = args[:1], kwargs | {"use_running_average": True}
      return call(*args, **kwargs)

    drawn_by = None if key is None else {"dropout": key}
    # The module may update its state here; the update is discarded.
    mutable = list(_state_of(variables)) if key is not None else []
    with nn.intercept_methods(intercept):
      logits, _ = module.apply(variables, inputs, train=key is not None, mutable=mutable, rngs=drawn_by)
    return logits, reachable(seen, trace)

  def of_features(variables: types.PyTree, features: jax.Array) -> jax.Array:
    layer = variables["params"]
    for step in str(head).split("/"):
      layer = layer[step]
    logits = features @ layer["kernel"]
    return logits + layer["bias"].reshape((1, -1)) if "bias" in layer else logits

  return types.Network(init, apply, sampler(one_pass), None if head is None else of_features, name)


def _state_of(variables: types.PyTree) -> types.PyTree:
  """The collections that the training pass may update: all but `params`."""
  return {name: tree for name, tree in variables.items() if name != "params"}


def _owners(state: types.PyTree) -> set[tuple[str, ...]]:
  """Paths of the modules that own the state."""
  paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
  return {tuple(str(step.key) for step in path[1:-1]) for path in paths}


def from_nnx(make: Callable[[Any], Any]) -> types.Network:
  """Makes a network from an nnx module. Equal functions `make` give equal networks.

  Training calls the module after `module.train()`, posterior samples after `module.eval()` with dropout on. Features
  are the input of the last `nnx.Linear` called outside `nnx` transformations.

  Args:
    make: function of `nnx.Rngs` that returns a module, which is called as `module(inputs)` and returns `[B, C]` logits.
      The network has no `head`. State other than batch norm's trains with `steps` only.

  Returns:
    The network.

  Raises:
    ValueError: `make` is a module or not callable.
  """
  from al_jax import nnx_network  # importing nnx takes 0.3 s

  return nnx_network.network(make)


def first_member(variables: types.PyTree) -> types.PyTree:
  """The variables of an ensemble's first network, which equals the network that other strategies train."""
  return jax.tree.map(lambda leaf: leaf[0], variables)


def dense_head(network: types.Network, variables: types.PyTree, *, num_features: int) -> types.Head:
  """Kernel and bias of a network's head. Raises ValueError if it has none.

  The head is linear, so that its Jacobian at any features is the kernel.
  """
  head = network.head
  if head is None:
    raise ValueError(f"{network.name} has no head: {NAME_THE_HEAD}")
  logits = lambda row: head(variables, row[None])[0].astype(jnp.float32)
  origin = jnp.zeros(num_features, jnp.float32)
  with jax.default_matmul_precision("highest"):
    return types.Head(jax.jacrev(logits)(origin).T, logits(origin))


def abstract(network: types.Network, example: types.PyTree) -> types.PyTree:
  """Shapes and dtypes of a network's variables for inputs like `example`. Computes nothing."""
  return jax.eval_shape(network.init, jax.eval_shape(jax.random.key, 0), example)


def samples_differ(network: types.Network, example: types.PyTree) -> bool:
  """Whether MC dropout samples can disagree, that is, whether logits depend on the key. Computes nothing."""
  key, variables = jax.eval_shape(jax.random.key, 0), abstract(network, example)
  traced = jax.make_jaxpr(lambda key, variables, x: network.sample(key, variables, x)[0])(key, variables, example)
  _, is_used = partial_eval.dce_jaxpr(traced.jaxpr, [True])
  return is_used[0]
