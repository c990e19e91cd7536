"""Protocols on features: what the user has to give, and that no row says where it lies."""

import json

import pytest

from experiments.common.errors import UsageError
from experiments.papers.registry import REPRODUCTIONS
from experiments.reproduction import archive
from experiments.reproduction import files
from tests.support.reproductions import made_config
from tests.support.reproductions import made_rows

PARTS = {name: REPRODUCTIONS[name] for name in ("blog", "vae_features", "simclr_features")}


def test_without_a_folder_they_are_left_out_and_the_user_is_told(capsys):
  assert list(files.checked(PARTS, "quick", None, named=False)) == ["blog"]
  assert "vae_features and simclr_features are left out: give --files_dir" in capsys.readouterr().out
  with pytest.raises(UsageError, match=r"--only=vae_features needs --files_dir=DIR.*fbickfordsmith/vae-embeddings"):
    files.checked(PARTS, "quick", None, named=True)


def test_every_file_must_be_there_before_anything_runs(tmp_path):
  for name in ("vae_train", "vae_test", "simclr_train"):
    (tmp_path / f"{name}.npy").touch()
  with pytest.raises(UsageError, match=r"simclr_test.npy is missing: get .*fbickfordsmith/simclr-embeddings"):
    files.checked(PARTS, "quick", str(tmp_path), named=True)
  (tmp_path / "simclr_test.npy").touch()
  assert files.checked(PARTS, "quick", str(tmp_path), named=True) == PARTS
  with pytest.raises(UsageError, match="read by no protocol of --only=blog"):
    files.checked({"blog": PARTS["blog"]}, "quick", str(tmp_path), named=True)
  with pytest.raises(UsageError, match="has a comma"):
    files.checked(PARTS, "quick", "a,b", named=True)


def test_archived_rows_do_not_say_where_the_features_lie(tmp_path):
  config = made_config(20, 1)
  config["flags"] |= {"features": "/home/me/train.npy,/home/me/test.npy", "dataset": "/home/me/dna.csv", "rounds": 0}
  (tmp_path / "config.json").write_text(json.dumps(config))
  rows = made_rows("random", 20, [0.9])
  (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  found = archive.from_workdir(tmp_path)
  archive.write(found, tmp_path / "kept.jsonl")
  text = (tmp_path / "kept.jsonl").read_text()
  assert len(found.rows) == 1 and "/home/me" not in text and "features" not in text
  assert found.about["flags"]["dataset"] == "dna.csv"


def test_a_brief_archive_has_accuracies_and_times(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(made_config(20, 1)))
  rows = [row | {"test_nll": 0.5, "train_steps": 7} for row in made_rows("random", 20, [0.1, 0.2])]
  (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  whole, brief = archive.from_workdir(tmp_path), archive.from_workdir(tmp_path, brief=True)
  assert whole.rows[0].keys() - brief.rows[0].keys() == {"test_nll", "train_steps"}
  assert [row["test_accuracy"] for row in brief.rows] == [0.1, 0.2] and brief.seconds == whole.seconds > 0
