"""Networks of several frameworks as the pure functions that the loop asks for.

Rows of weight 0, which pad a last batch, enter no statistic: batch normalisation is given a mask. A network that keeps
state of another kind cannot leave rows out, and is refused where a plan has batches that are not full.
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
  "{} keeps state beside its parameters and the statistics of batch normalisation, which padding would enter: train on"
  " full batches, steps in place of epochs"
)


def row_by_row(one: Callable[[types.PyTree], types.PyTree], inputs: types.PyTree) -> types.PyTree:
  """`one` of every row alone, as a batch of one: `[B, ...]` -> its results, stacked.

  A draw of `one` does not depend on the row, so that a key gives all rows the same.
  """
  if jax.tree.leaves(inputs)[0].shape[0] == 1:
    return one(inputs)
  first = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)
  return jax.vmap(lambda row: first(one(jax.tree.map(lambda leaf: leaf[None], row))))(inputs)


def sampler(one_pass: Callable) -> types.SampleFn:
  """A network's `sample` of its pass `(key or None, variables, inputs)`: with a key, row by row."""

  def sample(key: jax.Array | None, variables: types.PyTree, inputs: types.PyTree):
    if key is None:
      return one_pass(None, variables, inputs)
    return row_by_row(lambda row: one_pass(key, variables, row), inputs)

  return sample


def reachable(seen: list[tuple[jax.Array, Any]], trace: Any) -> jax.Array | None:
  """The features of a pass: the last input of a dense layer, as rows of float32; None where it is of another trace."""
  if not seen or seen[-1][1] != trace:
    return None
  last = seen[-1][0]
  return last.reshape((last.shape[0], -1)).astype(jnp.float32)


def row_mask(weights: jax.Array, x: jax.Array) -> jax.Array:
  """Which rows count, as `nn.BatchNorm` takes it."""
  return (weights > 0).reshape((-1,) + (1,) * (x.ndim - 1))


def from_flax(module: nn.Module, *, head: str | None = None) -> types.Network:
  """The network of a Linen module called as `module(inputs, train=bool)`, returning `[B, C]` logits.

  Whatever draws from the `dropout` stream in training drops in samples too; `nn.BatchNorm` then has its running
  statistics. Features are the input of the last `nn.Dense` called, unless it lies within `nn.remat`, `scan` or `jit`.
  Equal modules give equal networks.

  Args:
    module: the module; collections beside `params` are kept in the variables.
    head: path of the dense layer that gives the logits, such as `"Dense_1"`; by default the module's attribute `head`,
      where it has one.
  """
  if not isinstance(module, nn.Module):
    of = "its class" if isinstance(module, type) else f"a {type(module).__name__}"
    raise ValueError(f"from_flax takes a Linen module, with its fields, and was given {of}; from_nnx is for nnx")
  path = getattr(module, "head", None) if head is None else head
  try:
    return _from_hashable(module, path)
  except TypeError:  # a field is a list, an array or a traced number
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
    # In the order of their calls: inputs of dense layers with the trace they are of.
    seen, trace = [], tracers.current_trace()

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
      if context.method_name != "__call__":
        return call(*args, **kwargs)
      inner = context.module
      if isinstance(inner, nn.Dense):
        seen.append((args[0], tracers.current_trace()))
      if isinstance(inner, layers.Conv):
        kwargs = kwargs | {"train": False}  # what is lowered for gradients is slower without them
      if isinstance(inner, nn.BatchNorm):
        object.__setattr__(inner, "use_running_average", None)
        args, kwargs = args[:1], kwargs | {"use_running_average": True}
      return call(*args, **kwargs)

    drawn_by = None if key is None else {"dropout": key}
    # State that a module would update is read, and what it would become is dropped.
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
  """The collections that training updates in its forward pass."""
  return {name: tree for name, tree in variables.items() if name != "params"}


def _owners(state: types.PyTree) -> set[tuple[str, ...]]:
  """Paths of the modules that keep it."""
  paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
  return {tuple(str(step.key) for step in path[1:-1]) for path in paths}


def from_nnx(make: Callable[[Any], Any]) -> types.Network:
  """The network of an nnx module: `make` takes `nnx.Rngs` and returns a module called as `module(inputs)`.

  Training calls it after `module.train()`, samples after `module.eval()` with dropout on. Features are the input of the
  last `nnx.Linear` called outside `nnx` transformations. The same function gives equal networks.
  """
  from al_jax import nnx_network  # importing nnx takes a third of a second

  return nnx_network.network(make)


def first_member(variables: types.PyTree) -> types.PyTree:
  """The variables of an ensemble's first network, which is the one that other strategies train."""
  return jax.tree.map(lambda leaf: leaf[0], variables)


def abstract(network: types.Network, example: types.PyTree) -> types.PyTree:
  """Shapes and dtypes of a network's variables for inputs like `example`. Nothing is computed."""
  return jax.eval_shape(network.init, jax.eval_shape(jax.random.key, 0), example)


def samples_differ(network: types.Network, example: types.PyTree) -> bool:
  """Whether samples of MC dropout can disagree: their logits depend on the key. Nothing is computed."""
  key, variables = jax.eval_shape(jax.random.key, 0), abstract(network, example)
  traced = jax.make_jaxpr(lambda key, variables, x: network.sample(key, variables, x)[0])(key, variables, example)
  _, is_used = partial_eval.dce_jaxpr(traced.jaxpr, [True])
  return is_used[0]
