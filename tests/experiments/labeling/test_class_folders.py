"""Exports to class folders: the reader of class folders finds the same labels, and no name does harm."""

import os
from pathlib import Path

import numpy as np
import pytest

from experiments import data
from experiments.common.errors import UsageError
from experiments.labeling import images
from experiments.labeling.exchange import run_export
from tests.support import labeled_folders

NAMES = [*labeled_folders.ODD_NAMES, *(f"{i:02}.png" for i in range(15))]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def labeled(root: Path, audit: float = 0.0, **names: str) -> tuple[Path, np.ndarray]:
  pixels = labeled_folders.write_images(root, NAMES)
  workdir, _ = labeled_folders.begin(root, audit=audit)
  classes = [names.get("first", "cat"), names.get("second", "dog")]
  labeled_folders.answer(workdir, {name: classes[i % 2] for i, name in enumerate(NAMES[:-2])} | {NAMES[-2]: "skip"})
  return workdir, pixels


def test_the_reader_of_class_folders_finds_the_labels_and_the_audit_as_test_set(tmp_path):
  workdir, pixels = labeled(tmp_path / "photos", audit=0.3)
  (tmp_path / "photos" / "copy.png").write_bytes((tmp_path / "photos" / NAMES[0]).read_bytes())
  out = tmp_path / "out"
  out.mkdir()
  text = run_export(f"folders:{out}", workdir)
  found = data.read(str(out))
  assert f"Wrote 18 images to {out}, of which {len(found.data.test_labels)} audit images in test." == text
  assert len(found.data.labels) + len(found.data.test_labels) == 18 and len(found.data.test_labels) > 1
  names = {pixels[i].tobytes(): ("cat", "dog")[i % 2] for i in range(len(NAMES))}
  for x, y in ((found.data.inputs, found.data.labels), (found.data.test_inputs, found.data.test_labels)):
    assert [names[image.tobytes()] for image in x] == [found.class_names[label] for label in y]
  linked = next(out.glob("train/*/*.png"))
  assert os.stat(linked).st_nlink == 2 and not linked.is_symlink()
  assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_copies_are_files_of_their_own_without_a_split_if_there_is_no_audit(tmp_path):
  workdir, _ = labeled(tmp_path / "photos")
  run_export(f"copies:{tmp_path / 'out'}", workdir)
  files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
  assert {os.path.relpath(path, tmp_path / "out") for path in files} == {
    f"{('cat', 'dog')[i % 2]}/{name}" for i, name in enumerate(NAMES[:-2])
  }
  assert {os.stat(path).st_nlink for path in files} == {1}
  assert data.read(str(tmp_path / "out")).class_names == ("cat", "dog")


def test_files_that_vanished_or_changed_are_left_out_and_counted(tmp_path):
  labeled_folders.write_images(tmp_path / "photos", NAMES)
  (tmp_path / "photos" / "copy.png").write_bytes((tmp_path / "photos" / "02.png").read_bytes())
  workdir, _ = labeled_folders.begin(tmp_path / "photos")
  labeled_folders.answer(workdir, dict.fromkeys(("00.png", "01.png", "02.png", "03.png"), "cat"))
  (tmp_path / "photos" / "00.png").unlink()
  (tmp_path / "photos" / "01.png").write_bytes((tmp_path / "photos" / "03.png").read_bytes())
  (tmp_path / "photos" / "02.png").unlink()
  assert "Wrote 2 images" in (text := run_export(f"folders:{tmp_path / 'out'}", workdir))
  assert "2 labeled images left out" in text
  assert {path.name for path in (tmp_path / "out" / "cat").iterdir()} == {"copy.png", "03.png"}


@pytest.mark.parametrize(
  "name", ["a/b", "..", ".hidden", "__pycache__", "cat.", "con", "Nul.txt", "a\\b", "a:b", "what?", "Test", "CAT"]
)
def test_a_class_that_cannot_be_the_name_of_a_folder_is_refused(tmp_path, name):
  workdir, _ = labeled(tmp_path / "photos", second=name)
  with pytest.raises(UsageError, match="cannot be the name of a folder") as caught:
    run_export(f"folders:{tmp_path / 'out'}", workdir)
  assert repr(name) in str(caught.value) or repr("cat") in str(caught.value)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def test_a_place_that_is_taken_or_inside_the_folder_is_refused(tmp_path, monkeypatch):
  workdir, _ = labeled(tmp_path / "photos", audit=0.3)
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "file").touch()
  for out, words in {
    tmp_path / "full": "not an empty folder",
    tmp_path / "full" / "file": "not an empty folder",
    tmp_path / "nowhere" / "out": "is not a folder",
    tmp_path / "photos" / "out": "is inside",
  }.items():
    with pytest.raises(UsageError, match=words):
      run_export(f"folders:{out}", workdir)

  def refuse(source, target):
    raise OSError(18, "Invalid cross-device link", source, None, target)

  monkeypatch.setattr(os, "link", refuse)
  with pytest.raises(UsageError, match="use --export=copies:DIR"):
    run_export(f"folders:{tmp_path / 'out'}", workdir)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "photos"]


def test_labels_that_make_no_data_set_are_refused(tmp_path):
  labeled_folders.write_images(tmp_path / "photos", NAMES)
  workdir, found = labeled_folders.begin(tmp_path / "photos", audit=0.5)
  with pytest.raises(UsageError, match="nothing to export"):
    run_export(f"folders:{tmp_path / 'out'}", workdir)
  from experiments.labeling.exchange import folder

  audits = [image.path for image in found.images if folder.read(workdir).is_audit(image)]
  labeled_folders.answer(workdir, dict.fromkeys(audits, "cat"))
  with pytest.raises(UsageError, match="label others first"):
    run_export(f"folders:{tmp_path / 'out'}", workdir)
  others = [image.path for image in found.images if image.path not in audits]
  labeled_folders.answer(workdir, dict.fromkeys(others, "dog"))
  assert "no image of class 'cat' is in train" in run_export(f"folders:{tmp_path / 'out'}", workdir)
  assert images.saved(workdir).root == tmp_path / "photos"
