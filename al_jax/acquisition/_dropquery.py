"""DropQuery: images from all over those whose predictions change when features are dropped."""

import jax
import jax.numpy as jnp

from al_jax import types
from al_jax.acquisition._clustered import clustered_batch
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_select
from al_jax.acquisition._selection import require_field
from al_jax.acquisition._selection import require_head
from al_jax.chunks import map_chunks

# A random number of 32 bits gives the masks of three votes.
_BITS, _VOTES_PER_WORD = 10, 3


def keep_masks(key: jax.Array, ids: jax.Array, *, votes: int, drop_rate: float, num_features: int) -> jax.Array:
  """Dropout masks of the rows `ids` `[B]`: `[B, votes, F]` bool, true where a feature is kept.

  A row's masks depend on the key and on its id only. The rate is rounded to a multiple of 1 / 1024.
  """
  words = -(-votes // _VOTES_PER_WORD)
  draw = lambda i: jax.random.bits(jax.random.fold_in(key, i), (words, num_features), jnp.uint32)
  shifts = jnp.arange(_VOTES_PER_WORD, dtype=jnp.uint32) * _BITS
  parts = (jax.vmap(draw)(ids)[:, :, None] >> shifts[None, None, :, None]) & (2**_BITS - 1)
  parts = parts.reshape((ids.shape[0], words * _VOTES_PER_WORD, num_features))[:, :votes]
  return parts >= round(drop_rate * 2**_BITS)


def differing_votes(features: jax.Array, kept: jax.Array, head: types.Head, *, drop_rate: float) -> jax.Array:
  """How many votes of a row differ from its prediction: `[B]` int32.

  A vote is the head's prediction for the kept features, divided by the rate at which they are kept. It differs if its
  logit of another class is above that of the predicted one. Where logits are not finite, no vote differs.

  Args:
    features: `[B, F]`.
    kept: `[B, votes, F]` bool.
    head: the head of the network.
    drop_rate: the share of features that is dropped.
  """
  logits = features @ head.kernel + head.bias[None]
  own = jax.nn.one_hot(logits.argmax(axis=1), logits.shape[1], dtype=bool)

  def differs(kept: jax.Array) -> jax.Array:
    vote = jnp.where(kept, features / (1 - drop_rate), 0.0) @ head.kernel + head.bias[None]
    return vote.max(axis=1) > jnp.max(vote, axis=1, where=own, initial=-jnp.inf)

  differing = sum(differs(kept[:, vote]).astype(jnp.int32) for vote in range(kept.shape[1]))
  return jnp.where(jnp.isfinite(logits).all(axis=1), differing, 0)


def mark(differing: jax.Array, candidates: jax.Array, *, votes: int, wanted: int) -> jax.Array:
  """The `[N]` bool candidates with enough differing votes.

  Enough are more than half of the votes. While there are fewer than `wanted` such candidates, one vote less is enough,
  but at least one.
  """
  enough = jnp.arange(votes // 2 + 1, 0, -1, dtype=jnp.int32)
  counts = jnp.sum(candidates[:, None] & (differing[:, None] >= enough[None]), axis=0)
  reached = counts >= wanted
  return candidates & (differing >= jnp.where(reached.any(), enough[reached.argmax()], 1))


@factory
def dropquery(
  *, votes: int = 3, drop_rate: float = 0.75, candidates_per_image: int = 25, chunk_size: int = 1024
) -> types.Acquisition:
  """One image per k-means cluster of those whose prediction changes when features are dropped.

  Dropout is applied to the features, the last hidden layer, and the head predicts again: that is a vote. Every image
  has separate masks, as in the authors' code. The network needs no dropout layer. The images to cluster are those with
  more than half of their votes against the prediction without dropout. If these are fewer than `candidates_per_image`
  per image to label, one vote less is enough, down to a single vote against; the authors' code does this, the paper
  does not mention it. Images without a vote against are labeled only if no others are left, at random. A head that is
  not finite gives no votes, and all images are random.

  The images are clustered by their features, scaled to unit length as in the authors' code. In pools of more than 4,096
  images, or 128 per image to label, the centers are those of a random sample of that size; the authors' code samples
  512 per cluster. The paper uses the features of a frozen pretrained network, normalizes them after dropout, and takes
  the initial images from k-means; here the head reads the features directly.

  Formula: argmin_x |x - m_k|, m_k k-means centers of {x: sum_i [argmax f(d_i h) != argmax f(h)] > M / 2}
  Source: Gupte et al. 2024

  Args:
    votes: number of votes, M.
    drop_rate: share of features that is dropped, rounded to a multiple of 1 / 1024.
    candidates_per_image: images to cluster for each image to label, below which fewer votes are enough; 0: the paper.
    chunk_size: rows per chunk; it bounds the memory and does not change the ids.

  Raises:
    ValueError: `votes` is below 1, `drop_rate` is outside 0 to 1 (exclusive), or `candidates_per_image` is below 0.
  """
  if votes < 1:
    raise ValueError(f"votes must be at least 1, not {votes}")
  if not 0 < drop_rate < 1:
    raise ValueError(f"drop_rate must be above 0 and below 1, not {drop_rate}")
  if candidates_per_image < 0:
    raise ValueError(f"candidates_per_image must be at least 0, not {candidates_per_image}")

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    key_votes, key_clusters = jax.random.split(key)
    features, head = require_field(view, "features"), require_head(view)

    def count(rows: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
      features, valid, ids = rows
      options = {"votes": votes, "drop_rate": drop_rate, "num_features": features.shape[1]}
      kept = keep_masks(key_votes, ids, **options)
      return differing_votes(jnp.where(valid[:, None], features, 0.0), kept, head, drop_rate=drop_rate)

    ids = jnp.arange(features.shape[0], dtype=jnp.int32)
    differing = map_chunks(count, (features, view.candidates, ids), chunk_size=chunk_size)
    marked = mark(differing, view.candidates, votes=votes, wanted=candidates_per_image * num)
    return clustered_batch(key_clusters, view, marked, num=num, chunk_size=chunk_size)

  return from_select(select, needs=types.Needs(features=True, head=True))
