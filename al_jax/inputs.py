"""Functions for `Dataset.prepare` (`images`, `as_they_are`, `by_name`) and `TrainPlan.augment` (`Crop`, ...)."""

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
  """For tokens, tables and features: integers are unchanged, floats become float32."""
  return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, batch)


@dataclasses.dataclass(frozen=True)
class Images:
  """Maps images `[B, ..., channels]` of any numeric dtype to float32 `(x - mean) / std`; see `images`."""

  mean: float | tuple[float, ...]
  std: float | tuple[float, ...]

  def check(self, name: str, images: types.PyTree) -> None:
    """Raises ValueError if the stored images do not fit."""
    if not hasattr(images, "shape"):
      raise ValueError(f"{name} is a {type(images).__name__}, but al_jax.inputs.images takes one array: use by_name")
    channels = {len(value) for value in (self.mean, self.std) if isinstance(value, tuple)}
    if channels and channels != {images.shape[-1]}:
      counts = " and ".join(map(str, sorted(channels)))
      raise ValueError(f"{name} has {images.shape[-1]} channels (last axis), but mean or std has {counts} numbers")

  def __call__(self, batch: jax.Array) -> jax.Array:
    of_shape = lambda number: (
      jnp.asarray(number, jnp.float32).reshape((1,) * (batch.ndim - 1) + (-1,)) if isinstance(number, tuple) else number
    )
    return (batch.astype(jnp.float32) - of_shape(self.mean)) / of_shape(self.std)


def images(*, std: float | tuple[float, ...], mean: float | tuple[float, ...] = 0.0) -> Images:
  """Prepares images as `(x - mean) / std`: `images(std=255)` scales bytes to 0..1.

  Args:
    std: one number, or one per channel, on the scale of the stored pixels.
    mean: one number, or one per channel, on the same scale.

  Raises:
    ValueError: a number is not finite, or `std` is not positive.
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
    raise ValueError(f"{name} must be a number, or one number per channel, not {value!r}".splitlines()[0]) from None


@dataclasses.dataclass(frozen=True)
class ByName:
  """Prepares a dict of inputs, each array with its own function; see `by_name`."""

  parts: tuple[tuple[str, Callable], ...]

  def check(self, name: str, arrays: types.PyTree) -> None:
    """Raises ValueError if the stored inputs do not fit."""
    names = [part for part, _ in self.parts]
    if not isinstance(arrays, dict) or sorted(arrays) != names:
      given = f"has the keys {sorted(arrays)}" if isinstance(arrays, dict) else f"is a {type(arrays).__name__}"
      raise ValueError(f"{name} {given}, but by_name takes a dict with the keys {names}")
    for part, prepare in self.parts:
      if isinstance(prepare, Images | ByName):
        prepare.check(f"{name}[{part!r}]", arrays[part])

  def __call__(self, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: prepare(batch[name]) for name, prepare in self.parts}


def by_name(**parts: Callable[[jax.Array], jax.Array]) -> ByName:
  """Prepares a dict of inputs: `by_name(image=images(std=255), table=as_they_are)`."""
  return ByName(tuple(sorted(parts.items())))


def rows(inputs: types.PyTree, ids: jax.Array) -> types.PyTree:
  """The rows `ids` `[K]` of arrays `[N, ...]`."""
  return jax.tree.map(lambda x: jnp.asarray(x)[ids], inputs)


def prepared(data: types.Dataset, batch: types.PyTree) -> types.PyTree:
  """A batch of stored inputs, prepared for the network."""
  return (data.prepare or as_they_are)(batch)


def of_pool(data: types.Dataset, ids: jax.Array) -> types.PyTree:
  """Prepared pool rows, with the pool's noise if it has any: `[K]` ids -> `[K, ...]`."""
  batch = prepared(data, rows(data.inputs, ids % data.num_originals))
  if not data.noise:
    return batch
  key = data.noise_key
  if key is None:
    raise ValueError(f"noise={data.noise} needs a noise_key: give jax.random.key(seed)")
  draw = lambda i: jax.random.normal(jax.random.fold_in(key, i), batch.shape[1:], batch.dtype)
  return batch + data.noise * jax.vmap(draw)(ids)


def of_test(data: types.Dataset, ids: jax.Array) -> types.PyTree:
  """Prepared test examples: `[K]` ids -> `[K, ...]`."""
  return prepared(data, rows(data.test_inputs, ids))


def example(data: types.Dataset) -> types.PyTree:
  """The first pool row, prepared and without noise: the example input for `Network.init`."""
  return prepared(data, jax.tree.map(lambda x: x[:1], data.inputs))


def _sides(batch: types.PyTree, name: str) -> tuple[int, int]:
  """Height and width of images `[B, H, W, ...]`. Raises ValueError for other inputs."""
  if getattr(batch, "ndim", 0) < 3:
    raise ValueError(f"{name} is for images [B, H, W, ...], and these inputs are not images: leave it out")
  return batch.shape[1:3]


@dataclasses.dataclass(frozen=True)
class Flip:
  """Mirrors each image of `[B, H, W, ...]` left to right with probability 1/2."""

  def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
    _sides(batch, "Flip")
    mirrored = jax.random.bernoulli(key, 0.5, (batch.shape[0],) + (1,) * (batch.ndim - 1))
    return jnp.where(mirrored, batch[:, :, ::-1], batch)


@dataclasses.dataclass(frozen=True)
class Crop:
  """Pads each image of `[B, H, W, ...]` with zeros on every side and crops it to its size at a random position.

  Source: He et al. (2016), section 4.2, which pads 32 x 32 images by 4.
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
  """Sets a square around a random position of each image of `[B, H, W, ...]` to 0, clipped at the edges.

  Source: DeVries & Taylor (2017), section 3, whose squares are half as wide as CIFAR-10 images.
  """

  size: int | None = None  # side length in pixels; None: half of the image height, rounded up

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
  """Applies augmentations one after another, each with its own key."""

  parts: tuple[Augment, ...]

  def __call__(self, key: jax.Array, batch: types.PyTree) -> types.PyTree:
    for i, part in enumerate(self.parts):
      batch = part(jax.random.fold_in(key, i), batch)
    return batch


# The augmentations by name, each an object with default arguments, such as `Crop()`.
AUGMENTATIONS = {"crop": Crop(), "flip": Flip(), "cutout": Cutout()}
