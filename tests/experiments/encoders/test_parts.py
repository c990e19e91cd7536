"""Features computed in parts: an interrupted computation continues where it stopped, and gives the same bits."""

import fcntl
import json

import numpy as np
import pytest

from al_jax.types import Dataset
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.encoders import parts
from experiments.encoders.base import Task

TRAIN, TEST, WIDTH, PART_ROWS = 41, 12, 3, 10  # the last part has 3 rows
ROWS = np.random.default_rng(0).normal(size=(TRAIN + TEST, WIDTH)).astype(np.float32)


class Killed(BaseException):
  """Stands for a signal."""


@pytest.fixture
def compute(tmp_path):
  """`(stop_after=None, **identity) -> (rows, [(start, stop), ...])`: the rows, and the parts that were computed."""

  def run(stop_after=None, overwrite=False, **identity):
    data = Dataset(np.zeros((TRAIN, 1)), np.zeros(TRAIN, int), np.zeros((TEST, 1)), np.zeros(TEST, int), 2)
    seen = []

    def rows(start, stop):
      if len(seen) == stop_after:
        raise Killed
      seen.append((start, stop))
      return ROWS[start:stop]

    with Display(1) as display:
      task = Task(data, None, {}, {"method": "x", **identity}, tmp_path / "f.part", overwrite, display)
      try:
        return parts.computed(task, {"encoder": "e"}, rows, width=WIDTH, part_rows=PART_ROWS), seen
      except Killed:
        return None, seen

  return run


def test_all_rows_are_computed_once(compute):
  rows, seen = compute()
  np.testing.assert_array_equal(rows, ROWS, strict=True)
  assert seen == [(0, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 53)]
  assert compute()[1] == []


@pytest.mark.parametrize("done", range(6))
def test_an_interrupted_computation_continues(done, compute):
  assert compute(stop_after=done)[0] is None
  rows, seen = compute()
  np.testing.assert_array_equal(rows, ROWS, strict=True)
  assert seen == [(start, min(start + 10, 53)) for start in range(10 * done, 53, 10)]


def test_it_continues_wherever_the_last_write_was_torn(compute, tmp_path):
  """The file is cut after every byte; what is left gives the same rows."""
  compute()
  whole = (tmp_path / "f.part").read_bytes()
  first = whole.index(b"\n") + 1
  for size in [0, 1, first - 1, *range(first, len(whole) + 1, 37)]:
    (tmp_path / "f.part").write_bytes(whole[:size])
    rows, seen = compute(overwrite=size < first)
    np.testing.assert_array_equal(rows, ROWS, strict=True)
    assert len(seen) == 6 - max(size - first, 0) // (PART_ROWS * WIDTH * 4 + 4) - (size == len(whole))
    assert (tmp_path / "f.part").read_bytes() == whole


def test_a_damaged_part_and_what_follows_it_are_computed_again(compute, tmp_path):
  compute()
  whole = bytearray((tmp_path / "f.part").read_bytes())
  whole[whole.index(b"\n") + 1 + 2 * 124 + 60] ^= 4  # in the third part
  (tmp_path / "f.part").write_bytes(whole)
  rows, seen = compute()
  np.testing.assert_array_equal(rows, ROWS, strict=True)
  assert seen[0] == (20, 30) and len(seen) == 4


def test_work_of_another_command_is_refused_or_replaced(compute, tmp_path):
  compute(stop_after=2)
  with pytest.raises(UsageError, match=r"of another command \(other data\): .*--overwrite"):
    compute(data="other")
  assert compute(stop_after=3)[1] == [(20, 30), (30, 40), (40, 50)]
  assert len(compute(overwrite=True, data="other")[1]) == 6
  assert json.loads((tmp_path / "f.part").read_bytes().split(b"\n")[0])["data"] == "other"


def test_only_one_process_writes_a_file(compute, tmp_path):
  with open(tmp_path / "f.part", "wb") as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="being written by another process"):
      compute()
