"""The benchmark of packing and precision: shares of synthetic ids, and small runs compared with themselves."""

import dataclasses
import json

import numpy as np
import pytest

from al_jax import posterior
from al_jax import types
from al_jax.sweep import Runs
from experiments import bench
from experiments.benchmarks import agreement as bench_agreement
from experiments.common.console import Display
from experiments.common.errors import UsageError

pytestmark = pytest.mark.usefixtures("fast_compilation")

NOTHING = [-1] * 4
TINY = ["--suite=agreement", "--seeds=2", "--rounds=2", "--train_steps=3"]
AGREEMENT = bench_agreement.Agreement(
  initial=3 / 4, places=[5 / 8, 5 / 8], batches=[7 / 8, 5 / 8], run=13 / 16, accuracy=0.25
)


def made_runs(initial, selected, accuracies):
  """Synthetic runs: diagnostics with ids and accuracies only."""
  measured = types.Metrics(np.float32(accuracies), None, None, None, None)
  return Runs(np.int32(initial), types.RoundInfo(None, measured, None, np.int32(selected), None))


# Two runs of two batches. In its first run, `OTHER` swaps two places, then acquires one different image; in its second
# run, it acquires image 14 one round later.
ONE = made_runs(
  [[1, 2], [3, 4]],
  [[[1, 2, 3, 4], [5, 6, 7, 8], NOTHING], [[11, 12, 13, 14], [15, 16, 17, 18], NOTHING]],
  [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]],
)
OTHER = made_runs(
  [[1, 2], [3, 5]],
  [[[1, 2, 4, 3], [5, 6, 7, 0], NOTHING], [[11, 12, 13, 20], [15, 16, 14, 21], NOTHING]],
  [[0.5, 0.5, 0.625], [0.5, 0.25, 0.5]],
)


def test_shares_of_made_ids():
  assert bench_agreement.agreement(ONE, OTHER) == AGREEMENT
  assert bench_agreement.agreement(OTHER, ONE) == AGREEMENT
  assert bench_agreement.agreement(ONE, ONE) == (1, [1, 1], [1, 1], 1, 0)


def test_the_table_of_made_shares():
  table = bench_agreement.table([{"acquisition": "margin", "way": "vmap"} | AGREEMENT._asdict()])
  cells = [next(iter(column.cells)) for column in table.columns]
  assert cells == ["margin", "vmap", "62.5%", "87.5%", "62.5%", "75.0%", "81.2%", "0.250 at most"]


@pytest.fixture
def small(monkeypatch, model, data):
  """A network that compiles quickly, and few digits."""
  monkeypatch.setattr(bench_agreement, "CNN", type(model))
  monkeypatch.setattr(bench_agreement.data_sources, "load", lambda name: data)


@pytest.mark.slow
def test_runs_agree_with_themselves_and_not_with_longer_ones(small, monkeypatch, tmp_path, capsys):
  again, longer = (bench_agreement.REFERENCE._replace(name=name) for name in ("again", "longer"))
  make = bench_agreement.make_learner

  def learner(name, plan, variant):
    steps = 3 * plan.train.steps if variant == longer else plan.train.steps
    return make(name, dataclasses.replace(plan, train=types.TrainPlan(steps=steps)), variant)

  monkeypatch.setattr(bench_agreement, "OTHERS", (again, longer))
  monkeypatch.setattr(bench_agreement, "make_learner", learner)
  out = tmp_path / "agreement.json"
  bench.main(["bench", *TINY, "--acq=margin", f"--out={out}"])
  raw = json.loads(out.read_text())
  assert set(raw) == {"command", "machine", "plan", "agreements"}
  assert raw["plan"]["dataset"] == "digits"
  assert [raw["plan"][name] for name in ("seeds", "rounds", "train_steps", "acq_size")] == [2, 2, 3, 10]
  same, different = raw["agreements"]
  assert same == {
    "acquisition": "margin",
    "way": "again",
    "initial": 1.0,
    "places": [1.0, 1.0],
    "batches": [1.0, 1.0],
    "run": 1.0,
    "accuracy": 0.0,
  }
  assert different["initial"] == 1 and max(different["places"]) < 1 and different["accuracy"] > 0
  printed = capsys.readouterr().out
  assert "initial sets: 100% of the ids equal" in printed
  assert "margin, again: 100.0% of the first batch and 100.0% of the run" in printed and "at most" in printed


def test_what_is_measured_is_written_and_printed(monkeypatch, tmp_path, capsys):
  """Replaces computed runs by synthetic ones: the packed runs are `OTHER` with the initial sets of `ONE`."""
  made = {"map": ONE, "vmap": OTHER._replace(initial=ONE.initial)}
  monkeypatch.setattr(bench_agreement, "sweep", lambda keys, data, learners, pack: (made[pack],))
  out = tmp_path / "agreement.json"
  bench.main(["bench", *TINY, "--acq=margin", f"--out={out}"])
  raw = json.loads(out.read_text())
  assert set(raw) == {"command", "machine", "plan", "agreements"} and raw["plan"]["dataset"] == "digits"
  assert [raw["plan"][name] for name in ("seeds", "rounds", "train_steps", "acq_size")] == [2, 2, 3, 10]
  by_vmap, by_bfloat16 = raw["agreements"]
  assert by_vmap == {"acquisition": "margin", "way": "vmap"} | AGREEMENT._replace(initial=1)._asdict()
  assert (by_bfloat16["way"], by_bfloat16["run"], by_bfloat16["accuracy"]) == ("bfloat16", 1, 0)
  printed = capsys.readouterr().out
  assert "initial sets: 100% of the ids equal" in printed
  assert "margin, vmap: 87.5% of the first batch and 81.2% of the run" in printed and "at most" in printed


def test_a_way_is_a_packing_and_a_precision():
  plan = types.Plan(20, 10, 2, types.TrainPlan(steps=3))
  variants = (bench_agreement.REFERENCE, *bench_agreement.OTHERS)
  made = {variant.name: bench_agreement.make_learner("bald", plan, variant) for variant in variants}
  assert {name: learner.plan.score_dtype for name, learner in made.items()} == {
    "map": "float32",
    "vmap": "float32",
    "bfloat16": "bfloat16",
  }
  assert made["vmap"].posterior == posterior.mc_dropout(bench_agreement.SAMPLES)
  assert [variant.pack for variant in variants] == ["map", "vmap", "map"]


def test_other_initial_sets_are_a_fault(monkeypatch):
  made = {"map": ONE, "vmap": OTHER}
  monkeypatch.setattr(bench_agreement, "sweep", lambda keys, data, learners, pack: (made[pack],))
  sizes = {"seeds": 2, "rounds": 2, "train_steps": 3, "chunk_size": 50}
  with pytest.raises(RuntimeError, match=r"margin by vmap starts from other initial sets: 75\.0%"):
    bench_agreement.run(Display(3), names=["margin"], **sizes)


def test_more_labels_than_digits_are_refused():
  sizes = {"seeds": 1, "rounds": 128, "train_steps": 3, "chunk_size": 50}
  with pytest.raises(UsageError, match="= 1300, but the pool holds 1297"):
    bench_agreement.run(Display(1), names=["random"], **sizes)
