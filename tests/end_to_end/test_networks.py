"""Residual networks in the main program, with either norm; one run is killed and resumed."""

import signal

import numpy as np
import pytest

from al_jax import inputs
from al_jax.types import Dataset
from tests.experiments.data.test_sources import write_idx
from tests.support.programs import read
from tests.support.programs import untimed

pytestmark = pytest.mark.slow

FLAGS = ("--dataset=kmnist", "--model=resnet18", "--acq=margin", "--rounds=2", "--init_labels=10", "--acq_size=3")
SIZES = ("--batch_size=4", "--train_steps=3", "--warm_start", "--augment=crop,flip", "--schedule=cosine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """IDX files with 40 training images and 10 test images of 16 x 16."""
  rng = np.random.default_rng(0)
  labels = np.arange(50, dtype=np.int32) % 10
  images = rng.integers(0, 60, (50, 16, 16, 1)) + 19 * labels[:, None, None, None]
  images = images.astype(np.uint8)
  made = Dataset(images[:40], labels[:40], images[40:], labels[40:], 10, inputs.images(std=255))
  return write_idx(tmp_path_factory.mktemp("idx"), made)


def test_a_residual_network_with_group_norm_runs(folder, tmp_path, program):
  flags = ("--norm=group", f"--data_dir={folder}", "--rounds=1")
  own = [flag for flag in FLAGS if flag != "--rounds=2"]
  program.run("experiments.mnist", *own, *SIZES, *flags, f"--workdir={tmp_path / 'run'}")
  assert [row["num_labeled"] for row in read(tmp_path / "run")] == [10, 13]


def test_one_with_batch_norm_is_killed_and_resumed(folder, tmp_path, program):
  words = ("experiments.mnist", *FLAGS, *SIZES, "--norm=batch", f"--data_dir={folder}")
  program.run(*words, f"--workdir={tmp_path / 'whole'}")
  resume = (*words, f"--workdir={tmp_path / 'torn'}", "--resume")
  program.run("tests.support.killed", "row", "2", *resume, expect=-signal.SIGKILL)
  program.run(*resume)
  whole, torn = (list(map(untimed, read(tmp_path / name))) for name in ("whole", "torn"))
  assert whole == torn and [row["num_labeled"] for row in whole] == [10, 13, 16]
