"""A folder that was labeled is a data set: its labels are the rows, its audit images the test set."""

import os
import threading

import numpy as np
import pytest

from experiments import data
from experiments.data import DataError
from experiments.data import Options
from experiments.labeling import images
from experiments.labeling.exchange import folder
from tests.support import labeled_folders

NAMES = [*labeled_folders.ODD_NAMES, *(f"{i:02}.png" for i in range(19))]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
  return tmp_path / "photos"


def begun(root, audit=0.3):
  """The pixels by content and name, the workdir, and the paths of the audit images and of the others."""
  pixels = labeled_folders.write_images(root, NAMES)
  workdir, found = labeled_folders.begin(root, audit=audit)
  read = folder.read(workdir)
  audits = [image.path for image in found.images if read.is_audit(image)]
  others = [image.path for image in found.images if not read.is_audit(image)]
  return {image.tobytes(): name for image, name in zip(pixels, NAMES, strict=True)}, workdir, audits, others


def read(path, **options):
  return data.read(str(path), options=Options(**options))


def by_name(found, names, part=""):
  """The label of each image of the pool, or of the test set."""
  x, y = getattr(found.data, f"{part}inputs"), getattr(found.data, f"{part}labels")
  classes = [*found.class_names, None]  # the number of an unlabeled row is -1
  return {names[image.tobytes()]: classes[label] for image, label in zip(x, y, strict=True)}


def test_labels_are_the_pool_and_audit_answers_the_test_set(root):
  names, workdir, audits, others = begun(root)
  assert len(audits) == 7
  labels = {path: ("cat", "dog")[i % 2] for i, path in enumerate(others[:12])}
  tests = {path: ("cat", "dog")[i % 2] for i, path in enumerate(audits[:4])}
  labeled_folders.answer(workdir, labels | tests | {others[12]: "skip", others[13]: "unusable", audits[4]: "skip"})
  found = read(root)
  assert by_name(found, names) == labels and by_name(found, names, "test_") == tests
  assert found.row_names == tuple(sorted(labels)) and found.data.prepare.std == 255
  text = "; ".join(found.remarks)
  for words in ("16 images", "7 images without a label left out", "1 images that cannot be used", "test set of 4 rows"):
    assert words in text, text
  again = read(workdir)  # the workdir alone is a data set as well
  assert data.fingerprint(again.data) == data.fingerprint(found.data)
  kept = read(root, unlabeled="keep")
  unlabeled = dict.fromkeys([others[12], *others[14:]])
  assert by_name(kept, names) == labels | unlabeled and by_name(kept, names, "test_") == tests
  assert kept.data.available is not None and kept.data.available.sum() == 12
  with pytest.raises(DataError, match="has one: omit the flag"):
    read(root, test_size=0.4)


def test_without_audit_answers_a_share_is_split_off(root):
  names, workdir, _, others = begun(root, audit=0.0)
  labeled_folders.answer(workdir, {path: ("cat", "dog")[i % 2] for i, path in enumerate(others)})
  found = read(root, test_size=0.25)
  assert len(found.data.labels) == 18 and len(found.data.test_labels) == 6
  assert by_name(found, names) | by_name(found, names, "test_") == labeled_folders.labels(workdir)


def test_a_new_answer_is_noticed_by_the_cache_and_old_ones_are_read_from_it(root, monkeypatch):
  from experiments.data import image_files

  _, workdir, _, others = begun(root)
  labels = {path: ("cat", "dog")[i % 2] for i, path in enumerate(others[:8])}
  labeled_folders.answer(workdir, labels)
  first, decoded, own = read(root), [], image_files.decoded
  monkeypatch.setattr(image_files, "decoded", lambda *args: decoded.append(args) or own(*args))
  again = read(root)
  assert not decoded and again.remarks == first.remarks
  assert data.fingerprint(again.data) == data.fingerprint(first.data)
  labeled_folders.answer(workdir, {others[0]: "dog"})  # the split depends on the labels
  assert read(root).class_names == ("cat", "dog") and len(decoded) == 8
  labeled_folders.answer(workdir, {others[8]: "cat"})
  assert len(read(root, test_size=0).data.labels) == 9


def test_an_answer_during_the_reading_does_not_end_it(root, monkeypatch):
  from experiments.data import image_files

  _, workdir, _, others = begun(root)
  labeled_folders.answer(workdir, {path: ("cat", "dog")[i % 2] for i, path in enumerate(others[:8])})
  own, once = image_files.decoded, threading.Lock()

  def answer(*args):
    if once.acquire(blocking=False):
      labeled_folders.answer(workdir, dict.fromkeys(others[8:], "cat"))
    return own(*args)

  monkeypatch.setattr(image_files, "decoded", answer)
  assert len(read(root, test_size=0).data.labels) == 8
  assert len(read(root, test_size=0).data.labels) == len(others)


def test_files_that_vanished_or_changed_are_left_out_and_counted(root):
  _, workdir, _, others = begun(root)
  (root / "copy.png").write_bytes((root / others[2]).read_bytes())
  labeled_folders.begin(root)
  labeled_folders.answer(workdir, {path: ("cat", "dog")[i % 2] for i, path in enumerate(others[:10])})
  read(root)
  (root / others[0]).unlink()
  (root / others[1]).write_bytes((root / others[3]).read_bytes() + b"more")
  (root / others[2]).unlink()  # its copy has the label
  found = read(root, test_size=0)
  assert set(found.row_names or ()) == {"copy.png", *others[3:10]}
  assert "2 labeled images left out, because their file vanished or changed" in found.remarks
  os.utime(root / others[4])  # a new time of change alone changes nothing
  assert data.fingerprint(read(root, test_size=0).data) == data.fingerprint(found.data)


def test_a_folder_that_was_moved_keeps_its_labels(root, tmp_path):
  _, workdir, _, others = begun(root)
  labeled_folders.answer(workdir, {path: ("cat", "dog")[i % 2] for i, path in enumerate(others[:8])})
  before = read(root)
  root.rename(tmp_path / "elsewhere")
  assert data.fingerprint(read(tmp_path / "elsewhere").data) == data.fingerprint(before.data)
  (tmp_path / "elsewhere" / images.WORKDIR).rename(tmp_path / "workdir")
  with pytest.raises(DataError, match="which is not there"):
    read(tmp_path / "workdir")


def test_folders_without_labels_or_with_damaged_files_are_refused(root):
  _, workdir, _, others = begun(root)
  with pytest.raises(DataError, match="has no labels yet"):
    read(root)
  labeled_folders.answer(workdir, {path: ("cat", "dog")[i % 2] for i, path in enumerate(others[:8])})
  whole = (workdir / "labels.jsonl").read_bytes()
  (workdir / "labels.jsonl").write_bytes(whole.replace(b'"event": 2', b'"event": 9'))
  with pytest.raises(DataError, match="line 3 is damaged"):
    read(root)
  (workdir / "labels.jsonl").write_bytes(whole)
  assert len(read(root, test_size=0).data.labels) == 8
  with pytest.raises(DataError, match="--label_column does not apply"):
    read(root, label_column="kind")
  (workdir / images.LIST).unlink()
  with pytest.raises(DataError, match=r"images\.jsonl is missing"):
    read(root)


def test_pixels_are_those_of_the_files(root):
  names, workdir, _, others = begun(root, audit=0.0)
  labeled_folders.answer(workdir, {path: ("cat", "dog")[i % 2] for i, path in enumerate(others)})
  found = read(root, test_size=0)
  assert found.data.inputs.shape == (24, 6, 5, 1) and found.data.inputs.dtype == np.uint8
  assert [names[image.tobytes()] for image in found.data.inputs] == list(found.row_names or ())
