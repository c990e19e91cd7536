"""Posteriors: how predictions are sampled. Each has a factory, in the style of `optax.adam(learning_rate)`.

A posterior is a prediction function with its numbers of samples and networks. Equal arguments give the same object, so
equal learners share their compiled programs.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from al_jax import linalg
from al_jax import network as networks
from al_jax import types
from al_jax.chunks import map_chunks
from al_jax.models import convolution

__all__ = ("deterministic", "ensemble", "laplace", "mc_dropout")

# If all samples of a chunk are computed at once, activations grow by the factor S. Such a chunk therefore has fewer
# rows: rows times samples is at most this many times `chunk_size`.
_ROWS_PER_CHUNK = 10

# Chunk size of the shared-convolution path; kept small so that the per-channel outputs fit in cache.
_SCALED_PER_CHUNK = 2


def _log_softmax(logits: jax.Array) -> jax.Array:
  return jax.nn.log_softmax(logits.astype(jnp.float32))


def features_of(network: types.Network, features: jax.Array | None) -> jax.Array:
  """Returns the features of a forward pass. Raises ValueError if they are None."""
  if features is None:
    raise ValueError(
      f"{network.name} has no features: a Flax module needs a dense layer outside nn.remat, scan and jit, whose input"
      " is read"
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
  """One forward pass of the fitted network with dropout off: one sample."""

  def predict(key, network, variables, inputs_of, ids, *, chunk_size, features) -> types.Outputs:
    del key  # nothing is drawn

    def chunk(ids: jax.Array) -> types.Outputs:
      logits, found = network.sample(None, variables, inputs_of(ids))
      return types.Outputs(_log_softmax(logits)[:, None], features_of(network, found) if features else None)

    return map_chunks(chunk, ids, chunk_size=chunk_size)

  return types.Posterior("deterministic", predict)


def mc_dropout(samples: int, *, per_example: bool = False) -> types.Posterior:
  """MC dropout: `samples` forward passes with dropout on. Needs a network with dropout.

  By default masks are consistent: each sample has one set of masks for the whole pool in a round. With `per_example`,
  every row has its own masks. Layers below the first dropout are computed once per row, because they do not depend on
  the sample.

  Source: Gal & Ghahramani (2016).

  Raises:
    ValueError: `samples` is less than 1.
  """
  _at_least_one("dropout", samples)
  return _mc_dropout(samples, per_example)


@functools.cache  # called with positional arguments, because a cache treats keyword arguments as different ones
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
      # Layers below the first dropout are the same as in the samples: XLA computes them once.
      found = networks.row_by_row(lambda row: network.sample(None, variables, row)[1], inputs) if features else None
      return types.Outputs(log_probs, features_of(network, found) if features else None)

    def in_turn(ids: jax.Array) -> types.Outputs:
      return map_chunks(functools.partial(chunk, lambda f, keys: jax.lax.map(f, keys)), ids, chunk_size=chunk_size)

    def at_once(rows: int, ids: jax.Array) -> types.Outputs:
      size = max(1, min(chunk_size, rows))
      return map_chunks(functools.partial(chunk, lambda f, keys: jax.vmap(f)(keys)), ids, chunk_size=size)

    # On CPU, samples run one after another to stay in cache, and XLA moves computations that do not depend on the
    # sample out of the loop. Accelerators run all samples at once, and vmap does not batch computations that do not
    # depend on the sample. If samples differ only in channel scales, a CPU also runs them at once on a few images,
    # because they share a convolution.
    shared = convolution.convolves_scaled(logits_of, keys[0], inputs_of(ids[:1]))
    on_cpu = functools.partial(at_once, _SCALED_PER_CHUNK) if shared else in_turn
    elsewhere = functools.partial(at_once, _ROWS_PER_CHUNK * chunk_size // samples)
    return jax.lax.platform_dependent(ids, cpu=on_cpu, default=elsewhere)

  return types.Posterior("dropout", predict, samples, joint=not per_example, drops=True)


def ensemble(members: int) -> types.Posterior:
  """Deep ensemble: `members` networks, each with its own initial weights, minibatches and dropout.

  Features are those of the first network. Needs `Trainer(members=...)` with the same number.

  Source: Lakshminarayanan et al. (2017).

  Raises:
    ValueError: `members` is less than 1.
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

    # One member after another: vmapped convolutions with several kernels are several times slower on CPU.
    log_probs = jnp.moveaxis(jax.lax.map(one, variables), 0, 1)
    found = None
    if features:
      found = only_features(network, networks.first_member(variables), inputs_of, ids, chunk_size=chunk_size)
    return types.Outputs(log_probs, found)

  return types.Posterior("ensemble", predict, members, members)


def _at_least_one(name: str, samples: int) -> None:
  if isinstance(samples, bool) or not isinstance(samples, int | jnp.integer) or samples < 1:
    raise ValueError(f"the {name} posterior needs an integer number of samples, at least 1, not {samples!r}")


# Largest size C F of a head with a full covariance, whose Cholesky factor is computed in every round. Above it, the
# covariance is a Kronecker product.
_MAX_FULL = 2000


class _HeadPrior(NamedTuple):
  """Prior precisions of a head; hashable."""

  kernel: float
  bias: float

  @property
  def constant(self) -> float:
    """The feature that stands for the bias: with it, all parameters have the kernel's prior precision."""
    return (self.kernel / self.bias) ** 0.5


def _with_constant(features: jax.Array, prior: _HeadPrior) -> jax.Array:
  return jnp.pad(features, ((0, 0), (0, 1)), constant_values=prior.constant)


def _full_root(rows: jax.Array, probs: jax.Array, weights: jax.Array, prior: _HeadPrior) -> jax.Array:
  """Cholesky factor `[C (F + 1), C (F + 1)]` of the precision matrix, classes outermost."""
  classes, size = probs.shape[1], rows.shape[1]
  # One block of the matrix per pair of classes: only `[K, F]` intermediates in addition to the matrix.
  first, second = jnp.divmod(jnp.arange(classes * classes), classes)

  def block(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
    c, d = pair
    curvature = probs[:, c] * ((c == d) - probs[:, d]) * weights
    return (curvature[:, None] * rows).T @ rows

  blocks = jax.lax.map(block, (first, second)).reshape(classes, classes, size, size)
  precision = blocks.swapaxes(1, 2).reshape(classes * size, classes * size)
  return linalg.cholesky(precision + prior.kernel * jnp.eye(classes * size))


def _kronecker_factors(
  rows: jax.Array, probs: jax.Array, weights: jax.Array, prior: _HeadPrior
) -> dict[str, jax.Array]:
  """Eigenvectors of both factors, and the standard deviations `[C, F + 1]` along them."""
  inner = (weights[:, None] * rows).T @ rows
  spread = jnp.diag((weights[:, None] * probs).sum(0)) - (weights[:, None] * probs).T @ probs
  values, vectors = linalg.eigh(inner)
  class_values, class_vectors = linalg.eigh(spread / weights.sum())
  products = jnp.maximum(class_values, 0)[:, None] * jnp.maximum(values, 0)[None]
  return {"features": vectors, "classes": class_vectors, "deviations": (products + prior.kernel) ** -0.5}


@functools.cache
def _laplace(samples: int, prior: _HeadPrior) -> types.Posterior:
  def fit(network, variables, inputs_of, ids, weights, *, chunk_size) -> types.PyTree:
    features = only_features(network, variables, inputs_of, ids, chunk_size=chunk_size)
    probs = jax.nn.softmax(network.head(variables, features).astype(jnp.float32))
    rows = _with_constant(features, prior)
    with jax.default_matmul_precision("highest"):
      if probs.shape[1] * features.shape[1] <= _MAX_FULL:
        return variables | {"laplace": {"root": _full_root(rows, probs, weights, prior)}}
      return variables | {"laplace": _kronecker_factors(rows, probs, weights, prior)}

  def draw(key: jax.Array, parts: dict[str, jax.Array], classes: int, size: int) -> jax.Array:
    """`[C, F + 1, S]` deviations of the head from the fitted one."""
    if "root" in parts:
      noise = jax.random.normal(key, (classes * size, samples))
      root = parts["root"].astype(jnp.float32)
      return linalg.solve_transposed(root, noise).reshape(classes, size, samples)
    noise = jax.random.normal(key, (classes, size, samples)) * parts["deviations"][:, :, None]
    return jnp.einsum("ci,fj,ijs->cfs", parts["classes"], parts["features"], noise)

  def predict(key, network, variables, inputs_of, ids, *, chunk_size, features) -> types.Outputs:
    if key is None:
      raise ValueError("samples of a Laplace posterior need a key")
    shapes = jax.eval_shape(lambda ids: network.sample(None, variables, inputs_of(ids)), ids[:1])
    classes, size = shapes[0].shape[1], features_of(network, shapes[1]).shape[1] + 1
    away = draw(key, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), variables["laplace"]), classes, size)

    def chunk(ids: jax.Array) -> types.Outputs:
      logits, found = network.sample(None, variables, inputs_of(ids))
      moved = jnp.einsum("kf,cfs->ksc", _with_constant(features_of(network, found), prior), away)
      return types.Outputs(_log_softmax(logits[:, None] + moved), found if features else None)

    return map_chunks(chunk, ids, chunk_size=chunk_size)

  return types.Posterior("laplace", predict, samples, fit=fit, needs_head=True)


def laplace(samples: int, *, prior_precision: float = 1.0, bias_precision: float | None = None) -> types.Posterior:
  """Last-layer Laplace approximation: draws of the head from a normal distribution around the fitted one.

  The precision matrix is the Gauss-Newton matrix of the summed cross-entropy on the training rows, plus the prior
  precision on its diagonal. The head's weights and biases vary, all other layers stay fixed. Each sample is one head
  for the whole pool. Needs a network with a `head` (see `from_flax`).

  Up to C F = 2,000 the matrix is exact and takes `(C (F + 1))^2` floats. Above, its first part is replaced by a
  Kronecker product: the sum of the rows' outer products, times the mean over rows of the softmax covariance; this takes
  `(F + 1)^2 + C F` floats, and `10 (F + 1)^3` operations per round.

  Source: MacKay (1992); Kristiadi et al. (2020), section 4, for the last layer; Ritter et al. (2018) for the product,
  with the prior added exactly in its eigenbasis.

  Args:
    samples: number of samples.
    prior_precision: of the kernel, and of the bias without `bias_precision`.
    bias_precision: prior precision of the bias.

  Raises:
    ValueError: `samples` is less than 1, or a precision is not positive.
  """
  _at_least_one("laplace", samples)
  bias_precision = prior_precision if bias_precision is None else bias_precision
  for name, value in (("prior_precision", prior_precision), ("bias_precision", bias_precision)):
    if not value > 0:
      raise ValueError(f"{name} must be positive, not {value}")
  return _laplace(samples, _HeadPrior(float(prior_precision), float(bias_precision)))
