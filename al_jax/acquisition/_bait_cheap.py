"""BAIT with an approximated Fisher information: of the most probable classes, or of a binary task.

An image has so few gradient vectors that the loops over the images are the inner ones: arrays are `[R, C, n]` and
`[R, R, n]`, and products of the small matrices are written out.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from al_jax import types
from al_jax.acquisition import _bait
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select

# With one vector for each image, a batch of twice as many images as features gave objectives up to 2% higher than
# float64 at a thousandth, 0.1% at three thousandths, and none at this value.
_BINARY_MIN_RIDGE = 1e-2


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
  """Matrix product of each row: `[A, K, n]`, `[K, B, n]` -> `[A, B, n]`."""
  add = lambda k, total: total + a[:, k, None] * b[None, k]
  return jax.lax.fori_loop(0, a.shape[1], add, jnp.zeros((a.shape[0], *b.shape[1:])))


def update_forms(rows: _bait.Rows, forms: _bait.Forms, directions: jax.Array, *, sign: int) -> _bait.Forms:
  """`_bait.update_forms` for roots `[R, C, n]`, features `[n, F]` and forms `[R, R, n]`."""
  num_classes, num_features = rows.roots.shape[1], rows.features.shape[1]
  directions = directions.reshape(num_classes, num_features, -1).swapaxes(1, 2)
  u, t = jnp.split(_products(rows.roots, jnp.tensordot(directions, rows.features, [[2], [1]])), 2, axis=1)
  mixed = _products(u, t.swapaxes(0, 1))
  return _bait.Forms(
    forms.inverse_form + sign * _products(u, u.swapaxes(0, 1)),
    forms.target_form + sign * (mixed + mixed.swapaxes(0, 1)),
  )


def gains(forms: _bait.Forms) -> jax.Array:
  """`_bait.gains` for forms `[R, R, n]`: `[n]`, at least 0.

  The vectors of an image are added one after another: vector i decreases `tr(M^-1 G)` by b_ii / (1 + a_ii).
  """

  def add(i: jax.Array, carry: tuple[jax.Array, _bait.Forms]) -> tuple[jax.Array, _bait.Forms]:
    gain, (inverse_form, target_form) = carry
    a, b = inverse_form[i], target_form[i]
    u = a / (1 + a[i])[None]
    mixed = u[:, None] * (b - 0.5 * b[i][None] * u)[None]
    forms = _bait.Forms(inverse_form - u[:, None] * a[None], target_form - mixed - mixed.swapaxes(0, 1))
    return gain + jnp.maximum(b[i], 0.0) / (1 + a[i]), forms

  count, rows = forms.inverse_form.shape[1:]
  return jax.lax.fori_loop(0, count, add, (jnp.zeros(rows), forms))[0]


def _method(roots: Callable[[jax.Array], jax.Array], *, min_ridge: float) -> _bait.Method:
  def moments(probs: jax.Array) -> jax.Array:
    each = roots(probs)
    return jnp.sum(each[:, :, :, None] * each[:, :, None], axis=1)

  return _bait.Method(roots, moments, min_ridge, -1, gains, update_forms)


@functools.cache  # a static argument: equal hyper-parameters give the same object
def of_top_classes(classes: int) -> _bait.Method:
  """W has a row for each of the `classes` most probable classes, `[min(classes, C), C]`."""

  def roots(probs: jax.Array) -> jax.Array:
    top, ids = jax.lax.top_k(probs, min(classes, probs.shape[1]))
    total = jnp.sum(top, axis=1, keepdims=True)
    weights = top / jnp.where(total > 0, total, 1.0)
    return jnp.sqrt(weights)[:, :, None] * jnp.take_along_axis(_bait.deviations(probs), ids[:, :, None], axis=1)

  return _method(roots, min_ridge=_bait.MIN_RIDGE)


def _binary_roots(probs: jax.Array) -> jax.Array:
  return jnp.sqrt(probs.max(axis=1) * _bait.complements(probs).min(axis=1))[:, None, None]


BINARY = _method(
  _binary_roots, min_ridge=_BINARY_MIN_RIDGE
)  # W is `sqrt(p (1 - p))` of the highest probability, `[1, 1]`


@factory
def bait_expectation(
  *, top_classes: int = 2, regularization: float = 1.0, oversample: float = 2.0, chunk_size: int = 1024
) -> types.Acquisition:
  """BAIT with the Fisher information of each image's most probable classes alone.

  The information of an image is the expectation of the outer product of its gradient over all C labels. Here it is
  taken over its `top_classes` most probable labels, with their probabilities divided by their sum, as in the authors'
  code; their experiments use 2. The gradients still have C * F entries. With all C classes this is `bait`.

  Objective, weights, regularization and the two phases are those of `bait`. (The authors' code adds up the labeled
  images' information where `bait` takes the mean.) An image has `top_classes` vectors instead of C, in factored form,
  so that a pick takes a small part of `bait`'s time. The information of all images and the first gains remain, most of
  a selection of 10. Matrices of C * F rows must fit in memory, as for `bait`.

  Formula: bait with I = sum_c p_c / sum_top p (e_c - p) (e_c - p)' (x) h h', c in the most probable
  Source: Huseljic et al. 2024

  Args:
    top_classes: number of most probable classes; if there are fewer, all are used.
    regularization: added to the diagonal of M; positive.
    oversample: number of images of the forward phase, divided by `num`; at least 1.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `top_classes` is below 1, `regularization` is not positive, or `oversample` is below 1.
  """
  if top_classes < 1:
    raise ValueError(f"top_classes must be at least 1, not {top_classes}")
  _bait.check(regularization, oversample)

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # deterministic given the view
    hyper = {"regularization": regularization, "oversample": oversample, "chunk_size": chunk_size}
    return _bait.select_batch(view, method=of_top_classes(top_classes), num=num, **hyper)

  return from_select(select, needs=types.Needs(samples=1, features=True))


@factory
def bait_binary(*, regularization: float = 1.0, oversample: float = 2.0, chunk_size: int = 1024) -> types.Acquisition:
  """BAIT on the binary task whether the most probable class is right.

  With p the highest probability of the mean prediction, the information of an image is p (1 - p) h h', `[F, F]`
  whatever the number of classes. Objective, weights, regularization and the two phases are those of `bait`. For two
  classes, this is `bait` with twice the regularization: the gradients of two classes are opposite, which doubles the
  information. The regularization is at least a hundredth of the largest p (1 - p) |h|^2. The cheapest of the three, and
  the only one for many classes.

  Formula: bait with I = p (1 - p) h h', p = max_c p_c
  Source: Huseljic et al. 2024

  Args:
    regularization: added to the diagonal of M; positive.
    oversample: number of images of the forward phase, divided by `num`; at least 1.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `regularization` is not positive, or `oversample` is below 1.
  """
  _bait.check(regularization, oversample)

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # deterministic given the view
    hyper = {"regularization": regularization, "oversample": oversample, "chunk_size": chunk_size}
    return _bait.select_batch(view, method=BINARY, num=num, **hyper)

  return from_select(select, needs=types.Needs(samples=1, features=True))
