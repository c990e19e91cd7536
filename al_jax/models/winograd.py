"""Convolutions as products of transformed tiles, which need fewer multiplications than the sums they compute.

A tile of (k+1) x (k+1) inputs gives 2 x 2 outputs by (k+1)^2 products per pair of channels in place of 4 k^2: 36 in
place of 100 for a 5 x 5 kernel. The price is two small linear transforms and a rounding error that is larger than that
of a plain sum, by a factor of about ten for 5 x 5 kernels. `layers` decides where this is used.

Source: Lavin & Gray (2016), Fast Algorithms for Convolutional Neural Networks, section 4; the transforms are those of
Toom and Cook at the points 0, 1, -1, 2, -2 and infinity.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

_POINTS = (0, 1, -1, 2, -2)
SIZES = (5,)  # of kernels; for 3 x 3 nothing is gained on CPU, and from 7 x 7 on, float32 loses too many digits


@functools.cache
def transforms(kernel_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Transforms of flattened outputs, kernels and tiles: `[4, n n]`, `[n n, k k]`, `[n n, n n]` float32, n = k + 1.

  For a tile d and a kernel g, the 2 x 2 outputs are `outputs @ ((kernels @ g) * (tiles @ d))`.
  """
  points = _POINTS[:kernel_size]

  def powers(count: int) -> np.ndarray:
    """The points' powers 0..count-1, `[n, count]`; infinity has the highest alone."""
    return np.array([[float(p) ** j for j in range(count)] for p in points] + [[0.0] * (count - 1) + [1.0]])

  outputs, kernels, tiles = powers(2).T, powers(kernel_size), np.linalg.inv(powers(kernel_size + 1)).T
  # Moving a factor per row from one transform to the other changes no product, and keeps both near 1.
  factor = np.sqrt(np.abs(kernels).max(axis=1) / np.abs(tiles).max(axis=1))[:, None]
  both = (outputs, kernels / factor, tiles * factor)
  first, second, third = (np.kron(one, one).astype(np.float32) for one in both)
  return first, second, third


def transformed_tiles(x: jax.Array, kernel_size: int, pad: tuple[int, int]) -> jax.Array:
  """`[B, H, W, I]` -> `[n n, B h w, I]` for h x w tiles at every second row and column, after `pad` zeros on the sides.

  An odd last row or column of outputs gets a tile with zeros beyond the image.
  """
  batch, rows, columns, features = x.shape
  tile = kernel_size + 1
  counts = [-(-(size + 2 * width - kernel_size + 1) // 2) for size, width in zip((rows, columns), pad, strict=True)]
  after = [2 * (n - 1) + tile - size - width for n, size, width in zip(counts, (rows, columns), pad, strict=True)]
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (pad[0], after[0], 0), (pad[1], after[1], 0), (0, 0, 0)])
  # Tiles overlap by whole 2 x 2 blocks, so a slice of blocks serves four positions of the tile.
  (height, width), half = counts, tile // 2
  blocks = x.reshape(batch, height + half - 1, 2, width + half - 1, 2, features).transpose(2, 4, 0, 1, 3, 5)
  rows_of = lambda i: jnp.stack([blocks[:, :, :, i : i + height, j : j + width] for j in range(half)])
  tiles = jnp.stack([rows_of(i) for i in range(half)]).transpose(0, 2, 1, 3, 4, 5, 6, 7)
  _, _, transform = transforms(kernel_size)
  return jnp.matmul(transform, tiles.reshape(tile**2, -1)).reshape(tile**2, -1, features)


def multiply(tiles: jax.Array, kernel: jax.Array, shape: tuple[int, int, int]) -> jax.Array:
  """Transformed tiles and a `[k, k, I, O]` kernel -> `[B, rows, columns, O]`, whose first three are `shape`."""
  (batch, rows, columns), (size, _, _, features) = shape, kernel.shape
  of_outputs, of_kernels, _ = transforms(size)
  kernels = jnp.matmul(of_kernels, kernel.reshape(size**2, -1)).reshape((size + 1) ** 2, -1, features)
  products = lax.dot_general(tiles, kernels, (((2,), (1,)), ((0,), (0,))))
  height, width = -(-rows // 2), -(-columns // 2)
  out = jnp.matmul(of_outputs, products.reshape(len(products), -1)).reshape(2, 2, batch, height, width, features)
  return out.transpose(2, 3, 0, 4, 1, 5).reshape(batch, 2 * height, 2 * width, features)[:, :rows, :columns]
