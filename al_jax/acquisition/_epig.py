"""EPIG: expected information gain about predictions on target images."""

import jax
import jax.numpy as jnp

from al_jax import types
from al_jax.acquisition._batchbald import information_from_labels
from al_jax.acquisition._batchbald import relative
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_pool_score
from al_jax.acquisition._selection import require_field
from al_jax.chunks import map_chunks


@factory
def epig(*, targets: int = 100, chunk_size: int = 64) -> types.Acquisition:
  """Highest mutual information with the labels of random target images first, averaged over targets, in nats.

  `bald` counts all information about the parameters. EPIG counts only information about the predictions on `targets`
  images, under the same posterior samples. Scores are at least 0, and 0 where all samples agree. The batch is the top
  scores. One chunk holds two `[chunk, C, T * C]` arrays.

  Targets are redrawn in each round from all available rows, labeled ones included; the paper draws them from a target
  input distribution. Targets with NaN predictions are ignored. Each posterior sample must be one function for the whole
  pool: per-example dropout masks are refused.

  Formula: mean_x* sum_yy* p(y,y*) log(p(y,y*) / p(y) p(y*)), p(y,y*) = mean_s p_s(y|x) p_s(y*|x*)
  Source: Bickford Smith et al. 2023

  Raises:
    ValueError: `targets` is below 1.
  """
  if targets < 1:
    raise ValueError(f"targets must be at least 1, not {targets}")

  def score(view: types.PoolView) -> jax.Array:
    target_log_probs = require_field(view, "target_log_probs")
    _, samples, classes = target_log_probs.shape
    is_valid = ~jnp.isnan(target_log_probs).any(axis=(1, 2))
    # Each pair of a target and one of its possible labels is a configuration of one label.
    mean, excess = relative(jnp.where(is_valid[:, None, None], target_log_probs, -jnp.log(classes)))
    tilt = excess.swapaxes(1, 2).reshape(-1, samples) / samples
    weights = jnp.where(is_valid[:, None], mean, 0.0).ravel() / jnp.maximum(is_valid.sum(), 1)
    chunk = lambda log_probs: information_from_labels(*relative(log_probs), tilt, weights)
    return map_chunks(chunk, require_field(view, "log_probs"), chunk_size=chunk_size)

  return from_pool_score(score, needs=types.Needs(samples=2, joint=True, targets=targets))
