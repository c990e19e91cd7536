"""One report over many workdirs, and the array job that makes them."""

import json
import os
from pathlib import Path
import sys

import pytest

from experiments import report
from experiments.errors import UsageError
from tests.programs import ROOT
from tests.programs import read
from tests.programs import run
from tests.programs import untimed

FLAGS = {"acq": ["random"], "seeds": 1, "seed": 0, "rounds": 1, "workdir": "x", "learning_rate": 1e-3}


def workdir(path: Path, seeds=(0,), flags=(), data="abc", acq="random") -> Path:
  path.mkdir()
  (path / "config.json").write_text(json.dumps({"flags": {**FLAGS, **dict(flags)}, "data_sha256": data}))
  rows = [
    {"acq": acq, "seed": seed, "round": r, "num_labeled": 10 + r, "test_accuracy": 0.5 + 0.1 * r}
    for seed in seeds
    for r in range(2)
  ]
  (path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return path


def test_rows_of_all_workdirs_are_gathered(tmp_path):
  first = workdir(tmp_path / "a", seeds=(0, 1))
  second = workdir(tmp_path / "b", seeds=(2,), flags={"seed": 2, "seeds": 3, "workdir": "y"})
  (second / "full_data.json").write_text('[{"seed": 2, "test_accuracy": 0.9}]')
  rows, full_data = report.gather([first, second])
  assert [row["seed"] for row in rows] == [0, 0, 1, 1, 2, 2] and full_data == [{"seed": 2, "test_accuracy": 0.9}]


def test_a_row_that_a_kill_cut_short_is_left_out_and_left_there(tmp_path):
  path = workdir(tmp_path / "a") / "results.jsonl"
  torn = path.read_text()[:-9]
  path.write_text(torn)
  assert len(report.gather([path.parent])[0]) == 1 and path.read_text() == torn


@pytest.mark.parametrize(
  ("spoil", "sentence"),
  [
    (lambda a, b: (b / "results.jsonl").unlink(), "b holds no results.jsonl"),
    (lambda a, b: (b / "config.json").write_text("{"), "config.json is damaged"),
    (lambda a, b: (b / "results.jsonl").write_text('{"acq": 1}\n'), "results.jsonl is damaged in line 1"),
    (lambda a, b: (b / "results.jsonl").write_text((a / "results.jsonl").read_text()), "both hold random, seed 0"),
  ],
)
def test_damaged_and_doubled_workdirs_are_refused(spoil, sentence, tmp_path):
  a, b = workdir(tmp_path / "a"), workdir(tmp_path / "b", seeds=(1,))
  spoil(a, b)
  with pytest.raises(UsageError, match=sentence):
    report.gather([a, b])


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    ({"flags": {"learning_rate": 1.0}}, "b is of another study than .*a: learning_rate is 1.0, not 0.001"),
    ({"data": "xyz"}, "the data is xyz, not abc"),
  ],
)
def test_workdirs_of_two_studies_are_refused(changes, sentence, tmp_path):
  with pytest.raises(UsageError, match=sentence):
    report.gather([workdir(tmp_path / "a"), workdir(tmp_path / "b", seeds=(1,), **changes)])


def test_the_program_says_what_is_wrong_in_one_sentence(tmp_path):
  assert run(sys.executable, "-m", "experiments.report", expect=1) == "error: name one workdir or more\n"
  message = run(sys.executable, "-m", "experiments.report", str(tmp_path), expect=1)
  assert message.startswith("error: ") and message.count("\n") == 1


def test_an_array_job_is_requeued_and_reported_as_one_study(tmp_path):
  """With a stand-in for srun that runs what it is given."""
  srun = tmp_path / "srun"
  srun.write_text('#!/bin/sh\nexec "$@"\n')
  srun.chmod(0o755)
  study = tmp_path / "study"
  plan = ("--dataset=digits", "--model=mlp", "--acq=random,margin", "--rounds=1", "--train_steps=5")
  job = {"STUDY": str(study), "SEEDS_PER_TASK": "2", "SLURM_SUBMIT_DIR": str(ROOT), "PYTHON": sys.executable}
  job |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
  for task in ("0", "1"):
    run("bash", "experiments/slurm.sh", *plan, SLURM_ARRAY_TASK_ID=task, **job)
  rows = study / "task001" / "results.jsonl"
  whole = rows.read_text()
  rows.write_text("".join(whole.splitlines(keepends=True)[:5]))
  assert "compiled in" in run("bash", "experiments/slurm.sh", *plan, SLURM_ARRAY_TASK_ID="1", **job)  # requeued
  after = [untimed(row) for row in read(study / "task001")]
  assert after == [untimed(json.loads(line)) for line in whole.splitlines()]
  assert sorted({row["seed"] for row in after}) == [2, 3]

  printed = run(sys.executable, "-m", "experiments.report", *map(str, sorted(study.iterdir())), f"--out={study}")
  assert "│ margin      │     4 │" in printed and (study / "learning_curve.png").exists()
