"""The main program on real digits, and its two drivers compared with each other."""

import json
import shutil
import sys

import numpy as np
import pytest

from experiments import data as data_sources
from tests.support import programs
from tests.support.programs import AS_USERS
from tests.support.programs import read
from tests.support.programs import untimed

FIELDS = {
  "acq": str, "seed": int, "round": int, "num_labeled": int, "test_accuracy": float, "test_nll": float,
  "test_ece": float, "val_accuracy": float | None, "selected": list, "selected_labels": list,
  "selected_scores": list | None, "train_steps": int,
  "seconds_train": float | None, "seconds_acquire": float | int | None, "seconds_eval": float | None,
  "seconds_total": float, "peak_bytes": int | None,
}  # fmt: skip
PROGRAM = ("experiments.mnist", "--dataset=digits")
ACQS = ("random", "power_bald(coldness=8)")
STUDY = (
  *PROGRAM,
  *("--acq=random,power_bald(coldness=8)", "--model=mlp", "--mc_samples=3", "--rounds=2", "--acq_size=30"),
  *("--train_steps=150", "--learning_rate=3e-3", "--pool_size=300", "--pool_copies=2", "--pool_noise=0.1"),
  *("--pool_subset=200", "--inspect", "--tensorboard"),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
  """The workdir and the printed output of a short study, run as a user runs it."""
  folder = tmp_path_factory.mktemp("study")
  return folder, programs.run(sys.executable, "-m", *STUDY, f"--workdir={folder}")


@pytest.fixture(scope="module")
def digits():
  return data_sources.load("digits")


def test_rows_have_their_fields_and_tell_the_labels_of_what_they_acquired(study, digits):
  folder, _ = study
  rows, written = read(folder), json.loads((folder / "config.json").read_text())
  assert [(row["acq"], row["round"]) for row in rows] == [(acq, r) for acq in ACQS for r in range(3)]
  assert len(written["pool_ids"]) == 300
  labels = np.tile(digits.labels[written["pool_ids"]], 2)
  for row in rows:
    for name, kind in FIELDS.items():
      assert isinstance(row[name], kind), (name, row[name])
    assert row["num_labeled"] == 20 + 30 * row["round"] and row["train_steps"] == 150
    assert len(row["selected"]) == (30 if row["round"] < 2 else 0)
    assert row["selected_labels"] == labels[row["selected"]].tolist()
    assert ("initial" in row) == (row["round"] == 0)
  assert np.bincount(labels[rows[0]["initial"]]).tolist() == [2] * 10
  for own in (rows[:3], rows[3:]):
    assert len(set(sum((row["selected"] for row in own), own[0]["initial"]))) == 80
    assert own[-1]["seconds_acquire"] == 0


def test_strategies_start_alike_and_learn(study):
  rows = read(study[0])
  assert rows[0]["initial"] == rows[3]["initial"] and rows[0]["test_accuracy"] == rows[3]["test_accuracy"]
  for own in (rows[:3], rows[3:]):
    assert own[-1]["test_accuracy"] > 0.8 and own[-1]["test_accuracy"] > own[0]["test_accuracy"] + 0.05


def test_what_was_run_is_printed_and_kept(study, digits):
  folder, printed = study
  content = json.loads((folder / "config.json").read_text())
  assert content["data_sha256"] == data_sources.fingerprint(digits) and content["flags"]["rounds"] == 2
  assert "power_bald(coldness=8): scored on 3 samples of MC dropout" in printed and "600 rows in the pool" in printed
  assert "to 95%" in printed and str(folder) in printed
  assert (folder / "learning_curve.png").read_bytes()[:4] == b"\x89PNG"


def test_contact_sheets_and_scalars_are_of_every_run(study):
  folder, _ = study
  runs = ["power_bald-coldness=8-seed0", "random-seed0"]
  assert sorted(path.name for path in (folder / "tensorboard").iterdir()) == runs
  sheets = sorted(path.name for path in (folder / "inspect").iterdir())
  assert sheets == [f"{run}-round{r:02}.png" for run in runs for r in range(2)]


@pytest.mark.slow
def test_a_study_cut_short_is_completed_to_the_same_rows_and_not_begun_anew(study, tmp_path, program):
  """A kill in the middle of the second run's last row; the checkpoints are lost."""
  folder, _ = study
  workdir = tmp_path / "study"
  shutil.copytree(folder, workdir, ignore=shutil.ignore_patterns("checkpoints"))
  lines = (workdir / "results.jsonl").read_bytes().splitlines(keepends=True)
  (workdir / "results.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:25])
  assert "--resume" in program.run(*STUDY, f"--workdir={workdir}", expect=1)
  program.run(*STUDY, f"--workdir={workdir}", "--resume")
  assert list(map(untimed, read(workdir))) == list(map(untimed, read(folder)))


@pytest.mark.slow
def test_long_tailed_pools_and_given_initial_sets_from_the_command_line(tmp_path, program, digits):
  given = [7, 300, 42, 199]
  (tmp_path / "ids").write_text("7, 300 42\n199")
  flags = [*PROGRAM, "--imbalance=10", "--pool_size=350", "--model=mlp", "--rounds=1", "--train_steps=20"]
  flags += ["--init=file", f"--init_file={tmp_path / 'ids'}", "--val_size=100", "--seeds=2"]
  flags += ["--acq=kcenter", "--optimizer=sgd", "--batch_size=8"]
  printed = program.run(*flags, f"--workdir={tmp_path / 'python'}")
  assert "sgd, learning rate 0.0003, momentum 0.9, batch 8, 20 steps per round, the same for every strategy" in printed
  rows = read(tmp_path / "python")
  written = json.loads((tmp_path / "python" / "config.json").read_text())
  labels = digits.labels[written["pool_ids"]]
  assert written["flags"]["init_ids"] == given and written["class_counts"] == np.bincount(labels).tolist()
  assert sum(written["class_counts"]) == 350 and f"pool rows per class: {str(written['class_counts'])[1:-1]}" in printed
  for row in rows:
    assert row["num_labeled"] == 4 + 10 * row["round"] and row["val_accuracy"] is not None
    assert row["selected_labels"] == labels[row["selected"]].tolist()
    assert row["round"] == 1 or row["initial"] == sorted(given)
  program.run(*flags, "--driver=scan", f"--workdir={tmp_path / 'scan'}")
  assert sorted(map(str, map(untimed, read(tmp_path / "scan")))) == sorted(map(str, map(untimed, rows)))
  (tmp_path / "ids").write_text("7 300 42 200")
  message = program.run(*flags, f"--workdir={tmp_path / 'python'}", "--resume", expect=1)
  assert "init_ids was [7, 300, 42, 199] and is [7, 300, 42, 200]" in message


@pytest.mark.slow
@pytest.mark.parametrize(
  "flags",
  [
    (
      *("--acq=power_bald,batchbald(max_configs=100),typiclust", "--pool_subset=50", "--init=random", "--warm_start"),
      *("--val_size=30", "--early_stop=2"),
    ),
    ("--acq=margin", "--val_last=0.2"),
  ],
  ids=["power_bald,batchbald,typiclust", "margin"],
)
def test_both_drivers_give_the_same_rows_bit_for_bit_as_users_compile_them(tmp_path, flags):
  # One program of each kind; tests/core/test_loop.py has all of them, compiled without optimizations.
  flags += ("--model=mlp", "--pool_size=301", "--train_steps=40", "--chunk_size=64")
  flags += ("--mc_samples=3", "--rounds=2", "--acq_size=7")
  rows = {}
  for driver in ("python", "scan"):
    words = (*PROGRAM, *flags, f"--driver={driver}", f"--workdir={tmp_path / driver}")
    programs.run(sys.executable, "-m", *words, **AS_USERS)
    rows[driver] = list(map(untimed, read(tmp_path / driver)))
  assert rows["python"] == rows["scan"] and len(rows["scan"]) == 3 * (1 + flags[0].count(","))
  assert all(row["val_accuracy"] is not None for row in rows["scan"])


@pytest.mark.slow
def test_the_default_network_learns_as_users_compile_it(tmp_path):
  flags = ("--rounds=2", "--acq_size=30", "--train_steps=150", "--learning_rate=1e-3", f"--workdir={tmp_path}")
  programs.run(sys.executable, "-m", *PROGRAM, *flags, **AS_USERS)
  first, _, last = read(tmp_path)
  assert last["test_accuracy"] > max(0.8, first["test_accuracy"] + 0.05)


@pytest.mark.slow
def test_full_data_is_the_reference_line(tmp_path, program):
  flags = ("--model=mlp", "--full_data", "--full_train_steps=300", "--learning_rate=1e-3", f"--workdir={tmp_path}")
  printed = program.run(*PROGRAM, *flags)
  (row,) = json.loads((tmp_path / "full_data.json").read_text())
  assert set(row) >= {"seed", "test_accuracy", "test_nll", "test_ece", "train_steps", "seconds_total"}
  assert row["test_accuracy"] > 0.9 and row["train_steps"] == 300 and "full data" in printed


@pytest.mark.slow
def test_help_the_list_of_acquisitions_and_a_mistake_end_the_program(program):
  assert "Runs pool-based active learning" in program.run(*PROGRAM, "--help")
  assert "\nbald\n" in program.run(*PROGRAM, "--list_acquisitions")
  message = program.run(*PROGRAM, "--acq=bold", expect=1)
  assert message.startswith("error: ") and message.count("\n") == 1
