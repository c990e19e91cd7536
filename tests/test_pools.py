"""Pools made of a part of the training images, copies and noise, as the flags ask for them."""

import dataclasses

import numpy as np
import pytest

from experiments import pools
from experiments.errors import UsageError
from tests.test_strategies import config


def test_all_by_default(data):
  made = pools.apply(config(), data)
  assert made.images is data.images and made.pool_size == 97
  np.testing.assert_array_equal(made.labels, data.labels)
  assert made.noise == 0 and made.noise_key is None and made.embedding is None
  assert pools.original_ids(config(), 97) is None


def test_size_copies_and_noise(data):
  asked = config(pool_size=30, pool_copies=4, pool_noise=0.1)
  ids = pools.original_ids(asked, 97)
  assert len(set(ids.tolist())) == 30 and (np.diff(ids) > 0).all() and ids.max() < 97
  made = pools.apply(asked, data)
  assert made.images.shape[0] == 30 and made.pool_size == 120 and made.noise == 0.1
  np.testing.assert_array_equal(made.images, np.asarray(data.images)[ids])
  np.testing.assert_array_equal(made.labels.reshape(4, 30), np.broadcast_to(np.asarray(data.labels)[ids], (4, 30)))
  np.testing.assert_array_equal(made.test_images, data.test_images)


def test_the_draw_is_of_pool_seed_alone():
  asked = config(pool_size=30)
  draw = lambda **changes: pools.original_ids(dataclasses.replace(asked, **changes), 97).tolist()
  assert draw(seed=5, seeds=3) == draw() != draw(pool_seed=1)


def test_more_than_there_is_is_refused(data):
  with pytest.raises(UsageError, match="--pool_size=98 is more than the 97 training images"):
    pools.apply(config(pool_size=98), data)


def test_embedding_follows_the_pool(data, tmp_path):
  features = np.random.default_rng(0).normal(size=(97, 3))
  np.save(tmp_path / "features.npy", features)
  asked = config(embedding=str(tmp_path / "features.npy"), pool_size=30)
  made = pools.apply(asked, data)
  np.testing.assert_allclose(made.embedding, features[pools.original_ids(asked, 97)], rtol=1e-6)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "cannot be read"),
    (b"not an array", "cannot be read"),
    (np.zeros((96, 3)), r"shape \[97, E\], not \(96, 3\)"),
    (np.zeros(97), r"not \(97,\)"),
    (np.full((97, 2), np.nan), "not finite"),
    (np.full((97, 2), "a"), "not finite numbers"),
  ],
)
def test_a_wrong_embedding_is_refused_by_name(content, message, data, tmp_path):
  path = tmp_path / "features.npy"
  if isinstance(content, bytes):
    path.write_bytes(content)
  elif content is not None:
    np.save(path, content)
  with pytest.raises(UsageError, match=message) as caught:
    pools.apply(config(embedding=str(path)), data)
  assert str(path) in str(caught.value)
