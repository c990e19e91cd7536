"""Converts `flax.nnx` modules to `types.Network`."""

from collections.abc import Callable
import functools
from typing import Any

from flax import nnx
from flax.core import tracers
import jax
import jax.numpy as jnp

from al_jax import types
from al_jax.network import FULL_BATCHES
from al_jax.network import reachable
from al_jax.network import row_mask
from al_jax.network import sampler


class _Recorder:
  """Passes row weights to the layers of one nnx forward pass, and records the inputs of dense layers."""

  def __init__(self, weights: jax.Array | None):
    self.weights = weights
    self.dense_inputs: list[tuple[jax.Array, Any]] = []  # in call order, with their traces


def _recording(layer: type, recorder: _Recorder) -> type:
  """A subclass of `layer` with the same behavior that uses the recorder."""

  def dense(self, inputs: jax.Array, *args, **kwargs):
    recorder.dense_inputs.append((inputs, tracers.current_trace()))
    return layer.__call__(self, inputs, *args, **kwargs)

  def norm(self, x: jax.Array, *args, mask: Any = True, **kwargs):
    if recorder.weights is not None:
      kwargs = kwargs | {"mask": mask & row_mask(recorder.weights, x)}
    return layer.__call__(self, x, *args, **kwargs)

  return type(layer.__name__, (layer,), {"__call__": dense if issubclass(layer, nnx.Linear) else norm})


def network(make: Callable[[nnx.Rngs], nnx.Module]) -> types.Network:
  """See `al_jax.from_nnx`."""
  if isinstance(make, nnx.Module) or not callable(make):
    raise ValueError(f"from_nnx takes a function of nnx.Rngs that returns the module, not a {type(make).__name__}")
  return _network(make)


@functools.lru_cache(maxsize=256)
def _network(make: Callable[[nnx.Rngs], nnx.Module]) -> types.Network:
  name = getattr(make, "__name__", type(make).__name__)

  def init(key: jax.Array, inputs: types.PyTree) -> types.PyTree:
    del inputs  # an nnx module has its sizes
    _, params, _, state = nnx.split(make(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
    return {"params": nnx.to_pure_dict(params)} | ({"state": nnx.to_pure_dict(state)} if state else {})

  def module_of(variables: types.PyTree, key: jax.Array | None, recorder: _Recorder) -> nnx.Module:
    graph, params, rngs, state = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param, nnx.RngState, ...)
    nnx.replace_by_pure_dict(params, variables["params"])
    nnx.replace_by_pure_dict(state, variables.get("state", {}))
    counts = {path: jnp.uint32(0) for path, _ in nnx.to_flat_state(rngs)}
    # Without a key, nothing is drawn from this placeholder.
    own = jax.random.wrap_key_data(jnp.zeros(2, jnp.uint32), impl="threefry2x32") if key is None else key
    # Each stream has its own key, folded with its position.
    keys = {path: jax.random.fold_in(own, i) for i, path in enumerate(sorted(counts)) if path[-1] == "key"}
    streams = [(path, leaf.replace(keys.get(path, counts[path]))) for path, leaf in nnx.to_flat_state(rngs)]
    module = nnx.merge(graph, params, nnx.from_flat_state(streams), state)
    for _, part in nnx.iter_modules(module):
      if isinstance(part, nnx.Linear | nnx.BatchNorm):
        part.__class__ = _recording(type(part), recorder)
    return module

  def apply(variables: types.PyTree, inputs: types.PyTree, *, key: jax.Array, weights: jax.Array | None):
    module = module_of(variables, key, _Recorder(weights))
    module.train()
    if weights is not None:
      norms = [part for _, part in nnx.iter_modules(module) if isinstance(part, nnx.BatchNorm)]
      kept = sum(len(jax.tree.leaves(nnx.state(norm, nnx.BatchStat))) for norm in norms)
      if len(jax.tree.leaves(variables.get("state", {}))) > kept:
        raise ValueError(FULL_BATCHES.format(name))
    logits = module(inputs)
    _, _, state = nnx.state(module, nnx.Param, nnx.RngState, ...)
    return logits, variables | ({"state": nnx.to_pure_dict(state)} if state else {})

  def one_pass(key: jax.Array | None, variables: types.PyTree, inputs: types.PyTree):
    recorder = _Recorder(None)
    module = module_of(variables, key, recorder)
    module.eval()
    if key is not None:
      module.set_attributes(deterministic=False, raise_if_not_found=False)
    trace = tracers.current_trace()
    logits = module(inputs)
    return logits, reachable(recorder.dense_inputs, trace)

  return types.Network(init, apply, sampler(one_pass), None, name)
