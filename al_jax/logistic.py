"""Multinomial logistic regression by Newton's method on the full batch: the training of a linear head."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from al_jax import linalg

_MAX_PRODUCTS = 100  # Hessian products per iteration
_MAX_HALVINGS = 20  # of a step; then float32 cannot lower the objective further
_FORCING = 0.5  # largest relative residual of a Newton step
_ARMIJO = 1e-4
_ROUNDING = 1e-6  # of the objective, relative: a smaller increase may be rounding
_BIAS_RIDGE = 1e-2  # of the preconditioner alone: biases of all classes may move together at no cost
_WIDE = 200  # features from which preconditioners are renewed every step, by the rows if these are fewer


class Solution(NamedTuple):
  """A fitted head."""

  kernel: jax.Array  # `[F, C]`
  bias: jax.Array  # `[C]`
  loss: jax.Array  # `[]` nats: weighted mean cross-entropy, without the penalty
  iterations: jax.Array  # `[]` int32: Newton steps


class _Point(NamedTuple):
  """A point of the search: parameters `[C, F + 1]`, whose last column is the bias."""

  at: jax.Array
  value: jax.Array  # `[]` objective
  probs: jax.Array  # `[C, n]` predictions for the rows
  gradient: jax.Array  # `[C, F + 1]`
  stuck: jax.Array  # `[]` bool: no step along the last direction lowers the objective
  iterations: jax.Array  # `[]` int32


def preconditioner(x: jax.Array, variance: jax.Array, ridge: jax.Array) -> Callable[[jax.Array], jax.Array]:
  """A function that multiplies rows by the inverse of `x' diag(variance) x + diag(ridge)`: `[C, F]` -> `[C, F]`.

  Args:
    x: `[n, F]`. With fewer rows than features, and at least 200 of these, a matrix `[n, n]` is inverted in place of one
      `[F, F]` (Woodbury's identity).
    variance: `[n]`, at least 0.
    ridge: `[F]`, positive.
  """
  size, features = x.shape
  if features < _WIDE or size >= features:
    inverse = linalg.inverse_of_positive((x.T * variance[None]) @ x + jnp.diag(ridge))
    return lambda rows: rows @ inverse
  root = jnp.sqrt(variance)[:, None] * x
  scaled = root / ridge[None]
  inner = linalg.inverse_of_positive(root @ scaled.T + jnp.eye(size))
  return lambda rows: rows / ridge[None] - ((rows @ scaled.T) @ inner) @ scaled


def fit(
  rows: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  start: tuple[jax.Array, jax.Array],
  *,
  l2: float,
  tolerance: float,
  max_iterations: int,
) -> Solution:
  """Minimizes the weighted sum of cross-entropies plus `l2 / 2` times the squared kernel; the bias is not penalized.

  With weights of 1 this is scikit-learn's `LogisticRegression(C=1 / l2)`; with two classes, for which scikit-learn has
  one column of weights in place of two, it is `C=2 / l2`. The problem is convex, so `start` changes the time and,
  within the tolerance, not the solution; one that is worse than 0 is replaced by 0. The search ends at a gradient norm
  of `tolerance` times the sum of the weights, after `max_iterations`, or when float32 allows no further decrease. The
  loss is NaN if the gradient is not finite, as with rows that are not finite or whose squares overflow.

  Each Newton step is solved by conjugate gradients, preconditioned by the inverse of `X'SX + l2`, where S holds the
  rows' mean variances: one matrix for all classes. They are those at `start`; from 200 features on, where stale ones
  could keep the search from converging, they are renewed every step.

  Source: Nocedal & Wright (2006), algorithm 7.1 (line search Newton-CG).

  Args:
    rows: `[n, F]` floats.
    labels: `[n]` int32.
    weights: `[n]` floats, at least 0; rows of weight 0 are left out, whatever they hold.
    start: kernel `[F, C]` and bias `[C]` from which the search starts.
    l2: positive.
    tolerance: gradient norm per unit of weight.
    max_iterations: largest number of Newton steps.
  """
  kernel, bias = start
  total = weights.sum()
  # Classes and features come first: on CPU, products with ten rows are twice as fast as with ten columns.
  rows = jnp.where(weights[:, None] > 0, rows.astype(jnp.float32), 0.0)
  x = jnp.pad(rows, ((0, 0), (0, 1)), constant_values=1.0)
  x_t = x.T
  targets = jax.nn.one_hot(labels, bias.shape[0], axis=0)
  penalty = jnp.append(jnp.full(x.shape[1] - 1, l2, jnp.float32), 0.0)[None]

  def predict(at: jax.Array) -> tuple[jax.Array, jax.Array]:
    log_probs = jax.nn.log_softmax(at @ x_t, axis=0)
    loss = -jnp.sum(weights * jnp.sum(targets * log_probs, axis=0))
    return loss, jnp.exp(log_probs)

  def evaluate(at: jax.Array) -> tuple[jax.Array, jax.Array]:
    loss, probs = predict(at)
    return loss + 0.5 * jnp.sum(penalty * at * at), probs

  def gradient_of(at: jax.Array, probs: jax.Array) -> jax.Array:
    return (weights[None] * (probs - targets)) @ x + penalty * at

  def newton_step(point: _Point, precondition: Callable) -> jax.Array:
    """Approximate solution of `Hessian @ step = -gradient`, `[C, F + 1]`."""
    size, spread = jnp.linalg.norm(point.gradient), weights[None] * point.probs

    def hessian(step: jax.Array) -> jax.Array:
      moved = step @ x_t
      return (spread * (moved - jnp.sum(point.probs * moved, axis=0, keepdims=True))) @ x + penalty * step

    # Early steps need few digits; the last one should end below the tolerance.
    enough = jnp.maximum(jnp.minimum(_FORCING, jnp.sqrt(size / total)) * size, 0.3 * tolerance * total)

    def goes_on(carry) -> jax.Array:
      _, residual, _, _, products = carry
      return (jnp.linalg.norm(residual) > enough) & (products < _MAX_PRODUCTS)

    def conjugate(carry):
      step, residual, direction, product, products = carry
      curved = hessian(direction)
      length = product / jnp.maximum(jnp.sum(direction * curved), jnp.finfo(jnp.float32).tiny)
      step, residual = step + length * direction, residual - length * curved
      scaled = precondition(residual)
      new = jnp.sum(residual * scaled)
      return step, residual, scaled + new / product * direction, new, products + 1

    residual = -point.gradient
    scaled = precondition(residual)
    start = jnp.zeros_like(residual), residual, scaled, jnp.sum(residual * scaled), jnp.int32(0)
    return jax.lax.while_loop(goes_on, conjugate, start)[0]

  def search(point: _Point, precondition: Callable) -> _Point:
    step = newton_step(point, precondition)
    slope = jnp.sum(point.gradient * step)

    def try_length(carry):
      halvings, *_ = carry
      length = 0.5**halvings
      value, probs = evaluate(point.at + length * step)
      lower = value <= point.value + _ARMIJO * length * slope + _ROUNDING * jnp.abs(point.value)
      return halvings + 1, lower, value, probs

    unsuccessful = lambda carry: ~carry[1] & (carry[0] <= _MAX_HALVINGS)
    begun = jnp.float32(0), jnp.array(False), point.value, point.probs
    tries, lower, value, probs = jax.lax.while_loop(unsuccessful, try_length, begun)
    at = jnp.where(lower, point.at + 0.5 ** (tries - 1) * step, point.at)
    probs = jnp.where(lower, probs, point.probs)
    value = jnp.where(lower, value, point.value)
    return _Point(at, value, probs, gradient_of(at, probs), ~lower, point.iterations + 1)

  def unsolved(point: _Point) -> jax.Array:
    above = jnp.linalg.norm(point.gradient) > tolerance * total
    return above & ~point.stuck & (point.iterations < max_iterations)

  with jax.default_matmul_precision("highest"):
    at = jnp.concatenate([kernel, bias[None]]).T.astype(jnp.float32)
    # Far from the rows' labels, predictions are saturated and Newton's steps useless: 0 is then the better start.
    at = jnp.where(evaluate(at)[0] < total * jnp.log(bias.shape[0]), at, 0.0)
    value, probs = evaluate(at)
    renewed = lambda probs: preconditioner(
      x, weights * jnp.mean(probs * (1 - probs), axis=0), jnp.maximum(penalty[0], _BIAS_RIDGE)
    )
    first = renewed(probs)
    is_wide = x.shape[1] >= _WIDE
    step = lambda point: search(point, renewed(point.probs) if is_wide else first)
    begun = _Point(at, value, probs, gradient_of(at, probs), jnp.array(False), jnp.int32(0))
    found = jax.lax.while_loop(unsolved, step, begun)
    loss, _ = predict(found.at)
    # Without a finite norm, no step is taken, and the loss would be that of the start.
    loss = jnp.where(jnp.isfinite(jnp.linalg.norm(found.gradient)), loss / total, jnp.nan)
  return Solution(found.at[:, :-1].T, found.at[:, -1], loss, found.iterations)
