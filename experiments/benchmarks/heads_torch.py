"""The sides of `--suite=heads` that use PyTorch: batches by indexing tensors, or from a DataLoader.

Both train a linear head from scratch by SGD (learning rate 1e-2, momentum 0.9, no weight decay). An epoch is a new
permutation, cut into minibatches of which the last may be smaller. The file can be imported without PyTorch.
"""

from collections.abc import Callable
from collections.abc import Iterable

import numpy as np

from experiments.benchmarks.heads_loop import Head
from experiments.benchmarks.heads_plan import ACQ_SIZE
from experiments.benchmarks.heads_plan import Data
from experiments.benchmarks.heads_plan import Plan

LOADER_ROWS = 256  # per batch of scoring from a DataLoader


def tensor_head(data: Data, plan: Plan, seed: int) -> Head:
  """Batches by indexing tensors; scoring in chunks of `plan.chunk_size` rows, without copies."""
  import torch

  features, labels, test_features, _, _ = map(torch.from_numpy, data)

  def epochs(ids: np.ndarray) -> Callable[[], Iterable]:
    x, y = features[ids], labels[ids].long()
    return lambda: ((x[part], y[part]) for part in torch.randperm(len(x)).split(plan.batch_size))

  rows = {"pool": features, "test": test_features}
  return _head(data, plan, seed, epochs, lambda what: rows[what].split(plan.chunk_size))


def loader_head(data: Data, plan: Plan, seed: int) -> Head:
  """Batches from a `DataLoader` without workers over a `TensorDataset`; scoring in batches of `LOADER_ROWS`."""
  import torch
  from torch.utils.data import DataLoader
  from torch.utils.data import Subset
  from torch.utils.data import TensorDataset

  features, labels, test_features, test_labels, _ = map(torch.from_numpy, data)
  sets = {"pool": TensorDataset(features, labels.long()), "test": TensorDataset(test_features, test_labels.long())}

  def epochs(ids: np.ndarray) -> Callable[[], Iterable]:
    loader = DataLoader(Subset(sets["pool"], ids.tolist()), batch_size=plan.batch_size, shuffle=True)
    return lambda: loader

  return _head(data, plan, seed, epochs, lambda what: (x for x, _ in DataLoader(sets[what], batch_size=LOADER_ROWS)))


def _head(
  data: Data,
  plan: Plan,
  seed: int,
  epochs: Callable[[np.ndarray], Callable[[], Iterable]],
  parts: Callable[[str], Iterable],
) -> Head:
  """A head trained on `epochs(ids)()`, the batches of an epoch, that predicts `parts("pool")` or `parts("test")`."""
  import torch
  from torch.nn import functional

  torch.manual_seed(seed)
  test_labels = torch.from_numpy(data.test_labels)

  def fit(ids: np.ndarray) -> torch.nn.Linear:
    net = torch.nn.Linear(data.features.shape[1], data.num_classes)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)
    batches = epochs(ids)
    for _ in range(plan.epochs):
      for x, y in batches():
        optimizer.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net

  @torch.no_grad()
  def log_probs(net: torch.nn.Linear, what: str) -> torch.Tensor:
    return torch.cat([functional.log_softmax(net(x), dim=1) for x in parts(what)])

  def accuracy(net: torch.nn.Linear) -> float:
    return (log_probs(net, "test").argmax(dim=1) == test_labels).float().mean().item()

  def acquire(net: torch.nn.Linear, ids: np.ndarray, strategy: str) -> np.ndarray:
    found = log_probs(net, "pool")
    if strategy == "entropy":
      scores = -(found.exp() * found).sum(dim=1)
    else:
      best = found.exp().topk(2, dim=1).values
      scores = best[:, 1] - best[:, 0]
    scores[torch.from_numpy(ids)] = -torch.inf
    return scores.topk(ACQ_SIZE).indices.numpy()

  return Head(fit, accuracy, acquire)
