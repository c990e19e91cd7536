"""Slow float64 NumPy references of the diversity-based acquisitions, one pair at a time."""

import itertools

import numpy as np
import sklearn.cluster


def distance(x, y) -> float:
  """Euclidean distance of two rows."""
  return float(np.sqrt(((np.asarray(x, np.float64) - np.asarray(y, np.float64)) ** 2).sum()))


def kcenter(embedding, labeled, candidates, num: int) -> list[int]:
  """Sener & Savarese (2018), algorithm 1; without labels, the farthest from the candidates' mean comes first."""
  x, centers, left = (
    np.asarray(embedding, np.float64),
    np.flatnonzero(labeled).tolist(),
    np.flatnonzero(candidates).tolist(),
  )
  mean, chosen = x[left].mean(axis=0), []
  for _ in range(num):
    uncovered = lambda i: min(distance(x[i], x[c]) for c in centers) if centers else distance(x[i], mean)
    farthest = max(left, key=lambda i: (uncovered(i), -i))
    chosen.append(farthest)
    centers.append(farthest)
    left.remove(farthest)
  return chosen


def all_distances(x) -> np.ndarray:
  """Euclidean distances of all pairs of rows, `[N, N]`."""
  x = np.asarray(x, np.float64)
  return np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))


def covering_radius(distances, centers, candidates) -> float:
  """The largest distance of a candidate to its nearest center, given all distances `[N, N]`."""
  return float(distances[list(centers)][:, np.flatnonzero(candidates)].min(axis=0).max())


def smallest_radius(distances, labeled, candidates, num: int) -> float:
  """The covering radius of the best of all batches."""
  fixed = np.flatnonzero(labeled).tolist()
  batches = itertools.combinations(np.flatnonzero(candidates).tolist(), num)
  return min(covering_radius(distances, fixed + list(batch), candidates) for batch in batches)


def lloyd(x, centers, iterations: int) -> tuple[np.ndarray, np.ndarray]:
  """Centers `[K, F]` after `iterations` iterations, and each row's nearest center `[N]`."""
  x, centers = np.asarray(x, np.float64), np.array(centers, np.float64)
  nearest = lambda: np.array([np.argmin([distance(row, center) for center in centers]) for row in x])
  for _ in range(iterations):
    assigned = nearest()
    for k in range(len(centers)):
      if (assigned == k).any():
        centers[k] = x[assigned == k].mean(axis=0)
  return centers, nearest()


def kmeans(embedding, candidates, seeds, iterations: int) -> list[int]:
  """The candidate nearest to each center, largest cluster first; no repeats, and no copies while others are left."""
  x, left = np.asarray(embedding, np.float64), np.flatnonzero(candidates).tolist()
  centers, assigned = lloyd(x[left], x[list(seeds)], iterations)
  sizes = [int((assigned == k).sum()) for k in range(len(centers))]
  chosen = []
  for k in sorted(range(len(centers)), key=lambda k: (-sizes[k], k)):
    new = [i for i in left if all(distance(x[i], x[j]) > 0 for j in chosen)]
    nearest = min(new or left, key=lambda i: (distance(x[i], centers[k]), i))
    chosen.append(nearest)
    left.remove(nearest)
  return chosen


def gradient_embeddings(log_probs, features) -> np.ndarray:
  """Ash et al. (2020), equation 1: `(p_c - 1[c = argmax p]) h` for each class c, `[N, C * F]`."""
  probs = np.exp(np.asarray(log_probs, np.float64)).mean(axis=1)
  residuals = probs - np.eye(probs.shape[1])[probs.argmax(axis=1)]
  return np.stack([np.outer(a, h).ravel() for a, h in zip(residuals, np.asarray(features, np.float64), strict=True)])


def first_two_seeds(distances) -> np.ndarray:
  """k-means++: the probability `[N, N]` of drawing x first and y second, given all squared distances `[N, N]`."""
  return np.stack([row / row.sum() for row in distances]) / len(distances)


def potentials(distances, seeds) -> np.ndarray:
  """The k-means potential, the sum of squared distances to the nearest seed: `[N, N]`, `[K, num]` -> `[K]`."""
  return np.array([distances[batch].min(axis=0).sum() for batch in np.asarray(seeds)])


def assert_potential_of_plus_plus(ours, rows, distances) -> None:
  """The mean of `[count]` potentials of batches of 6 equals that of scikit-learn's k-means++ and is below uniform."""
  count, num = len(ours), 6
  sklearn_seeds = lambda seed: sklearn.cluster.kmeans_plusplus(rows, num, random_state=seed, n_local_trials=1)[1]
  theirs = potentials(distances, [sklearn_seeds(seed) for seed in range(count)])
  uniform = potentials(distances, [np.random.default_rng(seed).permutation(len(rows))[:num] for seed in range(count)])
  standard_error = np.hypot(ours.std(), theirs.std()) / np.sqrt(count)
  assert abs(ours.mean() - theirs.mean()) < 4 * standard_error
  assert uniform.mean() - ours.mean() > 10 * standard_error
