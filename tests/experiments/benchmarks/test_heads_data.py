"""The data of the benchmark of heads: rows, scaling, initial sets, and mistakes in files and sizes."""

import jax
import numpy as np
import optax
import pytest

from al_jax import acquisition
from al_jax import from_flax
from al_jax import loop
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer
from experiments import bench
from experiments.benchmarks import heads_data
from experiments.benchmarks import heads_plan
from experiments.benchmarks.flags import parse
from experiments.data import DataError
from tests.conftest import TinyMLP

pytestmark = pytest.mark.usefixtures("fast_compilation")

DIGITS = 1297, 500  # rows of the pool and the test set


@pytest.fixture
def features(tmp_path):
  """Writes features of scikit-learn's digits, and returns the flag that names them."""

  def write(train=None, test=None):
    rng, paths = np.random.default_rng(0), []
    for name, rows, num in (("train", train, DIGITS[0]), ("test", test, DIGITS[1])):
      rows = 5 + 3 * rng.standard_normal((num, 4)).astype(np.float16) if rows is None else rows
      np.save(tmp_path / f"{name}.npy", rows)
      paths.append(str(tmp_path / f"{name}.npy"))
    return f"--features={','.join(paths)}"

  return write


def test_every_side_gets_the_rows_that_al_jax_would_draw(tmp_path):
  data = heads_data.make(parse(["bench", "--suite=heads", "--pool=300", "--test=200", "--seeds=3"]))
  assert data.features.shape == (300, 128) and data.test_features.shape == (200, 128)
  assert data.features.dtype == data.test_features.dtype == np.float32
  np.testing.assert_allclose(data.features.mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(data.features.std(axis=0), 1, atol=1e-5)
  assert data.initial.shape == (3, 20)
  assert all((np.bincount(data.labels[ids]) == 2).all() for ids in data.initial)
  plan = types.Plan(20, 10, 2, types.TrainPlan(steps=1))
  learner = Learner(Trainer(from_flax(TinyMLP()), optax.sgd(0.1), plan), acquisition.make("entropy"))
  for seed, ids in enumerate(data.initial):
    state = loop.init_state(jax.random.key(seed), heads_data.dataset(data), learner)
    assert set(np.flatnonzero(state.labeled)) == set(ids)
  heads_plan.save(data, tmp_path / "data.npz")
  for ours, theirs in zip(data, heads_plan.read(tmp_path / "data.npz"), strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_synthetic_clusters_are_neither_apart_nor_alike():
  x, y, x_test, y_test = heads_data.synthetic_rows(5000, 2000)
  means = np.stack([x[y == c].mean(axis=0) for c in range(10)])
  nearest = ((x_test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
  assert 0.93 < (nearest == y_test).mean() < 0.995


def test_features_of_a_file_are_those_rows(features):
  flag = features()
  sizes = ["--pool=1000", "--test=300", "--dataset=digits", "--rounds=2", "--seeds=1", "--repeats=1"]
  found = heads_data.make(parse(["bench", "--suite=heads", flag, *sizes]))
  train, test = (np.load(path).astype(np.float64) for path in flag.removeprefix("--features=").split(","))
  middle, width = train[:1000].mean(axis=0), train[:1000].std(axis=0)
  np.testing.assert_allclose(found.features, (train[:1000] - middle) / width, atol=1e-5)
  np.testing.assert_allclose(found.test_features, (test[:300] - middle) / width, atol=1e-5)


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--pool=1298"], "--pool=1298 exceeds the 1297 rows of --features"),
    (["--test=501"], "--test=501 exceeds the 500 rows"),
    (["--pool=12"], "--pool=12 has 0 rows of class 4, but the initial set takes 2 of each class"),
    (["--pool=100", "--rounds=9"], "--rounds=9 needs 110 labels, but --pool=100 has fewer"),
  ],
)
def test_mistakes_in_sizes(features, flags, sentence):
  with pytest.raises(DataError, match=sentence):
    sizes = {"--pool": "--pool=1000", "--test": "--test=300"} | {flag.split("=")[0]: flag for flag in flags}
    heads_data.make(parse(["bench", "--suite=heads", features(), "--dataset=digits", *sizes.values()]))


@pytest.mark.parametrize(
  ("train", "test", "sentence"),
  [
    (np.ones((5, 4)), None, "train.npy has 5 rows, but the data set has 1,297 training rows"),
    (np.full((1297, 4), np.nan), None, "not finite in float32"),
  ],
)
def test_mistakes_in_features(features, train, test, sentence):
  with pytest.raises(DataError, match=sentence):
    heads_data.make(parse(["bench", "--suite=heads", features(train, test), "--dataset=digits"]))


def test_a_missing_file_is_one_sentence(capsys):
  with pytest.raises(SystemExit) as exit_info:
    bench.main(["bench", "--suite=heads", "--features=/no/x.npy,/no/y.npy", "--dataset=digits"])
  assert exit_info.value.code.startswith("error: --features: /no/x.npy cannot be read")
