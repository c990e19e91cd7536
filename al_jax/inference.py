"""Predictions on many images, a chunk at a time: deterministic, by MC dropout, by an ensemble."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from flax.core import tracers
import flax.linen as nn
import jax
from jax.interpreters import partial_eval
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
  key = data.noise_key
  if key is None:
    raise ValueError(f"a pool with noise={data.noise} needs a noise_key")
  draw = lambda i: jax.random.normal(jax.random.fold_in(key, i), images.shape[1:], images.dtype)
  return images + data.noise * jax.vmap(draw)(ids)


class _Pass(NamedTuple):
  """What one forward pass shows."""

  logits: jax.Array  # `[B, C]`
  features: jax.Array | None  # `[B, F]` float32: the last dense layer's input, where it is wanted
  num_scaled: int  # convolutions that take the scale of their channels


def _forward(
  model: Any, params: types.PyTree, x: jax.Array, key: jax.Array | None = None, *, features: bool = False
) -> _Pass:
  """One forward pass of any Flax module: in inference mode or, with a key, in training mode.

  In training mode all that draws from the `dropout` stream drops as in training; there is no other stream.
  """
  # In the order of their calls: inputs of dense layers with the trace they are of, convolutions of scaled channels.
  inputs, scaled, trace = [], [], tracers.current_trace()

  def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext):
    if context.method_name != "__call__":
      return call(*args, **kwargs)
    if isinstance(context.module, nn.Dense):
      inputs.append((args[0], tracers.current_trace()))
    if isinstance(context.module, layers.Conv):
      kwargs = kwargs | {"train": False}  # what is lowered for gradients is slower without them
      if kwargs.get("scale") is not None:
        scaled.append(context.module)
    return call(*args, **kwargs)

  sampling = {} if key is None else {"rngs": {"dropout": key}}
  with nn.intercept_methods(intercept):
    logits = model.apply({"params": params}, x, train=key is not None, **sampling)
  if not features:
    return _Pass(logits, None, len(scaled))
  name = type(model).__name__
  if not inputs:
    raise ValueError(f"{name} has no nn.Dense layer, whose input would be the features")
  last, its_trace = inputs[-1]
  if its_trace != trace:
    raise ValueError(f"the last nn.Dense of {name}, whose input would be the features, is within nn.remat, scan or jit")
  return _Pass(logits, last.reshape((len(last), -1)).astype(jnp.float32), len(scaled))


def _one_by_one(
  model: Any, params: types.PyTree, x: jax.Array, key: jax.Array | None, ids: jax.Array | None = None
) -> jax.Array:
  """Logits or, without a key, features under vmap over single images.

  One `key` draws one mask for all, whatever draws it. Given the images' `ids` `[B]`, each has its own masks. What
  comes before the first dropout is the same operations with a key and without, which XLA carries out once for both.
  """

  def one(key: jax.Array | None, image: jax.Array) -> jax.Array:
    shown = _forward(model, params, image[None], key, features=key is None)
    out = shown.features if key is None else shown.logits
    assert out is not None
    return out[0]

  if ids is None:
    return jax.vmap(one, in_axes=(None, 0))(key, x)
  assert key is not None
  return jax.vmap(one)(jax.vmap(lambda i: jax.random.fold_in(key, i))(ids), x)


def _num_scaled(model: Any, params: types.PyTree, x: jax.Array) -> int:
  """How many convolutions take the scale of their channels in training mode. Nothing is computed."""
  seen = []
  look = lambda key, params, x: seen.append(_forward(model, params, x, key).num_scaled)
  jax.eval_shape(look, jax.eval_shape(jax.random.key, 0), params, x)
  return seen[0]


def samples_differ(model: Any, data: types.Dataset) -> bool:
  """Whether samples of MC dropout can disagree: in training mode the logits depend on the key. Nothing is computed."""
  key = jax.eval_shape(jax.random.key, 0)
  x = jax.eval_shape(lambda images: normalize(images, data), data.images[:1])
  params = jax.eval_shape(lambda key, x: model.init(key, x, train=False)["params"], key, x)
  traced = jax.make_jaxpr(lambda key, params, x: _forward(model, params, x, key).logits)(key, params, x)
  _, is_used = partial_eval.dce_jaxpr(traced.jaxpr, [True])
  return is_used[0]


def first_member(params: types.PyTree) -> types.PyTree:
  """The parameters of an ensemble's first network, which is the one that other strategies train."""
  return jax.tree.map(lambda leaf: leaf[0], params)


class Outputs(NamedTuple):
  """What inference gives for K images; what was not asked for is None."""

  log_probs: jax.Array | None  # `[K, S, C]` float32
  features: jax.Array | None  # `[K, F]` float32


def _log_probs(out: Outputs) -> jax.Array:
  """Those of outputs that were asked for them."""
  assert out.log_probs is not None
  return out.log_probs


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
    ValueError: features are wanted of a network without a dense layer, or whose last is within a transformation.
  """
  as_asked = lambda tree: jax.tree.map(lambda leaf: leaf.astype(dtype), tree)
  params, pass_inputs = as_asked(params), lambda ids: inputs(ids).astype(dtype)
  log_softmax = lambda logits: jax.nn.log_softmax(logits.astype(jnp.float32))
  first = first_member(params) if posterior.kind == "ensemble" else params

  def deterministic(params: types.PyTree, samples: bool, features: bool) -> Outputs:
    def chunk(ids: jax.Array) -> Outputs:
      shown = _forward(model, params, pass_inputs(ids), features=features)
      return Outputs(log_softmax(shown.logits)[:, None] if samples else None, shown.features)

    return map_chunks(chunk, ids, chunk_size=chunk_size)

  if posterior.kind == "deterministic" or not samples:
    return deterministic(first, samples, features)

  if posterior.kind == "ensemble":
    # One member after another: vmapped convolutions with as many kernels are several times slower on CPU.
    members = jax.lax.map(lambda member: _log_probs(deterministic(member, True, False))[:, 0], params)
    return Outputs(jnp.moveaxis(members, 0, 1), deterministic(first, False, True).features if features else None)

  if key is None:
    raise ValueError("samples of MC dropout need a key")
  keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(jnp.arange(posterior.samples))
  # One sample after another stays in a processor's cache, and XLA moves what does not depend on the sample out of the
  # loop; an accelerator takes them all at once, and vmap leaves alone what does not depend on the sample. Where samples
  # differ in the scale of channels, a processor takes them all at once too, of a few images: they share a convolution.
  on_cpu = jax.default_backend() == "cpu"
  in_turn = on_cpu and not _num_scaled(model, params, jax.eval_shape(pass_inputs, ids[:1]))

  def chunk(ids: jax.Array) -> Outputs:
    own, images = ids if posterior.per_example else None, pass_inputs(ids)
    sample = lambda key: log_softmax(_one_by_one(model, params, images, key, own))
    log_probs = jnp.moveaxis(jax.lax.map(sample, keys) if in_turn else jax.vmap(sample)(keys), 0, 1)
    # What lies below the first dropout is that of the samples: XLA works it out once for both.
    return Outputs(log_probs, _one_by_one(model, params, images, None) if features else None)

  if not in_turn:
    at_once = _SCALED_PER_CHUNK if on_cpu else _ROWS_PER_CHUNK * chunk_size // posterior.samples
    chunk_size = max(1, min(chunk_size, at_once))
  return map_chunks(chunk, ids, chunk_size=chunk_size)


def predict(model: Any, params: types.PyTree, images: jax.Array, data: types.Dataset, *, chunk_size: int) -> jax.Array:
  """Deterministic log-probabilities of a Flax classifier: `[N, ...]` images -> `[N, 1, C]`, dropout off."""
  images = jnp.asarray(images)
  inputs = lambda ids: normalize(images[ids], data)
  return _log_probs(outputs(None, model, params, inputs, jnp.arange(images.shape[0]), chunk_size=chunk_size))
