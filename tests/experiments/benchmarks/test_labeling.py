"""The replays of labeling sessions: what they train on, and the measurements made of them."""

import json

import jax
import numpy as np
import pytest

from experiments import bench
from experiments.benchmarks import heads_data
from experiments.benchmarks import labeling
from experiments.benchmarks import labeling_replays
from experiments.benchmarks.flags import parse
from experiments.common.errors import UsageError
from experiments.labeling import audit

pytestmark = pytest.mark.usefixtures("fast_compilation")

ROUNDS, POOL, TOTAL, CLASSES = 3, 80, 400, 3
LABELS = labeling_replays.labels_of(ROUNDS + 1)


def clusters(num: int) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  labels = rng.integers(0, CLASSES, num).astype(np.int32)
  return (rng.normal(size=(num, 4)) + 2 * np.eye(4)[labels]).astype(np.float32), labels


@pytest.fixture(scope="module")
def program():
  return labeling_replays.replayed(CLASSES, pool=POOL, rounds=ROUNDS)


def test_a_replay_learns_nothing_from_audit_images_and_images_outside_the_folder(program):
  features, labels = clusters(TOTAL)
  seeds = np.arange(2, dtype=np.uint32)
  first = jax.device_get(program(seeds, features, labels))
  assert first.right.shape == (2, ROUNDS + 1, POOL // 10)
  order = np.asarray(jax.random.permutation(jax.random.split(jax.random.key(0), 4)[0], TOTAL))
  untouched = np.concatenate([order[: POOL // 10], order[POOL:]])
  other = labels.copy()
  other[untouched] = (labels[untouched] + 1) % CLASSES
  second = jax.device_get(program(seeds[:1].repeat(2), features, other))
  assert (second.predictions[0] == second.predictions[1]).all()
  assert (second.predictions[0] == first.predictions[0]).all()
  of_audit = first.predictions[0, :, : POOL // 10]  # the first images of the folder
  assert (first.right[0] == (of_audit == labels[order[: POOL // 10]])).all()
  assert (second.right[0] == (of_audit == other[order[: POOL // 10]])).all()
  assert np.mean(first.source) > 0.8 > 0.4 > np.mean(second.source[0])


def sessions(right: np.ndarray, source: np.ndarray, labels: np.ndarray, kappas=None) -> labeling.Sessions:
  return labeling.Sessions(labels, right, source, source, kappas or {})


def constant(share: float, replays: int, answers: int, labels: np.ndarray) -> labeling.Sessions:
  """Sessions in which every model is equally accurate."""
  draws = np.random.default_rng(0).random((replays, 1, answers)) < share
  right = np.broadcast_to(draws, (replays, len(labels), answers))
  return sessions(right, np.full((replays, len(labels)), share), labels)


def test_audit_answers_come_at_their_share_of_all_answers():
  found = constant(0.9, 1, 60, np.array([9, 17, 18, 90, 900]))
  assert labeling.answered(found, 0.1).tolist() == [1, 1, 2, 10, 60]
  assert labeling.answered(found, 0.5).tolist() == [9, 17, 18, 60, 60]


def test_right_answers_are_counted_among_those_given():
  right = np.array([[[1, 0, 1, 1], [1, 1, 1, 0]]], bool)
  found = sessions(right, np.ones((1, 2)), np.array([1, 3]))
  assert labeling.right_of(found, np.array([1, 3])).tolist() == [[1, 3]]


def test_coverage_of_a_model_that_does_not_change_is_that_of_its_interval():
  found = constant(0.9, 400, 200, np.arange(20, 220, 20))
  any_time, fixed = (labeling.coverage(found, interval, 0.5, [0.85, 0.95]) for interval in labeling.INTERVALS.values())
  assert any_time["answers"] == [120, 200]
  assert any_time["always"] >= 0.95 and any_time["last"] >= any_time["always"]
  assert fixed["last"] >= 0.93 > fixed["always"]
  assert any_time["width"] > fixed["width"]
  low, high = any_time["stops"]
  assert low["stopped"] > 0 and low["true"] == 1 and low["accuracy"] == 0.9
  assert high["stopped"] <= 0.05 and (high["true"] is None or high["true"] == 0)


def test_a_session_stops_at_the_first_model_whose_lower_end_reaches_the_target():
  labels = np.array([50, 100, 150])
  found = sessions(np.ones((2, 3, 200), bool), np.array([[0.8, 0.94, 0.99]] * 2), labels)
  (stop,) = labeling.coverage(found, audit.fixed_time, 0.5, [0.95])["stops"]  # 72 answers suffice
  assert stop == {"target": 0.95, "stopped": 1, "labels": 100, "true": 0, "covered": 0, "accuracy": 0.94}


def test_forecasts_are_compared_with_the_first_model_that_reaches_the_target():
  labels = np.arange(20, 420, 20)
  errors = 0.3 * (labels / 20) ** -0.8
  right = np.random.default_rng(0).random((40, 1, 400)) > errors[:, None]
  found = sessions(right, np.tile(1 - errors, (40, 1)), labels)
  row = labeling.forecasts(found, 0.5, 0.96, 0.5, pool=5000)
  assert row["needed"] == labels[errors <= 0.04][0] == 260
  assert row["replays"] == 40 and row["no_range"] == 0
  assert row["inside"] > 0.7 and row["low"] < 1 < row["high"] and row["error"] < 0.5
  assert row["inside"] + row["too_many"] + row["too_few"] == pytest.approx(1)
  early = labeling.forecasts(found, 0.5, 0.9, 0.5, pool=5000)
  assert (early["replays"], early["no_range"]) == (40, 40) and "inside" not in early


def test_predictions_stabilize_at_the_model_that_completes_the_rule():
  kappas = {1: np.array([[0.9, 0.99, 0.99, 0.995], [0.9, 0.9, 0.9, 0.9]])}
  source = np.array([[0.5, 0.6, 0.7, 0.8, 0.9]] * 2)
  found = sessions(np.ones((2, 5, 1), bool), source, np.array([20, 30, 40, 50, 60]), kappas)
  row = labeling.settling(found, 1)
  assert row["fired"] == 0.5 and row["labels"] == [60, 60, 60]
  assert row["accuracy"] == pytest.approx(0.9) and row["gain"] == pytest.approx(0)


def test_the_suite_writes_what_it_prints(program, monkeypatch, tmp_path, capsys):
  monkeypatch.setattr(heads_data, "synthetic_rows", lambda pool, test: [*clusters(TOTAL), None, None])
  monkeypatch.setattr(labeling_replays, "replayed", lambda classes, *, pool, rounds: program)
  monkeypatch.setattr(labeling, "CHUNK", 2)
  out = tmp_path / "out.json"
  sizes = [f"--pool={POOL}", f"--rounds={ROUNDS}", "--seeds=3"]
  bench.main(["bench", "--suite=labeling", *sizes, "--targets=0.3,0.9", f"--out={out}"])
  raw = json.loads(out.read_text())
  assert raw["plan"] == {"pool": POOL, "rounds": ROUNDS, "replays": 3}
  assert raw["labels"] == LABELS.tolist() == [20, 30, 40, 50]
  assert len(raw["accuracy"]) == ROUNDS + 1 and len(raw["coverage"]) == 4 and len(raw["forecasts"]) == 8
  printed = capsys.readouterr().out
  for title in ("95% intervals", "Stopping when", "Labels needed", "Stabilized predictions"):
    assert title in printed


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--targets=0.9,95"], "--targets=0.9,95 must be accuracies between 0 and 1"),
    (["--targets=high"], "--targets=high must be accuracies"),
    (["--pool=100,200"], "--pool=100,200 gives several sizes, but --suite=labeling takes one"),
    (["--seeds=0"], "--seeds=0 leaves --suite=labeling without a run"),
    (["--features=x.npy,y.npy"], "--features needs --dataset"),
    (["--epochs=3"], "--epochs applies to --suite=heads, not to --suite=labeling"),
  ],
)
def test_mistakes(flags, sentence):
  with pytest.raises(UsageError, match=sentence):
    parse(["bench", "--suite=labeling", *flags])


def test_targets_are_refused_elsewhere():
  with pytest.raises(UsageError, match="--targets applies to --suite=labeling, not to --suite=heads"):
    parse(["bench", "--suite=heads", "--targets=0.9"])


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--pool=100", "--rounds=10"], "--rounds=10 needs 120 labels, but --pool=100 has fewer"),
    (["--pool=300"], "--pool=300 needs as many images outside the folder, but there are 400"),
  ],
)
def test_too_few_images(flags, sentence, monkeypatch):
  monkeypatch.setattr(heads_data, "synthetic_rows", lambda pool, test: [*clusters(TOTAL), None, None])
  with pytest.raises(SystemExit, match=sentence):
    bench.main(["bench", "--suite=labeling", *flags])
