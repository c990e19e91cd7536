"""Factorizations that are safe inside a program for several CPU devices.

jaxlib splits a batch of factorizations across the threads of the process and waits for them. If all threads wait, each
inside the program of a device, none is left to do the work, and the program never ends. Therefore CPUs factorize one
matrix after another here, also under vmap; other devices batch.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp


def _one_at_a_time(function: Callable) -> Callable:
  """The function of unbatched arrays, which under vmap is computed for one after another on a CPU."""
  in_turn = jax.custom_batching.sequential_vmap(function)

  @functools.wraps(function)
  def call(*arrays: jax.Array):
    return jax.lax.platform_dependent(*arrays, cpu=in_turn, default=function)

  return call


@_one_at_a_time
def cholesky(matrix: jax.Array) -> jax.Array:
  """Lower Cholesky factor of a positive definite matrix `[N, N]`; NaN if it is not positive definite."""
  return jnp.linalg.cholesky(matrix)


@_one_at_a_time
def inverse_of_positive(matrix: jax.Array) -> jax.Array:
  """Inverse of a positive definite matrix `[N, N]`."""
  return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(matrix), True), jnp.eye(matrix.shape[0], dtype=matrix.dtype))


@_one_at_a_time
def solve_transposed(factor: jax.Array, columns: jax.Array) -> jax.Array:
  """Solution of `factor.T @ x = columns` for a lower triangular `factor` `[N, N]` and `columns` `[N, K]`."""
  return jax.scipy.linalg.solve_triangular(factor, columns, lower=True, trans="T")


@_one_at_a_time
def eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Ascending eigenvalues `[N]` and eigenvectors `[N, N]` of a symmetric matrix."""
  values, vectors = jnp.linalg.eigh(matrix)
  return values, vectors
