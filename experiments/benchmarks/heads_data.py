"""Makes the data of `--suite=heads` from the flags: features, labels and initial sets."""

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from al_jax import inputs
from al_jax import states
from al_jax import types
from experiments import data as data_sources
from experiments.benchmarks.heads_plan import ACQ_SIZE
from experiments.benchmarks.heads_plan import PER_CLASS
from experiments.benchmarks.heads_plan import Data
from experiments.data import DataError
from experiments.data import features
from experiments.data.scaling import scaled

SYNTHETIC = (10, 128)  # classes and features of the synthetic clusters
_SPREAD = 0.35  # of the class means, in deviations of a class: the nearest class mean is right for 98% of the rows


def dataset(data: Data) -> types.Dataset:
  """The data as `al_jax` takes them."""
  rows = data.features, data.labels, data.test_features, data.test_labels
  return types.Dataset(*rows, data.num_classes, inputs.as_they_are)


def synthetic_rows(pool: int, test: int) -> list[np.ndarray]:
  """Gaussian clusters, one per class, around Gaussian means: features and labels of pool and test set."""
  classes, width = SYNTHETIC
  rng = np.random.default_rng(0)
  means = _SPREAD * rng.standard_normal((classes, width), dtype=np.float32)

  def draw(num: int) -> list[np.ndarray]:
    labels = rng.integers(0, classes, num, dtype=np.int32)
    return [means[labels] + rng.standard_normal((num, width), dtype=np.float32), labels]

  return draw(pool) + draw(test)


def read_rows(config: flags.FlagValues) -> list[np.ndarray]:
  """The features of `--features` with the labels of `--dataset`: features and labels of pool and test set.

  Raises:
    DataError: a file or the data set cannot be read, or their rows do not fit.
  """
  named = data_sources.load(config.dataset, config.data_dir, download=False)
  train, test = features.load("features", ",".join(config.features), data_sources.Loaded(named))
  return [train, np.asarray(named.labels, np.int32), test, np.asarray(named.test_labels, np.int32)]


def make(config: flags.FlagValues) -> Data:
  """The data that the flags select: the first `--pool` and `--test` rows.

  Raises:
    DataError: there are fewer rows, or the pool has too few labels of a class or for all rounds; as for `read_rows`.
  """
  pool, test = int(config.pool[0]), config.test
  rows = read_rows(config) if config.features else synthetic_rows(pool, test)
  for name, wanted, found in (("pool", pool, len(rows[0])), ("test", test, len(rows[2]))):
    if wanted > found:
      raise DataError(f"--{name}={wanted} exceeds the {found} rows of --features: give at most --{name}={found}.")
  labels, test_labels = rows[1][:pool], rows[3][:test]
  counts = np.bincount(labels, minlength=test_labels.max() + 1)
  if counts.min() < PER_CLASS:
    raise DataError(
      f"--pool={pool} has {counts.min()} rows of class {counts.argmin()}, but the initial set takes {PER_CLASS} of"
      " each class: give a larger --pool."
    )
  needed = PER_CLASS * len(counts) + config.rounds * ACQ_SIZE
  if needed > pool:
    raise DataError(
      f"--rounds={config.rounds} needs {needed} labels, but --pool={pool} has fewer: give fewer --rounds."
    )
  features, test_features, _ = scaled(rows[0][:pool], rows[2][:test], "standard")
  data = Data(features, labels, test_features, test_labels, np.zeros((0, 0), np.int32))
  return data._replace(initial=initial_sets(data, max(config.seeds, config.repeats)))


def initial_sets(data: Data, seeds: int) -> np.ndarray:
  """`[seeds, PER_CLASS * C]` int32 ids: the balanced initial sets that `al_jax` draws with the keys 0 to seeds - 1."""
  num = PER_CLASS * data.num_classes
  plan = types.Plan(num, ACQ_SIZE, rounds=0, train=types.TrainPlan())
  keys = jax.vmap(jax.random.key)(jnp.arange(seeds, dtype=jnp.uint32))
  draw = jax.jit(lambda key, data: states.initial_set(key, data, plan, num=num))
  labels_only = dataset(data._replace(features=data.features[:, :1], test_features=data.test_features[:1, :1]))
  return np.stack([np.asarray(draw(key, labels_only)) for key in keys])
