"""The scan driver: groups of unfinished runs, and program sizes that fit in memory."""

import jax
import numpy as np
import pytest

from al_jax import acquisition
from al_jax import loop
from al_jax import types
from experiments import data as data_sources
from experiments.common.errors import UsageError
from experiments.runs import build
from experiments.runs import scan_driver
from experiments.runs.workdir import Workdir
from tests.experiments.config.test_acquisitions import config


@pytest.fixture(scope="module", autouse=True)
def quick(fast_compilation):
  """Compiles the programs of this module without optimizations."""


@pytest.fixture(scope="module")
def data():
  return data_sources.load("digits")


def study(tmp_path, **changes):
  plan = {"acq": ("random", "entropy"), "dataset": "digits", "model": "mlp", "rounds": 1, "train_steps": 2}
  return config(**plan | {"seeds": 5, "driver": "scan", "workdir": str(tmp_path)} | changes)


def test_what_is_missing_is_grouped_by_strategy(tmp_path):
  asked = study(tmp_path, seeds=4)
  workdir = Workdir(asked, "hash")
  for acq, seed, rounds in (("random", 0, 2), ("entropy", 0, 2), ("random", 1, 2), ("entropy", 2, 1)):
    for r in range(rounds):
      workdir.append({"acq": acq, "seed": seed, "round": r})
  workdir.append({"acq": "random", "seed": 3, "round": 0, "error": "the loss was not finite"})
  groups = [(acqs, [job.seed for job in jobs]) for acqs, jobs in scan_driver.missing(asked, workdir)]
  assert groups == [(["entropy"], [1, 3]), (["random", "entropy"], [2])]


def jobs(num):
  return [scan_driver.Job(seed, ()) for seed in range(num)]


def fit(asked, data, num=5):
  learners = tuple(build.learners(asked, 10).values())
  return scan_driver.fitting(asked, data, learners, jobs(num))


@pytest.fixture
def hundred_bytes_a_run(monkeypatch):
  """Replaces compiled programs by stand-ins that need 100 bytes per run."""
  made = lambda config, data, learners, jobs: scan_driver.Program(None, len(jobs), 100 * len(jobs), 0.0)
  monkeypatch.setattr(scan_driver, "compile_for", made)


def test_as_many_seeds_as_fit_the_memory(tmp_path, data, hundred_bytes_a_run, monkeypatch):
  plan = {"pack": "vmap", "acq": ("entropy",)}
  asked = study(tmp_path, **plan)
  assert fit(asked, data).size == 5
  monkeypatch.setattr(scan_driver, "free_bytes", lambda: 350)  # nine tenths of it are used
  assert fit(asked, data).size == 3
  with pytest.raises(UsageError, match=r"a program of 5 runs needs .* smaller --seeds_per_program"):
    fit(study(tmp_path, **plan, seeds_per_program=5), data)
  monkeypatch.setattr(scan_driver, "free_bytes", lambda: 110)
  with pytest.raises(UsageError, match=r"a program of 1 runs needs .* smaller --chunk_size"):
    fit(asked, data)


@pytest.mark.slow
def test_a_program_of_more_seeds_needs_more_memory(tmp_path, data):
  asked = study(tmp_path, pack="vmap", acq=("random",), rounds=0)
  learners = tuple(build.learners(asked, 10).values())
  one, four = (scan_driver.compile_for(asked, data, learners, jobs(num)) for num in (1, 4))
  assert four.bytes > one.bytes > 0


def test_packed_by_map_a_program_is_of_one_seed_unless_told(tmp_path, data, hundred_bytes_a_run):
  assert fit(study(tmp_path), data).size == 1
  assert fit(study(tmp_path, seeds_per_program=3), data).size == 3
  assert fit(study(tmp_path, seeds_per_program=30), data).size == 5
  assert scan_driver.free_bytes() > 2**26


def test_a_strategy_that_cannot_be_compiled_is_named(tmp_path, data, monkeypatch):
  def by_hand() -> types.Acquisition:
    return acquisition.from_score(lambda log_probs: float(log_probs.max()))

  monkeypatch.setitem(acquisition.REGISTRY, "by_hand", acquisition.Entry(by_hand, "", lambda **_: 0))
  asked = study(tmp_path, acq=("random", "by_hand"))
  with pytest.raises(UsageError, match=r"^by_hand: the acquisition cannot be computed: ") as caught:
    build.check(asked, data)
  assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_filled_up_group_gives_the_runs_of_its_own_seeds(tmp_path, data):
  asked = study(tmp_path, acq=("entropy",), seeds_per_program=3)
  program = fit(asked, data)
  (runs,), seconds = scan_driver.execute(program, data, jobs(2))
  _, info = loop.run(jax.random.key(1), data, next(iter(build.learners(asked, 10).values())))
  np.testing.assert_array_equal(runs.info.selected[1], info.selected)
  assert seconds > 0


def test_the_last_seed_has_the_key_of_its_number():
  keys, _ = scan_driver._arguments([scan_driver.Job(seed, ()) for seed in (0, 2**31, 2**32 - 1)])
  for seed, key in zip((0, 2**31, 2**32 - 1), keys, strict=True):
    assert (jax.random.key_data(key) == jax.random.key_data(jax.random.key(seed))).all()
