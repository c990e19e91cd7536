"""Acquisitions that score each image independently, and the random baseline."""

from collections.abc import Callable

import jax

from al_jax import pool
from al_jax import types
from al_jax import uncertainty
from al_jax.acquisition._factory import factory
from al_jax.acquisition._selection import from_pool_score
from al_jax.acquisition._selection import require_field
from al_jax.chunks import map_chunks


@factory
def from_score(
  score: Callable[[jax.Array], jax.Array], *, samples: int = 1, chunk_size: int = 1024
) -> types.Acquisition:
  """Makes an acquisition from a function that scores one example; the highest scores are labeled first.

  Args:
    score: function of one example: `[S, C]` log-probabilities -> `[]`, higher = label first.
    samples: minimum number of posterior samples; 2 if the score compares samples.
    chunk_size: number of images scored at a time.

  Returns:
    An `Acquisition` that scores the pool by vmapping `score`.
  """
  pool_scores = lambda view: map_chunks(jax.vmap(score), require_field(view, "log_probs"), chunk_size=chunk_size)
  return from_pool_score(pool_scores, needs=types.Needs(samples=samples))


@factory
def random() -> types.Acquisition:
  """Uniformly random candidates: the baseline, which reads no model outputs.

  Formula: uniform, without replacement
  Source: the baseline
  """

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    return pool.random_subset(key, view.candidates, num=num)

  return types.Acquisition(select)


@factory
def least_confidence(*, chunk_size: int = 1024) -> types.Acquisition:
  """Lowest top probability of the mean prediction first.

  Formula: 1 - max p
  Source: Lewis & Gale 1994
  """
  return from_score(uncertainty.least_confidence, chunk_size=chunk_size)


@factory
def margin(*, chunk_size: int = 1024) -> types.Acquisition:
  """Smallest difference between the two highest mean probabilities first.

  Formula: 1 - (p1 - p2)
  Source: Scheffer et al. 2001
  """
  return from_score(uncertainty.margin, chunk_size=chunk_size)


@factory
def entropy(*, chunk_size: int = 1024) -> types.Acquisition:
  """Highest entropy of the mean prediction first, in nats.

  Formula: -sum p log p
  Source: Shannon 1948; Settles 2009
  """
  return from_score(uncertainty.entropy, chunk_size=chunk_size)


@factory
def variation_ratio(*, chunk_size: int = 1024) -> types.Acquisition:
  """Least agreement among the samples' votes first.

  It counts votes, as the authors' code does. Section 4 of Gal et al. instead defines 1 - max of the mean prediction,
  which is `least_confidence` with a dropout posterior here.

  Formula: 1 - (share of samples that vote for the modal class)
  Source: Freeman 1965; Gal et al. 2017
  """
  return from_score(uncertainty.variation_ratio, samples=2, chunk_size=chunk_size)


@factory
def mean_std(*, chunk_size: int = 1024) -> types.Acquisition:
  """Largest standard deviation of class probabilities across samples first, averaged over classes.

  Formula: mean_c sqrt(Var_s p_sc)
  Source: Kampffmeyer et al. 2016; Gal et al. 2017
  """
  return from_score(uncertainty.mean_std, samples=2, chunk_size=chunk_size)


@factory
def bald(*, chunk_size: int = 1024) -> types.Acquisition:
  """Highest mutual information between label and parameters first, in nats.

  Formula: H[E_s p_s] - E_s H[p_s]
  Source: Houlsby et al. 2011; Gal et al. 2017
  """
  return from_score(uncertainty.mutual_information, samples=2, chunk_size=chunk_size)


@factory
def vote_entropy(*, chunk_size: int = 1024) -> types.Acquisition:
  """Highest entropy of the committee's votes first, in nats.

  The paper's normalizer 1 / log min(S, C) is left out: it does not change the order.

  Formula: -sum_c v_c log v_c, v the share of votes
  Source: Dagan & Engelson 1995
  """
  return from_score(uncertainty.vote_entropy, samples=2, chunk_size=chunk_size)


@factory
def consensus_kl(*, chunk_size: int = 1024) -> types.Acquisition:
  """Largest mean KL divergence of committee members from their mean first, in nats: an alias of `bald`.

  With posterior samples as the committee, the consensus is the posterior mean and the score equals BALD exactly. The
  paper's density weighting is left out.

  Formula: mean_s KL(p_s || mean_s p_s)
  Source: McCallum & Nigam 1998
  """
  return bald(chunk_size=chunk_size)
