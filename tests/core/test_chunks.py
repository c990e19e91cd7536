"""Chunked results equal those of a single call, for all sizes."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax.chunks import map_chunks

pytestmark = pytest.mark.usefixtures("fast_compilation")


@given(st.integers(1, 12), st.integers(1, 15))
@settings(max_examples=10)
def test_map_chunks_equals_the_function_on_everything(size, chunk_size):
  rows = np.arange(size * 6, dtype=np.float32).reshape(size, 3, 2)
  function = lambda chunk: jnp.stack([chunk.sum(axis=2), chunk.max(axis=2)], axis=1)
  out = map_chunks(function, rows, chunk_size=chunk_size)
  np.testing.assert_array_equal(out, function(rows))


@pytest.mark.parametrize(("size", "chunk_size", "shape"), [(3, 8, 3), (8, 8, 8), (10, 4, 4), (12, 4, 4), (9, 1, 1)])
def test_every_chunk_has_one_shape(size, chunk_size, shape):
  seen = []

  def function(chunk):
    seen.append(chunk.shape)
    return chunk

  out = map_chunks(function, jnp.arange(size), chunk_size=chunk_size)
  assert out.tolist() == list(range(size))
  assert set(seen) == {(shape,)}
