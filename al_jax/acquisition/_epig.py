"""EPIG: label what says most about the predictions that will be asked for."""

import jax
import jax.numpy as jnp

from al_jax import types
from al_jax.acquisition._batchbald import information_from_labels
from al_jax.acquisition._batchbald import relative
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_pool_score
from al_jax.acquisition._selection import given
from al_jax.chunks import map_chunks


@factory
def epig(*, targets: int = 100, chunk_size: int = 64) -> types.Acquisition:
  """Highest mutual information with the labels of random images first, averaged over these, in nats.

  Unlike `bald`, which counts whatever would be learned of the parameters, it counts what bears on predictions: those
  of `targets` images, by the same posterior samples. At least 0, and 0 where all samples agree. A batch is the top
  scores. One chunk holds two tables `[chunk, C, T * C]`.

  Targets are drawn anew in each round from the whole pool, labeled images included; the paper draws them from a target
  distribution of inputs. A target whose prediction is NaN does not count. Samples must be one function each for the
  whole pool: per-example dropout masks are refused.

  Formula: mean_x* sum_yy* p(y,y*) log(p(y,y*) / p(y) p(y*)), p(y,y*) = mean_s p_s(y|x) p_s(y*|x*)
  Source: Bickford Smith et al. 2023

  Raises:
    ValueError: `targets` is below 1.
  """
  if targets < 1:
    raise ValueError(f"targets must be at least 1, not {targets}")

  def score(view: types.PoolView) -> jax.Array:
    of_targets = given(view, "target_log_probs")
    _, samples, classes = of_targets.shape
    sound = ~jnp.isnan(of_targets).any(axis=(1, 2))
    # A target and a label it may have are a configuration of one label.
    mean, excess = relative(jnp.where(sound[:, None, None], of_targets, -jnp.log(classes)))
    tilt = excess.swapaxes(1, 2).reshape(-1, samples) / samples
    weights = jnp.where(sound[:, None], mean, 0.0).ravel() / jnp.maximum(sound.sum(), 1)
    chunk = lambda log_probs: information_from_labels(*relative(log_probs), tilt, weights)
    return map_chunks(chunk, given(view, "log_probs"), chunk_size=chunk_size)

  return from_pool_score(score, needs=types.Needs(samples=2, joint=True, targets=targets))
