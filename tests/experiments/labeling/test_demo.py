"""The digits that the demonstration writes as files."""

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from experiments.common.errors import UsageError
from experiments.labeling import demo
from tests.support import folders


def test_the_files_show_the_digits_and_are_written_once(tmp_path, monkeypatch):
  few = datasets.load_digits()
  few.images = few.images[:40]
  monkeypatch.setattr(datasets, "load_digits", lambda: few)
  folder = demo.write(tmp_path / "runs" / "digits")
  names = sorted(path.name for path in folder.iterdir())
  assert names == [f"{i:04d}.png" for i in range(40)]
  for i in (0, 20, 39):
    with Image.open(folder / f"{i:04d}.png") as image:
      assert image.size == (32, 32)
      small = np.asarray(image, float).reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.corrcoef(small.ravel(), folders.DIGITS[i].ravel())[0, 1] > 0.95
  (folder / "0005.png").unlink()
  (folder / "0006.png").write_bytes(b"of the user")
  demo.write(folder)
  assert (folder / "0005.png").stat().st_size > 0
  assert (folder / "0006.png").read_bytes() == b"of the user"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  for folder in (tmp_path / "file", tmp_path / "file" / "digits"):
    with pytest.raises(UsageError, match=r"--demo cannot write its images to .*file"):
      demo.write(folder)
