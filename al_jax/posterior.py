"""Posteriors: what a prediction is made of. A factory for each, in the way of `optax.adam(learning_rate)`.

Each is a bundle of a function and sizes. Equal arguments give the same object, so that learners made anew share their
programs.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from al_jax import network as networks
from al_jax import types
from al_jax.chunks import map_chunks
from al_jax.models import layers

__all__ = ("deterministic", "ensemble", "laplace", "mc_dropout")

# Where all samples of a chunk are worked out at once, dropout multiplies activations by their number: a chunk holds
# fewer rows then, within this many times `chunk_size`.
_ROWS_PER_CHUNK = 10

# The images of a chunk whose channels are convolved once for all samples: what each channel gives should stay in cache.
_SCALED_PER_CHUNK = 2


def _log_softmax(logits: jax.Array) -> jax.Array:
  return jax.nn.log_softmax(logits.astype(jnp.float32))


def features_of(network: types.Network, features: jax.Array | None) -> jax.Array:
  """Features that a pass gave. Raises ValueError where it gave none."""
  if features is None:
    raise ValueError(
      f"{network.name} has no features: from a Flax module they are the input of its last dense layer, which must not"
      " lie within nn.remat, scan or jit"
    )
  return features


def only_features(
  network: types.Network, variables: types.PyTree, inputs_of: Callable, ids: jax.Array, *, chunk_size: int
) -> jax.Array:
  """`[K, F]` features of the inputs `inputs_of(ids)`, dropout off."""
  chunk = lambda ids: features_of(network, network.sample(None, variables, inputs_of(ids))[1])
  return map_chunks(chunk, ids, chunk_size=chunk_size)


@functools.cache
def deterministic() -> types.Posterior:
  """One pass of the network as fitted, dropout off: one sample."""

  def predict(key, network, variables, inputs_of, ids, *, chunk_size, features) -> types.Outputs:
    del key  # nothing is drawn

    def chunk(ids: jax.Array) -> types.Outputs:
      logits, found = network.sample(None, variables, inputs_of(ids))
      return types.Outputs(_log_softmax(logits)[:, None], features_of(network, found) if features else None)

    return map_chunks(chunk, ids, chunk_size=chunk_size)

  return types.Posterior("deterministic", predict)


def mc_dropout(samples: int, *, per_example: bool = False) -> types.Posterior:
  """MC dropout: `samples` passes with dropout on.

  Consistent: one set of masks per sample, shared by the whole pool in a round; with `per_example`, every row has masks
  of its own. The layers below the first dropout are worked out once per row: only what follows depends on the sample.

  Source: Gal & Ghahramani (2016).

  Raises:
    ValueError: fewer than one sample.
  """
  _at_least_one("dropout", samples)
  return _mc_dropout(samples, per_example)


@functools.cache  # by place: to a cache, the same arguments by name are others
def _mc_dropout(samples: int, per_example: bool) -> types.Posterior:
  def predict(key, network, variables, inputs_of, ids, *, chunk_size, features) -> types.Outputs:
    if key is None:
      raise ValueError("samples of MC dropout need a key")
    keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(jnp.arange(samples))
    logits_of = lambda key, inputs: network.sample(key, variables, inputs)[0]

    def sample(key: jax.Array, ids: jax.Array, inputs: types.PyTree) -> jax.Array:
      if not per_example:
        return _log_softmax(logits_of(key, inputs))
      own = jax.vmap(lambda i: jax.random.fold_in(key, i))(ids)
      one = lambda key, row: logits_of(key, jax.tree.map(lambda leaf: leaf[None], row))[0]
      return _log_softmax(jax.vmap(one)(own, inputs))

    def chunk(over_samples: Callable, ids: jax.Array) -> types.Outputs:
      inputs = inputs_of(ids)
      log_probs = jnp.moveaxis(over_samples(lambda key: sample(key, ids, inputs), keys), 0, 1)
      # What lies below the first dropout is that of the samples: XLA works it out once for both.
      found = networks.row_by_row(lambda row: network.sample(None, variables, row)[1], inputs) if features else None
      return types.Outputs(log_probs, features_of(network, found) if features else None)

    def in_turn(ids: jax.Array) -> types.Outputs:
      return map_chunks(functools.partial(chunk, lambda f, keys: jax.lax.map(f, keys)), ids, chunk_size=chunk_size)

    def at_once(rows: int, ids: jax.Array) -> types.Outputs:
      size = max(1, min(chunk_size, rows))
      return map_chunks(functools.partial(chunk, lambda f, keys: jax.vmap(f)(keys)), ids, chunk_size=size)

    # One sample after another stays in a processor's cache, and XLA moves what does not depend on the sample out of the
    # loop; an accelerator takes them all at once, and vmap leaves alone what does not depend on the sample. Where
    # samples differ in the scale of channels, a processor takes them all at once too, of a few images: they share a
    # convolution.
    shared = layers.convolves_scaled(logits_of, keys[0], inputs_of(ids[:1]))
    on_cpu = functools.partial(at_once, _SCALED_PER_CHUNK) if shared else in_turn
    elsewhere = functools.partial(at_once, _ROWS_PER_CHUNK * chunk_size // samples)
    return jax.lax.platform_dependent(ids, cpu=on_cpu, default=elsewhere)

  return types.Posterior("dropout", predict, samples, joint=not per_example, drops=True)


def ensemble(members: int) -> types.Posterior:
  """As many networks, each from its own weights, minibatches and dropout; features are the first one's.

  Source: Lakshminarayanan et al. (2017).

  Raises:
    ValueError: fewer than one network.
  """
  _at_least_one("ensemble", members)
  return _ensemble(members)


@functools.cache
def _ensemble(members: int) -> types.Posterior:
  def predict(key, network, variables, inputs_of, ids, *, chunk_size, features) -> types.Outputs:
    def one(member: types.PyTree) -> jax.Array:
      return (
        deterministic()
        .predict(key, network, member, inputs_of, ids, chunk_size=chunk_size, features=False)
        .log_probs[:, 0]
      )

    # One member after another: vmapped convolutions with as many kernels are several times slower on CPU.
    log_probs = jnp.moveaxis(jax.lax.map(one, variables), 0, 1)
    found = None
    if features:
      found = only_features(network, networks.first_member(variables), inputs_of, ids, chunk_size=chunk_size)
    return types.Outputs(log_probs, found)

  return types.Posterior("ensemble", predict, members, members)


def _at_least_one(name: str, samples: int) -> None:
  if isinstance(samples, bool) or not isinstance(samples, int | jnp.integer) or samples < 1:
    raise ValueError(f"a {name} posterior cannot have {samples!r} samples")


@functools.cache
def _laplace(samples: int, prior_precision: float) -> types.Posterior:
  def with_one(features: jax.Array) -> jax.Array:
    return jnp.pad(features, ((0, 0), (0, 1)), constant_values=1.0)

  def fit(network, variables, inputs_of, ids, weights, *, chunk_size) -> types.PyTree:
    rows = with_one(only_features(network, variables, inputs_of, ids, chunk_size=chunk_size))
    probs = jax.nn.softmax(network.head(variables, rows[:, :-1]).astype(jnp.float32))
    classes, size = probs.shape[1], rows.shape[1]
    # A block of the matrix per pair of classes: `[K, F]` is all that is held beside it.
    first, second = jnp.divmod(jnp.arange(classes * classes), classes)

    def block(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
      c, d = pair
      curvature = probs[:, c] * ((c == d) - probs[:, d]) * weights
      return (curvature[:, None] * rows).T @ rows

    with jax.default_matmul_precision("highest"):
      blocks = jax.lax.map(block, (first, second)).reshape(classes, classes, size, size)
    precision = blocks.swapaxes(1, 2).reshape(classes * size, classes * size)
    precision += prior_precision * jnp.eye(classes * size)
    return variables | {"laplace": {"root": jnp.linalg.cholesky(precision)}}

  def predict(key, network, variables, inputs_of, ids, *, chunk_size, features) -> types.Outputs:
    if key is None:
      raise ValueError("samples of a Laplace posterior need a key")
    root = variables["laplace"]["root"].astype(jnp.float32)
    noise = jax.random.normal(key, (root.shape[0], samples))
    away = jax.scipy.linalg.solve_triangular(root, noise, lower=True, trans="T")

    def chunk(ids: jax.Array) -> types.Outputs:
      logits, found = network.sample(None, variables, inputs_of(ids))
      rows = with_one(features_of(network, found))
      moved = jnp.einsum("kf,cfs->ksc", rows, away.reshape(logits.shape[1], rows.shape[1], samples))
      return types.Outputs(_log_softmax(logits[:, None] + moved), found if features else None)

    return map_chunks(chunk, ids, chunk_size=chunk_size)

  return types.Posterior("laplace", predict, samples, fit=fit, needs_head=True)


def laplace(samples: int, *, prior_precision: float = 1.0) -> types.Posterior:
  """Last-layer Laplace: the head's weights and biases are normal around the fitted ones, all else is as fitted.

  Their precision is the Gauss-Newton matrix of the summed cross-entropy on the rows trained on, plus
  `prior_precision`. A sample is one head for the whole pool. Memory: `(C (F + 1))^2` floats.

  Source: MacKay (1992); Kristiadi et al. (2020), section 4, of the last layer.

  Raises:
    ValueError: fewer than one sample, or a precision that is not positive.
  """
  _at_least_one("laplace", samples)
  if not prior_precision > 0:
    raise ValueError(f"prior_precision must be positive, not {prior_precision}")
  return _laplace(samples, float(prior_precision))
