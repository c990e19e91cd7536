"""The workdir: rows are written whole or not at all; refusals, the lock, and flags that may differ on resuming."""

import dataclasses
import json
import subprocess
import sys

import pytest

from al_jax import keys
from experiments.analysis.records import generator
from experiments.analysis.records import outcome
from experiments.analysis.records import write_packed
from experiments.common.errors import UsageError
from experiments.config.resolve import Config
from experiments.runs.workdir import Workdir

VALUES = {field.name: None for field in dataclasses.fields(Config)}
ROW = {"acq": "random", "seed": 0, "round": 0, "num_labeled": 20, "test_accuracy": 0.5}


def config(folder, **changes):
  values = VALUES | {"acq": ("random",), "seeds": 1, "dataset": "digits", "workdir": str(folder)}
  return Config(**(values | {"resume": False, "overwrite": False, "rounds": 2} | changes))


def opened(folder, **changes):
  """A workdir with config.json, as a run leaves it."""
  workdir = Workdir(config(folder, **changes), "hash")
  workdir.write_config(config(folder, **changes), "hash")
  return workdir


def close(workdir):
  workdir._lock.close()


def test_rows_come_back(tmp_path):
  workdir = opened(tmp_path)
  workdir.append(ROW)
  workdir.append(ROW | {"round": 1})
  close(workdir)
  again = Workdir(config(tmp_path, resume=True), "hash")
  assert again.done("random", 0) == [ROW, ROW | {"round": 1}]
  assert again.done("random", 1) == [] and again.done("entropy", 0) == []


@pytest.mark.parametrize(
  ("last", "became", "ended"),
  [
    ({"round": 1}, "unfinished", False),
    ({"round": 2}, "completed", True),
    ({"round": 1, "error": "not finite"}, "failed", True),
    ({"round": 2, "error": "not finite"}, "failed", True),
  ],
)
def test_a_run_has_ended_when_it_has_all_its_rows_or_failed(tmp_path, last, became, ended):
  workdir = opened(tmp_path)
  for row in (*(ROW | {"round": r} for r in range(last["round"])), ROW | last):
    workdir.append(row)
  assert outcome(workdir.rows[-1], rounds=2) == became
  assert workdir.ended("random", 0, {}, rounds=2) is ended
  assert not workdir.ended("random", 1, {}, rounds=2)


def test_rounds_may_grow_and_a_last_row_is_replaced_when_its_successor_comes(tmp_path):
  run = [ROW | {"round": 0, "selected": [1]}, ROW | {"round": 1, "selected": [2]}, ROW | {"round": 2, "selected": []}]
  other = [row | {"seed": 1} for row in run]
  workdir = opened(tmp_path, seeds=2)
  for row in run + other:
    workdir.append(row)
  close(workdir)
  with pytest.raises(UsageError, match="--rounds was 2 and is 1"):
    Workdir(config(tmp_path, resume=True, seeds=2, rounds=1), "hash")
  grown = opened(tmp_path, resume=True, seeds=2, rounds=4)
  assert grown.done("random", 0) == run[:2] and grown.short_end("random", 0) == run[2]
  assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 6, "no row is removed"
  grown.append(run[2] | {"selected": [3]})
  close(grown)
  again = opened(tmp_path, resume=True, seeds=2, rounds=4)
  assert again.done("random", 0) == [*run[:2], run[2] | {"selected": [3]}] and again.short_end("random", 0) is None
  assert again.done("random", 1) == other[:2] and again.short_end("random", 1) == other[2]
  lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
  assert [(row["seed"], row["round"]) for row in lines] == [(seed, r) for seed in (0, 1) for r in range(3)]


def test_results_are_neither_overwritten_nor_mixed_unasked(tmp_path):
  workdir = opened(tmp_path)
  workdir.append(ROW)
  close(workdir)
  with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
    Workdir(config(tmp_path), "hash")
  assert json.loads((tmp_path / "results.jsonl").read_text()) == ROW
  fresh = Workdir(config(tmp_path, overwrite=True), "hash")
  assert fresh.rows == [] and not (tmp_path / "results.jsonl").exists()


def test_overwriting_takes_with_it_what_was_made_of_the_results_and_nothing_else(tmp_path):
  (tmp_path / "checkpoints").mkdir()
  close(Workdir(config(tmp_path, overwrite=True), "hash"))
  assert (tmp_path / "checkpoints").exists(), "a folder without results may have other checkpoints"
  close(opened(tmp_path))
  (tmp_path / "notes").mkdir()
  close(Workdir(config(tmp_path, overwrite=True), "hash"))
  assert not (tmp_path / "checkpoints").exists() and (tmp_path / "notes").exists()


def test_resuming_on_other_data_is_refused(tmp_path):
  close(opened(tmp_path))
  with pytest.raises(UsageError, match="on other data"):
    Workdir(config(tmp_path, resume=True), "another hash")


def test_resume_without_an_earlier_run_starts_one(tmp_path):
  assert Workdir(config(tmp_path / "new", resume=True), "hash").rows == []


def test_a_torn_last_line_is_cut(tmp_path):
  workdir = opened(tmp_path)
  workdir.append(ROW)
  close(workdir)
  path = tmp_path / "results.jsonl"
  whole = path.read_bytes()
  for cut in range(1, len(whole)):
    path.write_bytes(whole + whole[:cut])
    again = Workdir(config(tmp_path, resume=True), "hash")
    assert again.rows == [ROW] and path.read_bytes() == whole
    close(again)


def test_a_damaged_line_is_named(tmp_path):
  workdir = opened(tmp_path)
  workdir.append(ROW)
  close(workdir)
  with open(tmp_path / "results.jsonl", "a") as file:
    file.write("{oops\n" + json.dumps(ROW) + "\n")
  with pytest.raises(UsageError, match=r"results\.jsonl is damaged in line 2"):
    Workdir(config(tmp_path, resume=True), "hash")


def test_a_kept_study_is_not_resumed(tmp_path):
  close(opened(tmp_path))
  write_packed(tmp_path / "results.jsonl", {"full_data": []}, [ROW])
  with pytest.raises(UsageError, match=r"results\.jsonl is a kept study, which cannot be resumed"):
    Workdir(config(tmp_path, resume=True), "hash")


def test_not_a_number_is_never_written(tmp_path):
  workdir = opened(tmp_path)
  with pytest.raises(ValueError):
    workdir.append(ROW | {"test_accuracy": float("nan")})
  assert not (tmp_path / "results.jsonl").exists()


def test_a_full_disk_leaves_no_part_of_a_row(tmp_path, monkeypatch):
  import os

  workdir = opened(tmp_path)
  workdir.append(ROW)
  before = (tmp_path / "results.jsonl").read_bytes()
  write = os.write
  monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
  with pytest.raises(UsageError, match="No space left"):
    workdir.append(ROW | {"round": 1})
  assert (tmp_path / "results.jsonl").read_bytes() == before and workdir.rows == [ROW]


def run(seed=0, rounds=2):
  """The rows of a run."""
  made = [ROW | {"seed": seed, "round": r, "selected": [10 * seed + r]} for r in range(rounds)]
  return [*made, ROW | {"seed": seed, "round": rounds, "selected": []}]


def test_the_rows_of_a_run_are_one_write_and_one_sync(tmp_path, monkeypatch):
  import os

  workdir, calls, seen = opened(tmp_path), [], []
  workdir.on_row = seen.append
  for name in ("write", "fsync"):
    real = getattr(os, name)
    monkeypatch.setattr(os, name, lambda *args, real=real, name=name: calls.append(name) or real(*args))
  for seed in range(3):
    workdir.append_rows(run(seed))
  workdir.append_rows([])
  assert calls == ["write", "fsync"] * 3
  assert seen == workdir.rows == [*run(0), *run(1), *run(2)]
  close(workdir)
  again = Workdir(config(tmp_path, resume=True), "hash")
  assert again.rows == seen and again.done("random", 1) == run(1) and again.ended("random", 2, {}, rounds=2)


def test_a_kill_within_a_run_leaves_whole_rows_and_resuming_adds_the_others(tmp_path):
  workdir = opened(tmp_path)
  workdir.append_rows(run(0))
  path = tmp_path / "results.jsonl"
  before = path.stat().st_size
  workdir.append_rows(run(1))
  close(workdir)
  whole = path.read_bytes()
  for cut in (*range(before, len(whole), 13), len(whole) - 1, len(whole)):
    path.write_bytes(whole[:cut])
    again = Workdir(config(tmp_path, resume=True), "hash")
    done = again.done("random", 1)
    assert again.done("random", 0) == run(0) and done == run(1)[: len(done)]
    assert len(done) == whole[before:cut].count(b"\n")
    again.append_rows(run(1)[len(done) :])
    assert path.read_bytes() == whole
    close(again)


def test_a_full_disk_leaves_no_part_of_a_run(tmp_path, monkeypatch):
  import os

  workdir = opened(tmp_path)
  workdir.append_rows(run(0))
  before, write = (tmp_path / "results.jsonl").read_bytes(), os.write
  line = len(json.dumps(run(1)[0])) + 1
  monkeypatch.setattr(os, "write", lambda descriptor, lines: write(descriptor, lines[: line + 10]))
  with pytest.raises(UsageError, match="No space left"):
    workdir.append_rows(run(1))
  assert (tmp_path / "results.jsonl").read_bytes() == before
  assert workdir.rows == run(0) and workdir.done("random", 1) == []


def test_rows_of_a_run_that_grows_replace_its_last_row_at_once(tmp_path):
  workdir = opened(tmp_path, seeds=3)
  for seed in range(3):
    workdir.append_rows(run(seed))
  close(workdir)
  grown = opened(tmp_path, resume=True, seeds=3, rounds=4)
  for seed in (1, 0):
    longer = run(seed, rounds=4)
    assert grown.done("random", seed) == longer[:2]
    grown.append_rows(longer[2:])
    assert grown.done("random", seed) == longer
  close(grown)
  again = opened(tmp_path, resume=True, seeds=3, rounds=4)
  assert [again.done("random", seed) for seed in range(3)] == [run(0, 4), run(1, 4), run(2)[:2]]
  assert again.short_end("random", 2) == run(2)[2] and again.short_end("random", 1) is None


def test_runs_of_a_grid_are_told_apart(tmp_path):
  workdir = opened(tmp_path)
  points = [{"learning_rate": 0.1, "momentum": 0.5}, {"learning_rate": 0.1, "momentum": 0.9}]
  for point in points:
    workdir.append_rows([row | {"hyper": point} for row in run()])
  backwards = dict(reversed(points[1].items()))
  assert workdir.done("random", 0, backwards) == [row | {"hyper": points[1]} for row in run()]
  assert workdir.done("random", 0) == [] and not workdir.ended("random", 0, {}, rounds=2)
  assert workdir.ended("random", 0, points[0], rounds=2)


@pytest.mark.parametrize(("change", "accepted"), [
  ({"acq": ("random", "entropy")}, True),
  ({"seeds": 5}, True),
  ({"data_dir": "elsewhere"}, True),
  ({"init_file": "elsewhere"}, True),
  ({"init_ids": (3, 4)}, False),
  ({"rounds": 3}, True),
  ({"rounds": 1}, False),
  ({"learning_rate": 0.1}, False),
  ({"dataset": "mnist"}, False),
])  # fmt: skip
def test_resuming_compares_what_changes_a_row(tmp_path, change, accepted):
  close(opened(tmp_path))
  changed = config(tmp_path, resume=True, **change)
  if accepted:
    Workdir(changed, "hash")
  else:
    (name,) = change
    with pytest.raises(UsageError, match=f"--{name} was .* and is"):
      Workdir(changed, "hash")


def test_a_flag_that_a_version_lacked_was_off_in_it(tmp_path):
  close(opened(tmp_path))
  path = tmp_path / "config.json"
  content = json.loads(path.read_text())
  assert not content["flags"].pop("decay_over_labels")
  path.write_text(json.dumps(content))
  close(Workdir(config(tmp_path, resume=True), "hash"))
  with pytest.raises(UsageError, match="--decay_over_labels was None and is True"):
    Workdir(config(tmp_path, resume=True, decay_over_labels=True), "hash")


def changed_config(folder, **changes):
  """Rewrites a workdir's config.json; a value of None removes the entry."""
  path = folder / "config.json"
  content = {k: v for k, v in (json.loads(path.read_text()) | changes).items() if v is not None}
  path.write_text(json.dumps(content))


@pytest.mark.parametrize(
  ("change", "difference"),
  [
    ({"draws": None}, f"draws 1 and {keys.DRAWS}"),  # from before config.json recorded it
    ({"draws": keys.DRAWS + 1}, f"draws {keys.DRAWS + 1} and {keys.DRAWS}"),
    ({"key_impl": "rbg"}, "key_impl rbg and threefry2x32"),
    ({"threefry_partitionable": False}, "threefry_partitionable False and True"),
  ],
)
def test_rows_of_other_draws_are_not_gone_on_with(tmp_path, change, difference):
  close(opened(tmp_path))
  changed_config(tmp_path, **change)
  with pytest.raises(UsageError, match=f"another random number generator .*{difference}.*--overwrite"):
    Workdir(config(tmp_path, resume=True), "hash")
  close(Workdir(config(tmp_path, overwrite=True), "hash"))


def test_versions_that_made_the_rows_are_told_and_kept(tmp_path):
  opened_first = opened(tmp_path)
  assert opened_first.remark is None
  close(opened_first)
  before = json.loads((tmp_path / "config.json").read_text())["versions"]
  changed_config(tmp_path, versions=before | {"jax": "0.10.1", "flax": "0.1"})
  for _ in range(2):  # the second time, all versions but the first agree
    workdir = Workdir(config(tmp_path, resume=True), "hash")
    assert workdir.remark.startswith(f"Rows were written with jax 0.10.1 and {before['jax']}. Their sums")
    workdir.write_config(config(tmp_path, resume=True), "hash")
    close(workdir)
  content = json.loads((tmp_path / "config.json").read_text())
  assert content["versions"] == before
  assert [own["jax"] for own in content["earlier_versions"]] == ["0.10.1"]


def test_one_process_at_a_time_and_the_lock_dies_with_its_holder(tmp_path):
  hold = (
    "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX);"
    "print('held', flush=True); time.sleep(60)"
  )
  with subprocess.Popen(
    [sys.executable, "-c", hold, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
  ) as holder:
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="in use by another process"):
      Workdir(config(tmp_path), "hash")
    holder.kill()
    holder.wait()
    Workdir(config(tmp_path), "hash")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UsageError, match="cannot be written"):
    Workdir(config(tmp_path / "file" / "below"), "hash")


def test_config_json_says_what_ran(tmp_path):
  close(opened(tmp_path))
  content = json.loads((tmp_path / "config.json").read_text())
  assert content["flags"]["dataset"] == "digits" and content["data_sha256"] == "hash"
  assert content["platform"] == "cpu" and content["versions"]["jax"]
  assert generator(content) == {"draws": keys.DRAWS, "key_impl": "threefry2x32", "threefry_partitionable": True}
