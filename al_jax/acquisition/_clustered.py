"""Batches of images from all over a set: one image per k-means cluster."""

import jax
import jax.numpy as jnp

from al_jax import clustering
from al_jax import pool
from al_jax import types
from al_jax.acquisition._selection import require_field
from al_jax.chunks import map_chunks

# Squared distances of rows of unit length that differ by less are ties: the two members of a cluster of two are equally
# near to its center, and rounding would decide.
_ROUNDING, _RELATIVE_ROUNDING = 1e-6, 1e-5
_SAMPLED_PER_CLUSTER = 128


def nearest_members(distances: jax.Array, assigned: jax.Array, tie_break: jax.Array, *, num_clusters: int) -> jax.Array:
  """The member of each cluster that is nearest to its center: `[num_clusters]` int32, N for one without members.

  Args:
    distances: `[N]` squared distances of rows of unit length to the center of their cluster.
    assigned: `[N]` int32 cluster of each row; `num_clusters`: none.
    tie_break: `[N]` floats in [0, 1); the highest wins.
    num_clusters: K.
  """
  size, own = assigned.shape[0], jnp.minimum(assigned, num_clusters - 1)
  # A row outside all clusters is out of range, and dropped.
  smallest = jax.ops.segment_min(distances, assigned, num_segments=num_clusters)[own]
  is_nearest = distances <= smallest * (1 + _RELATIVE_ROUNDING) + _ROUNDING
  ties = jnp.where(is_nearest, tie_break, -1.0)
  is_first = is_nearest & (ties == jax.ops.segment_max(ties, assigned, num_segments=num_clusters)[own])
  ids = jnp.where(is_first, jnp.arange(size, dtype=jnp.int32), size)
  return jnp.minimum(jax.ops.segment_min(ids, assigned, num_segments=num_clusters), size)


def sample_size(*, num: int) -> int:
  """Images that `clustered_batch` computes the centers from, if more are marked."""
  return max(clustering.sample_size(num=num), _SAMPLED_PER_CLUSTER * num)


def clustered_batch(key: jax.Array, view: types.PoolView, marked: jax.Array, *, num: int, chunk_size: int) -> jax.Array:
  """The marked image nearest to each of `num` k-means centers of the marked images, largest cluster first.

  Rows are features of unit length, and an image competes in its own cluster only. In pools of more than 4,096 images,
  or 128 per id if that is more, the centers are those of a random sample of that size of the marked images. If fewer
  than `num` images are marked, all of them come first; the rest is drawn from the other candidates. The same fills up
  for clusters without members.

  Args:
    key: a random key; it is consumed.
    view: with `features` and `tie_break`.
    marked: `[N]` bool, true for candidates only.
    num: number of ids.
    chunk_size: rows per chunk.

  Returns:
    `[num]` int32.
  """
  features, tie_break = require_field(view, "features"), require_field(view, "tie_break")
  key_sample, key_clusters = jax.random.split(key)
  active = jnp.minimum(num, marked.sum(dtype=jnp.int32))
  places = jnp.arange(marked.shape[0], dtype=jnp.int32)
  if sample_size(num=num) < marked.shape[0]:
    places = pool.random_subset(key_sample, marked, num=sample_size(num=num))
  unit = lambda rows, valid: clustering.l2_normalize(jnp.where(valid[:, None], rows, 0.0))
  sample, valid = unit(features[places], marked[places]), marked[places]
  middle = sample.sum(axis=0, keepdims=True) / jnp.maximum(valid.sum(), 1)
  centers, _ = clustering.kmeans(
    key_clusters,
    jnp.where(valid[:, None], sample - middle, 0.0),
    valid,
    num=num,
    active=active,
    tie_break=tie_break[places],
    chunk_size=chunk_size,
  )

  def assign(rows: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return clustering.nearest_center(unit(*rows) - middle, centers, active, chunk_size=chunk_size)

  nearest, distances = map_chunks(assign, (features, marked), chunk_size=chunk_size)
  assigned = jnp.where(marked, nearest, num)
  sizes = jax.ops.segment_sum(jnp.ones(marked.shape, jnp.int32), assigned, num_segments=num)
  members = nearest_members(distances, assigned, tie_break, num_clusters=num)
  # Above the score 1 of the other marked images and the score 0 of the other candidates.
  ranks = jnp.arange(num + 1, 1, -1, dtype=jnp.float32)
  largest_first = members[jnp.argsort(-sizes, stable=True)]
  scores = marked.astype(jnp.float32).at[largest_first].set(ranks, mode="drop")
  return pool.masked_top_k(scores, view.candidates, num=num, tie_break=tie_break)
