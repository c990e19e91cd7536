"""BAIT: the batch that leaves the last layer's parameters best known, where the pool asks for them.

Notation of one row: probabilities `p` `[C]`, features `h` `[F]` and `V = W (x) h` `[C, C*F]` with `W` `[C, C]` of rows
`sqrt(p_c) (e_c - p)`, so that `V^T V` is the row's Fisher information of the last layer's kernel. No `V` but those of
the rows picked is ever formed: what the pool needs of a `[C*F, C*F]` matrix `X` is `V X V^T` `[C, C]` a row, and all of
them come from products of the features with `X`'s `[F, F]` blocks.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import pool
from al_jax import types
from al_jax import uncertainty
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import given
from al_jax.chunks import map_chunks

# The regularization is at least this share of the largest row's information, down to which a float32 inverse that is
# changed rank by rank chooses as float64 does even where the batch spans the space. (At a third of it the objective was
# up to 7% higher, at a hundredth four times as high.)
_RANGE = 1e-3


class Rows(NamedTuple):
  """Rows of the pool, `[..., n]` of them."""

  probs: jax.Array  # `[..., n, C]` mean predictions; 0 for a row that is out of the game
  features: jax.Array  # `[..., n, F]`


class Forms(NamedTuple):
  """What the current batch, of information `M`, leaves to be known about each row."""

  known: jax.Array  # `[..., n, C, C]` V M^-1 V^T
  wanted: jax.Array  # `[..., n, C, C]` V M^-1 G M^-1 V^T


def _complements(probs: jax.Array) -> jax.Array:
  """`1 - p_c` as the sum of the others, which keeps its digits: `[n, C]` -> `[n, C]`."""
  return probs @ (1 - jnp.eye(probs.shape[1]))


def _deviations(probs: jax.Array) -> jax.Array:
  """Rows `e_c - p`: `[n, C]` -> `[n, C, C]`."""
  eye = jnp.eye(probs.shape[1])[None]
  return eye * _complements(probs)[:, :, None] - (1 - eye) * probs[:, None, :]


def roots(probs: jax.Array) -> jax.Array:
  """`W` of each row, `W^T W = diag(p) - p p^T`: `[n, C]` -> `[n, C, C]`; exactly 0 where p is certain."""
  return jnp.sqrt(probs)[:, :, None] * _deviations(probs)


def factor(row: Rows) -> jax.Array:
  """`V` of one row, `[C]` and `[F]` -> `[C, C*F]`."""
  root = roots(row.probs[None])[0]
  return (root[:, :, None] * row.features[None, None]).reshape(root.shape[0], -1)


def _pairs(num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The pairs `c <= d` of classes, and the `[C, C]` table of each pair's place among them."""
  first, second = np.triu_indices(num_classes)
  table = np.zeros((num_classes, num_classes), np.int32)
  table[first, second] = table[second, first] = np.arange(first.size)
  return first, second, table


def fisher(rows: Rows, valid: jax.Array, *, chunk_size: int) -> jax.Array:
  """Sum of `V^T V` over the valid rows, rows `[N, ...]` and `[N]` bool -> `[C*F, C*F]`; the others cost nothing."""
  total, num_classes = rows.probs.shape
  num_features = rows.features.shape[1]
  first, second, table = _pairs(num_classes)
  valid_first = jnp.argsort(~valid, stable=True)
  count = jnp.sum(valid)

  def add(i: jax.Array, blocks: jax.Array) -> jax.Array:
    places = i * chunk_size + jnp.arange(chunk_size)
    probs, features = jax.tree.map(lambda leaf: leaf[valid_first[places % total]], rows)
    probs = jnp.where((places < count)[:, None], probs, 0.0)
    moments = probs[:, :, None] * _deviations(probs)
    block = lambda moment: (moment[:, None] * features).T @ features
    return blocks + jax.lax.map(block, moments[:, first, second].T)

  blocks = jnp.zeros((first.size, num_features, num_features))
  blocks = jax.lax.fori_loop(0, (count + chunk_size - 1) // chunk_size, add, blocks)
  return blocks[table].swapaxes(1, 2).reshape(num_classes * num_features, -1)


def forms_of(matrix: jax.Array, rows: Rows) -> jax.Array:
  """`V X V^T` of each row, X symmetric: `[C*F, C*F]`, rows `[n, ...]` -> `[n, C, C]`."""
  num_classes, num_features = rows.probs.shape[-1], rows.features.shape[-1]
  first, second, table = _pairs(num_classes)
  blocks = matrix.reshape(num_classes, num_features, num_classes, num_features)[first, :, second]
  inner = jax.lax.map(lambda block: jnp.sum((rows.features @ block) * rows.features, axis=1), blocks)
  root = roots(rows.probs)
  return root @ jnp.moveaxis(inner[table], 2, 0) @ root.swapaxes(1, 2)


def _inverse_root(matrix: jax.Array) -> jax.Array:
  """`E` with `E E^T` the inverse of a symmetric matrix, `[..., C, C]`, that rounding may have made indefinite."""
  values, vectors = jnp.linalg.eigh(matrix)
  return vectors / jnp.sqrt(jnp.maximum(values, 1e-6))[..., None, :]


def change(
  inverse: jax.Array, target: jax.Array, row: Rows, root: jax.Array, *, sign: int
) -> tuple[jax.Array, jax.Array]:
  """Takes one row into the batch (`sign` -1) or out of it (1), by Woodbury's identity.

  Args:
    inverse: `[C*F, C*F]` M^-1.
    target: `[C*F, C*F]` G.
    row: the row.
    root: `[C, C]` inverse root of `1 - sign * V M^-1 V^T`.
    sign: of the inverse's change.

  Returns:
    The new M^-1, which is `M^-1 + sign * U U^T`, and `[C*F, 2C]` U beside T, with which `M^-1 G M^-1` changes by
    `sign * (U T^T + T U^T)`.
  """
  u = inverse @ (factor(row).T @ root)
  target_u = target @ u
  t = inverse @ target_u + sign / 2 * u @ (u.T @ target_u)
  return inverse + sign * u @ u.T, jnp.concatenate([u, t], axis=1)


def changed(rows: Rows, forms: Forms, directions: jax.Array, *, sign: int) -> Forms:
  """The forms of rows `[n, ...]` after a `change` of that sign and those directions `[C*F, 2C]`."""
  num_classes, num_features = rows.probs.shape[-1], rows.features.shape[-1]
  directions = directions.reshape(num_classes, num_features, -1)
  u, t = jnp.split(roots(rows.probs) @ jnp.tensordot(rows.features, directions, [[1], [1]]), 2, axis=2)
  mixed = u @ t.swapaxes(1, 2)
  return Forms(
    forms.known + sign * u @ u.swapaxes(1, 2),
    forms.wanted + sign * (mixed + mixed.swapaxes(1, 2)),
  )


def gains(forms: Forms) -> jax.Array:
  """By how much `tr(M^-1 G)` falls when a row joins the batch: `[n]`, at least 0."""
  eye = jnp.eye(forms.known.shape[-1])[None]
  lower = jnp.linalg.cholesky(eye + forms.known)
  inverse = jax.lax.linalg.triangular_solve(lower, jnp.broadcast_to(eye, lower.shape), left_side=True, lower=True)
  return jnp.maximum(jnp.sum((inverse @ forms.wanted) * inverse, axis=(1, 2)), 0.0)


def _take(tree: types.PyTree, ids: jax.Array) -> types.PyTree:
  """Rows by id out of chunks of them, `[chunks, n, ...]`."""
  return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[ids], tree)


def _forward(
  rows: Rows, candidates: jax.Array, tie_break: jax.Array, inverse: jax.Array, target: jax.Array, *, picks: int
) -> tuple[jax.Array, jax.Array, Forms]:
  """Lets the row of highest gain join, `picks` times or until there is no more.

  Args:
    rows: chunks `[chunks, n, ...]`.
    candidates: `[N]` bool, N at most `chunks * n`.
    tie_break: `[N]`, as in `pool.masked_top_k`.
    inverse: `[C*F, C*F]` M^-1 of an empty batch.
    target: `[C*F, C*F]` G.
    picks: how many.

  Returns:
    `[picks]` int32 ids as they joined, M^-1 and the picks' forms.
  """
  total, size = candidates.shape[0], rows.probs.shape[1]
  eye = jnp.eye(rows.probs.shape[2])

  def join(i: jax.Array, carry: tuple) -> tuple:
    inverse, forms, ids, left = carry
    gain = jax.lax.map(gains, forms).reshape(-1)[:total]
    new = pool.masked_argmax(gain, left, tie_break=tie_break)
    known, wanted = _take(forms, new)
    root = _inverse_root(eye + known)
    inverse, directions = change(inverse, target, _take(rows, new), root, sign=-1)
    forms = jax.lax.map(lambda chunk: changed(chunk[0], chunk[1], directions, sign=-1), (rows, forms))
    # What a row that has joined still lacks is a small difference of large numbers, on which the backward phase rests:
    # worked out anew, without the difference.
    share = root @ root.T
    own = Forms(eye - share, share @ wanted @ share)
    forms = jax.tree.map(lambda leaf, value: leaf.at[new // size, new % size].set(value), forms, own)
    return inverse, forms, ids.at[i].set(new), left.at[new].set(False)

  matrices = jnp.stack([inverse, inverse @ target @ inverse])
  forms = Forms(*jax.lax.map(lambda matrix: jax.lax.map(lambda rows: forms_of(matrix, rows), rows), matrices))
  carry = inverse, forms, jnp.zeros(picks, jnp.int32), candidates
  joined = jnp.minimum(picks, jnp.sum(candidates))
  inverse, forms, ids, _ = jax.lax.fori_loop(0, joined, join, carry)
  return ids, inverse, _take(forms, ids)


def _backward(
  batch: Rows, forms: Forms, joined: jax.Array, inverse: jax.Array, target: jax.Array, *, num: int
) -> jax.Array:
  """Lets the row leave that is missed least until `num` of the first `joined` are left: `[picks]` bool, who stays."""
  picks = batch.probs.shape[0]
  eye = jnp.eye(batch.probs.shape[1])[None]

  def leave(_, carry: tuple) -> tuple:
    inverse, forms, stays = carry
    root = _inverse_root(eye - forms.known)
    losses = jnp.maximum(jnp.sum((forms.wanted @ root) * root, axis=(1, 2)), 0.0)
    least = picks - 1 - jnp.argmin(jnp.where(stays, losses, jnp.inf)[::-1])
    row = jax.tree.map(lambda leaf: leaf[least], batch)
    inverse, directions = change(inverse, target, row, root[least], sign=1)
    return inverse, changed(batch, forms, directions, sign=1), stays.at[least].set(False)

  carry = inverse, forms, jnp.arange(picks) < joined
  return jax.lax.fori_loop(0, joined - num, leave, carry)[2]


# One program whoever calls it: outside jit, every loop of it would be compiled anew at each call.
@functools.partial(jax.jit, static_argnames=("num", "regularization", "oversample", "chunk_size"))
def _select(view: types.PoolView, *, num: int, regularization: float, oversample: float, chunk_size: int) -> jax.Array:
  total, size = view.labeled.shape[0], min(chunk_size, view.labeled.shape[0])
  in_game = view.labeled | view.candidates

  def mean_probs(chunk: tuple[jax.Array, jax.Array]) -> jax.Array:
    log_probs, in_game = chunk
    log_probs = jnp.where(in_game[:, None, None], log_probs, 0.0)
    return jnp.where(in_game[:, None], jnp.exp(jax.vmap(uncertainty.log_mean)(log_probs)), 0.0)

  rows = Rows(
    map_chunks(mean_probs, (given(view, "log_probs"), in_game), chunk_size=size),
    jnp.where(in_game[:, None], given(view, "features"), 0.0),
  )
  labels = jnp.sum(view.labeled) + num
  parts = jnp.stack([view.labeled, in_game & ~view.labeled])
  labeled, others = jax.lax.map(lambda valid: fisher(rows, valid, chunk_size=size), parts)
  target = (labeled + others) / jnp.sum(in_game)
  traces = jnp.sum(rows.features**2, axis=1) * jnp.sum(rows.probs * _complements(rows.probs), axis=1)
  ridge = jnp.maximum(regularization, _RANGE * traces.max()) * jnp.eye(target.shape[0])
  factored = jax.scipy.linalg.cho_factor(labeled / labels + ridge)
  inverse = jax.scipy.linalg.cho_solve(factored, jnp.eye(target.shape[0]))

  # Rows of zeros, which have no information, make all chunks equally long.
  chunks = -(-total // size)
  split = lambda x: jnp.pad(x, ((0, chunks * size - total), (0, 0))).reshape(chunks, size, -1)
  rows = Rows(split(rows.probs), split(rows.features * jnp.sqrt(num / labels)))
  picks = min(total, int(oversample * num))
  ids, inverse, forms = _forward(rows, view.candidates, given(view, "tie_break"), inverse, target, picks=picks)
  joined = jnp.minimum(picks, jnp.sum(view.candidates))
  stays = _backward(_take(rows, ids), forms, joined, inverse, target, num=num)
  return ids[jnp.nonzero(stays, size=num)[0]]


@factory
def bait(*, regularization: float = 1.0, oversample: float = 2.0, chunk_size: int = 1024) -> types.Acquisition:
  """Batch after which the parameters' expected error, weighted by the pool's Fisher information, is smallest.

  The Fisher information is that of the last dense layer's kernel (its bias is left out) under the mean prediction:
  `I = (diag(p) - p p^T) (x) h h^T`. G is its mean over the labeled images and the candidates; with `pool_subset` these
  are fewer candidates beside as many labeled images, which so weigh more than in the paper. Greedy: forward, the
  candidate after which `tr(M^-1 G)` is smallest joins the batch, `oversample * num` times; then, backward, the one that
  is missed least leaves it, until `num` are left. They are returned in the order in which they joined.

  M is scaled as in the authors' program: the labeled images count in the share of labels that they will have, and each
  image of the batch in the share that the batch will have, not divided by its size. The paper's algorithm has neither
  share. The authors used a regularization of 1, and 0.01 for CIFAR-10. Here it is at least a thousandth of the
  largest `trace I` in the game, down to which float32 chooses as float64 does.

  Exact, without a `[N, C*F]` array: two `[C, C]` matrices an image are worked out once and follow every pick by its
  rank-C change. Of equals, the one that joined last leaves. An image of which the network is
  certain has no information and joins when nothing better is left. Matrices of C * F rows must fit: C * F is 1,280 for
  the default network, and some ten thousands are out of reach.

  Formula: min tr(M^-1 G), M = regularization + sum_labeled I / (L + num) + num / (L + num) sum_batch I
  Source: Ash et al. 2021
  """
  if not regularization > 0:
    raise ValueError(f"regularization must be positive, not {regularization}")
  if not oversample >= 1:
    raise ValueError(f"oversample must be at least 1, not {oversample}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key  # the batch is a function of the view
    return _select(view, num=num, regularization=regularization, oversample=oversample, chunk_size=chunk_size)

  return from_select(select, needs=types.Needs(samples=1, features=True))
