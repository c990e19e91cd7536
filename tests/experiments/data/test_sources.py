"""Data sources: every source, every error, and the order of search. No test uses a network."""

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import http.server
import json
import os
from pathlib import Path
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import types

import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
from sklearn.datasets import load_digits
import tensorflow_datasets as tfds

from al_jax import inputs
from al_jax.types import Dataset
from experiments import data
from experiments.data import cache
from experiments.data import download
from experiments.data import idx
from experiments.data import idx_order
from experiments.data import names
from experiments.data import prepared

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "data"
# Real files, if they are next to the repository; they get the checks that always run on synthetic data.
REAL = [name for name in ("mnist", "fashion_mnist") if (SHARED / f"{name}_idx").is_dir() and (SHARED / "tfds").is_dir()]
SYNTHETIC_AND_REAL = ["made", *(pytest.param(name, marks=pytest.mark.slow) for name in REAL)]
REACHABLE = download.reachable


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
  """A separate home and cache folder for each test, no TFDS_DATA_DIR, and no reachable network."""
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
  monkeypatch.setattr(download, "reachable", lambda url: False)
  return tmp_path / "home"


def synthetic_dataset(seed=0, num=40, num_test=15, size=(28, 28, 1)):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (num + num_test, *size), dtype=np.uint8)
  labels = rng.integers(0, 10, num + num_test).astype(np.int32)
  return Dataset(images[:num], labels[:num], images[num:], labels[num:], 10, inputs.images(std=255))


def assert_same(actual, expected):
  for field in dataclasses.fields(Dataset):
    a, b = getattr(actual, field.name), getattr(expected, field.name)
    assert np.array_equal(a, b), field.name
    if isinstance(b, np.ndarray):
      assert isinstance(a, np.ndarray) and (a.dtype, a.shape) == (b.dtype, b.shape), field.name


def write_idx(folder, dataset, *, suffix="", separator="-"):
  folder.mkdir(parents=True, exist_ok=True)
  for stem, array in zip(
    idx.RANKS, (dataset.inputs[..., 0], dataset.labels, dataset.test_inputs[..., 0], dataset.test_labels), strict=True
  ):
    content = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    name = f"{stem}{separator}idx{array.ndim}-ubyte{suffix}"
    (folder / name).write_bytes(gzip.compress(content) if suffix else content)
  return folder


GRAY = {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=10)}


def write_prepared(
  root,
  dataset,
  *,
  name="mnist",
  version="3.0.1",
  features=GRAY,
  config=None,
  splits=("train", "test"),
  shards=1,
  extra=None,
):
  """Prepares `dataset` in its order with the library's own writer; keys that are not in `features` are omitted."""
  arrays = {"train": (dataset.inputs, dataset.labels), "test": (dataset.test_inputs, dataset.test_labels)}

  class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version(version)

    def _info(self):
      return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True)

    def _split_generators(self, dl_manager):
      del dl_manager
      return {split: self._generate_examples(*arrays[source]) for split, source in zip(splits, arrays, strict=False)}

    def _generate_examples(self, images, labels):
      for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        example = {"image": Image.fromarray(image.squeeze()), "label": int(label), **(extra or {})}
        yield i, {key: example[key] for key in features}

  Builder.name = name
  builder = Builder(data_dir=root)
  builder.download_and_prepare(
    file_format="array_record", download_config=tfds.download.DownloadConfig(num_shards=shards)
  )
  folder = Path(builder.data_dir)
  if config:
    target = folder.parent / config / version
    target.parent.mkdir()
    folder = Path(shutil.move(folder, target))
  return folder


def edit_info(folder, **changes):
  path = folder / "dataset_info.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(*args, **kwargs):
  """The message of the DataError that is raised, checked to be one line and one sentence."""
  with pytest.raises(data.DataError) as info:
    data.load(*args, **kwargs)
  message = str(info.value)
  assert "\n" not in message and message.endswith(".") and 20 < len(message) < 700, message
  return message


# The package


def test_importing_the_package_imports_no_source():
  code = (
    "import sys, experiments.data; print([m for m in ('sklearn', 'tensorflow_datasets', 'array_record', 'PIL') "
    "if m in sys.modules])"
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"


def test_data_error_is_a_value_error():
  assert issubclass(data.DataError, ValueError)


@pytest.mark.parametrize("name", ["mnsit", "MNIST", "", "../mnist", "mnist/", "mnist:3", "mnist/a", "a b", None, 3])
@pytest.mark.parametrize("explicit", [False, True])
def test_unknown_names_are_refused_with_the_choices(name, explicit, tmp_path):
  write_idx(tmp_path / "idx", synthetic_dataset())
  message = refused(name, str(tmp_path / "idx") if explicit else None)
  assert repr(name) in message
  for choice in ("digits", "mnist", "fashion_mnist", "kmnist", "tensorflow-datasets"):
    assert choice in message


def test_fingerprint_is_of_shapes_dtypes_and_bytes():
  dataset = synthetic_dataset()
  value = data.fingerprint(dataset)
  assert len(value) == 64 and int(value, 16) >= 0
  assert data.fingerprint(synthetic_dataset()) == value
  on_device = dataclasses.replace(dataset, inputs=jnp.asarray(dataset.inputs), labels=jnp.asarray(dataset.labels))
  assert data.fingerprint(on_device) == value
  assert data.fingerprint(dataclasses.replace(dataset, inputs=np.asfortranarray(dataset.inputs))) == value
  image, label = dataset.test_inputs.copy(), dataset.labels.copy()
  image[3, 2, 1, 0] ^= 1
  label[-1] ^= 1
  others = [
    dataclasses.replace(dataset, test_inputs=image),
    dataclasses.replace(dataset, labels=label),
    dataclasses.replace(dataset, labels=dataset.labels.astype(np.uint32)),
    dataclasses.replace(dataset, inputs=dataset.inputs.reshape(-1, 14, 56, 1)),
    dataclasses.replace(dataset, inputs=dataset.inputs[::-1].copy()),
  ]
  assert len({value, *map(data.fingerprint, others)}) == 1 + len(others)


# Bundled data


@pytest.mark.parametrize("name", names.BUNDLED)
def test_a_bundled_data_set_is_usable_and_always_the_same(name, tmp_path):
  dataset = data.load(name)
  arrays = (dataset.inputs, dataset.labels, dataset.test_inputs, dataset.test_labels)
  assert all(isinstance(array, np.ndarray) for array in arrays) and dataset.prepare is not None
  assert dataset.labels.dtype == dataset.test_labels.dtype == np.int32
  assert set(dataset.labels) == set(range(dataset.num_classes)) >= set(dataset.test_labels)
  assert len(dataset.inputs) == dataset.pool_size and len(dataset.test_inputs) == dataset.test_size > 0
  assert np.isfinite(np.asarray(inputs.prepared(dataset, dataset.inputs))).all()
  assert data.fingerprint(data.load(name, str(tmp_path))) == data.fingerprint(dataset)
  assert name in names.CHOICES and not data.is_path(name)


def test_digits_are_the_bundled_ones_split_once_and_stratified():
  dataset = data.load("digits")
  assert dataset.inputs.shape == (1297, 8, 8, 1) and dataset.test_inputs.shape == (500, 8, 8, 1)
  assert dataset.inputs.dtype == np.uint8 and dataset.labels.dtype == dataset.test_labels.dtype == np.int32
  assert (dataset.num_classes, dataset.prepare) == (10, inputs.images(std=16))
  assert (dataset.inputs.min(), dataset.inputs.max()) == (0, 16)

  def rows(images, labels):
    return sorted(bytes(row) for row in np.column_stack([images.reshape(len(labels), -1), labels]).astype(np.uint8))

  bunch = load_digits()
  together = [
    np.concatenate(pair) for pair in ((dataset.inputs, dataset.test_inputs), (dataset.labels, dataset.test_labels))
  ]
  assert rows(*together) == rows(bunch.images, bunch.target)
  np.testing.assert_allclose(np.bincount(dataset.test_labels), np.bincount(bunch.target) * 500 / 1797, atol=1)


FINGERPRINTS = {
  "threeclust": "35b4c9382310c50e07c8e3fc56380e5954ff7ef7bb1d3d9eb4915b98e1387e0a",
  "divergingsin": "39fed69bfed4a42a63c44337942840f6b75dce6140553ff920cddd2b238f09e2",
}


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_a_synthetic_data_set_is_the_one_of_earlier_runs_in_0_to_1(name):
  dataset = data.load(name)
  assert data.fingerprint(dataset) == FINGERPRINTS[name]
  assert dataset.inputs.min(axis=0).tolist() == [0, 0] and dataset.inputs.max(axis=0).tolist() == [1, 1]
  assert len(dataset.test_labels) * 4 == len(dataset.labels)


def test_labels_of_threeclust_are_noise_in_one_of_its_clusters():
  dataset = data.load("threeclust")
  points, labels = (
    np.append(dataset.inputs, dataset.test_inputs, axis=0),
    np.append(dataset.labels, dataset.test_labels),
  )
  noise = points[:, 0] > 0.55  # halfway between x = 0 and x = 4
  assert abs(noise.mean() - 1 / 2) < 0.03 and abs(labels[noise].mean() - 1 / 2) < 0.03
  assert ((points[~noise, 1] < 0.5) == (labels[~noise] == 1)).mean() > 0.97


def test_the_curves_of_divergingsin_move_apart():
  dataset = data.load("divergingsin")
  x, y = dataset.inputs.T
  gap = lambda low: np.subtract(*(np.median(y[(x > low) & (x < low + 0.1) & (dataset.labels == c)]) for c in (1, 0)))
  gaps = [gap(low) for low in np.arange(0, 1, 0.1)]
  assert gaps[0] < 0.1 and gaps[-1] > 0.7
  np.testing.assert_allclose(np.diff(gaps), (gaps[-1] - gaps[0]) / 9, atol=0.03)


# IDX files


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("name", names.IDX_NAMES)
def test_idx_files_are_read_in_their_order(name, suffix, separator, tmp_path):
  dataset = synthetic_dataset(size=(5, 7, 1))  # Not square, so that swapped axes are noticed.
  write_idx(tmp_path, dataset, suffix=suffix, separator=separator)
  assert_same(data.load(name, str(tmp_path)), dataset)


def _with_bytes(change):
  def damage(path):
    content = path.read_bytes()
    path.write_bytes(change(content))

  return damage


def _unzipped(change):
  return _with_bytes(lambda content: gzip.compress(change(gzip.decompress(content))))


@pytest.mark.parametrize("stem", ["train-images", "t10k-labels"])
@pytest.mark.parametrize(
  "damage, words",
  [
    (_with_bytes(lambda content: b""), "is empty"),
    (_with_bytes(lambda content: content[:-20]), "damaged or truncated gzip"),
    (
      _with_bytes(lambda content: content[:30] + bytes([content[30] ^ 255]) + content[31:]),
      "damaged or truncated gzip",
    ),
    (_with_bytes(lambda content: content + b"more"), "damaged or truncated gzip"),
    (_with_bytes(gzip.decompress), "damaged or truncated gzip"),
    (_unzipped(lambda content: content[:-1]), "is truncated"),
    (_unzipped(lambda content: content[:6]), "is truncated: expected an IDX header"),
    (_unzipped(lambda content: content + b"\0"), "has trailing bytes"),
    (_unzipped(lambda content: content[:2] + b"\x09" + content[3:]), "magic number 0x0000090"),
    (_unzipped(lambda content: content[:3] + b"\x02" + content[4:]), "magic number 0x00000802: expected 0x0000080"),
    (_unzipped(lambda content: content[:4] + bytes(4) + content[8:]), "at least one element"),
    (_unzipped(lambda content: content[:4] + b"\xff" * 4 + content[8:]), "is truncated"),
  ],
)
def test_a_damaged_idx_file_is_refused_by_name(stem, damage, words, tmp_path):
  write_idx(tmp_path, synthetic_dataset(), suffix=".gz")
  path = tmp_path / f"{idx.file_name(stem)}.gz"
  damage(path)
  message = refused("mnist", str(tmp_path))
  assert str(path) in message and words in message


def test_an_empty_raw_idx_file_is_refused(tmp_path):
  write_idx(tmp_path, synthetic_dataset())
  (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
  assert "train-labels-idx1-ubyte is empty" in refused("mnist", str(tmp_path))


@pytest.mark.parametrize("stem", idx.RANKS)
def test_one_missing_idx_file_is_named(stem, tmp_path):
  write_idx(tmp_path, synthetic_dataset())
  (tmp_path / idx.file_name(stem)).unlink()
  message = refused("mnist", str(tmp_path))
  assert [other for other in idx.RANKS if idx.file_name(other) in message] == [stem]


def test_idx_files_that_do_not_belong_together_are_refused(tmp_path):
  a, b, c = synthetic_dataset(num=40), synthetic_dataset(num=41), synthetic_dataset(size=(28, 27, 1))
  mixed = [
    (dataclasses.replace(a, labels=b.labels), ["40 images", "41 labels", "train-images", "train-labels"]),
    (dataclasses.replace(a, test_inputs=c.test_inputs), ["(28, 28)", "(28, 27)", "t10k-images"]),
    (dataclasses.replace(a, test_labels=a.test_labels + 10), ["t10k-labels", "0..9"]),
  ]
  for i, (dataset, words) in enumerate(mixed):
    message = refused("mnist", str(write_idx(tmp_path / str(i), dataset)))
    assert all(word in message for word in words), message


@pytest.mark.parametrize("source", SYNTHETIC_AND_REAL)
def test_idx_files_of_another_data_set_are_refused_by_name(source, tmp_path, monkeypatch):
  owner = "mnist" if source == "made" else source
  folder = SHARED / f"{source}_idx"
  if source == "made":
    dataset = synthetic_dataset()
    folder = write_idx(tmp_path, dataset)
    published = names.PUBLISHED_MD5["mnist"] | {"train-images": idx.md5(dataset.inputs)}
    monkeypatch.setitem(names.PUBLISHED_MD5, "mnist", published)
  assert data.load(owner, str(folder)).num_classes == 10
  for other in set(names.IDX_NAMES) - {owner}:
    message = refused(other, str(folder))
    assert f"images of {owner}, not of {other}" in message and f"--dataset={owner}" in message


# Prepared by tensorflow-datasets


def test_a_prepared_data_set_is_decoded_once_then_cached(tmp_path, monkeypatch):
  dataset = synthetic_dataset()
  write_prepared(tmp_path / "tfds", dataset, shards=3)
  assert_same(data.load("mnist", str(tmp_path / "tfds")), dataset)
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # Importing it now raises.
  assert_same(data.load("mnist", str(tmp_path / "tfds")), dataset)
  shutil.rmtree(tmp_path / "cache")
  assert "pip install tensorflow-datasets" in refused("mnist", str(tmp_path / "tfds"))


def test_colour_images_and_further_features(tmp_path):
  dataset = dataclasses.replace(synthetic_dataset(size=(6, 4, 3)), num_classes=12)
  features = {
    "image": tfds.features.Image(shape=(6, 4, 3)),
    "label": tfds.features.ClassLabel(num_classes=12),
    "id": tfds.features.Text(),
  }
  write_prepared(tmp_path, dataset, name="my_own", features=features, extra={"id": "x"})
  assert_same(data.load("my_own", str(tmp_path)), dataset)


def test_a_changed_source_replaces_its_cache_entry(tmp_path):
  first, second = synthetic_dataset(0), synthetic_dataset(1)
  folder = write_prepared(tmp_path / "tfds", first)
  assert_same(data.load("mnist", str(tmp_path / "tfds")), first)
  shutil.rmtree(folder)
  write_prepared(tmp_path / "tfds", second)
  assert_same(data.load("mnist", str(tmp_path / "tfds")), second)
  assert len(list(cache.folder().iterdir())) == 1
  stamp = cache.stamp(folder)
  shard = next(folder.glob("*train*"))
  os.utime(shard, ns=(0, 0))
  assert cache.stamp(folder) != stamp and cache.read(folder) is None


def test_copies_of_one_data_set_have_entries_of_their_own(tmp_path):
  for i in range(2):
    write_prepared(tmp_path / str(i), synthetic_dataset(i))
  for i in (0, 1, 0, 1):
    assert_same(data.load("mnist", str(tmp_path / str(i))), synthetic_dataset(i))
  assert len(list(cache.folder().iterdir())) == 2


@pytest.mark.parametrize(
  "damage",
  [
    lambda content: b"",
    lambda content: b"nonsense",
    lambda content: content[content.index(b"\x93NUMPY") :],  # Begins like an .npy file.
    lambda content: content[:-100],
    lambda content: (
      content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 255]) + content[len(content) // 2 + 1 :]
    ),
  ],
)
def test_a_damaged_cache_entry_is_rebuilt(damage, tmp_path):
  dataset = synthetic_dataset()
  folder = write_prepared(tmp_path / "tfds", dataset)
  data.load("mnist", str(tmp_path / "tfds"))
  entry = cache.entry(folder)
  good = entry.read_bytes()
  entry.write_bytes(damage(good))
  assert_same(data.load("mnist", str(tmp_path / "tfds")), dataset)
  assert cache.read(folder) is not None and len(entry.read_bytes()) == len(good)
  assert [path.name for path in cache.folder().iterdir()] == [entry.name]


def test_a_cache_folder_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("not a folder")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  warnings = []
  monkeypatch.setattr(cache.logging, "warning", lambda text, *args: warnings.append(text % args))
  dataset = synthetic_dataset()
  write_prepared(tmp_path / "tfds", dataset)
  assert_same(data.load("mnist", str(tmp_path / "tfds")), dataset)
  assert any("not cached" in warning for warning in warnings)


def test_a_full_disk_leaves_no_part_of_a_cache_entry(tmp_path, monkeypatch):
  def full(file, **arrays):
    file.write(b"part")
    raise OSError(28, "No space left on device")

  dataset = synthetic_dataset()
  write_prepared(tmp_path / "tfds", dataset)
  monkeypatch.setattr(cache.np, "savez", full)
  assert_same(data.load("mnist", str(tmp_path / "tfds")), dataset)
  assert list(cache.folder().iterdir()) == []


def test_the_cache_is_in_the_home_folder_by_default(home, monkeypatch):
  monkeypatch.delenv("XDG_CACHE_HOME")
  assert cache.folder() == home / ".cache" / "al_jax" / "data"


def test_tfrecord_needs_tensorflow(tmp_path, monkeypatch):
  folder = write_prepared(tmp_path, synthetic_dataset())
  monkeypatch.setattr(prepared, "has_tensorflow", lambda: False)
  for stored in ("tfrecord", ""):  # Older versions leave the entry empty for TFRecord.
    edit_info(folder, fileFormat=stored)
    message = refused("mnist", str(tmp_path))
    assert "tfrecord" in message and "TensorFlow is not installed" in message and "array_record" in message


def test_tfrecord_is_read_through_as_numpy_where_tensorflow_is(tmp_path, monkeypatch):
  dataset = synthetic_dataset()
  folder = write_prepared(tmp_path, dataset)
  edit_info(folder, fileFormat="tfrecord")
  arrays = {"train": (dataset.inputs, dataset.labels), "test": (dataset.test_inputs, dataset.test_labels)}

  def as_dataset(self, split, *, shuffle_files, read_config):
    assert not shuffle_files and read_config.interleave_cycle_length == 1
    return [{"image": image, "label": np.int64(label)} for image, label in zip(*arrays[split], strict=True)]

  monkeypatch.setattr(prepared, "has_tensorflow", lambda: True)
  monkeypatch.setattr(tfds.core.DatasetBuilder, "as_dataset", as_dataset)
  monkeypatch.setattr(tfds, "as_numpy", lambda examples: iter(examples))
  monkeypatch.setattr(tfds, "ReadConfig", types.SimpleNamespace)  # The real one imports TensorFlow.
  assert_same(data.load("mnist", str(tmp_path)), dataset)
  arrays["test"] = (dataset.test_inputs[1:], dataset.test_labels[1:])
  shutil.rmtree(cache.folder())
  assert "declares 15 examples, found 14" in refused("mnist", str(tmp_path))


@pytest.mark.parametrize("splits, words", [(("train",), "found train."), (("test", "train_2"), "found test, train_2.")])
def test_both_splits_are_needed(splits, words, tmp_path):
  write_prepared(tmp_path, synthetic_dataset(), splits=splits)
  message = refused("mnist", str(tmp_path))
  assert "train and test" in message and words in message


@pytest.mark.parametrize(
  "features, words",
  [
    ({"label": GRAY["label"]}, "under the key 'image', found None"),
    ({"image": tfds.features.Image(shape=(None, None, 1)), "label": GRAY["label"]}, "fixed-size"),
    ({"image": GRAY["image"]}, "under the key 'label', found None"),
    ({"image": GRAY["image"], "label": tfds.features.Scalar(np.int64)}, "one class label"),
    ({"image": GRAY["image"], "label": tfds.features.Sequence(GRAY["label"])}, "one class label"),
  ],
)
def test_examples_that_do_not_fit_are_refused(features, words, tmp_path):
  is_sequence = isinstance(features.get("label"), tfds.features.Sequence)
  write_prepared(tmp_path, synthetic_dataset(), features=features, extra={"label": [1, 2]} if is_sequence else None)
  assert words in refused("mnist", str(tmp_path))


def _truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


@pytest.mark.parametrize(
  "pattern, damage",
  [
    ("*train*", _truncate),
    ("*test*", Path.unlink),
    ("dataset_info.json", _truncate),
    ("features.json", _truncate),
    ("features.json", Path.unlink),
    ("*train*", lambda path: path.write_bytes(b"")),
    ("dataset_info.json", lambda path: path.write_text("[]")),
  ],
)
def test_damaged_prepared_files_are_refused_with_their_folder(pattern, damage, tmp_path):
  folder = write_prepared(tmp_path, synthetic_dataset())
  damage(next(folder.glob(pattern)))
  assert str(folder) in refused("mnist", str(tmp_path))
  assert not cache.entry(folder).exists()


def test_a_prepared_data_set_in_the_wrong_place_is_refused(tmp_path):
  folder = write_prepared(tmp_path, synthetic_dataset(), name="fashion_mnist")
  shutil.copytree(folder, tmp_path / "mnist" / "3.0.1")
  message = refused("mnist", str(tmp_path))
  assert "'fashion_mnist'" in message and str(tmp_path / "mnist" / "3.0.1") in message


def test_versions_and_configurations(tmp_path):
  root = str(tmp_path)
  for seed, version in enumerate(("9.0.0", "10.0.0")):
    write_prepared(tmp_path, synthetic_dataset(seed), version=version)
  assert_same(data.load("mnist", root), synthetic_dataset(1))
  assert_same(data.load("mnist:9.0.0", root), synthetic_dataset(0))
  assert "mnist:1.0.0" in refused("mnist:1.0.0", root)
  write_prepared(tmp_path, synthetic_dataset(2), name="emnist", config="letters")
  (tmp_path / "emnist" / "letters" / "3.0.2.incompleteABC").mkdir()
  assert_same(data.load("emnist/letters", root), synthetic_dataset(2))
  assert "emnist/letters" in refused("emnist", root)
  assert "emnist/digits" in refused("emnist/digits", root)


# The order of search


def test_the_order_of_search(home, tmp_path, monkeypatch):
  in_home, in_env, in_dir, in_idx = (synthetic_dataset(seed) for seed in range(4))
  folder = tmp_path / "data"
  write_idx(folder, in_idx)
  write_prepared(home / "tensorflow_datasets", in_home)
  assert_same(data.load("mnist"), in_home)
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "env"))
  assert_same(data.load("mnist"), in_home)
  write_prepared(tmp_path / "env", in_env)
  assert_same(data.load("mnist"), in_env)
  assert_same(data.load("mnist", str(folder)), in_idx)
  write_prepared(folder, in_dir)
  assert_same(data.load("mnist", str(folder)), in_dir)


def test_a_folder_without_the_data_never_falls_back(home, tmp_path, monkeypatch):
  monkeypatch.setattr(download, "prepare", lambda *args: pytest.fail("a download was tried"))
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "env"))
  write_prepared(home / "tensorflow_datasets", synthetic_dataset())
  folder = write_prepared(tmp_path / "env", synthetic_dataset())
  data.load("mnist")  # Now it is cached, too.
  assert cache.entry(folder).exists()
  empty = tmp_path / "empty"
  empty.mkdir()
  message = refused("mnist", str(empty))
  assert str(empty) in message and "dataset_info.json" in message
  assert all(idx.file_name(stem) in message for stem in idx.RANKS)
  message = refused("cifar10", str(write_idx(tmp_path / "idx", synthetic_dataset())))
  assert "cifar10/VERSION/dataset_info.json" in message and "IDX" not in message
  shutil.rmtree(folder)
  assert str(tmp_path / "env") in refused("mnist", str(tmp_path / "env"))


@pytest.mark.parametrize("data_dir", ["", "no/such/folder"])
def test_a_data_dir_that_is_no_folder_is_refused(data_dir):
  message = refused("mnist", data_dir)
  assert repr(data_dir) in message


def test_a_data_dir_may_start_with_a_tilde(home):
  dataset = synthetic_dataset()
  write_idx(home / "files", dataset)
  assert_same(data.load("mnist", "~/files"), dataset)


# Downloads


def test_without_a_network_one_sentence_names_the_three_ways_out(monkeypatch):
  asked = []
  monkeypatch.setattr(download, "reachable", lambda url: bool(asked.append(url)))
  monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda *_, **__: pytest.fail("must not start"))
  for name in names.IDX_NAMES:
    start = time.monotonic()
    message = refused(name)
    assert time.monotonic() - start < 10
    for words in (name, "--dataset=digits", "--data_dir=FOLDER", "IDX", "once with a network"):
      assert words in message
  assert len(set(asked)) == 3 and all(url.startswith("http") for url in asked)


def test_download_off_is_respected(home, monkeypatch):
  monkeypatch.setattr(download, "reachable", lambda url: pytest.fail("the network was touched"))
  message = refused("mnist", download=False)
  assert "downloading is off" in message and str(home / "tensorflow_datasets") in message


def test_other_names_need_tensorflow_to_be_prepared(monkeypatch):
  monkeypatch.setattr(prepared, "has_tensorflow", lambda: False)
  message = refused("svhn_cropped")
  assert "svhn_cropped" in message and "TensorFlow" in message and "array_record" in message


def test_other_names_are_probed_where_tensorflow_is(monkeypatch):
  monkeypatch.setattr(prepared, "has_tensorflow", lambda: True)
  message = refused("cifar10")
  assert "cifar10 is not on this machine" in message and "cs.toronto.edu" in message


def test_a_version_that_the_library_does_not_have_is_refused():
  assert "9.9.9" in refused("mnist:9.9.9")


@pytest.fixture
def network(tmp_path, monkeypatch):
  """A network that serves synthetic IDX files only; returns their data set."""
  dataset = synthetic_dataset(7)
  files = write_idx(tmp_path / "network", dataset, suffix=".gz")

  def fetch(self, urls):
    assert all(url in self._url_infos for url in urls.values())  # Every file has a published checksum.
    paths = {}
    for stem, url in urls.items():
      paths[stem] = tmp_path / "downloaded" / stem  # As with the library, the names do not end in .gz.
      paths[stem].parent.mkdir(exist_ok=True)
      shutil.copy(files / url.rsplit("/", 1)[1], paths[stem])
    return paths

  monkeypatch.setattr(download, "reachable", lambda url: True)
  monkeypatch.setattr(tfds.download.DownloadManager, "download", fetch)
  return dataset


def shuffled(dataset):
  train, test = (
    idx_order.shuffled_order(split, len(labels))
    for split, labels in (("train", dataset.labels), ("test", dataset.test_labels))
  )
  return Dataset(
    dataset.inputs[train],
    dataset.labels[train],
    dataset.test_inputs[test],
    dataset.test_labels[test],
    10,
    inputs.images(std=255),
  )


@pytest.mark.parametrize("name", names.IDX_NAMES)
def test_a_download_is_prepared_without_tensorflow_and_read_back(name, network, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "env"))
  assert_same(data.load(name), shuffled(network))
  folder = prepared.find(tmp_path / "env", names.parse(name))
  assert json.loads((folder / "dataset_info.json").read_text())["fileFormat"] == "array_record"
  monkeypatch.setattr(download, "reachable", lambda url: pytest.fail("it is prepared already"))
  assert_same(data.load(name), shuffled(network))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_prepared_from_its_binary_files_without_tensorflow(name, tmp_path, home, monkeypatch):
  fine, coarse = (10, 0) if name == "cifar10" else (100, 20)
  rng, images = np.random.default_rng(0), {"train": [], "test": []}
  files = {"train": ["train.bin"], "test": ["test.bin"]}
  files = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]} if fine == 10 else files
  folder = tmp_path / ("cifar-10-batches-bin" if fine == 10 else "cifar-100-binary")
  folder.mkdir()
  for part, own in files.items():
    for file in own:
      pixels = rng.integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
      labels = rng.integers(0, fine, (7, 1), dtype=np.uint8)
      images[part] += list(zip(labels[:, 0], pixels, strict=True))
      head = [rng.integers(0, max(coarse, 1), (7, 1), dtype=np.uint8)] * bool(coarse)
      rows = np.concatenate([*head, labels, pixels.transpose(0, 3, 1, 2).reshape(7, -1)], axis=1)
      (folder / file).write_bytes(rows.tobytes())
  named = {"batches.meta.txt": fine} if fine == 10 else {"coarse_label_names.txt": coarse, "fine_label_names.txt": fine}
  for file, count in named.items():
    (folder / file).write_text("".join(f"name {i}\n" for i in range(count)) + "\n")
  with tarfile.open(tmp_path / "archive", "w:gz") as archive:
    archive.add(folder, folder.name)

  def fetch(self, url):
    assert url in self._url_infos and url.endswith("-binary.tar.gz")
    return tmp_path / "archive"

  monkeypatch.setitem(sys.modules, "tensorflow", None)
  monkeypatch.setattr(download, "reachable", lambda url: True)
  monkeypatch.setattr(tfds.download.DownloadManager, "download", fetch)
  found = data.load(name)
  assert found.num_classes == fine and found.inputs.dtype == np.uint8 and found.prepare == inputs.images(std=255)
  content = lambda labels, pixels: sorted(
    (int(label), image.tobytes()) for label, image in zip(labels, pixels, strict=True)
  )
  assert content(found.labels, found.inputs) == content(*zip(*images["train"], strict=True))
  assert content(found.test_labels, found.test_inputs) == content(*zip(*images["test"], strict=True))


def test_a_download_goes_to_the_default_folder(network, home):
  data.load("mnist")
  assert prepared.find(home / "tensorflow_datasets", names.parse("mnist")).name == "3.0.1"


def test_a_download_that_breaks_off_is_refused_and_leaves_nothing(network, home, monkeypatch):
  def broken(self, urls):
    raise ConnectionError("reset by peer")

  with monkeypatch.context() as context:
    context.setattr(tfds.download.DownloadManager, "download", broken)
    message = refused("mnist")
  assert "reset by peer" in message and "--dataset=digits" in message
  assert prepared.find(home / "tensorflow_datasets", names.parse("mnist")) is None
  assert_same(data.load("mnist"), shuffled(network))


@contextlib.contextmanager
def http_server(status):
  class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
      self.send_response(status)
      self.end_headers()

    def log_message(self, *args):
      pass

  with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/files/"
    server.shutdown()


def test_the_probe_of_the_network(monkeypatch):
  for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(proxy, raising=False)
  for status in (200, 403, 404):
    with http_server(status) as url:
      assert REACHABLE(url)
  assert not REACHABLE(url)  # The port is now closed.
  done = threading.Event()

  def hangs(*args, **kwargs):
    done.wait(60)
    raise OSError("no such host")

  monkeypatch.setattr(socket, "getaddrinfo", hangs)
  monkeypatch.setattr(download, "PROBE_SECONDS", 0.2)
  start = time.monotonic()
  assert not REACHABLE("http://example.invalid/")
  assert time.monotonic() - start < 2
  done.set()


def test_the_probe_is_short():
  assert download.PROBE_SECONDS <= 4


# IDX order


@functools.cache
def real_copies(name):
  folder = SHARED / "tfds"
  return name, folder, data.load(name, str(SHARED / f"{name}_idx")), prepared.load(next(folder.glob(f"{name}/*")))


@pytest.fixture(params=SYNTHETIC_AND_REAL)
def both_orders(request, tmp_path, monkeypatch):
  """`(name, tensorflow-datasets folder, data in IDX order, data in the order of that folder)` of one data set.

  The checksums of the synthetic one are entered as published.
  """
  if request.param != "made":
    return real_copies(request.param)
  dataset = synthetic_dataset(3, num=200, num_test=50)
  arrays = (dataset.inputs, dataset.labels, dataset.test_inputs, dataset.test_labels)
  published = {stem: idx.md5(array) for stem, array in zip(idx.RANKS, arrays, strict=True)}
  monkeypatch.setitem(names.PUBLISHED_MD5, "mnist", published)
  write_prepared(tmp_path / "tfds", shuffled(dataset), shards=2)
  return "mnist", tmp_path / "tfds", dataset, shuffled(dataset)


def test_a_data_set_with_published_files_is_loaded_in_their_order_from_every_source(both_orders, monkeypatch):
  name, folder, original, copy = both_orders
  for called in (name, f"{name}:3.0.1"):
    assert_same(data.load(called, str(folder)), original)
  monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
  found = data.load(name)
  assert_same(found, original)
  assert data.fingerprint(found) == data.fingerprint(original) != data.fingerprint(copy)


def test_other_examples_under_such_a_name_stay_in_their_order_with_a_warning(tmp_path, caplog):
  dataset = synthetic_dataset()
  write_prepared(tmp_path, dataset)
  with caplog.at_level("WARNING", "absl"):
    assert_same(data.load("mnist", str(tmp_path)), dataset)
  assert "match its published IDX files in no known order. They keep the order" in caplog.text


def test_the_tfds_copy_goes_back_into_idx_order(both_orders):
  name, _, original, copy = both_orders
  assert data.fingerprint(copy) != data.fingerprint(original)
  assert_same(idx_order.to_idx_order(copy, name), original)
  assert_same(idx_order.to_idx_order(copy, f"{name}:3.0.1"), original)
  assert idx_order.to_idx_order(original, name) is original
  half = dataclasses.replace(original, test_inputs=copy.test_inputs, test_labels=copy.test_labels)
  assert_same(idx_order.to_idx_order(half, name), original)


def test_what_does_not_match_is_refused(both_orders):
  name, _, original, copy = both_orders
  image, label = copy.inputs.copy(), copy.test_labels.copy()
  image[0, 0, 0, 0] ^= 1
  label[0] = (label[0] + 1) % 10
  bad = [
    (dataclasses.replace(copy, inputs=image), name, "train"),
    (dataclasses.replace(copy, test_labels=label), name, "test"),
    (dataclasses.replace(copy, inputs=copy.inputs[1:], labels=copy.labels[1:]), name, "train"),
    (dataclasses.replace(copy, inputs=copy.inputs[1:]), name, "train"),
    (original, {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}[name], "train"),
    (original, "kmnist", "kmnist"),
  ]
  for dataset, called, words in bad:
    with pytest.raises(data.DataError, match=words) as info:
      idx_order.to_idx_order(dataset, called)
    assert "\n" not in str(info.value)


def test_the_shuffle_is_the_librarys_own(network):
  """Checks the rule against the library's writer, which shuffles in the download path."""
  loaded = data.load("mnist")
  assert not np.array_equal(loaded.inputs, network.inputs)
  for images, labels, split, expected in (
    (loaded.inputs, loaded.labels, "train", network.inputs),
    (loaded.test_inputs, loaded.test_labels, "test", network.test_inputs),
  ):
    order = idx_order.shuffled_order(split, len(labels))
    assert sorted(order) == list(range(len(labels)))
    np.testing.assert_array_equal(images[np.argsort(order)], expected)


def test_idx_md5_is_of_the_file(tmp_path):
  dataset = synthetic_dataset(size=(5, 7, 1))
  write_idx(tmp_path, dataset)
  for stem, array in (("train-images", dataset.inputs), ("t10k-labels", dataset.test_labels)):
    assert idx.md5(array) == hashlib.md5((tmp_path / idx.file_name(stem)).read_bytes()).hexdigest()
