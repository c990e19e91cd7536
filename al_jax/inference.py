"""Predictions on many images, a chunk at a time: deterministic, by MC dropout, by an ensemble."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from al_jax import types
from al_jax.chunks import map_chunks
from al_jax.models import layers

# Where all samples of a chunk are worked out at once, dropout multiplies activations by their number: a chunk holds
# fewer images then, within this many times `chunk_size` rows.
_ROWS_PER_CHUNK = 10

# The images of a chunk whose channels are convolved once for all samples: what each channel gives should stay in cache.
_SCALED_PER_CHUNK = 2


def normalize(images: jax.Array, data: types.Dataset) -> jax.Array:
  """Images as the network takes them: integers become `(x - mean) / std`, floats are left as they are."""
  if jnp.issubdtype(images.dtype, jnp.floating):
    return images
  return (images.astype(jnp.float32) - data.mean) / data.std


def pool_inputs(data: types.Dataset, ids: jax.Array) -> jax.Array:
  """Pool images as the network takes them, each with its own noise where the pool has any: `[K]` ids -> `[K, ...]`."""
  images = normalize(jnp.asarray(data.images)[ids % data.images.shape[0]], data)
  if not data.noise:
    return images
  draw = lambda i: jax.random.normal(jax.random.fold_in(data.noise_key, i), images.shape[1:], images.dtype)
  return images + data.noise * jax.vmap(draw)(ids)


class _Pass(NamedTuple):
  """What one forward pass showed beside its logits."""

  features: jax.Array | None  # `[B, F]` the last dense layer's input
  num_dropouts: int  # layers that drop anything
  num_scaled: int  # convolutions that take the scale of their channels


def _forward(
  model: Any, params: types.PyTree, x: jax.Array, ids: jax.Array | None = None, key: jax.Array | None = None
) -> tuple[jax.Array, _Pass]:
  """One forward pass in inference mode, for any Flax module: `[B, C]` logits, and what it showed.

  With a key, every `nn.Dropout` is on: one mask for the whole batch or, given the images' `ids` `[B]`, a mask an image.
  Nothing else differs from inference mode.
  """
  drops = lambda layer: isinstance(layer.rate, jax.Array) or layer.rate > 0  # a traced rate cannot be looked at
  # In the order of their calls: inputs of the dense layers, layers that drop, convolutions of scaled channels.
  features, dropouts, scaled = [], [], []

  def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
    layer = context.module
    if context.method_name != "__call__":
      return call(*args, **kwargs)
    if isinstance(layer, nn.Dense):
      features.append(args[0])
    if isinstance(layer, layers.Conv) and kwargs.get("scale") is not None:
      scaled.append(layer)
    if not isinstance(layer, nn.Dropout) or not drops(layer):
      return call(*args, **kwargs)
    dropouts.append(layer)
    if key is None:
      return call(*args, **kwargs)
    x = args[0]
    shape = tuple(1 if axis in layer.broadcast_dims else size for axis, size in enumerate(x.shape[1:], start=1))
    layer_key = jax.random.fold_in(key, len(dropouts))
    draw = lambda key: jax.random.bernoulli(key, 1 - layer.rate, shape)
    own = jax.vmap(lambda i: draw(jax.random.fold_in(layer_key, i)))
    keep = draw(layer_key)[None] if ids is None else own(ids)
    return jnp.where(keep, x / (1 - layer.rate), 0)

  with nn.intercept_methods(intercept):
    logits = model.apply({"params": params}, x, train=False)
  return logits, _Pass(features[-1] if features else None, len(dropouts), len(scaled))


def _shown(model: Any, params: types.PyTree, x: jax.Array) -> _Pass:
  """What a forward pass would show, of shapes alone: nothing is computed."""
  seen = []

  def look(params: types.PyTree, x: jax.Array) -> jax.Array:
    logits, shown = _forward(model, params, x)
    seen.append(shown)
    return logits

  jax.eval_shape(look, params, x)
  return seen[0]


def num_dropouts(model: Any, data: types.Dataset) -> int:
  """How many layers of the network drop anything in training. Nothing is computed."""
  x = jax.eval_shape(lambda images: normalize(images, data), data.images[:1])
  init = lambda key, x: model.init(key, x, train=False)["params"]
  params = jax.eval_shape(init, jax.eval_shape(jax.random.key, 0), x)
  return _shown(model, params, x).num_dropouts


def first_member(params: types.PyTree) -> types.PyTree:
  """The parameters of an ensemble's first network, which is the one that other strategies train."""
  return jax.tree.map(lambda leaf: leaf[0], params)


class Outputs(NamedTuple):
  """What inference gives for K images; what was not asked for is None."""

  log_probs: jax.Array | None  # `[K, S, C]` float32
  features: jax.Array | None  # `[K, F]` float32


def outputs(
  key: jax.Array | None,
  model: Any,
  params: types.PyTree,
  inputs: Callable[[jax.Array], jax.Array],
  ids: jax.Array,
  *,
  chunk_size: int,
  posterior: types.Posterior = types.Posterior(),  # noqa: B008 (immutable)
  samples: bool = True,
  features: bool = False,
  dtype: str = "float32",
) -> Outputs:
  """Posterior samples and features of the images `inputs(ids)`.

  The layers below the first dropout are worked out once an image: only what follows depends on the sample.

  Args:
    key: decides the dropout masks; it is consumed by MC dropout, and may be None for the other posteriors.
    model: a Flax module called as `model(images, train=False)`, returning `[B, C]` logits.
    params: its parameters; with an ensemble's posterior, with a leading axis of members.
    inputs: `[B]` ids -> `[B, ...]` images as the network takes them.
    ids: `[K]` int32.
    chunk_size: images in one forward pass; with dropout, fewer where all samples are worked out at once.
    posterior: where the samples come from.
    samples: whether log-probabilities are wanted.
    features: whether features are wanted: of the network as fitted, dropout off; of an ensemble's first member.
    dtype: the arithmetic of the passes; what is returned is float32.

  Returns:
    `Outputs`. Memory: one chunk's activations (times S behind the first dropout, but on CPU) beside the result.

  Raises:
    ValueError: features of a network without a dense layer are wanted.
  """
  as_asked = lambda tree: jax.tree.map(lambda leaf: leaf.astype(dtype), tree)
  params, pass_inputs = as_asked(params), lambda ids: inputs(ids).astype(dtype)
  log_softmax = lambda logits: jax.nn.log_softmax(logits.astype(jnp.float32))
  first = first_member(params) if posterior.kind == "ensemble" else params

  def features_of(shown: _Pass) -> jax.Array:
    if shown.features is None:
      raise ValueError(f"{type(model).__name__} has no nn.Dense layer, whose input would be the features")
    return shown.features.reshape((len(shown.features), -1)).astype(jnp.float32)

  def deterministic(params: types.PyTree, samples: bool, features: bool) -> Outputs:
    def chunk(ids: jax.Array) -> Outputs:
      logits, shown = _forward(model, params, pass_inputs(ids))
      return Outputs(log_softmax(logits)[:, None] if samples else None, features_of(shown) if features else None)

    return map_chunks(chunk, ids, chunk_size=chunk_size)

  if posterior.kind == "deterministic" or not samples:
    return deterministic(first, samples, features)

  if posterior.kind == "ensemble":
    # One member after another: vmapped convolutions with as many kernels are several times slower on CPU.
    members = jax.lax.map(lambda member: deterministic(member, True, False).log_probs[:, 0], params)
    return Outputs(jnp.moveaxis(members, 0, 1), deterministic(first, False, True).features if features else None)

  keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(jnp.arange(posterior.samples))
  # One sample after another stays in a processor's cache, and XLA moves what does not depend on the sample out of the
  # loop; an accelerator takes them all at once, and vmap leaves alone what does not depend on the sample. Where samples
  # differ in the scale of channels, a processor takes them all at once too, of a few images: they share a convolution.
  on_cpu = jax.default_backend() == "cpu"
  in_turn = on_cpu and not _shown(model, params, jax.eval_shape(pass_inputs, ids[:1])).num_scaled

  def chunk(ids: jax.Array) -> Outputs:
    own, images = ids if posterior.per_example else None, pass_inputs(ids)
    sample = lambda key: log_softmax(_forward(model, params, images, own, key)[0])
    log_probs = jnp.moveaxis(jax.lax.map(sample, keys) if in_turn else jax.vmap(sample)(keys), 0, 1)
    # What lies below the first dropout is that of the samples: XLA works it out once for both.
    return Outputs(log_probs, features_of(_forward(model, params, images)[1]) if features else None)

  if not in_turn:
    at_once = _SCALED_PER_CHUNK if on_cpu else _ROWS_PER_CHUNK * chunk_size // posterior.samples
    chunk_size = max(1, min(chunk_size, at_once))
  return map_chunks(chunk, ids, chunk_size=chunk_size)


def predict(model: Any, params: types.PyTree, images: jax.Array, data: types.Dataset, *, chunk_size: int) -> jax.Array:
  """Deterministic log-probabilities of a Flax classifier: `[N, ...]` images -> `[N, 1, C]`, dropout off."""
  images = jnp.asarray(images)
  inputs = lambda ids: normalize(images[ids], data)
  return outputs(None, model, params, inputs, jnp.arange(images.shape[0]), chunk_size=chunk_size).log_probs
