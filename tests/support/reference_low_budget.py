"""Slow float64 NumPy references of low-budget acquisitions and of Cluster-Margin, pair by pair, as in the papers."""

import itertools
import math

import numpy as np

from tests.support import reference


def unit(embedding) -> np.ndarray:
  """Rows scaled to length 1; rows of zeros stay 0."""
  rows = np.asarray(embedding, np.float64)
  return np.array([row / math.hypot(*row) if row.any() else row for row in rows])


def distances(embedding) -> np.ndarray:
  """Euclidean distances of all pairs of rows."""
  rows = np.asarray(embedding, np.float64)
  return np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(axis=-1))


def typiclust(
  embedding, cluster, labeled, candidates, num, min_cluster_size: int = 5, neighbors: int = 20
) -> list[int]:
  """The batch, given each row's cluster: clusters take turns, small ones only after all others are used up."""
  in_use = labeled | candidates
  pairs = distances(unit(np.where(in_use[:, None], embedding, 0)))
  members = {c: [i for i in np.flatnonzero(in_use) if cluster[i] == c] for c in sorted({*cluster[in_use].tolist()})}
  order = sorted(members, key=lambda c: (sum(labeled[members[c]]), -len(members[c]), c))
  kept = [c for c in order if len(members[c]) > min_cluster_size] or order

  def typicality(i: int, rivals: list[int]) -> float:
    """Hacohen et al. (2022), equation 1, over at most half of the rivals."""
    nearest = sorted(pairs[i, j] for j in rivals if j != i)[: min(neighbors, len(rivals) // 2)]
    return len(nearest) / sum(nearest) if sum(nearest) else math.inf

  taken = []
  for clusters in (kept, [c for c in order if c not in kept]):
    left = {c: [i for i in members[c] if candidates[i]] for c in clusters}
    for c in itertools.cycle(clusters):
      if len(taken) == num or not any(left.values()):
        break
      if left[c]:
        best = max(left[c], key=lambda i: (typicality(i, left[c]), -i))
        taken.append(best)
        left[c].remove(best)
  return [int(i) for i in taken]


def balls(embedding, in_use, radius: float) -> list[set[int]]:
  """For each row in use, the rows in use nearer than the radius, itself included."""
  pairs = distances(unit(np.where(in_use[:, None], embedding, 0)))
  within = (pairs < radius) & in_use[:, None] & in_use[None]
  return [set(np.flatnonzero(row).tolist()) for row in within]


def probcover(embedding, labeled, candidates, num: int, radius: float) -> tuple[list[int], list[int]]:
  """Yehuda et al. (2022), algorithm 1: the greedy batch, and how many rows each pick newly covers."""
  ball = balls(embedding, labeled | candidates, radius)
  covered = set().union(*(ball[i] for i in np.flatnonzero(labeled)))
  taken, gains = [], []
  for _ in range(num):
    left = [i for i in np.flatnonzero(candidates).tolist() if i not in taken]
    best = max(left, key=lambda i: (len(ball[i] - covered), -i))
    taken.append(best)
    gains.append(len(ball[best] - covered))
    covered |= ball[best]
  return taken, gains


def best_coverage(embedding, labeled, candidates, num: int, radius: float) -> int:
  """The number of rows that the best of all batches newly covers."""
  ball = balls(embedding, labeled | candidates, radius)
  covered = set().union(*(ball[i] for i in np.flatnonzero(labeled)))
  batches = itertools.combinations(np.flatnonzero(candidates).tolist(), num)
  return max(len(set().union(*(ball[i] for i in batch)) - covered) for batch in batches)


def coverage(embedding, labeled, candidates, radius: float) -> tuple[np.ndarray, np.ndarray]:
  """Kernels `[N, N]` of all rows with the candidates, and each row's largest kernel with a labeled row."""
  rows = unit(np.where((labeled | candidates)[:, None], embedding, 0))
  kernels = np.exp(-((distances(rows) / radius) ** 2))
  return kernels, kernels[:, labeled].max(axis=1, initial=0.0)


def herding_gains(embedding, labeled, candidates, ids, radius: float, weights=None) -> list[dict[int, float]]:
  """Bae et al. (2024), algorithm 1 with a Gaussian kernel: before each pick, what each candidate left would add.

  What is added is the sum over candidates of how much their coverage grows, times their `weights`, by default 1: those
  of Bae et al. (2025), equation 3, are uncertainties.
  """
  weights = np.ones(len(labeled)) if weights is None else weights
  kernels, covered = coverage(embedding, labeled, candidates, radius)
  targets, gains = np.flatnonzero(candidates), []
  for place, new in enumerate(ids):
    left = [i for i in targets.tolist() if i not in ids[:place]]
    gains.append({i: math.fsum(weights[j] * max(kernels[j, i] - covered[j], 0) for j in targets) for i in left})
    covered = np.maximum(covered, kernels[:, new])
  return gains


def best_herd(embedding, labeled, candidates, num: int, radius: float) -> float:
  """What the best of all batches adds to the coverage of the candidates."""
  kernels, covered = coverage(embedding, labeled, candidates, radius)
  batches = itertools.combinations(np.flatnonzero(candidates).tolist(), num)
  return max(float((np.maximum(kernels[:, batch].max(axis=1) - covered, 0) * candidates).sum()) for batch in batches)


def pure_radius(embedding, labels, in_use, purity: float) -> float:
  """Yehuda et al. (2022), section 4: the largest distance of two rows at which a share `purity` of balls is pure."""
  pairs = distances(unit(np.asarray(embedding)[in_use]))
  labels = np.asarray(labels)[in_use]
  differs = labels[:, None] != labels[None]
  for radius in np.unique(pairs)[::-1]:
    is_pure = ~((pairs < radius) & differs).any(axis=1)
    if is_pure.sum() >= purity * len(labels) - 1e-9:
      return float(radius)
  raise AssertionError("no radius is pure")


def average_linkage(embedding, num: int) -> set[frozenset[int]]:
  """The partition into `num` clusters, by repeatedly merging the pair of smallest mean distance."""
  embedding = np.asarray(embedding, np.float64)
  clusters = [frozenset({i}) for i in range(len(embedding))]

  def mean_distance(pair) -> float:
    distances = [math.dist(embedding[i], embedding[j]) for i in pair[0] for j in pair[1]]
    return math.fsum(distances) / len(distances)

  while len(clusters) > num:
    pair = min(itertools.combinations(clusters, 2), key=mean_distance)
    clusters = [c for c in clusters if c not in pair] + [pair[0] | pair[1]]
  return set(clusters)


def cluster_margin(log_probs, embedding, candidates, num: int, among: int, clusters: int) -> list[int]:
  """Citovsky et al. (2021), algorithm 2, with the partition of the `among` smallest margins into `clusters`."""
  scores = [reference.margin(example) for example in log_probs]
  ids = reference.masked_top_k(np.asarray(scores), candidates, among)
  partition = average_linkage(np.asarray(embedding)[ids], clusters)
  # Positions are in order of margin, so a cluster's lowest position is its smallest margin.
  queues = sorted((sorted(places) for places in partition), key=lambda queue: (len(queue), queue[0]))
  taken = []
  while len(taken) < num and any(queues):
    taken += [queue.pop(0) for queue in queues if queue]
  return [ids[place] for place in taken[:num]]
