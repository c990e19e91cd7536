"""The main program from the command line on real digits, and its two drivers against each other."""

import json
import sys

import numpy as np
import pytest

from experiments import data as data_sources
from tests.support.programs import AS_USERS
from tests.support.programs import read
from tests.support.programs import run
from tests.support.programs import untimed

FIELDS = {
  "acq": str, "seed": int, "round": int, "num_labeled": int, "test_accuracy": float, "test_nll": float,
  "test_ece": float, "val_accuracy": float | None, "selected": list, "selected_labels": list,
  "selected_scores": list | None, "train_steps": int,
  "seconds_train": float | None, "seconds_acquire": float | int | None, "seconds_eval": float | None,
  "seconds_total": float, "peak_bytes": int | None,
}  # fmt: skip


def main(*flags, expect=0, **environment):
  return run(sys.executable, "-m", "experiments.mnist", "--dataset=digits", *flags, expect=expect, **environment)


def test_posteriors_pools_and_contact_sheets_from_the_command_line(tmp_path):
  flags = ["--acq=power_bald(coldness=8),kcenter", "--model=mlp", "--mc_samples=3", "--rounds=1", "--train_steps=20"]
  flags += ["--pool_size=200", "--pool_copies=2", "--pool_noise=0.1", "--pool_subset=50", "--inspect"]
  printed = main(*flags, f"--workdir={tmp_path}")
  assert "power_bald(coldness=8): on 3 samples of MC dropout" in printed and "a pool of 400" in printed
  rows = read(tmp_path)
  assert [row["acq"] for row in rows] == ["power_bald(coldness=8)"] * 2 + ["kcenter"] * 2
  written = json.loads((tmp_path / "config.json").read_text())
  labels = np.tile(data_sources.load("digits").labels[written["pool_ids"]], 2)
  for row in rows:
    assert row["selected_labels"] == labels[row["selected"]].tolist()
    assert len(row["selected"]) == (10 if row["round"] == 0 else 0)
  assert rows[0]["initial"] == rows[2]["initial"] and rows[0]["test_accuracy"] == rows[2]["test_accuracy"]
  sheets = sorted(path.name for path in (tmp_path / "inspect").iterdir())
  assert sheets == ["kcenter-seed0-round00.png", "power_bald-coldness=8-seed0-round00.png"]


def test_long_tailed_pools_and_given_initial_sets_from_the_command_line(tmp_path):
  given = [7, 300, 42, 199]
  (tmp_path / "ids").write_text("7, 300 42\n199")
  flags = ["--imbalance=10", "--pool_size=350", "--model=mlp", "--rounds=1", "--train_steps=20", "--init=file"]
  flags += [f"--init_file={tmp_path / 'ids'}", "--val_size=100", "--seeds=2", "--optimizer=sgd", "--batch_size=8"]
  printed = main(*flags, f"--workdir={tmp_path / 'python'}")
  assert "sgd, learning rate 0.0003, momentum 0.9, batch 8, 20 steps a round: the same for every strategy" in printed
  rows = read(tmp_path / "python")
  written = json.loads((tmp_path / "python" / "config.json").read_text())
  labels = data_sources.load("digits").labels[written["pool_ids"]]
  assert written["flags"]["init_ids"] == given and written["class_counts"] == np.bincount(labels).tolist()
  assert (
    sum(written["class_counts"]) == 350 and f"images of each class: {str(written['class_counts'])[1:-1]}" in printed
  )
  for row in rows:
    assert row["num_labeled"] == 4 + 10 * row["round"] and row["val_accuracy"] is not None
    assert row["selected_labels"] == labels[row["selected"]].tolist()
    assert row["round"] == 1 or row["initial"] == sorted(given)
  main(*flags, "--driver=scan", f"--workdir={tmp_path / 'scan'}")
  assert sorted(map(str, map(untimed, read(tmp_path / "scan")))) == sorted(map(str, map(untimed, rows)))
  (tmp_path / "ids").write_text("7 300 42 200")
  message = main(*flags, f"--workdir={tmp_path / 'python'}", "--resume", expect=1)
  assert "init_ids was [7, 300, 42, 199] and is [7, 300, 42, 200]" in message


def test_learning_on_digits_from_the_command_line_and_resuming_it(tmp_path):
  flags = ("--acq=random,entropy", "--rounds=3", "--acq_size=20", "--train_steps=150", "--learning_rate=1e-3")
  flags += (f"--workdir={tmp_path}",)
  printed = main(*flags, **AS_USERS)
  rows = read(tmp_path)
  assert [(row["acq"], row["round"]) for row in rows] == [(a, r) for a in ("random", "entropy") for r in range(4)]
  data = data_sources.load("digits")
  for row in rows:
    for name, kind in FIELDS.items():
      assert isinstance(row[name], kind), (name, row[name])
    assert row["num_labeled"] == 20 + 20 * row["round"] and row["train_steps"] == 150
    assert len(row["selected"]) == (20 if row["round"] < 3 else 0)
    assert row["selected_labels"] == data.labels[row["selected"]].tolist()
    assert ("initial" in row) == (row["round"] == 0)
  assert rows[0]["initial"] == rows[4]["initial"] and rows[0]["test_accuracy"] == rows[4]["test_accuracy"]
  assert np.bincount(data.labels[rows[0]["initial"]]).tolist() == [2] * 10
  for own in (rows[:4], rows[4:]):
    bought = sum((row["selected"] for row in own), own[0]["initial"])
    assert len(set(bought)) == 80
    assert own[-1]["test_accuracy"] > 0.8 and own[-1]["test_accuracy"] > own[0]["test_accuracy"] + 0.05
    assert own[-1]["seconds_acquire"] == 0
  assert (tmp_path / "learning_curve.png").read_bytes()[:4] == b"\x89PNG"
  content = json.loads((tmp_path / "config.json").read_text())
  assert content["data_sha256"] == data_sources.fingerprint(data) and content["flags"]["rounds"] == 3
  assert "to 95%" in printed and str(tmp_path) in printed

  # A kill in the middle of the second run's last row, then --resume: the same numbers, each row once.
  lines = (tmp_path / "results.jsonl").read_bytes().splitlines(keepends=True)
  (tmp_path / "results.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:25])
  main(*flags, "--resume", **AS_USERS)
  assert [untimed(row) for row in read(tmp_path)] == [untimed(row) for row in rows]

  assert "--resume" in main(*flags, expect=1)


@pytest.mark.parametrize(
  "flags",
  [
    ("--acq=batchbald(max_configs=100),typiclust", "--pool_subset=50", "--val_size=30", "--early_stop=2"),
    ("--acq=power_bald,margin", "--warm_start", "--val_last=0.2", "--init=random"),
  ],
  ids=["batchbald,typiclust", "power_bald,margin"],
)
def test_both_drivers_give_the_same_rows_bit_for_bit_as_users_compile_them(tmp_path, flags):
  # Of each kind of program one; tests/core/test_loop.py has them all, compiled without optimisations.
  flags += ("--model=mlp", "--pool_size=301", "--rounds=3", "--acq_size=7", "--train_steps=40", "--mc_samples=3")
  rows = {}
  for driver in ("python", "scan"):
    main(*flags, "--chunk_size=64", f"--driver={driver}", f"--workdir={tmp_path / driver}", **AS_USERS)
    rows[driver] = list(map(untimed, read(tmp_path / driver)))
  assert rows["python"] == rows["scan"] and len(rows["scan"]) == 8
  assert all(row["val_accuracy"] is not None for row in rows["scan"])


def test_full_data_is_the_reference_line(tmp_path):
  printed = main("--full_data", "--full_train_steps=300", "--learning_rate=1e-3", f"--workdir={tmp_path}")
  (row,) = json.loads((tmp_path / "full_data.json").read_text())
  assert set(row) >= {"seed", "test_accuracy", "test_nll", "test_ece", "train_steps", "seconds_total"}
  assert row["test_accuracy"] > 0.9 and row["train_steps"] == 300 and "full data" in printed


def test_impossible_plans_are_refused_before_anything_is_written(tmp_path):
  for flags, words in (
    (("--rounds=200",), ("1297", "2020")),
    (("--init_labels=5",), ("balanced", "10")),
    (("--val_size=1290",), ("validation", "1297")),
  ):
    message = main(*flags, f"--workdir={tmp_path / 'none'}", expect=1)
    assert message.startswith("error: ") and message.count("\n") == 1 and all(word in message for word in words)
  assert not (tmp_path / "none").exists()
