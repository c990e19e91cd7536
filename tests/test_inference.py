"""Chunked predictions: the same as all at once, whatever the sizes."""

import dataclasses

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import inference

pytestmark = pytest.mark.usefixtures("fast_compilation")


@given(st.integers(1, 12), st.integers(1, 15))
@settings(max_examples=20)
def test_map_chunks_equals_the_function_on_everything(size, chunk_size):
  images = np.arange(size * 6, dtype=np.float32).reshape(size, 3, 2)
  function = lambda chunk: jnp.stack([chunk.sum(axis=2), chunk.max(axis=2)], axis=1)
  out = inference.map_chunks(function, images, chunk_size=chunk_size)
  np.testing.assert_array_equal(out, function(images))


@pytest.mark.parametrize(("size", "chunk_size", "shape"), [(3, 8, 3), (8, 8, 8), (10, 4, 4), (12, 4, 4), (9, 1, 1)])
def test_every_chunk_has_one_shape(size, chunk_size, shape):
  seen = []

  def function(chunk):
    seen.append(chunk.shape)
    return chunk

  out = inference.map_chunks(function, jnp.arange(size), chunk_size=chunk_size)
  assert out.tolist() == list(range(size))
  assert set(seen) == {(shape,)}


def test_normalize(data):
  data = dataclasses.replace(data, mean=4.0, std=8.0)
  np.testing.assert_allclose(
    inference.normalize(data.images, data), (np.asarray(data.images, np.float64) - 4.0) / 8.0, rtol=1e-6
  )
  assert inference.normalize(data.images, data).dtype == jnp.float32
  signed = np.array([-3, 300], np.int16)
  np.testing.assert_allclose(inference.normalize(signed, data), [-7 / 8, 37.0], rtol=1e-6)
  floats = np.array([0.25, -1.0], np.float32)
  assert inference.normalize(floats, data) is floats


def test_predict(data, model):
  params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
  logits = model.apply({"params": params}, np.asarray(data.images, np.float32) / 16)
  whole = inference.predict(model, params, data.images, data, chunk_size=500)
  assert whole.shape == (len(data.images), 1, 10) and whole.dtype == jnp.float32
  np.testing.assert_allclose(whole[:, 0], jax.nn.log_softmax(logits), rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(np.exp(np.asarray(whole, np.float64)).sum(axis=-1), 1, rtol=1e-6)
  for chunk_size in (10, 96):
    chunked = inference.predict(model, params, data.images, data, chunk_size=chunk_size)
    np.testing.assert_allclose(chunked, whole, rtol=1e-5, atol=1e-6)


def test_uint8_images_predict_as_their_normalised_floats(data, model):
  params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
  floats = np.asarray(inference.normalize(data.images, data))
  np.testing.assert_array_equal(
    inference.predict(model, params, data.images, data, chunk_size=20),
    inference.predict(model, params, floats, data, chunk_size=20),
  )
