"""The parts of the process that reads the images and trains."""

import errno
import os

import numpy as np
import pytest

from experiments.common.errors import UsageError
from experiments.labeling import images
from experiments.labeling import worker
from tests.support import folders


def scanned(folder) -> images.Found:
  workdir = folder / ".al_jax"
  workdir.mkdir(exist_ok=True)
  return images.scan(*images.listed(folder), workdir, None, lambda *_: None)[0]


@pytest.fixture
def folder(tmp_path):
  return folders.of_digits(tmp_path / "photos", 11)


# Features of the user.


@pytest.mark.parametrize(
  ("rows", "message"),
  [
    (np.zeros((10, 3)), "must hold 11 rows of numbers, one per image file, not float64 of shape"),
    (np.zeros(11), "of shape"),
    (np.zeros((11, 2, 2)), "of shape"),
    (np.zeros((11, 0)), "of shape"),
    (np.zeros((11, 3), complex), "complex128"),
    (np.zeros((11, 3), bool), "bool"),
    (np.array([["a"] * 3] * 11), "<U1"),
    (np.array([[{}]] * 11, object), "cannot be read as a .npy file"),
  ],
)
def test_wrong_features_are_named(tmp_path, rows, message):
  path = tmp_path / "rows.npy"
  np.save(path, rows, allow_pickle=True)
  with pytest.raises(UsageError, match=r"--features=.*rows\.npy") as error:
    worker._opened_features(path, 11)
  assert message in str(error.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_a_file_that_is_no_array_is_named(tmp_path, content):
  path = tmp_path / "rows.npy"
  path.write_bytes(content)
  with pytest.raises(UsageError, match=r"rows\.npy"):
    worker._opened_features(path, 11)


def test_several_arrays_are_no_features(tmp_path):
  np.savez(tmp_path / "rows.npz", a=np.zeros((11, 3)))
  (tmp_path / "rows.npz").rename(tmp_path / "rows.npy")
  with pytest.raises(UsageError, match="not several arrays"):
    worker._opened_features(tmp_path / "rows.npy", 11)


def test_rows_belong_to_files_and_not_to_images(folder, tmp_path):
  (folder / "004b.png").write_bytes((folder / "001.png").read_bytes())  # a copy of an image
  (folder / "007.png").write_bytes(b"damaged")
  _, files = images.listed(folder)
  found = scanned(folder)
  rows = np.arange(len(files), dtype=float)[:, None]
  np.save(tmp_path / "rows.npy", rows)
  opened = worker._opened_features(tmp_path / "rows.npy", len(files))
  read = worker._own_features(tmp_path / "rows.npy", opened, found, files)
  assert [files[int(row)] for row in read[:, 0]] == [image.path for image in found.images]
  rows[files.index("005.png")] = np.nan
  with pytest.raises(UsageError, match=f"row {files.index('005.png')} has a value that is not finite"):
    worker._own_features(tmp_path / "rows.npy", rows, found, files)
  rows[:] = 0
  rows[files.index("007.png")] = np.inf  # of a file that is not used
  worker._own_features(tmp_path / "rows.npy", rows, found, files)


# Pretrained features.


@pytest.fixture
def encoded(monkeypatch):
  """Replaces the network; the list of the images that it has encoded, by their mean."""
  seen = []

  def encode(batch: np.ndarray) -> np.ndarray:
    means = batch.astype(float).mean(axis=(1, 2, 3))
    seen.extend(means.tolist())
    return means[:, None] + np.arange(worker._WIDTH) / worker._WIDTH

  monkeypatch.setattr(worker.pretrained, "compiled", lambda scaled: encode)
  return seen


def finish(encoding: worker._Encoding) -> np.ndarray:
  while encoding.step():
    pass
  assert encoding.done == len(encoding.rows)
  return encoding.rows


def test_features_in_pieces_equal_those_in_one_go(folder, tmp_path, encoded, monkeypatch):
  found = scanned(folder)
  (tmp_path / "whole").mkdir()
  whole = finish(worker._Encoding(found, tmp_path / "whole"))
  assert len(np.unique(whole[:, 0])) == 11
  monkeypatch.setattr(worker, "_SAVE_EVERY", -1)
  first = worker._Encoding(found, folder)
  assert first.step()
  assert first.step()
  assert first.done == 4
  encoded.clear()
  np.testing.assert_array_equal(finish(worker._Encoding(found, folder)), whole)
  assert len(encoded) == 8  # the seven that are left, in whole chunks of two
  encoded.clear()
  last = worker._Encoding(found, folder)
  assert last.done == 11
  assert not last.step()
  assert not encoded
  np.testing.assert_array_equal(last.rows, whole)


def test_features_belong_to_content_and_not_to_places(folder, encoded):
  before = finish(worker._Encoding(scanned(folder), folder)).copy()
  (folder / "000.png").rename(folder / "z.png")
  (folder / "a.png").write_bytes(folders.png(np.full((8, 8), 77, np.uint8)))
  encoded.clear()
  found = scanned(folder)
  rows = finish(worker._Encoding(found, folder))
  assert len(encoded) == 2  # the new one, and padding
  paths = [image.path for image in found.images]
  np.testing.assert_array_equal(rows[paths.index("z.png")], before[0])
  np.testing.assert_array_equal(rows[paths.index("005.png")], before[5])


@pytest.mark.parametrize("damage", [b"", b"hello", b"PK\x03\x04 torn", None])
def test_damaged_features_are_computed_again(folder, encoded, damage):
  found = scanned(folder)
  whole = finish(worker._Encoding(found, folder))
  path = folder / "pretrained.npz"
  path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
  again = worker._Encoding(found, folder)
  assert again.done == 0
  np.testing.assert_array_equal(finish(again), whole)


def test_features_of_another_width_are_computed_again(folder, encoded):
  found = scanned(folder)
  np.savez(folder / "pretrained.npz", sha256=[image.sha256 for image in found.images], rows=np.zeros((11, 5)))
  assert worker._Encoding(found, folder).done == 0


def test_a_full_disk_does_not_end_the_training(folder, encoded, monkeypatch):
  found, full = scanned(folder), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  monkeypatch.setattr(worker.os, "replace", lambda *_: (_ for _ in ()).throw(full))
  assert finish(worker._Encoding(found, folder))[:, 0].all()
  assert not (folder / "pretrained.npz").exists()


def test_a_file_that_changed_gives_no_features(folder, encoded):
  found = scanned(folder)
  (folder / "003.png").write_bytes(folders.png(np.full((8, 8), 200, np.uint8)))
  (folder / "004.png").unlink()
  os.mkfifo(folder / "004.png")
  rows = finish(worker._Encoding(found, folder))
  assert [int(i) for i in np.flatnonzero(rows[:, 0] == 0)] == [3, 4]


@pytest.mark.slow
@pytest.mark.pretrained
def test_real_features_in_pieces_equal_those_in_one_go(folder, tmp_path, monkeypatch):
  found = scanned(folder)
  (tmp_path / "whole").mkdir()
  whole = finish(worker._Encoding(found, tmp_path / "whole"))
  monkeypatch.setattr(worker, "_SAVE_EVERY", -1)
  worker._Encoding(found, folder).step()
  resumed = worker._Encoding(found, folder)
  assert resumed.done == 2
  np.testing.assert_array_equal(finish(resumed), whole)
  assert np.isfinite(whole).all()
  assert len(np.unique(whole, axis=0)) == 11


# The folder.


def test_a_folder_that_moved_is_read_where_it_is(folder):
  before = scanned(folder)
  moved = folder.rename(folder.with_name("moved"))
  found = scanned(moved)
  assert found.root == images.saved(moved / ".al_jax").root == moved.resolve()
  assert found.images == before.images


def test_what_is_no_file_is_not_opened(folder):
  os.mkfifo(folder / "pipe.png")
  (folder / "zero.png").symlink_to("/dev/zero")
  found = scanned(folder)
  assert {path for path, _ in found.unreadable} == {"pipe.png", "zero.png"}
  assert len(found.images) == 11
