"""What a network is given: the data set's inputs prepared as it says, with a noisy pool's noise, and augmentations."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import types

__all__ = ("AUGMENTATIONS", "ByName", "Chain", "Crop", "Cutout", "Flip", "Images", "as_they_are", "by_name", "images")

Augment = Callable[[jax.Array, types.PyTree], types.PyTree]


def as_they_are(batch: types.PyTree) -> types.PyTree:
  """Tokens, tables and features: integers stay integers, floats of 16 bits become float32."""
  return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, batch)


@dataclasses.dataclass(frozen=True)
class Images:
  """Images `[B, ..., channels]` of any number dtype -> `(x - mean) / std` in float32; see `images`."""

  mean: float | tuple[float, ...]
  std: float | tuple[float, ...]

  def check(self, name: str, images: types.PyTree) -> None:
    """Raises ValueError, in one sentence, for stored images that this does not suit."""
    if not hasattr(images, "shape"):
      raise ValueError(f"{name} is a {type(images).__name__}, and al_jax.inputs.images is for one array: use by_name")
    channels = {len(value) for value in (self.mean, self.std) if isinstance(value, tuple)}
    if channels and channels != {images.shape[-1]}:
      counts = " and ".join(map(str, sorted(channels)))
      raise ValueError(f"{name} has {images.shape[-1]} channels last, and its mean or std {counts} numbers")

  def __call__(self, batch: jax.Array) -> jax.Array:
    of_shape = lambda number: (
      jnp.asarray(number, jnp.float32).reshape((1,) * (batch.ndim - 1) + (-1,)) if isinstance(number, tuple) else number
    )
    return (batch.astype(jnp.float32) - of_shape(self.mean)) / of_shape(self.std)


def images(*, std: float | tuple[float, ...], mean: float | tuple[float, ...] = 0.0) -> Images:
  """Images that enter the network as `(x - mean) / std`: `images(std=255)` takes bytes to 0..1.

  Args:
    std: one number, or one per channel, on the scale of the stored pixels.
    mean: likewise.

  Raises:
    ValueError: a number is not finite, or a deviation is not positive.
  """
  mean, std = _of_channels("mean", mean), _of_channels("std", std)
  if not all(value > 0 for value in (std if isinstance(std, tuple) else (std,))):
    raise ValueError(f"std must be positive, not {std}")
  for name, numbers in (("mean", mean), ("std", std)):
    if not np.isfinite(numbers).all():
      raise ValueError(f"{name} must be finite, not {numbers}")
  return Images(mean, std)


def _of_channels(name: str, value: Any) -> float | tuple[float, ...]:
  try:
    return tuple(map(float, value)) if np.ndim(value) else float(value)
  except (TypeError, ValueError):
    raise ValueError(f"{name} is a number or one per channel, not {value!r}".splitlines()[0]) from None


@dataclasses.dataclass(frozen=True)
class ByName:
  """A dict of inputs, each prepared in its own way; see `by_name`."""

  parts: tuple[tuple[str, Callable], ...]

  def check(self, name: str, arrays: types.PyTree) -> None:
    """Raises ValueError, in one sentence, for stored inputs that this does not suit."""
    names = [part for part, _ in self.parts]
    if not isinstance(arrays, dict) or sorted(arrays) != names:
      given = sorted(arrays) if isinstance(arrays, dict) else f"a {type(arrays).__name__}"
      raise ValueError(f"{name} is {given}, and its by_name is for a dict of {names}")
    for part, prepare in self.parts:
      if isinstance(prepare, Images | ByName):
        prepare.check(f"{name}[{part!r}]", arrays[part])

  def __call__(self, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: prepare(batch[name]) for name, prepare in self.parts}


def by_name(**parts: Callable[[jax.Array], jax.Array]) -> ByName:
  """For inputs that are a dict, how each enters the network: `by_name(image=images(std=255), table=as_they_are)`."""
  return ByName(tuple(sorted(parts.items())))


def rows(inputs: types.PyTree, ids: jax.Array) -> types.PyTree:
  """The rows `ids` `[K]` of arrays `[N, ...]`."""
  return jax.tree.map(lambda x: jnp.asarray(x)[ids], inputs)


def prepared(data: types.Dataset, batch: types.PyTree) -> types.PyTree:
  """A batch of stored inputs as the network takes it."""
  return (data.prepare or as_they_are)(batch)


def of_pool(data: types.Dataset, ids: jax.Array) -> types.PyTree:
  """Pool rows as the network takes them, each with its own noise where the pool has any: `[K]` ids -> `[K, ...]`."""
  batch = prepared(data, rows(data.inputs, ids % data.num_originals))
  if not data.noise:
    return batch
  key = data.noise_key
  if key is None:
    raise ValueError(f"a pool with noise={data.noise} needs a noise_key")
  draw = lambda i: jax.random.normal(jax.random.fold_in(key, i), batch.shape[1:], batch.dtype)
  return batch + data.noise * jax.vmap(draw)(ids)


def of_test(data: types.Dataset, ids: jax.Array) -> types.PyTree:
  """Test examples as the network takes them: `[K]` ids -> `[K, ...]`."""
  return prepared(data, rows(data.test_inputs, ids))


def example(data: types.Dataset) -> types.PyTree:
  """The pool's first row as the network takes it, without noise: what a network's variables are made for."""
  return prepared(data, jax.tree.map(lambda x: x[:1], data.inputs))


def _sides(batch: types.PyTree, name: str) -> tuple[int, int]:
  """Height and width of `[B, H, W, ...]`; ValueError for what is no batch of images."""
  if getattr(batch, "ndim", 0) < 3:
    raise ValueError(f"{name} is for images, [B, H, W, ...], and augments none here")
  return batch.shape[1:3]


@dataclasses.dataclass(frozen=True)
class Flip:
  """Images `[B, H, W, ...]`, each mirrored left to right with probability a half."""

  def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
    _sides(batch, "Flip")
    mirrored = jax.random.bernoulli(key, 0.5, (batch.shape[0],) + (1,) * (batch.ndim - 1))
    return jnp.where(mirrored, batch[:, :, ::-1], batch)


@dataclasses.dataclass(frozen=True)
class Crop:
  """Images `[B, H, W, ...]`, each padded with zeros on every side and cropped to its size at a random place.

  Source: He et al. (2016), section 4.2, which pads images of 32 by 4.
  """

  padding: int = 4

  def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
    p, (height, width) = self.padding, _sides(batch, "Crop")
    padded = jnp.pad(batch, [(0, 0), (p, p), (p, p)] + [(0, 0)] * (batch.ndim - 3))
    corners = jax.random.randint(key, (batch.shape[0], 2), 0, 2 * p + 1)
    cut = lambda image, corner: jax.lax.dynamic_slice(
      image, (corner[0], corner[1]) + (0,) * (image.ndim - 2), (height, width, *image.shape[2:])
    )
    return jax.vmap(cut)(padded, corners)


@dataclasses.dataclass(frozen=True)
class Cutout:
  """Images `[B, H, W, ...]`, in each of which a square around a random place is 0; at an edge, what is left of it.

  Source: DeVries & Taylor (2017), section 3, whose squares are half as wide as CIFAR-10's images.
  """

  size: int | None = None  # of a side; None is half of the image's height

  def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
    height, width = _sides(batch, "Cutout")
    size, keys = self.size or (height + 1) // 2, jax.random.split(key)

    def within(key: jax.Array, length: int) -> jax.Array:
      first = jax.random.randint(key, (batch.shape[0], 1), 0, length) - size // 2
      places = jnp.arange(length)[None]
      return (places >= first) & (places < first + size)

    rows, columns = within(keys[0], height), within(keys[1], width)
    cut = (rows[:, :, None] & columns[:, None, :]).reshape((*batch.shape[:3],) + (1,) * (batch.ndim - 3))
    return jnp.where(cut, 0, batch)


@dataclasses.dataclass(frozen=True)
class Chain:
  """Augmentations one after another, each with a key of its own."""

  parts: tuple[Augment, ...]

  def __call__(self, key: jax.Array, batch: types.PyTree) -> types.PyTree:
    for i, part in enumerate(self.parts):
      batch = part(jax.random.fold_in(key, i), batch)
    return batch


AUGMENTATIONS = {"crop": Crop(), "flip": Flip(), "cutout": Cutout()}
