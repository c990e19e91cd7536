"""Archived rows: reading them back, joining them, and refusing damaged ones and those of different studies."""

import json

import pytest

from experiments.common.errors import UsageError
from experiments.reproduction import archive
from tests.support.reproductions import made_about
from tests.support.reproductions import made_config
from tests.support.reproductions import made_rows


def test_rows_are_kept_and_read_back(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(made_config(0, 1, git_revision="abc")))
  assert archive.from_workdir(tmp_path) is None and archive.from_workdir(tmp_path / "none") is None
  rows = [row | {"selected": [1, 2]} for row in made_rows("bald", 0, [0.5, 0.6])]
  (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"acq": "ba')
  found = archive.from_workdir(tmp_path)
  assert len(found.rows) == 2 and "selected" not in found.rows[0]
  failed = {"acq": "margin", "seed": 0, "round": 0, "error": "not finite"}
  rows += [*made_rows("bald", 1, [0.5]), failed]  # one unfinished run, one failed run
  (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert archive.from_workdir(tmp_path).rows == [*found.rows, failed]
  path = tmp_path / "rows" / "study.jsonl"
  archive.write(found, path)
  assert archive.read(path) == found and archive.read(tmp_path / "rows" / "no.jsonl") is None
  whole = path.read_text()
  for text in (
    "",
    "<<<<<<< HEAD\n" + whole,
    whole[:-20],
    "[]\n",
    "{}\n",
    whole + "{}\n",
    *(whole.replace(name, "") for name in ("data_sha256", "rounds", "test_accuracy")),
    whole.replace('"full_data":[]', '"full_data":[{"test_accuracy":0.9}]'),
  ):
    path.write_text(text)
    with pytest.raises(UsageError, match=r"study\.jsonl is damaged"):
      archive.read(path)
  config = json.loads((tmp_path / "config.json").read_text())
  assert archive.from_workdir(tmp_path, ["margin"]).rows == [failed]
  (tmp_path / "results.jsonl").write_text(
    "".join(json.dumps({"acq": "bald", "seed": 0, "round": r}) + "\n" for r in (0, 1))
  )
  with pytest.raises(UsageError, match=r"results\.jsonl is damaged: a row lacks num_labeled or test_accuracy"):
    archive.from_workdir(tmp_path)
  for name in ("flags", "data_sha256", "device_kind", "versions"):
    (tmp_path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if key != name}))
    with pytest.raises(UsageError, match=r"config\.json is damaged: it lacks"):
      archive.from_workdir(tmp_path)


def test_an_archive_has_a_line_per_run_and_those_with_a_line_per_row_are_read_too(tmp_path):
  rows = [row for seed in range(3) for row in made_rows("bald", seed, [0.5, 0.6, (7 + seed) / 10])]
  failed = {"acq": "margin", "seed": 0, "round": 0, "error": "not finite"}
  found, path = archive.Archived(made_about(2), [*rows, failed], []), tmp_path / "study.jsonl"
  archive.write(found, path)
  head, *lines = map(json.loads, path.read_text().splitlines())
  assert len(lines) == 4 and head["shared"]["num_labeled"] == [20, 30, 40] and "num_labeled" not in lines[0]["rounds"]
  again = archive.read(path)
  assert again.rows == found.rows and again.about["flags"] == found.about["flags"]
  path.write_text("".join(json.dumps(line) + "\n" for line in [{"about": found.about, "full_data": []}, *found.rows]))
  assert archive.read(path) == again


def test_runs_of_other_data_or_flags_are_not_joined():
  first = archive.Archived(made_about(1, model="cnn"), made_rows("bald", 0, [0.1, 0.2]), [])
  second = lambda **about: {"a": first, "b": first._replace(about=about)}
  with pytest.raises(UsageError, match=r"b and a are not of one study \(their data differ\)"):
    archive.joined(second(**made_about(1, model="cnn") | {"data_sha256": "other"}))
  with pytest.raises(UsageError, match="--model is mlp and cnn"):
    archive.joined(second(**made_about(1, model="mlp")))
  for change, phrase in (({"draws": 2}, "draws 1 and 2"), ({"key_impl": "rbg"}, "key_impl threefry2x32 and rbg")):
    with pytest.raises(UsageError, match=rf"their random draws differ: {phrase}"):
      archive.joined(second(**made_about(1, model="cnn") | change))
  # A flag that an earlier version did not have counts as off.
  assert archive.joined(second(**made_about(1, model="cnn", decay=False))).about["flags"]["decay"] is False
  for about, phrase in (
    (made_about(1, model="cnn", decay=True), "decay is True and None"),
    (made_about(1), "model is None and cnn"),
  ):
    with pytest.raises(UsageError, match=phrase):
      archive.joined(second(**about))


def test_versions_that_made_the_runs_of_a_study_are_told():
  parts = {
    name: archive.Archived(
      made_about(1) | {"jax": version, "jaxlib": "0.10.2"}, made_rows("bald", seed, [0.1, 0.2]), []
    )
    for seed, (name, version) in enumerate({"a": "0.10.2", "b": "0.11.0"}.items())
  }
  assert archive.versions_remark(parts["a"]) is None
  assert "jax 0.10.2 and 0.11.0" in archive.versions_remark(archive.joined(parts))


def test_runs_in_several_folders_are_one_study():
  about = made_about(1) | {"revisions": ["abc"]}
  later = about | {"revisions": ["def"], "device": "gpu"}
  full = [{"seed": 1, "test_accuracy": 0.9}]
  parts = {
    "a": archive.Archived(
      about, made_rows("bald", 1, [0.1, 0.2]) + made_rows("random", 1, [0.5, 0.7]), [{"seed": 0}, {"seed": 1}]
    ),
    "b": archive.Archived(later, made_rows("bald", 0, [0.3, 0.4]) + made_rows("bald", 1, [0.5, 0.6]), full),
  }
  found = archive.joined(parts)
  assert [(row["acq"], row["seed"], row["test_accuracy"]) for row in found.rows] == [
    *[("bald", 0, 0.3), ("bald", 0, 0.4)],
    *[("bald", 1, 0.5), ("bald", 1, 0.6), ("random", 1, 0.5), ("random", 1, 0.7)],
  ]
  assert found.full_data == [{"seed": 0}, *full]
  assert found.about == about | {"device": "cpu and gpu", "revisions": ["abc", "def"]}
  assert archive.joined({"a": parts["a"]}) == parts["a"]
  assert archive.joined({"joined": found, **parts}) == found
  short = archive.Archived(later, made_rows("random", 1, [0.1, 0.2]) + made_rows("bald", 1, [0.1]), [])
  assert archive.joined({**parts, "short": short}).rows[2:] == [
    *made_rows("bald", 1, [0.5, 0.6]),  # the longer one
    *made_rows("random", 1, [0.1, 0.2]),  # of equal length: the last one
  ]
  whole = archive.joined({"a": parts["a"], "again": archive.Archived(later, parts["a"].rows, parts["a"].full_data)})
  assert whole.about == later  # a part that contributes no run does not appear
  parts["b"].about["flags"] = {"rounds": 2, "acq_size": 10}
  with pytest.raises(UsageError, match=r"b and a are not of one study \(--rounds is 2 and 1\)"):
    archive.joined(parts)
