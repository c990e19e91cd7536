"""Synthetic workdirs, as a run leaves them."""

import json
from pathlib import Path

FLAGS = {
  "acq": ["random", "margin"],
  "seeds": 3,
  "seed": 0,
  "rounds": 2,
  "acq_size": 10,
  "dataset": "digits",
  "workdir": "x",
  "optimizer": "adam",
  "learning_rate": 1e-3,
  "train_steps": 200,
  "warm_start": False,
  "val_size": 0,
}


def run(acq: str, seed: int, accuracies, *, first: int = 0, hyper: dict | None = None) -> list[dict]:
  """The rows of a run: one round per accuracy, 10 initial labels, 10 more per round, ids from `first` on."""
  last = len(accuracies) - 1
  rows = []
  for r, accuracy in enumerate(accuracies):
    ids = [] if r == last else [first + 10 * r + i for i in range(10)]
    row = {"acq": acq, "seed": seed, "round": r} | ({"hyper": hyper} if hyper else {})
    row |= {"num_labeled": 10 + 10 * r, "test_accuracy": accuracy, "test_nll": 1 - accuracy, "test_ece": 0.1}
    row |= {"val_accuracy": None, "selected": ids, "selected_scores": None, "selected_labels": [i % 5 for i in ids]}
    row |= {"train_steps": 200, "seconds_train": 1.0, "seconds_acquire": 0.5, "seconds_eval": 0.5}
    rows.append(
      row | {"seconds_total": 2.0, "peak_bytes": 2**20 * (100 + r)} | ({"initial": [900 + seed]} if r == 0 else {})
    )
  return rows


def error(acq: str, seed: int, r: int) -> dict:
  """A row that ends a run."""
  return {"acq": acq, "seed": seed, "round": r, "error": "the loss was not finite at step 3 of 200"}


def workdir(
  path: Path, rows: list[dict], flags=(), data: str = "abc", full_data: float | None = None, **config
) -> Path:
  """Writes a workdir's files; `full_data` is an accuracy, `config` has more entries of config.json."""
  path.mkdir()
  content = {"flags": {**FLAGS, **dict(flags)}, "data_sha256": data, **config}
  (path / "config.json").write_text(json.dumps(content))
  (path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  if full_data is not None:
    (path / "full_data.json").write_text(json.dumps([{"seed": 0, "test_accuracy": full_data}]))
  return path


def three_seeds() -> list[dict]:
  """Rows of random and margin on seeds 0, 1 and 2: equal in round 0, then margin is above random, by a growing gap."""
  rows = []
  for seed in range(3):
    rows += run("random", seed, (0.5 + 0.01 * seed, 0.6, 0.7), first=500 * seed)
    rows += run("margin", seed, (0.5 + 0.01 * seed, 0.7, 0.8 + 0.01 * seed), first=500 * seed + 5)
  return rows
