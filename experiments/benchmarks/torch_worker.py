"""The PyTorch side of `experiments.bench`: client and worker process.

`TorchSide` is the client. Run as a program, this file is the worker (see `process`): one process per variant, because
the C library's malloc reads its settings at process start. It answers a request `{"kind", "size", "count", "chunk"}`
with `{"seconds"}`, the time of the measurement.

Functions that compute with PyTorch import it, so that this file can be imported without PyTorch.
"""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import sys
import time

from experiments.benchmarks.process import Process
from experiments.benchmarks.process import serve
from experiments.runs.runtime import cores

LABELED = 200
_CHUNKS = (250, 1000)
# glibc keeps freed memory instead of returning large arrays to the system and faulting them in again.
_MALLOC = {
  "MALLOC_MMAP_MAX_": "0",
  "MALLOC_TRIM_THRESHOLD_": "8589934592",
  "MALLOC_TOP_PAD_": "268435456",
}


class TorchSide(Process):
  """A PyTorch process with one memory format and one malloc setting. A context manager."""

  def __init__(self, variant: str, tuned: bool, module: str = "torch_worker", options: Sequence[str] = ()):
    self.chunk_size = _CHUNKS[0]
    super().__init__(
      f"PyTorch {variant}, {'malloc tuned' if tuned else 'as installed'}",
      module,
      [f"--variant={variant}", f"--threads={cores()}", *options],
      _MALLOC if tuned else {},
    )

  def prepare(self, task) -> None:
    """Warms up; for scoring, chooses the faster of two chunk sizes."""
    if task.kind == "scoring":
      some, times = task._replace(size=min(task.size, 4000)), {}
      for self.chunk_size in _CHUNKS:
        times[self.chunk_size] = min(self.measure(some) for _ in range(3))
      self.chunk_size = min(times, key=times.get)
    self.measure(task)

  def measure(self, task) -> float:
    """Seconds of one measurement of an `experiments.bench.Task`.

    Raises:
      UsageError: the process ended; its error is on stderr.
    """
    request = {"kind": task.kind, "size": task.size, "count": task.count, "chunk": self.chunk_size}
    return self.ask(request)["seconds"]


def network():
  """`al_jax.models.cnn.CNN` with PyTorch's default initialization: `[B, 1, 28, 28]` -> logits `[B, 10]`."""
  from torch import nn

  return nn.Sequential(
    nn.Conv2d(1, 32, 3),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Dropout(0.25),
    nn.Flatten(),
    nn.Linear(9216, 128),
    nn.ReLU(),
    nn.Linear(128, 10),
  )


def measurements(channels_last: bool) -> dict[str, Callable[[dict], float]]:
  """The measurements by kind: functions from a request to seconds."""
  import torch
  from torch.nn import functional

  memory_format = torch.channels_last if channels_last else torch.contiguous_format
  pools: dict[int, torch.Tensor] = {}

  def pool(num: int) -> torch.Tensor:
    if num not in pools:
      shape = (num, 28, 28, 1) if channels_last else (num, 1, 28, 28)
      pools[num] = torch.randint(0, 256, shape, dtype=torch.uint8)
    return pools[num]

  def normalize(images: torch.Tensor) -> torch.Tensor:
    images = images.float() / 255
    # With one channel, the formats differ in strides only, and only a permuted view has the strides of channels_last.
    return images.permute(0, 3, 1, 2) if channels_last else images

  def step(request: dict) -> float:
    images, labels = pool(LABELED), torch.randint(0, 10, (LABELED,))
    # New parameters each time, as on the JAX side: on a memorized set Adam's moments underflow, which is slow.
    net = network().to(memory_format=memory_format).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    start = time.perf_counter()
    for _ in range(request["count"]):
      batch = torch.randint(0, LABELED, (request["size"],))
      optimizer.zero_grad()
      functional.cross_entropy(net(normalize(images[batch])), labels[batch]).backward()
      optimizer.step()
    return time.perf_counter() - start

  def scoring(request: dict) -> float:
    images, net = pool(request["size"]), network().to(memory_format=memory_format).eval()
    start = time.perf_counter()
    with torch.inference_mode():
      scores = []
      for part in images.split(request["chunk"]):
        log_probs = functional.log_softmax(net(normalize(part)), dim=1)
        scores.append(-(log_probs.exp() * log_probs).sum(dim=1))
      torch.cat(scores)
    return time.perf_counter() - start

  return {"step": step, "scoring": scoring}


def parser(description: str) -> argparse.ArgumentParser:
  """The flags of a worker process."""
  out = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
  out.add_argument("--variant", choices=["plain", "channels_last"], default="plain")
  out.add_argument("--threads", type=int, default=cores())
  return out


def main(options: argparse.Namespace, measure: Callable[[bool], dict[str, Callable[[dict], float]]]) -> None:
  """Serves the measurements of `measure(channels_last)`."""
  try:
    import torch

    torch.set_num_threads(options.threads)
    kinds = measure(options.variant == "channels_last")
    serve(lambda request: {"seconds": kinds[request["kind"]](request)})
  except KeyboardInterrupt:
    sys.exit(130)


if __name__ == "__main__":
  main(parser(__doc__).parse_args(), measurements)
