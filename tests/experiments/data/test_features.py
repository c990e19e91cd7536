"""Features in place of the inputs of a data set: which files are taken, and what is refused."""

import numpy as np
import pytest

from al_jax import inputs
from experiments import data as data_sources
from experiments.data import DataError
from experiments.data import Options
from experiments.data import features
from experiments.data import splits
from experiments.data.own import Loaded

TRAIN, TEST = 97, 43


@pytest.fixture
def found(data):
  """A named data set of 97 training and 43 test rows."""
  return Loaded(data)


@pytest.fixture
def save(tmp_path):
  """`(name, array) -> path` of a .npy file."""

  def write(name, array):
    np.save(tmp_path / f"{name}.npy", array)
    return str(tmp_path / f"{name}.npy")

  return write


def rows(size, width=5, dtype=np.float32):
  return np.random.default_rng(size).normal(size=(size, width)).astype(dtype)


def refused(text, found, *words):
  with pytest.raises(DataError) as caught:
    features.apply(text, found)
  message = str(caught.value)
  assert "\n" not in message and all(word in message for word in words), message


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_two_files_and_one_file_give_the_same_rows(dtype, found, save):
  train, test = rows(TRAIN, dtype=dtype), rows(TEST, dtype=dtype)
  two = features.apply(f"{save('train', train)},{save('test', test)}", found)
  one = features.apply(save("all", np.concatenate([train, test])), found)
  for made in (two, one):
    np.testing.assert_array_equal(made.data.inputs, train.astype(np.float32))
    np.testing.assert_array_equal(made.data.test_inputs, test.astype(np.float32))
    assert made.data.inputs.dtype == np.float32 and made.data.prepare is inputs.as_they_are
    np.testing.assert_array_equal(made.data.labels, found.data.labels)
    assert made.remarks[-1].startswith("features: 5 per row, from ")


def test_whole_numbers_are_taken(found, save):
  bytes_of = np.arange(2 * TRAIN, dtype=np.uint8).reshape(TRAIN, 2)
  made = features.apply(f"{save('train', bytes_of)},{save('test', np.ones((TEST, 2), np.int64))}", found)
  np.testing.assert_array_equal(made.data.inputs, bytes_of.astype(np.float32))


def test_a_single_feature_is_taken(found, save):
  assert features.apply(save("one", rows(TRAIN + TEST, 1)), found).data.inputs.shape == (TRAIN, 1)


def test_a_path_has_one_row_per_row_of_the_source_whatever_the_test_set(tmp_path, save):
  labels = np.arange(60) % 3
  np.savez(tmp_path / "own.npz", x=np.arange(120.0).reshape(60, 2), y=labels)
  own = np.arange(60, dtype=np.float32)[:, None] + [0, 100]
  path = save("own", own)
  for options in (Options(), Options(test_rows="10:25"), Options(test_seed=7, test_size=0.5), Options(test_size=0)):
    source = data_sources.read(str(tmp_path / "own.npz"), options=options)
    made = features.apply(path, source)
    np.testing.assert_array_equal(made.data.inputs, own[source.rows])
    np.testing.assert_array_equal(made.data.test_inputs, own[source.test_rows])
    np.testing.assert_array_equal(made.data.labels, labels[made.data.inputs[:, 0].astype(int)])
    assert sorted([*source.rows, *source.test_rows]) == list(range(60))
  refused(save("short", own[:59]), source, "has 59 rows, but the data have 60")


@pytest.mark.parametrize(("train", "test", "words"), [
  (rows(TRAIN - 1), rows(TEST), ["train.npy has 96 rows, but the data set has 97 training rows"]),
  (rows(TRAIN), rows(TEST + 1), ["test.npy has 44 rows, but the data set has 43 test rows"]),
  (rows(TRAIN, 4), rows(TEST, 5), ["training rows have 4 features, but test rows have 5"]),
  (np.zeros((TRAIN, 2), np.float32), rows(TEST, 2), ["train.npy: all features are 0"]),
  (np.where(np.arange(TRAIN)[:, None] == 7, np.nan, rows(TRAIN)), rows(TEST), ["train.npy: row 7 has a value"]),
  (rows(TRAIN), np.where(np.arange(TEST)[:, None] == 3, np.inf, rows(TEST)), ["test.npy: row 3 has a value"]),
  (rows(TRAIN, dtype=np.float64) * 1e300, rows(TEST), ["train.npy: row 0", "not finite in float32"]),
  (np.ones((TRAIN, 2), bool), rows(TEST, 2), ["must hold numbers", "bool"]),
  (rows(TRAIN, 4).reshape(TRAIN, 2, 2), rows(TEST, 4), ["must hold numbers of shape [N, F]", "(97, 2, 2)"]),
  (rows(TRAIN)[:, 0], rows(TEST), ["must hold numbers of shape [N, F]", "(97,)"]),
  (np.ones((TRAIN, 0)), rows(TEST), ["must hold numbers", "(97, 0)"]),
])  # fmt: skip
def test_wrong_arrays_are_refused_with_the_file(train, test, words, found, save):
  refused(f"{save('train', train)},{save('test', test)}", found, *words)


def test_one_file_of_another_number_of_rows_is_refused(found, save):
  refused(save("all", rows(TRAIN)), found, "has 97 rows, but the data set has 97 training and 43 test rows")


def test_what_is_no_file_of_features_is_refused(found, save, tmp_path):
  path = save("train", rows(TRAIN))
  for text in (f"{path},", f",{path}", f"{path},{path},{path}", ""):
    refused(text, found, "must be one file, or TRAIN.npy,TEST.npy")
  refused(str(tmp_path / "none.npy"), found, "none.npy cannot be read", "No such file")
  (tmp_path / "text.npy").write_text("no array")
  refused(str(tmp_path / "text.npy"), found, "cannot be read as a .npy file")
  (tmp_path / "cut.npy").write_bytes((tmp_path / "train.npy").read_bytes()[:-9])
  refused(str(tmp_path / "cut.npy"), found, "cannot be read as a .npy file")
  np.savez(tmp_path / "two.npz", a=rows(3), b=rows(3))
  refused(str(tmp_path / "two.npz"), found, "several arrays")
  refused(save("objects", np.array([[{}]] * TRAIN, object)), found, "cannot be read")


def test_features_follow_a_split_and_not_the_other_way_round(data, save, monkeypatch):
  """The blog's split puts rows of both sets in a new order; a file has the order of the split."""
  halves = lambda dataset, name: dataset
  monkeypatch.setattr("experiments.data.idx_order.to_idx_order", halves)
  data = splits.apply("blog", data, "mnist")
  made = features.apply(save("all", rows(TRAIN + TEST)), Loaded(data))
  assert len(made.data.inputs) == len(data.labels) == 93 and len(made.data.test_inputs) == 47
  np.testing.assert_array_equal(made.data.test_inputs, rows(TRAIN + TEST)[93:])
