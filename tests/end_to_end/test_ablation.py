"""The ablation program: its rows equal the main program's, and it completes unfinished studies."""

import jax
import numpy as np
import pytest

from al_jax import oracle
from experiments import data as data_sources
from tests.support.programs import read
from tests.support.programs import untimed

pytestmark = pytest.mark.slow

SMALL = ("--dataset=digits", "--model=mlp", "--rounds=2", "--train_steps=10")


@pytest.fixture
def ablate(program):
  """`(*flags, main="ablation")` runs a small study and returns what it printed."""
  return lambda *flags, main="ablation": program.run(f"experiments.{main}", *SMALL, *flags)


def in_order(rows):
  return sorted(map(untimed, rows), key=lambda row: (row["acq"], row["seed"], row["round"]))


def test_an_ablation_writes_the_rows_of_the_main_program_and_completes_what_is_missing(tmp_path, ablate):
  flags = (f"--workdir={tmp_path / 'packed'}", "--seeds_per_program=2", "--cpu_devices=2")
  printed = ablate("--acq=margin", "--seeds=3", *flags)
  assert printed.count("compiled in") == 1, "the last, smaller group is another program"
  rows = read(tmp_path / "packed")
  assert [(row["seed"], row["round"]) for row in rows] == [(seed, r) for seed in range(3) for r in range(3)]
  assert all(row["seconds_total"] > 0 and row["seconds_train"] is None for row in rows)
  assert (tmp_path / "packed" / "learning_curve.png").exists() and "area under the curve" in printed

  # A kill lost the last seed and most rows of the second one; then the study gets one more seed and strategy.
  lines = (tmp_path / "packed" / "results.jsonl").read_bytes().splitlines(keepends=True)
  (tmp_path / "packed" / "results.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:30])
  ablate("--acq=random,margin", "--seeds=4", *flags, "--resume")
  after = read(tmp_path / "packed")
  assert len({(row["acq"], row["seed"], row["round"]) for row in after}) == len(after) == 2 * 4 * 3
  assert in_order(row for row in after if row["acq"] != "random" and row["seed"] < 3) == in_order(rows)

  ablate("--acq=random,margin", "--seeds=2", f"--workdir={tmp_path / 'main'}", main="mnist")
  assert in_order(read(tmp_path / "main")) == in_order(row for row in after if row["seed"] < 2)


def test_a_grid_is_one_program_with_its_values_in_the_rows(tmp_path, ablate):
  flags = ("--acq=entropy", "--seeds=2", "--vmap_over=learning_rate=1e-3,1e30", f"--workdir={tmp_path}")
  flags += ("--val_size=40", "--early_stop=2", "--eval_every=5", "--pack=vmap")
  printed = ablate(*flags)
  rows = read(tmp_path)
  assert "waiting for the slowest run" in printed and printed.count("compiled in") == 1
  good = [row for row in rows if row["hyper"] == {"learning_rate": 1e-3}]
  bad = [row for row in rows if row["hyper"] == {"learning_rate": 1e30}]
  assert len(good) == 6 and [row["seed"] for row in bad] == [0, 1] and all("error" in row for row in bad)
  assert "entropy [learning_rate=0.001]" in printed and "stopped in round 0" in printed
  assert "compiled in" not in ablate(*flags, "--resume"), "a run that failed is not run again"


def test_an_oracle_that_errs_gives_every_program_the_same_answers(tmp_path, ablate):
  flags = ("--acq=random,margin", "--seeds=2", "--val_size=40")
  ablate(*flags, "--vmap_over=label_noise=0,0.3", f"--workdir={tmp_path / 'grid'}")
  rows = read(tmp_path / "grid")
  ablate(*flags, "--label_noise=0.3", f"--workdir={tmp_path / 'main'}", main="mnist")
  noisy = [{k: v for k, v in row.items() if k != "hyper"} for row in rows if row["hyper"] == {"label_noise": 0.3}]
  assert len(noisy) == 12 and in_order(noisy) == in_order(read(tmp_path / "main"))
  data = data_sources.load("digits")
  wrong = []
  for row in rows:
    answers = oracle.noisy_labels(jax.random.key(row["seed"]), data, row["hyper"]["label_noise"])
    assert row["selected_labels"] == answers[np.array(row["selected"], int)].tolist()
    if row["hyper"]["label_noise"]:
      wrong += [a != b for a, b in zip(row["selected_labels"], data.labels[row["selected"]], strict=True)]
  assert len(wrong) == 80 and abs(np.mean(wrong) - 0.3) < 4 * np.sqrt(
    0.3 * 0.7 / 40
  )  # strategies may acquire the same rows
