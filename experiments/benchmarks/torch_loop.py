"""The PyTorch side of `--suite=loop`: a plain active-learning loop, and the process that runs it.

The loop does the work of `Plan.work` and counts it. It differs from the JAX side:

- weights are initialized by PyTorch's default, not Glorot's; the initial set is random on both sides;
- the JAX side also measures the calibration error on the test set, which takes milliseconds;
- each side uses the chunk size that suits it;
- the array of labeled ids has the current number of labels; the JAX side pads it to that of the last round.

Like `torch_worker`, which it extends, it can be imported without PyTorch.
"""

from collections import Counter
from collections.abc import Callable
import functools
import json
import time
from typing import NamedTuple

import numpy as np

from experiments.benchmarks import torch_worker
from experiments.benchmarks.torch_worker import TorchSide
from experiments.benchmarks.torch_worker import network

VARIANTS = (("plain", False), ("plain", True), ("channels_last", True))  # (memory format, whether malloc is tuned)


class Plan(NamedTuple):
  """The plan of an active-learning run, the same on every side."""

  rounds: int  # acquisitions; trainings are rounds + 1
  train_steps: int
  batch_size: int
  pool: int  # images
  test: int  # images
  init_labels: int = 20
  acq_size: int = 10

  @property
  def max_labels(self) -> int:
    """Labels after the last acquisition."""
    return self.init_labels + self.rounds * self.acq_size

  def work(self) -> Counter[str]:
    """Counts of the work that a run does."""
    trainings = self.rounds + 1
    return Counter(
      {
        "trainings": trainings,
        "steps": trainings * self.train_steps,
        "training images": trainings * self.train_steps * self.batch_size,
        "evaluations": trainings,
        "test images": trainings * self.test,
        "scorings": self.rounds,
        "pool images": self.rounds * self.pool,
        "labels": self.rounds * self.acq_size,
      }
    )


class SyntheticData(NamedTuple):
  """Synthetic pool and test set in the shape of MNIST: images `[N, 28, 28, 1]` uint8, labels `[N]` int64."""

  images: np.ndarray
  labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray


def synthetic_data(plan: Plan) -> SyntheticData:
  """Ten patterns of 7 x 7 patches with noise, which the network can learn; the same arrays for every side."""
  rng = np.random.default_rng(0)
  patterns = rng.integers(0, 128, (10, 7, 7, 1), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)

  def draw(num: int) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, 10, num)
    return patterns[labels] + rng.integers(0, 128, (num, 28, 28, 1), dtype=np.uint8), labels

  return SyntheticData(*draw(plan.pool), *draw(plan.test))


class Outcome(NamedTuple):
  """The result of a run."""

  work: Counter[str]  # counted during the run
  accuracy: list[float]  # on the test set, one per training


def run_loop(plan: Plan, data: SyntheticData, *, chunk: int, channels_last: bool) -> Outcome:
  """Runs the plan with entropy as the acquisition, and `chunk` images per forward pass outside training."""
  import torch
  from torch.nn import functional

  memory_format = torch.channels_last if channels_last else torch.contiguous_format
  images, labels, test_images, test_labels = map(torch.from_numpy, data)
  work, accuracy = Counter(), []

  def inputs(images: torch.Tensor) -> torch.Tensor:
    images = images.float() / 255
    # With one channel, the formats differ in strides only, and only a permuted view has the strides of channels_last.
    return images.permute(0, 3, 1, 2) if channels_last else images.reshape(-1, 1, 28, 28)

  def train(ids: torch.Tensor) -> torch.nn.Module:
    net = network().to(memory_format=memory_format).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(plan.train_steps):
      batch = ids[torch.randint(len(ids), (plan.batch_size,))]
      optimizer.zero_grad()
      functional.cross_entropy(net(inputs(images[batch])), labels[batch]).backward()
      optimizer.step()
      work.update({"steps": 1, "training images": len(batch)})
    work["trainings"] += 1
    return net.eval()

  @torch.inference_mode()
  def predict(net: torch.nn.Module, images: torch.Tensor, kind: str) -> torch.Tensor:
    log_probs = []
    for part in images.split(chunk):
      log_probs.append(functional.log_softmax(net(inputs(part)), dim=1))
      work[kind] += len(part)
    return torch.cat(log_probs)

  labeled = torch.zeros(plan.pool, dtype=torch.bool)
  labeled[torch.randperm(plan.pool)[: plan.init_labels]] = True
  for turn in range(plan.rounds + 1):
    net = train(labeled.nonzero()[:, 0])
    log_probs = predict(net, test_images, "test images")
    accuracy.append((log_probs.argmax(dim=1) == test_labels).float().mean().item())
    functional.nll_loss(log_probs, test_labels).item()
    work["evaluations"] += 1
    if turn < plan.rounds:
      log_probs = predict(net, images, "pool images")
      entropy = -(log_probs.exp() * log_probs).sum(dim=1)
      chosen = entropy.masked_fill(labeled, -torch.inf).topk(plan.acq_size).indices
      work.update({"scorings": 1, "labels": int((~labeled[chosen]).sum())})
      labeled[chosen] = True
  return Outcome(work, accuracy)


class TorchLoopSide(TorchSide):
  """A PyTorch process that runs a plan with one memory format and one malloc setting. A context manager."""

  def __init__(self, variant: str, tuned: bool, plan: Plan):
    super().__init__(variant, tuned, "torch_loop", [f"--plan={json.dumps(plan)}"])
    self._plan = plan

  def prepare(self, task) -> None:
    """Warms up with a few steps and a small scoring, as a run takes minutes; chooses the chunk size for scoring."""
    super().prepare(task._replace(kind="scoring", size=min(self._plan.pool, 4000), count=1))
    super().prepare(task._replace(kind="step", size=self._plan.batch_size, count=min(self._plan.train_steps, 5)))


def measurements(plan: Plan, channels_last: bool) -> dict[str, Callable[[dict], float]]:
  """The measurements by kind: functions from a request to seconds."""
  data = synthetic_data(plan)

  def loop(request: dict) -> float:
    start = time.perf_counter()
    outcome = run_loop(plan, data, chunk=request["chunk"], channels_last=channels_last)
    seconds = time.perf_counter() - start
    if outcome.work != plan.work():
      raise RuntimeError(f"PyTorch's loop did {outcome.work}, not {plan.work()}")
    return seconds

  return torch_worker.measurements(channels_last) | {"loop": loop}


if __name__ == "__main__":
  _flags = torch_worker.parser(__doc__)
  _flags.add_argument("--plan", type=json.loads, required=True, help="the fields of a Plan, as a JSON list")
  _options = _flags.parse_args()
  torch_worker.main(_options, functools.partial(measurements, Plan(*_options.plan)))
