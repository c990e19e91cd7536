"""The JAX side of `experiments.bench`: tasks, their floating-point operations, and measuring them in this process."""

import functools
import math
import time
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import fitting
from al_jax import from_flax
from al_jax import inputs
from al_jax import posterior as posteriors
from al_jax import types
from al_jax import uncertainty
from al_jax.models.cnn import CNN
from experiments.benchmarks.torch_worker import LABELED

JAX = "JAX"
IMAGE = (28, 28, 1)


class Task(NamedTuple):
  """A task to measure on every side that supports it."""

  name: str
  kind: str  # "matmul", "step", "scoring" or "loop"
  size: int  # rows of the square matrices, images per batch, images to score, or runs in one program
  count: int  # units per measurement: products, steps, 1 pool, or runs
  flops: int  # floating-point operations per unit


def layer_flops(model: nn.Module, image_shape: types.Shape) -> list[int]:
  """Operations per image in the forward pass of each layer with a kernel: two for each multiply-add.

  Layers are in the order of their calls. Biases, activations and pooling are not counted.
  """
  flops = []

  def count(call, args, kwargs, context):
    out = call(*args, **kwargs)
    kernel = context.module.variables.get("params", {}).get("kernel")
    if context.method_name == "__call__" and kernel is not None:
      flops.append(2 * kernel.size * math.prod(out.shape[1:-1]))
    return out

  with nn.intercept_methods(count):
    jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
  return flops


def step_flops(layers: list[int]) -> int:
  """Operations per image in a training step, from those of the layers in a forward pass.

  Back-propagation costs twice the forward pass; in the first layer once, because images need no gradient.
  """
  return 3 * sum(layers) - layers[0]


def matmul_task(size: int) -> Task:
  """Products of two large square matrices: measures the rate that the cores can reach."""
  return Task(f"matmul {size}", "matmul", size, 4, 2 * size**3)


class JaxSide:
  """This process; it runs each task as one compiled program."""

  name = JAX

  def __init__(self, chunk_size: int):
    self.chunk_size = chunk_size
    self.compile_seconds: dict[str, float] = {}
    self.idle_cpu = self.idle_wall = 0.0
    self._programs = {}
    self._calls = 0
    self._left = time.process_time(), time.perf_counter()

  def prepare(self, task: Task) -> None:
    """Compiles the task's program and runs it once."""
    self.compile(task)
    self.measure(task)

  def compile(self, task: Task) -> None:
    """Compiles the task's program."""
    self._wake()
    self._programs[task.name] = self._program(task)
    self._left = time.process_time(), time.perf_counter()

  def measure(self, task: Task) -> float:
    """Seconds of one measurement."""
    self._wake()
    self._calls += 1
    keys = jax.block_until_ready(jax.random.split(jax.random.key(self._calls)))
    start = time.perf_counter()
    self._programs[task.name](keys)
    seconds = time.perf_counter() - start
    self._left = time.process_time(), time.perf_counter()
    return seconds

  def _wake(self) -> None:
    self.idle_cpu += time.process_time() - self._left[0]
    self.idle_wall += time.perf_counter() - self._left[1]

  def _compile(self, task: Task, function, *args):
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    self.compile_seconds[task.name] = time.perf_counter() - start
    return compiled

  def _program(self, task: Task):
    """Compiles a task to a function of two keys that returns when the work is done."""
    if task.kind == "matmul":
      matrix = jax.random.normal(jax.random.key(0), (task.size, task.size))
      product = self._compile(task, jnp.matmul, matrix, matrix)
      return lambda _: [product(matrix, matrix).block_until_ready() for _ in range(task.count)]

    network = from_flax(CNN())
    num = LABELED if task.kind == "step" else task.size
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num, *IMAGE), dtype=np.uint8)
    labels = rng.integers(0, 10, num, dtype=np.int32)
    data = jax.device_put(types.Dataset(images, labels, images[:1], labels[:1], 10, inputs.images(std=255)))
    variables = jax.jit(lambda key, data: network.init(key, inputs.example(data)))(jax.random.key(0), data)

    if task.kind == "step":
      fit = functools.partial(
        fitting.fit,
        network=network,
        optimizer=optax.adam(1e-3),
        plan=types.TrainPlan(batch_size=task.size, steps=task.count),
      )
      rest = variables, data, jnp.arange(num), jnp.int32(num)
      drawn_with = lambda keys: fitting.Keys(*keys, keys[0])
      compiled = self._compile(task, fit, drawn_with(jax.random.split(jax.random.key(0))), *rest)
      return lambda keys: jax.block_until_ready(compiled(drawn_with(keys), *rest))

    def score(variables, data):
      images_of, ids = functools.partial(inputs.of_pool, data), jnp.arange(num)
      out = posteriors.deterministic().predict(
        None, network, variables, images_of, ids, chunk_size=self.chunk_size, features=False
      )
      return jax.vmap(uncertainty.entropy)(out.log_probs)

    compiled = self._compile(task, score, variables, data)
    return lambda _: compiled(variables, data).block_until_ready()
