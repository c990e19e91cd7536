"""Gathering workdirs into one study: what is read and what is refused."""

import json
from pathlib import Path

import pytest

from experiments.common.errors import UsageError
from experiments.reporting import study
from tests.support import studies
from tests.support.programs import read


def workdir(path: Path, seeds=(0,), acq="random", **changes) -> Path:
  rows = [row for seed in seeds for row in studies.run(acq, seed, (0.5, 0.6, 0.7))]
  return studies.workdir(path, rows, **changes)


def test_rows_of_all_workdirs_are_gathered(tmp_path):
  first = workdir(tmp_path / "a", seeds=(0, 1))
  second = workdir(tmp_path / "b", seeds=(2,), flags={"seed": 2, "seeds": 3, "workdir": "y"})
  (second / "full_data.json").write_text('[{"seed": 2, "test_accuracy": 0.9}]')
  gathered = study.gather([first, second])
  assert [row["seed"] for row in gathered.rows[::3]] == [0, 1, 2] and gathered.full_accuracy == 0.9


def test_kept_studies_are_gathered_like_workdirs_and_may_be_kept_again(tmp_path):
  folders = [workdir(tmp_path / "a", seeds=(0, 1)), workdir(tmp_path / "b", seeds=(2,), full_data=0.9)]
  whole = study.gather(folders)
  study.keep(study.gather(folders[:1]), tmp_path / "a.jsonl")
  study.keep(study.gather([tmp_path / "a.jsonl", folders[1]]), tmp_path / "both.jsonl")
  found = study.gather([tmp_path / "both.jsonl"])
  assert found.full_data == whole.full_data and found.configs == whole.configs
  close = lambda value: pytest.approx(value) if isinstance(value, float) else value
  for own, row in zip(found.rows, whole.rows, strict=True):
    assert own == {name: close(row[name]) for name in own} and {"selected", "selected_labels", "test_ece"} <= set(own)
  with pytest.raises(UsageError, match="both have random, seed 0"):
    study.gather([tmp_path / "both.jsonl", folders[0]])
  path = tmp_path / "both.jsonl"
  text = path.read_text()
  path.write_text(text.replace('"test_ece":', '"test_ace":'))
  with pytest.raises(UsageError, match=r"both\.jsonl is damaged in line 2: test_ece is None"):
    study.gather([path])
  path.write_text(text.replace('"rounds":2', '"round":2'))
  with pytest.raises(UsageError, match=r"both\.jsonl is damaged: it lacks one of the flags"):
    study.gather([path])


def test_a_row_that_a_kill_cut_short_is_left_out_and_left_there(tmp_path):
  path = workdir(tmp_path / "a") / "results.jsonl"
  torn = path.read_text()[:-9]
  path.write_text(torn)
  assert len(study.gather([path.parent]).rows) == 2 and path.read_text() == torn


@pytest.mark.parametrize(
  ("spoil", "sentence"),
  [
    (lambda a, b: (b / "results.jsonl").unlink(), "b is no workdir"),
    (lambda a, b: (b / "config.json").write_text("{"), "config.json is damaged"),
    (lambda a, b: (b / "results.jsonl").write_text('{"acq": 1}\n'), "results.jsonl is damaged in line 1"),
    (lambda a, b: (b / "results.jsonl").write_text((a / "results.jsonl").read_text()), "both have random, seed 0"),
  ],
)
def test_damaged_and_doubled_workdirs_are_refused(spoil, sentence, tmp_path):
  a, b = workdir(tmp_path / "a"), workdir(tmp_path / "b", seeds=(1,))
  spoil(a, b)
  with pytest.raises(UsageError, match=sentence):
    study.gather([a, b])


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    ({"flags": {"learning_rate": 1.0}}, r"b and .*a belong to different studies \(learning_rate is 1.0, not 0.001"),
    ({"data": "xyz"}, "the data is xyz, not abc"),
  ],
)
def test_workdirs_of_two_studies_are_refused(changes, sentence, tmp_path):
  with pytest.raises(UsageError, match=sentence):
    study.gather([workdir(tmp_path / "a"), workdir(tmp_path / "b", seeds=(1,), **changes)])


@pytest.mark.parametrize("change", [{"draws": 2}, {"key_impl": "rbg"}, {"threefry_partitionable": False}])
def test_workdirs_of_other_draws_are_refused(change, tmp_path):
  folders = [workdir(tmp_path / "a"), workdir(tmp_path / "b", seeds=(1,), **change)]
  with pytest.raises(UsageError, match=r"a and .*b differ in their random draws \(\w+ \w+ and \w+\)"):
    study.gather(folders)


def test_versions_that_made_the_rows_are_told(tmp_path):
  made = lambda jax: {"versions": {"jax": jax, "jaxlib": jax}}
  folders = [workdir(tmp_path / "a", **made("0.10.2")), workdir(tmp_path / "b", seeds=(1,), **made("0.11.0"))]
  assert study.choose(study.gather(folders[:1])).remarks == ()
  (remark,) = study.choose(study.gather(folders)).remarks
  assert "jax 0.10.2 and 0.11.0 and jaxlib 0.10.2 and 0.11.0" in remark


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    ({"test_accuracy": None}, "line 5: test_accuracy is None, not a number"),
    ({"test_nll": float("nan")}, "line 5: test_nll is nan, not a number"),
    ({"selected": 3}, "line 5: selected is 3, not a list of whole numbers"),
    ({"selected_labels": [1]}, "line 5: it has 10 selected ids and 1 labels"),
    ({"round": 2}, "line 5: it has round 2 of random, seed 1, instead of round 1"),
    ({"selected_labels": [-1] * 10}, r"line 5: selected_labels is .*, not a list of whole numbers"),
    ({"round": "1"}, "line 5: repair it"),
    ({"hyper": {"coldness": "8"}}, "line 5: repair it"),
    ({"num_labeled": 10}, "line 5: 10 labels follow 10"),
    ({"num_labeled": 25}, "line 5: round 1 has 25 labels, but 20 in other runs"),
  ],
)
def test_a_row_out_of_place_is_named_by_file_and_line(change, sentence, tmp_path):
  path = workdir(tmp_path / "a", seeds=(0, 1)) / "results.jsonl"
  rows = read(path.parent)
  rows[4] |= change
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  with pytest.raises(UsageError, match=rf"a/results\.jsonl is damaged in {sentence}"):
    study.gather([path.parent])


def test_one_workdir_named_twice_and_one_without_a_row_are_refused(tmp_path):
  folder = workdir(tmp_path / "a")
  with pytest.raises(UsageError, match="both have random, seed 0"):
    study.gather([folder, folder])
  nothing = studies.workdir(tmp_path / "b", [studies.error("random", 0, 0)])
  with pytest.raises(UsageError, match=r"b has no row without an error.*; random, seed 0: the loss was not finite"):
    study.choose(study.gather([nothing]))
