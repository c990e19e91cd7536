"""Pools built from flags: subsets of the training images, copies and noise."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import inputs
from al_jax.types import Dataset
from experiments.common.errors import UsageError
from experiments.data import DataError
from experiments.runs import pools
from tests.experiments.config.test_acquisitions import config


def test_all_by_default(data):
  made = pools.apply(config(), data)
  assert made.inputs is data.inputs and made.pool_size == 97
  np.testing.assert_array_equal(made.labels, data.labels)
  assert made.noise == 0 and made.noise_key is None and made.embedding is None
  assert pools.original_ids(config(), data) is None


def test_size_copies_and_noise(data):
  asked = config(pool_size=30, pool_copies=4, pool_noise=0.1)
  ids = pools.original_ids(asked, data)
  assert len(set(ids.tolist())) == 30 and (np.diff(ids) > 0).all() and ids.max() < 97
  made = pools.apply(asked, data)
  assert made.inputs.shape[0] == 30 and made.pool_size == 120 and made.noise == 0.1
  np.testing.assert_array_equal(made.inputs, np.asarray(data.inputs)[ids])
  np.testing.assert_array_equal(made.labels.reshape(4, 30), np.broadcast_to(np.asarray(data.labels)[ids], (4, 30)))
  np.testing.assert_array_equal(made.test_inputs, data.test_inputs)


@pytest.mark.parametrize(("mean", "std"), [(0.1307, 0.3081), (0.0, 0.5), (0.5, 1.0), (-0.25, 2.0)])
@pytest.mark.parametrize("scale", [16.0, 255.0])
def test_inputs_are_standardised_on_the_scale_of_0_to_1(mean, std, scale, data):
  made = pools.apply(
    config(input_mean=mean, input_std=std, pool_size=30), dataclasses.replace(data, prepare=inputs.images(std=scale))
  )
  expected = lambda images: (np.asarray(images, np.float64) / scale - mean) / std
  for images in (made.inputs, made.test_inputs):
    np.testing.assert_allclose(inputs.prepared(made, jnp.asarray(images)), expected(images), rtol=1e-5, atol=1e-6)
  taken = inputs.of_pool(made, jnp.arange(5))
  np.testing.assert_allclose(taken, expected(made.inputs[:5]), rtol=1e-5, atol=1e-6)


def test_a_data_sets_own_mean_is_kept_beside_that_of_the_flags(data):
  own = dataclasses.replace(data, prepare=inputs.images(mean=4, std=8))
  made = pools.apply(config(input_mean=0.25, input_std=0.5), own)
  expected = ((np.asarray(data.inputs, np.float64) - 4) / 8 - 0.25) / 0.5
  np.testing.assert_allclose(inputs.prepared(made, jnp.asarray(made.inputs)), expected, rtol=1e-6)


def test_noise_is_added_to_the_standardised_inputs(data):
  noisy = pools.apply(config(input_mean=0.1307, input_std=0.3081, pool_noise=0.1, pool_copies=2), data)
  clean = np.asarray(inputs.prepared(noisy, jnp.asarray(noisy.inputs)))
  noise = np.asarray(inputs.of_pool(noisy, jnp.arange(194))).reshape(2, -1) - clean.ravel()
  np.testing.assert_allclose(noise.std(axis=1), 0.1, rtol=0.05)
  assert abs(np.corrcoef(noise)[0, 1]) < 5 / np.sqrt(noise.shape[1])  # the noise of copies is independent


@pytest.mark.parametrize("kind", [{"pool_size": 30}, {"imbalance": 3.0}])
def test_the_draw_is_of_pool_seed_alone(kind, data):
  draw = lambda **changes: pools.original_ids(config(**kind | changes), data).tolist()
  assert draw(seed=5, seeds=3) == draw() != draw(pool_seed=1)


def test_more_than_there_is_is_refused(data):
  with pytest.raises(UsageError, match="--pool_size=98 exceeds the 97 training images"):
    pools.apply(config(pool_size=98), data)


def even(classes, each):
  """A data set of `each` images per class, in turn; the value of an image is its id."""
  labels = np.tile(np.arange(classes, dtype=np.int32), each)
  images = np.arange(len(labels), dtype=np.float32)[:, None]
  return Dataset(
    images, labels, images[:classes], labels[:classes], num_classes=classes, prepare=inputs.images(std=255)
  )


@pytest.mark.parametrize(
  ("classes", "imbalance", "size", "counts"),
  [
    (2, 4.0, None, [40, 10]),  # the largest class keeps all 40 images
    (3, 4.0, None, [40, 20, 10]),
    (3, 10.0, None, [40, 12, 4]),  # 40, 12.65 and 4 add up to 56.6; of 56 that is 39.54, 12.50, 3.95
    (3, 10.0, 28, [20, 6, 2]),  # 19.77, 6.25, 1.98
    (3, 10.0, 30, [21, 7, 2]),  # 21.18, 6.70, 2.12
    (3, 1.5, 30, [12, 10, 8]),  # 12.08, 9.86, 8.05
  ],
)
def test_class_sizes_of_a_long_tailed_pool(classes, imbalance, size, counts):
  data = even(classes, 40)
  made = pools.apply(config(imbalance=imbalance, pool_size=size), data)
  assert sorted(pools.class_counts(made), reverse=True) == counts
  ids = made.inputs[:, 0].astype(int)
  assert (np.diff(ids) > 0).all() and ids.tolist() == pools.original_ids(
    config(imbalance=imbalance, pool_size=size), data
  ).tolist()
  np.testing.assert_array_equal(made.labels, data.labels[ids])
  assert made.test_inputs is data.test_inputs and made.test_labels is data.test_labels


def test_a_long_tailed_pool_of_real_digits_falls_off_exponentially_and_takes_all_it_can(data):
  made = pools.apply(config(imbalance=5.0), data)
  sizes, held = np.array(pools.class_counts(made)), np.bincount(data.labels)
  ranked = np.sort(sizes)[::-1]
  expected = ranked.sum() * 5 ** (-np.arange(10) / 9) / (5 ** (-np.arange(10) / 9)).sum()
  assert np.abs(ranked - expected).max() < 1 and (sizes <= held).all() and (held - sizes).min() <= 1


def test_which_class_is_rare_and_which_images_stay_is_drawn():
  data = even(4, 50)
  made = [pools.apply(config(imbalance=8.0, pool_seed=seed), data) for seed in range(40)]
  rarest = [int(np.argmin(pools.class_counts(it))) for it in made]
  assert set(rarest) == set(range(4))  # a class is missed with probability 4 (3 / 4)^40
  kept = np.bincount(np.concatenate([it.inputs[:, 0].astype(int) for it in made]), minlength=200)
  share = np.mean([len(it.inputs) / 200 for it in made])
  spread = np.sqrt(40 * share * (1 - share))
  assert np.abs(kept - 40 * share).max() < 5 * spread and np.ptp(kept) > spread


def test_a_long_tailed_pool_is_copied_with_noise():
  made = pools.apply(config(imbalance=4.0, pool_size=35, pool_copies=3, pool_noise=0.1), even(3, 40))
  assert made.pool_size == 105 and len(made.inputs) == 35 and made.noise == 0.1
  assert sorted(pools.class_counts(made)) == [15, 30, 60]
  np.testing.assert_array_equal(made.labels.reshape(3, 35), np.broadcast_to(made.labels[:35], (3, 35)))


@pytest.mark.parametrize(
  ("imbalance", "size", "sentence"),
  [
    (10.0, 60, r"--imbalance=10 of 60 images needs 42 of class \d, which has 40: .*--pool_size=56"),
    (1000.0, 10, r"--imbalance=1000 of 10 images leaves no image of class \d: .*smaller --imbalance"),
    (10.0, 121, "--pool_size=121 exceeds the 120 training images"),
  ],
)
def test_a_long_tailed_pool_that_cannot_be_is_refused(imbalance, size, sentence):
  with pytest.raises(UsageError, match=sentence) as caught:
    pools.apply(config(imbalance=imbalance, pool_size=size), even(3, 40))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("imbalance", [1.0, 3.0])
def test_embedding_follows_the_pool(imbalance, data, tmp_path):
  features = np.random.default_rng(0).normal(size=(97, 3))
  np.save(tmp_path / "features.npy", features)
  asked = config(embedding=str(tmp_path / "features.npy"), pool_size=30, imbalance=imbalance)
  made = pools.apply(asked, data)
  np.testing.assert_allclose(made.embedding, features[pools.original_ids(asked, data)], rtol=1e-6)


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "cannot be read"),
    (b"not an array", "cannot be read"),
    (np.ones((96, 3)), "has 96 rows, but the data set has 97 training and 43 test rows"),
    (np.zeros(97), r"shape \[N, F\], not float64 of shape \(97,\)"),
    (np.full((97, 2), np.nan), "not finite"),
    (np.full((97, 2), "a"), "must hold numbers"),
  ],
)
def test_a_wrong_embedding_is_refused_by_name(content, message, data, tmp_path):
  path = tmp_path / "features.npy"
  if isinstance(content, bytes):
    path.write_bytes(content)
  elif content is not None:
    np.save(path, content)
  with pytest.raises(DataError, match=message) as caught:
    pools.apply(config(embedding=str(path)), data)
  assert str(path) in str(caught.value)


def test_an_embedding_of_training_and_test_rows_is_cut_to_the_training_rows(data, tmp_path):
  features = np.random.default_rng(0).normal(size=(140, 3))  # 97 training and 43 test rows
  np.save(tmp_path / "features.npy", features.astype(np.float16))
  asked = config(embedding=str(tmp_path / "features.npy"), pool_size=30)
  made = pools.apply(asked, data)
  np.testing.assert_array_equal(made.embedding, features[pools.original_ids(asked, data)].astype(np.float16))
  np.save(tmp_path / "features.npy", features[:139])
  with pytest.raises(DataError, match="has 139 rows, but the data set has 97 training and 43 test rows"):
    pools.apply(asked, data)
  np.save(tmp_path / "train.npy", features[:97])
  np.save(tmp_path / "test.npy", features[97:])
  two = pools.apply(config(embedding=f"{tmp_path / 'train.npy'},{tmp_path / 'test.npy'}", pool_size=30), data)
  np.testing.assert_allclose(two.embedding, features[pools.original_ids(asked, data)], rtol=1e-6)


def featured(data, spread=1.0):
  """The data with features in place of its inputs."""
  random = np.random.default_rng(0)
  of = lambda size: (5 + spread * random.normal(size=(size, 4))).astype(np.float32)
  return dataclasses.replace(data, inputs=of(97), test_inputs=of(43), prepare=inputs.as_they_are)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_are_standardized_on_the_pool_that_is_left(dtype, data):
  rows = featured(data)
  asked = config(features="f.npy", features_dtype=dtype, pool_size=30)
  made = pools.apply(asked, rows)
  own = rows.inputs[pools.original_ids(asked, rows)].astype(np.float64)
  expected = lambda part: (part - own.mean(0)) / own.std(0)
  assert made.inputs.dtype == made.test_inputs.dtype == dtype
  tolerance = 1e-6 if dtype == "float32" else 2e-3
  np.testing.assert_allclose(made.inputs, expected(own), atol=tolerance)
  np.testing.assert_allclose(made.test_inputs, expected(rows.test_inputs), atol=tolerance)
  assert inputs.of_pool(made, jnp.arange(3)).dtype == jnp.float32


def test_other_scales_of_features(data):
  rows = featured(data)
  made = lambda **changes: pools.apply(config(features="f.npy", **changes), rows)
  np.testing.assert_array_equal(made(scale="none").inputs, rows.inputs)
  np.testing.assert_allclose(made(scale="2").test_inputs, rows.test_inputs / 2)
  minmax = made(scale="minmax").inputs
  np.testing.assert_allclose([minmax.min(0), minmax.max(0)], [[0] * 4, [1] * 4], atol=1e-6)


def test_features_beyond_float16_are_standardized_before_they_are_stored_or_refused(data):
  rows = featured(data, spread=1e6)
  made = pools.apply(config(features="f.npy", features_dtype="float16"), rows)
  np.testing.assert_allclose(made.inputs.astype(np.float64).std(0), 1, rtol=1e-3)
  with pytest.raises(UsageError, match=r"--features_dtype=float16 cannot hold the scaled feature [23].*e\+06"):
    pools.apply(config(features="f.npy", features_dtype="float16", scale="none"), rows)


def test_a_feature_that_is_constant_in_the_pool_is_zero_there(data):
  rows = featured(data)
  rows.inputs[:, 1] = 0.1
  made = pools.apply(config(features="f.npy"), rows)
  assert (made.inputs[:, 1] == 0).all() and np.isfinite(made.test_inputs).all()


def test_the_scaling_of_pixels_is_refused_for_features(data):
  with pytest.raises(UsageError, match="--input_mean and --input_std apply to images"):
    pools.apply(config(features="f.npy", input_mean=0.5), featured(data))
