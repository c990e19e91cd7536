"""The report from the command line, and an array job whose workdirs it gathers."""

import json
import os
import sys

import pytest

from tests.support import studies
from tests.support.programs import ROOT
from tests.support.programs import read
from tests.support.programs import run
from tests.support.programs import untimed

pytestmark = pytest.mark.slow


def test_the_program_writes_a_report_without_jax(tmp_path):
  folder = studies.workdir(tmp_path / "a", studies.three_seeds())
  code = (
    "import sys\nfrom absl import app\nfrom experiments import report\n"
    "try:\n  app.run(report.main)\nfinally:\n  print('jax' in sys.modules, 'al_jax' in sys.modules)"
  )
  printed = run(sys.executable, "-c", code, str(folder))
  assert "│ margin      │     3 │" in printed and f"report in {folder}/report/report.html" in printed
  assert printed.endswith("False False\n")
  written = {path.name for path in (folder / "report").iterdir()}
  assert {"report.md", "report.html", "learning_curve.png", "learning_curve.svg"} <= written


def test_an_array_job_is_requeued_and_reported_as_one_study(tmp_path, program):
  """Uses a stand-in for srun that runs its arguments."""
  srun = tmp_path / "srun"
  srun.write_text('#!/bin/sh\nexec "$@"\n')
  srun.chmod(0o755)
  folder = tmp_path / "study"
  plan = ("--dataset=digits", "--model=mlp", "--acq=random,margin", "--rounds=1", "--train_steps=5")
  job = {"STUDY": str(folder), "SEEDS_PER_TASK": "1", "SLURM_SUBMIT_DIR": str(ROOT), "PYTHON": sys.executable}
  job |= {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
  task = lambda: run("bash", "experiments/slurm.sh", *plan, SLURM_ARRAY_TASK_ID="1", **job)
  task()
  rows = folder / "task001" / "results.jsonl"
  whole = rows.read_text()
  rows.write_text("".join(whole.splitlines(keepends=True)[:1]))
  assert "compiled in" in task()  # requeued
  after = [untimed(row) for row in read(folder / "task001")]
  assert after == [untimed(json.loads(line)) for line in whole.splitlines()]
  assert sorted({row["seed"] for row in after}) == [1]

  # The command of task 0, as in the script.
  own = ("--seed=0", "--seeds=1", f"--workdir={folder / 'task000'}", "--resume")
  program.run("experiments.ablation", *plan, *own)
  printed = program.run("experiments.report", *map(str, sorted(folder.iterdir())), f"--out={folder}")
  assert "│ margin      │     2 │" in printed and (folder / "report.html").exists()
