"""Random affine warps of images on the device, for self-supervised pretraining and for `TrainPlan.augment`."""

import dataclasses

import jax
import jax.numpy as jnp

__all__ = ("RandomWarp", "warp")

Range = tuple[float, float]


def warp(images: jax.Array, matrices: jax.Array, shifts: jax.Array) -> jax.Array:
  """Samples each image at affinely transformed positions, bilinearly, with zeros outside the image.

  Output pixel `p`, measured from the center of the image, is read at `matrix @ p + shift` from the center. Equals
  `scipy.ndimage.affine_transform` with `order=1, mode="grid-constant"`.

  Args:
    images: `[B, H, W, C]` floats.
    matrices: `[B, 2, 2]`, acting on (row, column).
    shifts: `[B, 2]` pixels, (rows, columns).

  Returns:
    `[B, H, W, C]`.
  """
  batch, height, width, channels = images.shape

  def positions(axis: int, size: int) -> tuple[jax.Array, jax.Array]:
    """The pixel before each position along an axis, counted in the padded image, and the distance from it."""
    rows = jnp.arange(height, dtype=jnp.float32) - (height - 1) / 2
    columns = jnp.arange(width, dtype=jnp.float32) - (width - 1) / 2
    across = matrices[:, axis, 0, None, None] * rows[None, :, None]
    along = matrices[:, axis, 1, None, None] * columns[None, None, :]
    place = across + along + shifts[:, axis, None, None] + (size - 1) / 2
    place = jnp.clip(place, -1, size) + 1  # positions farther out than one pixel read zeros, too
    before = jnp.floor(place)
    return before.astype(jnp.int32), (place - before)[..., None]

  (row, down), (column, right) = positions(0, height), positions(1, width)
  # One zero before and two behind each axis, so that the four neighbors of every position exist. Flat indices that are
  # promised to be in bounds gather several times faster on CPU than checked ones with one index per axis.
  padded_width = width + 3
  pixels = jnp.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
  first = jnp.arange(batch, dtype=jnp.int32)[:, None, None] * ((height + 3) * padded_width)
  flat, pixels = first + row * padded_width + column, pixels.reshape(-1, channels)
  neighbor = lambda offset: pixels.at[flat + offset].get(mode="promise_in_bounds")
  above = (1 - right) * neighbor(0) + right * neighbor(1)
  below = (1 - right) * neighbor(padded_width) + right * neighbor(padded_width + 1)
  return (1 - down) * above + down * below


@dataclasses.dataclass(frozen=True)
class RandomWarp:
  """One random affine warp per image of `[B, H, W, C]`, then a random rectangle set to 0.

  Draws are uniform and independent for each image. Pixels from outside the image are 0. The defaults of the warp suit
  digits and letters; erasing is off. `RandomWarp((1, 1), 0, 0, 0, 0)` changes nothing.

  Attributes:
    scale: range of the side of the sampled window in image sides: below 1 it is a crop, above 1 the image shrinks.
    aspect: largest relative change of the window's height; its width changes by the inverse factor.
    rotation: largest angle, in radians, in both directions.
    shear: largest shift of a row, in columns per row from the center.
    shift: largest shift of the window, as a share of the image's height and width.
    erase_probability: probability that a rectangle is set to 0.
    erase_side: range of the rectangle's height and of its width, as shares of the image's; it is clipped at the edges.

  Raises:
    ValueError: a number is out of range, or a batch is not `[B, H, W, C]`.
  """

  scale: Range = (0.6, 1.15)
  aspect: float = 0.2
  rotation: float = 0.3
  shear: float = 0.25
  shift: float = 0.1
  erase_probability: float = 0.0
  erase_side: Range = (0.2, 0.5)

  def __post_init__(self):
    for name in ("scale", "erase_side"):
      low, high = getattr(self, name)
      if not 0 < low <= high < float("inf"):
        raise ValueError(f"{name} is a range of positive numbers, low before high, not {getattr(self, name)}")
    for name, below in (("aspect", 1.0), ("rotation", float("inf")), ("shear", float("inf")), ("shift", float("inf"))):
      if not 0 <= getattr(self, name) < below:
        upper = f" and below {below:g}" if below < float("inf") else " and finite"
        raise ValueError(f"{name} must be at least 0{upper}, not {getattr(self, name)}")
    if not 0 <= self.erase_probability <= 1:
      raise ValueError(f"erase_probability must be within 0..1, not {self.erase_probability}")

  def __call__(self, key: jax.Array, batch: jax.Array) -> jax.Array:
    if getattr(batch, "ndim", 0) != 4:
      raise ValueError("RandomWarp is for images [B, H, W, C], and these inputs are not images")
    size, sides = batch.shape[0], jnp.asarray(batch.shape[1:3], jnp.float32)
    key_warp, key_erase = jax.random.split(key)
    draws = jax.random.uniform(key_warp, (6, size), minval=-1.0)
    scale = _within(self.scale, (draws[0] + 1) / 2)
    stretch = jnp.sqrt(1 + self.aspect * draws[1])
    angle, shear = self.rotation * draws[2], self.shear * draws[3]
    shifts = self.shift * draws[4:].T * sides[None]
    warped = warp(batch, _matrices(scale * stretch, scale / stretch, angle, shear), shifts)
    return self._erased(key_erase, warped) if self.erase_probability else warped

  def _erased(self, key: jax.Array, batch: jax.Array) -> jax.Array:
    draws = jax.random.uniform(key, (5, batch.shape[0], 1))

    def inside(length: int, side: jax.Array, center: jax.Array) -> jax.Array:
      places = (jnp.arange(length, dtype=jnp.float32)[None] + 0.5) / length
      return jnp.abs(places - center) * 2 < _within(self.erase_side, side)

    rows, columns = inside(batch.shape[1], draws[0], draws[1]), inside(batch.shape[2], draws[2], draws[3])
    erased = rows[:, :, None] & columns[:, None, :] & (draws[4] < self.erase_probability)[:, :, None]
    return jnp.where(erased[..., None], 0, batch)


def _within(bounds: Range, share: jax.Array) -> jax.Array:
  return bounds[0] + (bounds[1] - bounds[0]) * share


def _matrices(height: jax.Array, width: jax.Array, angle: jax.Array, shear: jax.Array) -> jax.Array:
  """`[B, 2, 2]` on (row, column): the window's height and width, then the shear, then the rotation."""
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  first = jnp.stack([(cos - sin * shear) * height, -sin * width], axis=-1)
  second = jnp.stack([(sin + cos * shear) * height, cos * width], axis=-1)
  return jnp.stack([first, second], axis=1)
