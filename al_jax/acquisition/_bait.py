"""BAIT: minimizes the error of the last layer's parameters, weighted by the pool's Fisher information.

Notation for one row: probabilities `p` `[C]`, features `h` `[F]`, and `V = W (x) h` `[R, C*F]`, where `W` `[R, C]` has
rows `sqrt(p_c) (e_c - p)` (fewer in `_bait_cheap.py`). `V^T V` is then the row's Fisher information of the last
layer's kernel. `V` is formed only for picked rows. For the other rows, a `[C*F, C*F]` matrix `X` enters only as
`V X V^T` `[R, R]`, which is computed from products of the features with the `[F, F]` blocks of `X`.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import linalg
from al_jax import pool
from al_jax import types
from al_jax import uncertainty
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field
from al_jax.chunks import map_chunks

# Minimum regularization, as a fraction of the largest trace of a row's information. Down to this value, rank updates of
# a float32 inverse select the same batches as float64, even if the batch spans the space. (At a third of this value the
# objective was up to 7% higher, at a hundredth four times as high.)
MIN_RIDGE = 1e-3


class Rows(NamedTuple):
  """Rows of the pool, with leading axes `[..., n]`."""

  roots: jax.Array  # `[..., n, R, C]` W; 0 for rows that are neither labeled nor candidates
  features: jax.Array  # `[..., n, F]`


class Forms(NamedTuple):
  """Quadratic forms of each row with the current M, which holds the regularization, the labeled rows and the batch."""

  inverse_form: jax.Array  # `[..., n, R, R]` V M^-1 V^T
  target_form: jax.Array  # `[..., n, R, R]` V M^-1 G M^-1 V^T


class Method(NamedTuple):
  """An approximation of the Fisher information, and how the forward phase stores and updates roots and forms."""

  roots: Callable[[jax.Array], jax.Array]  # W of each row: probabilities `[n, C]` -> `[n, R, D]`; D stands for C
  moments: Callable[[jax.Array], jax.Array]  # `W^T W` of each row: `[n, C]` -> `[n, D, D]`
  min_ridge: float  # as `MIN_RIDGE`
  axis: int  # of the rows in a chunk's roots and forms: 0 or -1
  gains: Callable[[Forms], jax.Array]
  update_forms: Callable[..., Forms]


def complements(probs: jax.Array) -> jax.Array:
  """`1 - p_c` as the sum of the other probabilities, which avoids cancellation: `[n, C]` -> `[n, C]`."""
  return probs @ (1 - jnp.eye(probs.shape[1]))


def deviations(probs: jax.Array) -> jax.Array:
  """Rows `e_c - p`: `[n, C]` -> `[n, C, C]`."""
  eye = jnp.eye(probs.shape[1])[None]
  return eye * complements(probs)[:, :, None] - (1 - eye) * probs[:, None, :]


def fisher_roots(probs: jax.Array) -> jax.Array:
  """`W` of each row, with `W^T W = diag(p) - p p^T`: `[n, C]` -> `[n, C, C]`; exactly 0 if p is certain."""
  return jnp.sqrt(probs)[:, :, None] * deviations(probs)


def _moments(probs: jax.Array) -> jax.Array:
  """`diag(p) - p p^T` of each row: `[n, C]` -> `[n, C, C]`."""
  return probs[:, :, None] * deviations(probs)


def _pairs(num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The pairs `c <= d` of classes, and a `[C, C]` table of the index of each pair."""
  first, second = np.triu_indices(num_classes)
  table = np.zeros((num_classes, num_classes), np.int32)
  table[first, second] = table[second, first] = np.arange(first.size)
  return first, second, table


def fisher(
  moments_of: Callable[[jax.Array], jax.Array],
  probs: jax.Array,
  features: jax.Array,
  valid: jax.Array,
  *,
  chunk_size: int,
) -> jax.Array:
  """Sum of `V^T V` over the valid rows: `[N, C]`, `[N, F]`, `[N]` bool -> `[C*F, C*F]`. Skips invalid rows."""
  total, num_features = features.shape
  num_classes = jax.eval_shape(moments_of, probs).shape[-1]
  first, second, table = _pairs(num_classes)
  valid_first = jnp.argsort(~valid, stable=True)
  count = jnp.sum(valid)

  def add(i: jax.Array, blocks: jax.Array) -> jax.Array:
    positions = i * chunk_size + jnp.arange(chunk_size)
    ids = valid_first[positions % total]
    moments = moments_of(jnp.where((positions < count)[:, None], probs[ids], 0.0))
    block = lambda moment: (moment[:, None] * features[ids]).T @ features[ids]
    return blocks + jax.lax.map(block, moments[:, first, second].T)

  blocks = jnp.zeros((first.size, num_features, num_features))
  blocks = jax.lax.fori_loop(0, (count + chunk_size - 1) // chunk_size, add, blocks)
  return blocks[table].swapaxes(1, 2).reshape(num_classes * num_features, -1)


def quadratic_forms(matrix: jax.Array, rows: Rows) -> jax.Array:
  """`V X V^T` of each row for a symmetric X: `[C*F, C*F]`, rows `[n, ...]` -> `[n, R, R]`."""
  num_classes, num_features = rows.roots.shape[-1], rows.features.shape[-1]
  first, second, table = _pairs(num_classes)
  blocks = matrix.reshape(num_classes, num_features, num_classes, num_features)[first, :, second]
  inner = jax.lax.map(lambda block: jnp.sum((rows.features @ block) * rows.features, axis=1), blocks)
  return rows.roots @ jnp.moveaxis(inner[table], 2, 0) @ rows.roots.swapaxes(1, 2)


def _inverse_root(matrix: jax.Array) -> jax.Array:
  """`E` such that `E E^T` is the inverse of a symmetric matrix `[..., R, R]`; eigenvalues are clipped to at least 1e-6.

  Rounding may have made the matrix indefinite.
  """
  values, vectors = jnp.linalg.eigh(matrix)
  return vectors / jnp.sqrt(jnp.maximum(values, 1e-6))[..., None, :]


def rank_update(
  inverse: jax.Array, target: jax.Array, row: Rows, root: jax.Array, *, sign: int
) -> tuple[jax.Array, jax.Array]:
  """Adds one row to the batch (`sign` -1) or removes it (`sign` 1), by Woodbury's identity.

  Args:
    inverse: `[C*F, C*F]` M^-1.
    target: `[C*F, C*F]` G.
    row: `[R, C]` and `[F]`.
    root: `[R, R]` inverse root of `1 - sign * V M^-1 V^T`.
    sign: sign of the update of M^-1.

  Returns:
    The new M^-1, `M^-1 + sign * U U^T`, and U and T side by side, `[C*F, 2R]`. `M^-1 G M^-1` changes by
    `sign * (U T^T + T U^T)`.
  """
  factor = (row.roots[:, :, None] * row.features[None, None]).reshape(row.roots.shape[0], -1)
  u = inverse @ (factor.T @ root)
  target_u = target @ u
  t = inverse @ target_u + sign / 2 * u @ (u.T @ target_u)
  return inverse + sign * u @ u.T, jnp.concatenate([u, t], axis=1)


def update_forms(rows: Rows, forms: Forms, directions: jax.Array, *, sign: int) -> Forms:
  """Forms of rows `[n, ...]` after a `rank_update` with this sign that returned these directions `[C*F, 2R]`."""
  num_classes, num_features = rows.roots.shape[-1], rows.features.shape[-1]
  directions = directions.reshape(num_classes, num_features, -1)
  u, t = jnp.split(rows.roots @ jnp.tensordot(rows.features, directions, [[1], [1]]), 2, axis=2)
  mixed = u @ t.swapaxes(1, 2)
  return Forms(
    forms.inverse_form + sign * u @ u.swapaxes(1, 2),
    forms.target_form + sign * (mixed + mixed.swapaxes(1, 2)),
  )


def gains(forms: Forms) -> jax.Array:
  """Decrease of `tr(M^-1 G)` when each row is added to the batch: `[n]`, at least 0."""
  eye = jnp.eye(forms.inverse_form.shape[-1])[None]
  lower = jnp.linalg.cholesky(eye + forms.inverse_form)
  inverse = jax.lax.linalg.triangular_solve(lower, jnp.broadcast_to(eye, lower.shape), left_side=True, lower=True)
  return jnp.maximum(jnp.sum((inverse @ forms.target_form) * inverse, axis=(1, 2)), 0.0)


def _place(leaf: jax.Array, ids: jax.Array, *, axis: int) -> tuple:
  """Index of rows by id in chunks `[chunks, ...]`, with `axis` that of the rows in a chunk."""
  size = leaf.shape[1:][axis]
  return (ids // size, ids % size) if axis == 0 else (ids // size, ..., ids % size)


def _forward(
  rows: Rows,
  candidates: jax.Array,
  tie_break: jax.Array,
  inverse: jax.Array,
  target: jax.Array,
  *,
  picks: int,
  method: Method,
) -> tuple[jax.Array, jax.Array, Forms]:
  """Adds the row of highest gain, `picks` times or until no candidate is left.

  Args:
    rows: chunks `[chunks, n, ...]`.
    candidates: `[N]` bool, with N at most `chunks * n`.
    tie_break: `[N]`, as in `pool.masked_top_k`.
    inverse: `[C*F, C*F]` M^-1 of an empty batch.
    target: `[C*F, C*F]` G.
    picks: number of rows to add.
    method: how roots and forms are stored.

  Returns:
    `[picks]` int32 ids in the order in which they were added, M^-1, and the forms of the added rows.
  """
  total = candidates.shape[0]
  eye = jnp.eye(rows.roots.shape[2])
  place = functools.partial(_place, axis=method.axis)
  gather = lambda tree, ids: jax.tree.map(lambda leaf: leaf[place(leaf, ids)], tree)

  matrices = jnp.stack([inverse, inverse @ target @ inverse])
  forms = Forms(*jax.lax.map(lambda matrix: jax.lax.map(lambda rows: quadratic_forms(matrix, rows), rows), matrices))
  if method.axis:
    forms = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, -1), forms)
    rows = Rows(jnp.moveaxis(rows.roots, 1, -1), rows.features)

  def add_best(i: jax.Array, carry: tuple) -> tuple:
    inverse, forms, ids, remaining = carry
    gain = jax.lax.map(method.gains, forms).reshape(-1)[:total]
    new = pool.masked_argmax(gain, remaining, tie_break=tie_break)
    inverse_form, target_form = gather(forms, new)
    row = Rows(gather(rows.roots, new), rows.features[_place(rows.features, new, axis=0)])
    root = _inverse_root(eye + inverse_form)
    inverse, directions = rank_update(inverse, target, row, root, sign=-1)
    forms = jax.lax.map(lambda chunk: method.update_forms(*chunk, directions, sign=-1), (rows, forms))
    # For the row just added, the updated forms are small differences of large numbers, and the backward phase needs
    # them accurately: recompute them without the difference.
    inner_inverse = root @ root.T
    exact = Forms(eye - inner_inverse, inner_inverse @ target_form @ inner_inverse)
    forms = jax.tree.map(lambda leaf, value: leaf.at[place(leaf, new)].set(value), forms, exact)
    return inverse, forms, ids.at[i].set(new), remaining.at[new].set(False)

  carry = inverse, forms, jnp.zeros(picks, jnp.int32), candidates
  num_joined = jnp.minimum(picks, jnp.sum(candidates))
  inverse, forms, ids, _ = jax.lax.fori_loop(0, num_joined, add_best, carry)
  return ids, inverse, gather(forms, ids)


def _backward(
  batch: Rows, forms: Forms, num_joined: jax.Array, inverse: jax.Array, target: jax.Array, *, num: int
) -> jax.Array:
  """Removes the row whose removal costs least until `num` of the first `num_joined` are left; ties: the last added.

  Returns:
    `[picks]` bool: rows that are kept.
  """
  picks = batch.roots.shape[0]
  eye = jnp.eye(batch.roots.shape[1])[None]

  def drop_weakest(_, carry: tuple) -> tuple:
    inverse, forms, kept = carry
    root = _inverse_root(eye - forms.inverse_form)
    losses = jnp.maximum(jnp.sum((forms.target_form @ root) * root, axis=(1, 2)), 0.0)
    weakest = picks - 1 - jnp.argmin(jnp.where(kept, losses, jnp.inf)[::-1])
    row = jax.tree.map(lambda leaf: leaf[weakest], batch)
    inverse, directions = rank_update(inverse, target, row, root[weakest], sign=1)
    return inverse, update_forms(batch, forms, directions, sign=1), kept.at[weakest].set(False)

  carry = inverse, forms, jnp.arange(picks) < num_joined
  return jax.lax.fori_loop(0, num_joined - num, drop_weakest, carry)[2]


EXACT = Method(fisher_roots, _moments, MIN_RIDGE, 0, gains, update_forms)


# Jitted so that all callers share one program: outside jit, each call would compile its loops again.
@functools.partial(jax.jit, static_argnames=("method", "num", "regularization", "oversample", "chunk_size"))
def select_batch(
  view: types.PoolView, *, method: Method, num: int, regularization: float, oversample: float, chunk_size: int
) -> jax.Array:
  """The batch of a form of BAIT: `[num]` int32 ids, in the order of addition. Arguments as those of `bait`."""
  total, size = view.labeled.shape[0], min(chunk_size, view.labeled.shape[0])
  in_use = view.labeled | view.candidates

  def mean_probs(chunk: tuple[jax.Array, jax.Array]) -> jax.Array:
    log_probs, in_use = chunk
    log_probs = jnp.where(in_use[:, None, None], log_probs, 0.0)
    return jnp.where(in_use[:, None], jnp.exp(jax.vmap(uncertainty.log_mean)(log_probs)), 0.0)

  probs = map_chunks(mean_probs, (require_field(view, "log_probs"), in_use), chunk_size=size)
  features = jnp.where(in_use[:, None], require_field(view, "features"), 0.0)
  roots = map_chunks(method.roots, probs, chunk_size=size)
  labels = jnp.sum(view.labeled) + num
  masks = jnp.stack([view.labeled, in_use & ~view.labeled])
  labeled, others = jax.lax.map(lambda valid: fisher(method.moments, probs, features, valid, chunk_size=size), masks)
  target = (labeled + others) / jnp.sum(in_use)
  traces = jnp.sum(features**2, axis=1) * jnp.sum(roots**2, axis=(1, 2))
  ridge = jnp.maximum(regularization, method.min_ridge * traces.max()) * jnp.eye(target.shape[0])
  inverse = linalg.inverse_of_positive(labeled / labels + ridge)

  # Pads with rows of zeros, which have no information, so that all chunks have the same length.
  chunks = -(-total // size)
  padding = chunks * size - total
  split = lambda x: jnp.pad(x, ((0, padding), *[(0, 0)] * (x.ndim - 1))).reshape(chunks, size, *x.shape[1:])
  rows = Rows(split(roots), split(features * jnp.sqrt(num / labels)))
  picks = min(total, int(oversample * num))
  tie_break = require_field(view, "tie_break")
  ids, inverse, forms = _forward(rows, view.candidates, tie_break, inverse, target, picks=picks, method=method)
  batch = jax.tree.map(lambda leaf: leaf[_place(leaf, ids, axis=0)], rows)
  kept = _backward(batch, forms, jnp.minimum(picks, jnp.sum(view.candidates)), inverse, target, num=num)
  return ids[jnp.nonzero(kept, size=num)[0]]


def check(regularization: float, oversample: float) -> None:
  """Raises ValueError if `regularization` is not positive or `oversample` is below 1."""
  if not regularization > 0:
    raise ValueError(f"regularization must be positive, not {regularization}")
  if not oversample >= 1:
    raise ValueError(f"oversample must be at least 1, not {oversample}")


@factory
def bait(*, regularization: float = 1.0, oversample: float = 2.0, chunk_size: int = 1024) -> types.Acquisition:
  """Greedy batch that minimizes the expected parameter error, weighted by the pool's Fisher information.

  The Fisher information is that of the last dense layer's kernel (without its bias) under the mean prediction:
  `I = (diag(p) - p p^T) (x) h h^T`. G is its mean over the labeled images and the candidates. `pool_subset` reduces the
  candidates but not the labeled images, which then weigh more than in the paper. M is the regularized information of
  the labeled images and the batch. The forward phase adds the candidate that gives the smallest `tr(M^-1 G)`,
  `oversample * num` times. The backward phase removes the image whose removal increases `tr(M^-1 G)` least, until `num`
  are left; ties remove the image added last. Ids are returned in the order of addition.

  M is scaled as in the authors' code: the mean information of the L labeled images has weight L / (L + num), and each
  image of the batch has weight num / (L + num), not divided by the size of the batch. The paper's algorithm has neither
  weight. The authors used a regularization of 1, and 0.01 for CIFAR-10. The regularization is at least a thousandth
  of the largest `trace I` of a labeled image or candidate: with less, float32 selects other images than float64.

  The computation is exact and needs no `[N, C*F]` array: two `[C, C]` matrices per image are computed once and get a
  rank-C update after every pick. An image of which the network is certain has no information and is added only when
  nothing better is left. Matrices of C * F rows must fit in memory: C * F is 1,280 for the default network, and tens of
  thousands are out of reach.

  Formula: min tr(M^-1 G), M = regularization + sum_labeled I / (L + num) + num / (L + num) sum_batch I
  Source: Ash et al. 2021

  Args:
    regularization: added to the diagonal of M; positive.
    oversample: number of images of the forward phase, divided by `num`; at least 1.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `regularization` is not positive, or `oversample` is below 1.
  """
  check(regularization, oversample)

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # deterministic given the view
    hyper = {"regularization": regularization, "oversample": oversample, "chunk_size": chunk_size}
    return select_batch(view, method=EXACT, num=num, **hyper)

  return from_select(select, needs=types.Needs(samples=1, features=True))
