"""The PyTorch side of `--suite=loop`, both ends of it: a plain loop of active learning, and a process to run it in.

It does what `Plan.work` counts, and counts as it goes. Where it differs from the other side:

- initial weights are PyTorch's own, not Glorot's; the initial set is random on both sides;
- the other side also measures the calibration error of its predictions on the test set, a matter of milliseconds;
- each side takes as many images in a forward pass as suits it;
- labeled ids are gathered to their number, where the other side pads them to that of the last round.

Like `torch_worker`, whose process this extends, it can be imported where PyTorch is not installed.
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

VARIANTS = (("plain", False), ("plain", True), ("channels_last", True))  # and whether malloc is tuned


class Plan(NamedTuple):
  """A run of active learning, the same on every side."""

  rounds: int  # acquisitions; one training more
  train_steps: int
  batch_size: int
  pool: int  # images
  test: int  # images
  init_labels: int = 20
  acq_size: int = 10

  @property
  def max_labels(self) -> int:
    """Labels held at the end."""
    return self.init_labels + self.rounds * self.acq_size

  def work(self) -> Counter[str]:
    """All that a run of it does."""
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


class Made(NamedTuple):
  """Made data in the shape of MNIST: `[N, 28, 28, 1]` uint8 images and `[N]` int64 labels, to train and to test on."""

  images: np.ndarray
  labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray


def made_data(plan: Plan) -> Made:
  """Ten patterns of 7 x 7 patches under noise, which the network can learn: the same arrays for every side."""
  rng = np.random.default_rng(0)
  patterns = rng.integers(0, 128, (10, 7, 7, 1), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)

  def draw(num: int) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, 10, num)
    return patterns[labels] + rng.integers(0, 128, (num, 28, 28, 1), dtype=np.uint8), labels

  return Made(*draw(plan.pool), *draw(plan.test))


class Outcome(NamedTuple):
  """A finished run."""

  work: Counter[str]  # counted as it was done
  accuracy: list[float]  # on the test set, one a training


def run_loop(plan: Plan, data: Made, *, chunk: int, channels_last: bool) -> Outcome:
  """One run with entropy as the acquisition; `chunk` images in a forward pass outside training."""
  import torch
  from torch.nn import functional

  memory_format = torch.channels_last if channels_last else torch.contiguous_format
  images, labels, test_images, test_labels = map(torch.from_numpy, data)
  work, accuracy = Counter(), []

  def inputs(images: torch.Tensor) -> torch.Tensor:
    images = images.float() / 255
    # With one channel, only strides tell the two formats apart, and only a permuted view has those of channels_last.
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
  """A process with PyTorch that runs a plan, in one memory format and one malloc setting. A context manager."""

  def __init__(self, variant: str, tuned: bool, plan: Plan):
    super().__init__(variant, tuned, "torch_loop", [f"--plan={json.dumps(plan)}"])
    self._plan = plan

  def prepare(self, task) -> None:
    """Warms up on a little of each kind of work, because a run takes minutes; chooses the chunk size for scoring."""
    super().prepare(task._replace(kind="scoring", size=min(self._plan.pool, 4000), count=1))
    super().prepare(task._replace(kind="step", size=self._plan.batch_size, count=min(self._plan.train_steps, 5)))


def measurements(plan: Plan, channels_last: bool) -> dict[str, Callable[[dict], float]]:
  """What this process can measure, by kind: functions from a request to seconds."""
  data = made_data(plan)

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
  _flags.add_argument("--plan", type=json.loads, required=True, help="the fields of a Plan, a JSON list")
  _options = _flags.parse_args()
  torch_worker.main(_options, functools.partial(measurements, Plan(*_options.plan)))
