"""The ablation program: groups of runs, what fits, what is missing, and the command line end to end."""

import re
import sys

import jax
import numpy as np
import pytest

from al_jax import acquisition
from al_jax import loop
from al_jax import oracle
from al_jax import types
from experiments import data as data_sources
from experiments.analysis import grid
from experiments.common.errors import UsageError
from experiments.runs import build
from experiments.runs import scan_driver
from experiments.runs.workdir import Workdir
from tests.experiments.config.test_acquisitions import config
from tests.support.programs import read
from tests.support.programs import run
from tests.support.programs import untimed

SMALL = ("--dataset=digits", "--model=mlp", "--rounds=2", "--train_steps=30", "--mc_samples=3")


def ablate(*flags, program="ablation", expect=0):
  return run(sys.executable, "-m", f"experiments.{program}", *SMALL, *flags, expect=expect)


def in_order(rows):
  return sorted(map(untimed, rows), key=lambda row: (row["acq"], row["seed"], row["round"]))


def test_an_ablation_writes_the_rows_of_the_main_program_and_completes_what_is_missing(tmp_path):
  flags = ("--acq=random,power_bald", f"--workdir={tmp_path / 'packed'}", "--seeds_per_program=2", "--cpu_devices=2")
  printed = ablate(*flags, "--seeds=3")
  assert printed.count("compiled in") == 1, "the last, smaller group is another program"
  rows = read(tmp_path / "packed")
  assert [(r["seed"], r["acq"], r["round"]) for r in rows] == [
    (seed, acq, r) for seed in range(3) for acq in ("random", "power_bald") for r in range(3)
  ]
  assert all(row["seconds_total"] > 0 and row["seconds_train"] is None for row in rows)
  assert (tmp_path / "packed" / "learning_curve.png").exists() and "area under the curve" in printed

  ablate("--acq=random,power_bald", "--seeds=2", f"--workdir={tmp_path / 'main'}", program="mnist")
  assert in_order(read(tmp_path / "main")) == in_order(row for row in rows if row["seed"] < 2)

  # A kill that lost the last seed and half of the second one's rows; then a seed and a strategy more.
  lines = (tmp_path / "packed" / "results.jsonl").read_bytes().splitlines(keepends=True)
  (tmp_path / "packed" / "results.jsonl").write_bytes(b"".join(lines[:10]) + lines[10][:30])
  ablate("--acq=random,power_bald,margin", "--seeds=4", *flags[1:], "--resume")
  after = read(tmp_path / "packed")
  assert len({(r["acq"], r["seed"], r["round"]) for r in after}) == len(after) == 3 * 4 * 3
  earlier = [row for row in after if row["acq"] != "margin" and row["seed"] < 3]
  assert in_order(earlier) == in_order(rows)


def test_a_grid_is_one_program_with_its_values_in_the_rows(tmp_path):
  flags = ("--acq=entropy", "--seeds=2", "--vmap_over=learning_rate=1e-3,1e30", f"--workdir={tmp_path}")
  flags += ("--val_size=40", "--early_stop=2", "--eval_every=5", "--pack=vmap")
  printed = ablate(*flags)
  rows = read(tmp_path)
  assert "seeds waited for the slowest during" in printed and printed.count("compiled in") == 1
  good = [row for row in rows if row["hyper"] == {"learning_rate": 1e-3}]
  bad = [row for row in rows if row["hyper"] == {"learning_rate": 1e30}]
  assert len(good) == 6 and [row["seed"] for row in bad] == [0, 1] and all("error" in row for row in bad)
  assert "entropy [learning_rate=0.001]" in printed and "stopped in round 0" in printed
  assert "compiled in" not in ablate(*flags, "--resume"), "a run that failed is not run again"


def test_an_oracle_that_errs_gives_every_program_the_same_answers(tmp_path):
  flags = ("--acq=random,margin", "--seeds=2", "--val_size=40")
  ablate(*flags, "--vmap_over=label_noise=0,0.3", f"--workdir={tmp_path / 'grid'}")
  rows = read(tmp_path / "grid")
  for rate in (0.0, 0.3):
    ablate(*flags, f"--label_noise={rate}", f"--workdir={tmp_path / str(rate)}", program="mnist")
    of_rate = [{k: v for k, v in row.items() if k != "hyper"} for row in rows if row["hyper"] == {"label_noise": rate}]
    assert len(of_rate) == 12 and in_order(of_rate) == in_order(read(tmp_path / str(rate)))
  data = data_sources.load("digits")
  wrong = []
  for row in rows:
    answers = oracle.answers(jax.random.key(row["seed"]), data, row["hyper"]["label_noise"])
    assert row["selected_labels"] == answers[np.array(row["selected"], int)].tolist()
    if row["hyper"]["label_noise"]:
      wrong += [a != b for a, b in zip(row["selected_labels"], data.labels[row["selected"]], strict=True)]
  assert len(wrong) == 80 and abs(np.mean(wrong) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 40)  # a strategy may buy the other's


@pytest.fixture(scope="module", autouse=True)
def quick(fast_compilation):
  """Programs of this process are compiled without optimisations too."""


@pytest.fixture(scope="module")
def data():
  return data_sources.load("digits")


def study(tmp_path, **changes):
  plan = {"acq": ("random", "entropy"), "dataset": "digits", "model": "mlp", "rounds": 1, "train_steps": 2}
  return config(**plan | {"seeds": 5, "driver": "scan", "workdir": str(tmp_path)} | changes)


def test_what_is_missing_is_grouped_by_strategy(tmp_path):
  asked = study(tmp_path, seeds=4)
  workdir = Workdir(asked, "hash")
  for acq, seed, rounds in (("random", 0, 2), ("entropy", 0, 2), ("random", 1, 2), ("entropy", 2, 1)):
    for r in range(rounds):
      workdir.append({"acq": acq, "seed": seed, "round": r})
  workdir.append({"acq": "random", "seed": 3, "round": 0, "error": "the loss was not finite"})
  groups = [(acqs, [job.seed for job in jobs]) for acqs, jobs in scan_driver.missing(asked, workdir)]
  assert groups == [(["entropy"], [1, 3]), (["random", "entropy"], [2])]


def jobs(num):
  return [scan_driver.Job(seed, ()) for seed in range(num)]


def fit(asked, data, num=5):
  learners = build.learners(asked, 10)
  return scan_driver.fitting(asked, data, learners, jobs(num))


def test_as_many_seeds_as_fit_the_memory(tmp_path, data, monkeypatch):
  plan = {"pack": "vmap", "acq": ("entropy",)}
  asked = study(tmp_path, **plan)
  need = {num: scan_driver.compile_for(asked, data, build.learners(asked, 10), jobs(num)) for num in (1, 2, 5)}
  assert need[5].bytes > need[2].bytes > need[1].bytes
  assert fit(asked, data).size == 5
  monkeypatch.setattr(scan_driver, "free_bytes", lambda: 1.2 * need[2].bytes)
  assert 1 <= fit(asked, data).size <= 3
  with pytest.raises(UsageError, match=r"a program of 5 runs needs .* give fewer --seeds_per_program"):
    fit(study(tmp_path, **plan, seeds_per_program=5), data)
  monkeypatch.setattr(scan_driver, "free_bytes", lambda: 1000)
  with pytest.raises(UsageError, match=r"a program of 1 runs needs .* smaller --chunk_size"):
    fit(asked, data)


def test_packed_by_map_a_program_is_of_one_seed_unless_told(tmp_path, data):
  assert fit(study(tmp_path), data).size == 1
  assert fit(study(tmp_path, seeds_per_program=3), data).size == 3
  assert fit(study(tmp_path, seeds_per_program=30), data).size == 5
  assert scan_driver.free_bytes() > 2**26


def test_a_strategy_that_cannot_be_compiled_is_named(tmp_path, data, monkeypatch):
  def by_hand() -> types.Acquisition:
    return acquisition.from_score(lambda log_probs: float(log_probs.max()))

  monkeypatch.setitem(acquisition.REGISTRY, "by_hand", acquisition.Entry(by_hand, "", lambda **_: 0))
  asked = study(tmp_path, acq=("random", "by_hand"))
  with pytest.raises(UsageError, match=r"^by_hand cannot be compiled: ") as caught:
    fit(asked, data)
  assert "\n" not in str(caught.value)


def test_a_filled_up_group_gives_the_runs_of_its_own_seeds(tmp_path, data):
  asked = study(tmp_path, acq=("entropy",), seeds_per_program=3)
  program = fit(asked, data)
  (runs,), seconds = scan_driver.execute(program, data, jobs(2))
  _, info = loop.run(jax.random.key(1), data, next(iter(build.learners(asked, 10).values())))
  np.testing.assert_array_equal(runs.info.selected[1], info.selected)
  assert seconds > 0


@pytest.mark.parametrize(
  ("text", "sentence"),
  [
    (
      "lr=1",
      "'lr=1' is not NAME=VALUE,VALUE with NAME one of learning_rate, weight_decay, dropout_rate, label_noise,",
    ),
    ("learning_rate", "'learning_rate' is not NAME="),
    ("learning_rate=1e-3,fast", "learning_rate must be a number above 0, not 'fast'"),
    ("learning_rate=", "learning_rate must be a number above 0, not ''"),
    ("learning_rate=nan", "learning_rate must be a number above 0, not 'nan'"),
    ("dropout_rate=1", "dropout_rate must be a number in [0, 1), not '1'"),
    ("label_noise=1", "label_noise must be a number in [0, 1), not '1'"),
    ("weight_decay=-1", "weight_decay must be a number 0 or more, not '-1'"),
    ("coldness=1,1.0", "a value of coldness twice"),
    ("coldness=1;coldness=2", "names coldness twice"),
  ],
)
def test_grids_that_cannot_be_read(text, sentence):
  with pytest.raises(UsageError, match=re.escape(sentence)):
    grid.parse(text)


def test_grids_are_products():
  parsed = grid.parse("learning_rate=1e-3,3e-4; dropout_rate=0.25")
  assert parsed == (("learning_rate", (1e-3, 3e-4)), ("dropout_rate", (0.25,)))
  points = grid.points(parsed)
  assert points == [{"learning_rate": 1e-3, "dropout_rate": 0.25}, {"learning_rate": 3e-4, "dropout_rate": 0.25}]
  assert grid.points(grid.parse(None)) == [{}] and grid.spell(points[1]) == "learning_rate=0.0003, dropout_rate=0.25"


def test_the_last_seed_has_the_key_of_its_number():
  keys, _ = scan_driver._arguments([scan_driver.Job(seed, ()) for seed in (0, 2**31, 2**32 - 1)])
  for seed, key in zip((0, 2**31, 2**32 - 1), keys, strict=True):
    assert (jax.random.key_data(key) == jax.random.key_data(jax.random.key(seed))).all()
