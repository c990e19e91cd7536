"""The form of a kept study: rows come back, with the digits that are kept, and damage is refused."""

import json

import numpy as np
import pytest

from experiments.analysis import kept
from experiments.analysis import records
from experiments.common.errors import UsageError
from tests.support import studies


def run(*args, **kwargs):
  """The rows of a run, with the digits that are kept."""
  return [row | {"test_nll": round(row["test_nll"], 3)} for row in studies.run(*args, **kwargs)]


def back(runs):
  """The rows that come back of packed runs, by way of JSON, and the parts of the file."""
  shared, lines = json.loads(json.dumps(kept.packed(runs)))
  unpacker = kept.Unpacker(shared)
  return [row for line in lines for row in unpacker.rows(line)], shared, lines


def rows(runs):
  return [row for run in runs for row in run]


def test_rows_come_back_and_what_runs_share_is_written_once():
  runs = [run(acq, seed, (0.5, 0.6, 0.7 + seed / 50), first=100 * seed) for seed in range(3) for acq in "ab"]
  runs[1] = [row | {"train_steps": 5 + row["round"], "seconds_total": 0.5} for row in runs[1]]
  found, shared, lines = back(runs)
  assert found == rows(runs)
  assert shared["shared"]["num_labeled"] == [10, 20, 30] and shared["initial"] == {"0": [900], "1": [901], "2": [902]}
  assert "selected_labels" not in lines[0]["rounds"] and "initial" not in lines[0]
  assert lines[1]["rounds"]["train_steps"] == [5, 6, 7] and lines[0]["rounds"]["train_steps"] == 200
  assert lines[1]["rounds"]["seconds_total"] == 0.5  # the value of all rounds


def test_labels_that_differ_between_runs_are_written_for_each():
  first, second = (run("a", seed, (0.5, 0.6, 0.7)) for seed in range(2))
  second[1] = second[1] | {"selected_labels": [4] * 10}  # as a noisy oracle answers
  found, shared, lines = back([first, second])
  assert found == [*first, *second] and "labels" not in shared and "selected_labels" in lines[0]["rounds"]


def test_an_initial_set_unlike_that_of_the_seed_is_written():
  first, second, third = (run(acq, 0, (0.5, 0.6)) for acq in "abc")
  second[0]["initial"] = [7]
  del third[0]["initial"]
  found, _, lines = back([first, second, third])
  assert found == [*first, *second, *third]
  assert ["initial" in line for line in lines] == [False, True, True]


def test_runs_of_any_length_failed_runs_and_grids_come_back():
  point = {"learning_rate": 0.1}
  runs = [
    run("a", 0, (0.5, 0.6, 0.7)),
    run("a", 1, (0.5,)),
    [*run("a", 2, (0.5, 0.6)), studies.error("a", 2, 2)],
    [studies.error("a", 3, 0)],
    [row | {"hyper": point} for row in run("a", 4, (0.5, 0.5, 0.5))],  # equal accuracies
    [studies.error("a", 5, 0) | {"hyper": point}],
  ]
  found, _, _ = back(runs)
  assert found == rows(runs)


@pytest.mark.parametrize("tested", [10_000, 360, 43, 9_999, 1_000_003])
def test_accuracies_keep_their_counts_and_other_numbers_three_digits(tested):
  right = np.random.default_rng(0).integers(0, tested + 1, 500)
  accuracies = [float(value) for value in (right / tested).astype(np.float32)]  # as a run writes them
  numbers = {"test_nll": 1.23456, "seconds_total": 0.00123456}
  found, _, lines = back([[row | numbers for row in run("a", 0, accuracies)]])
  kept_values = np.array([row["test_accuracy"] for row in found])
  np.testing.assert_array_equal(kept_values.astype(np.float32), np.float32(accuracies))
  np.testing.assert_array_equal(np.rint(kept_values * tested), right)
  assert {(row["test_nll"], row["seconds_total"]) for row in found} == {(1.23, 0.00123)}
  if tested == 10_000:
    assert max(len(str(value)) for value in lines[0]["rounds"]["test_accuracy"]) == 6


def test_a_run_that_lacks_a_round_is_refused():
  whole = run("a", 0, (0.5, 0.6, 0.7))
  for odd in ([whole[0], whole[2]], [whole[1], whole[0]], whole[1:]):
    with pytest.raises(UsageError, match="a, seed 0, has rounds"):
      kept.packed([odd])


@pytest.mark.parametrize("damage", [
  {"seed": None},
  {"seed": "0"},
  {"rounds": {}},
  {"rounds": []},
  {"rounds": {"test_nll": [1.0]}},
  {"rounds": {"test_accuracy": [0.5, 0.6], "selected": [[1], []], "test_nll": [1.0]}},
  {"rounds": {"test_accuracy": [0.5], "selected": [[77]]}},  # an id whose label is not known
  {"hyper": {"learning_rate": "0.1"}},
])  # fmt: skip
def test_damage_is_refused_with_its_line(damage, tmp_path):
  path = tmp_path / "study.jsonl"
  written = [row for seed in range(3) for acq in "ab" for row in run(acq, seed, (0.5, 0.6))]
  records.write_packed(path, {"full_data": []}, written)
  assert records.read_rows(path).rows == written
  lines = path.read_text().splitlines()
  lines[2] = json.dumps({k: v for k, v in (json.loads(lines[2]) | damage).items() if v is not None})
  path.write_text("\n".join(lines) + "\n")
  with pytest.raises(UsageError, match=r"study\.jsonl is damaged in line 3"):
    records.read_rows(path)


def test_a_thousand_runs_take_two_megabytes():
  random = np.random.default_rng(0)
  labels, runs = random.integers(0, 10, 60_000), []
  for seed in range(20):  # 2 kB per run, and what runs share
    for acq in ("margin", "power_bald"):
      ids, own_rows = random.choice(60_000, 200, replace=False), []
      for r in range(21):
        own = ids[10 * r : 10 * r + 10]
        numbers = {"test_accuracy": round(random.uniform(0.6, 0.95), 4), "test_nll": random.uniform(0.2, 1.5)}
        numbers |= {"test_ece": random.uniform(0.01, 0.2), "train_steps": int(random.integers(4, 12))}
        chosen = {"selected": own.tolist(), "selected_labels": labels[own].tolist()}
        row = {"acq": acq, "seed": seed, "round": r, "num_labeled": 20 + 10 * r, **numbers, "val_accuracy": None}
        own_rows.append(row | chosen | {"seconds_total": 0.012345} | ({"initial": ids[:20].tolist()} if r == 0 else {}))
      runs.append(own_rows)
  shared, lines = kept.packed(runs)
  size = lambda part: len(json.dumps(part, separators=(",", ":")))
  assert sum(map(size, lines)) / len(runs) < 1_850 and size(shared["labels"]) < 4 * 200 * len(runs)
