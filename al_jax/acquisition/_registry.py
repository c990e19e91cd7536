"""The registry of acquisitions and wrappers, with the compute and memory cost of each."""

from collections.abc import Callable
from typing import NamedTuple

from al_jax import clustering
from al_jax.acquisition._alfamix import alfamix
from al_jax.acquisition._badge import badge
from al_jax.acquisition._bait import bait
from al_jax.acquisition._bait_cheap import bait_binary
from al_jax.acquisition._bait_cheap import bait_expectation
from al_jax.acquisition._batchbald import batchbald
from al_jax.acquisition._cluster_margin import cluster_margin
from al_jax.acquisition._clustered import sample_size
from al_jax.acquisition._diversity import kcenter
from al_jax.acquisition._diversity import kmeans
from al_jax.acquisition._dropquery import dropquery
from al_jax.acquisition._epig import epig
from al_jax.acquisition._factory import Number
from al_jax.acquisition._factory import defaults
from al_jax.acquisition._herding import maxherding
from al_jax.acquisition._herding import uherding
from al_jax.acquisition._lcmd import lcmd
from al_jax.acquisition._pointwise import bald
from al_jax.acquisition._pointwise import consensus_kl
from al_jax.acquisition._pointwise import entropy
from al_jax.acquisition._pointwise import least_confidence
from al_jax.acquisition._pointwise import margin
from al_jax.acquisition._pointwise import mean_std
from al_jax.acquisition._pointwise import random
from al_jax.acquisition._pointwise import variation_ratio
from al_jax.acquisition._pointwise import vote_entropy
from al_jax.acquisition._probcover import probcover
from al_jax.acquisition._stochastic import power
from al_jax.acquisition._stochastic import softmax
from al_jax.acquisition._stochastic import softrank
from al_jax.acquisition._typiclust import typiclust
from al_jax.types import Acquisition


class Entry(NamedTuple):
  """One acquisition or one wrapper.

  Sizes, by keyword: N pool images, S samples, C classes, F features, T targets, `num` selected images; `memory` also
  takes `chunk` images processed at a time, and `operations` takes L labeled images.
  """

  factory: Callable[..., Acquisition]  # `(**hyper)`; a wrapper's is `(base, **hyper)`
  cost: str  # how the number of operations of one selection grows, such as `N S C`
  memory: Callable[..., float]  # `(**sizes, **hyper) -> bytes` that one selection allocates; inputs are not counted
  operations: Callable[..., float] | None = None  # `(**sizes, **hyper) -> number`: multiply-adds of a network's forward
  #   pass that take as long as one selection on a CPU, within a factor of three; the factors are from measurements.
  #   None: far fewer than a pass over the pool

  @property
  def hyper_parameters(self) -> dict[str, Number]:
    """The factory's hyper-parameters and their defaults."""
    return defaults(self.factory)


def _pointwise(factory: Callable[..., Acquisition]) -> Entry:
  return Entry(factory, "N S C", lambda N, S, C, chunk, **_: 4 * (8 * N + 4 * chunk * S * C))


def _clustered_memory(N: int, F: int, num: int, chunk: int) -> float:
  """Bytes of the batch by k-means among the images that an acquisition marks."""
  sample = min(N, sample_size(num=num))
  return 4 * (24 * N + sample * (2 * F + 18) + 3 * num * F + chunk * (64 + 6 * F)) + _sample_memory(sample, F, num)


def _sample_memory(N: int, F: int, clusters: int) -> float:
  """Bytes of the sample that k-means starts from."""
  return 4 * min(N, clustering.sample_size(num=clusters)) * (F + 8)


# The acquisitions by name, each an `Entry`.
REGISTRY: dict[str, Entry] = {
  "random": Entry(
    random,
    "N",
    lambda N, **_: 4 * 8 * N,
  ),
  "least_confidence": _pointwise(least_confidence),
  "margin": _pointwise(margin),
  "entropy": _pointwise(entropy),
  "variation_ratio": _pointwise(variation_ratio),
  "mean_std": _pointwise(mean_std),
  "bald": _pointwise(bald),
  "vote_entropy": _pointwise(vote_entropy),
  "consensus_kl": _pointwise(consensus_kl),
  "batchbald": Entry(
    batchbald,
    "at most num N max_configs C (S + 1), usually a fraction of it",
    lambda N, chunk, max_configs, S, C, **_: (
      4 * (8 * N + 2 * chunk * (max(max_configs, S) + 2 * S) * (C + 1) + 6 * max(max_configs, S) * (S + C))
    ),
    lambda N, S, C, num, max_configs, **_: 0.1 * num * N * max_configs * C * (S + 1),
  ),
  "epig": Entry(
    epig,
    "N T C^2 (S + 1)",
    lambda N, chunk, T, C, S, **_: 4 * (8 * N + 2 * chunk * T * C**2 + 4 * chunk * S * C + 4 * T * S * C),
    lambda N, T, C, S, **_: 2 * N * T * C**2 * (S + 1),
  ),
  "kcenter": Entry(
    kcenter,
    "(labeled + num) N F",
    lambda N, F, chunk, **_: 4 * (N * F + 14 * N + chunk * (chunk + 4 * F)),
    lambda N, F, L, num, **_: (3 * L + 50 * num) * N * F,
  ),
  "kmeans": Entry(
    kmeans,
    "iterations num N F, at most: the iterations end once few images change their cluster",
    lambda N, F, num, chunk, **_: 4 * (N * F + 18 * N + 3 * num * F + chunk * (64 + 4 * F)) + _sample_memory(N, F, num),
    lambda N, F, num, **_: 100 * N * F * num,
  ),
  "badge": Entry(
    badge,
    "N S C + num N (C + F)",
    lambda N, F, C, chunk, S, **_: 4 * (N * (F + 2 * C + 16) + 4 * chunk * S * C),
    lambda N, F, C, num, **_: 50 * num * N * (C + F),
  ),
  "bait": Entry(
    bait,
    "N C^2 F^2 + (C F)^3 + oversample num (N C^2 F + N C^3 + C (C F)^2)",
    lambda N, C, F, chunk, S, **_: (
      4 * (7 * N * C * C + N * (2 * F + C) + 8 * (C * F) ** 2 + chunk * (S * C + 8 * C * C + 2 * F))
    ),
    lambda N, C, F, num, oversample, **_: (
      2 * N * (C * F) ** 2 + 10 * (C * F) ** 3 + 8 * oversample * num * N * C**2 * F
    ),
  ),
  "cluster_margin": Entry(
    cluster_margin,
    "N S C + M^2 F, and M^2 (typical) to M^3 (worst case) for the tree, M = candidates_factor num",
    lambda N, chunk, S, C, candidates_factor, num, F, **_: (
      4 * (10 * N + 2 * chunk * S * C + 2 * (candidates_factor * num) ** 2 + 2 * candidates_factor * num * (F + 16))
    ),
  ),
  "typiclust": Entry(
    typiclust,
    "N F K for each of 2 to iterations iterations + num M^2 F, K = min(labels, max_clusters), M images in a cluster",
    lambda N, F, max_clusters, chunk, neighbors, **_: (
      4 * (N * F + 26 * N + 4 * min(max_clusters, N) * F + 2 * chunk * (neighbors + 4 * chunk + 5 * F))
      + _sample_memory(N, F, max_clusters)
    ),
    lambda N, F, L, num, max_clusters, **_: 50 * N * F * min(L + num, max_clusters),
  ),
  "probcover": Entry(
    probcover,
    "N^2 F / 2 for the counts, at most N^2 F for all updates together + M^2 F / 2 for the radius,"
    " M = min(N, radius_images)",
    lambda N, F, chunk, classes, radius_images, **_: (
      4 * (N * F + 30 * N + min(N, radius_images) * (2 * F + 20) + 2 * chunk * (chunk + F + 64) + 3 * classes * F)
      + _sample_memory(N, F, classes)
    ),
    lambda N, F, L, num, radius_images, **_: (N**2 + min(N, radius_images) ** 2 + (L + 64 * num) * N) * F,
  ),
  "maxherding": Entry(
    maxherding,
    "N F + M^2 F / 2 for the first gains + a small part of num M^2 F, M = min(N, candidates)",
    lambda N, F, chunk, candidates, **_: (
      4 * (N * F + 20 * N + min(N, candidates) * (2 * F + 80) + 4 * chunk * (chunk + F + 64))
    ),
    lambda N, F, L, candidates, **_: min(N, candidates) * (min(N, candidates) * (F + 64) + 3 * L * F),
  ),
  "uherding": Entry(
    uherding,
    "N S C + L^2 F + as maxherding, L labels",
    lambda N, F, S, C, chunk, candidates, **_: (
      4 * (N * F + 20 * N + min(N, candidates) * (2 * F + 80 + S * C + 4 * C) + 4 * chunk * (chunk + F + 64 + S * C))
    ),
    lambda N, F, L, candidates, **_: min(N, candidates) * (min(N, candidates) * (F + 64) + 3 * L * F) + L**2 * F,
  ),
  "dropquery": Entry(
    dropquery,
    "N F (votes C + num), and num M F per iteration of k-means on a sample of M = max(4096, 128 num)",
    lambda N, F, C, num, chunk, votes, **_: (
      _clustered_memory(N, F, num, chunk) + 4 * chunk * (votes * (2 * F + 2 * C) + 2 * F)
    ),
  ),
  "alfamix": Entry(
    alfamix,
    "N F (C^2 + num), and num M F per iteration of k-means on a sample of M = max(4096, 128 num)",
    lambda N, F, C, num, chunk, **_: _clustered_memory(N, F, num, chunk) + 4 * (C * F + chunk * (4 * F + 8 * C)),
  ),
  "bait_expectation": Entry(
    bait_expectation,
    "N C^2 F^2 + (C F)^3 + oversample num (N C F K + N K^3 + K (C F)^2), K = top_classes",
    lambda N, C, F, chunk, S, top_classes, **_: (
      4
      * (
        N * (2 * F + 2 * C + 3 * C * min(top_classes, C) + 5 * min(top_classes, C) ** 2 + 16)
        + 8 * (C * F) ** 2
        + chunk * (S * C + 4 * C * (C + min(top_classes, C)) + 2 * F)
      )
    ),
    lambda N, C, F, num, oversample, top_classes, **_: (
      2 * N * (C * F) ** 2 + 10 * (C * F) ** 3 + 8 * oversample * num * min(top_classes, C) * (N * C * F + (C * F) ** 2)
    ),
  ),
  "bait_binary": Entry(
    bait_binary,
    "N S C + N F^2 + F^3 + oversample num (N F + F^2)",
    lambda N, C, F, chunk, S, **_: 4 * (N * (3 * F + C + 32) + 8 * F**2 + chunk * (S * C + 2 * C + 2 * F)),
  ),
  "lcmd": Entry(
    lcmd,
    "N S C + (labeled + num) N (C + F)",
    lambda N, F, C, chunk, S, **_: 4 * (N * (F + 2 * C + 24) + chunk * (4 * S * C + 3 * F + 256)),
  ),
}

# The wrappers by name, each an `Entry` whose factory takes an acquisition first.
WRAPPERS: dict[str, Entry] = {
  "power": Entry(power, "N", lambda N, **_: 4 * 8 * N),
  "softmax": Entry(softmax, "N", lambda N, **_: 4 * 8 * N),
  "softrank": Entry(softrank, "N log N", lambda N, **_: 4 * 16 * N),
}


def make(name: str, **hyper: Number) -> Acquisition:
  """Makes an acquisition by name: `make("bald")` is `bald()`.

  Args:
    name: a key of `REGISTRY`.
    **hyper: arguments of the factory.

  Raises:
    ValueError: unknown acquisition or hyper-parameter (the message lists the choices), or an invalid value.
  """
  if name not in REGISTRY:
    raise ValueError(f"unknown acquisition {name!r}; choose from {', '.join(REGISTRY)}")
  known = REGISTRY[name].hyper_parameters
  for key in hyper:
    if key not in known:
      raise ValueError(f"{name} has no hyper-parameter {key!r}; it takes {', '.join(known) or 'none'}")
  return REGISTRY[name].factory(**hyper)
