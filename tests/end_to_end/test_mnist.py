"""The main program, end to end on real digits, and its two drivers against each other."""

import dataclasses
import json
import re
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import acquisition
from al_jax import loop
from al_jax import rounds
from al_jax import types
from al_jax.types import Learner
from al_jax.types import Posterior
from al_jax.types import Protocol
from experiments import data as data_sources
from experiments.common.errors import UsageError
from experiments.data import idx_order
from experiments.data import splits
from experiments.runs import build
from experiments.runs import describe
from experiments.runs import pools
from experiments.runs import python_driver
from experiments.runs.rows import rows_of
from tests.conftest import ACQUISITIONS
from tests.experiments.config.test_acquisitions import config
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


class MLP(nn.Module):
  """Small and quick, with dropout."""

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.relu(nn.Dense(32)(x.reshape((x.shape[0], -1))))
    return nn.Dense(10)(nn.Dropout(0.2, deterministic=not train)(x))


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


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    ({"acq": ("bald",), "posterior": "deterministic"}, "bald: this acquisition compares posterior samples and has one"),
    ({"acq": ("bald",), "dropout_rate": 0.0}, "bald: MC dropout needs a network with dropout, and CNN drops nothing"),
    ({"pool_size": 5000}, "--pool_size=5000 is more than the 1297 training images of digits"),
    ({"pool_subset": 3}, "pool_subset=3 must lie between acq_size, 10"),
    ({"embedding": "nowhere.npy"}, "--embedding=nowhere.npy cannot be read"),
    ({"acq": ("epig(targets=2000)",)}, "epig(targets=2000): 2000 targets are more than the pool's 1297 images"),
    ({"model": "batchbald"}, "BatchBALDNet cannot take images of 8 x 8 x 1: a 5 x 5 convolution has no room in 2 x 2"),
    (
      {"init_ids": (3, 1297), "init_labels": 2, "init_file": "ids"},
      "--init_file=ids: initial id 1297 is not in the pool",
    ),
    ({"init_ids": (3, 4), "init_file": "ids"}, "--init_file=ids: 2 initial ids are given, but init_labels is 20"),
    (
      {"init_ids": (3, 3), "init_labels": 2, "init_file": "ids"},
      "--init_file=ids: initial id 3 is given more than once",
    ),
    ({"full_data": True, "init_ids": (3, 4), "init_file": "ids"}, "--init_file=ids: 2 initial ids are given"),
    ({"vmap_over": (("label_noise", (0.1, 1.0)),)}, "entropy: label_noise is a probability in [0, 1), not 1.0"),
  ],
)
def test_what_cannot_be_carried_out_is_told_in_one_sentence(changes, sentence):
  asked = config(dataset="digits", **changes)
  with pytest.raises(UsageError, match=re.escape(sentence)) as caught:
    build.check(asked, pools.apply(asked, data_sources.load("digits")))
  assert "\n" not in str(caught.value)


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


@pytest.fixture(scope="module", autouse=True)
def quick(fast_compilation):
  """Programs of this process are compiled without optimisations."""


@pytest.fixture(scope="module")
def data():
  digits = data_sources.load("digits")
  return jax.device_put(
    dataclasses.replace(digits, images=digits.images[:301], labels=digits.labels[:301])  # odd on purpose
  )


def learner(name, optimizer=None, **plan):
  plan = {"init_labels": 10, "acq_size": 7, "rounds": 3, "train_steps": 40, "batch_size": 16, "chunk_size": 64} | plan
  acquired = ACQUISITIONS[name]
  posterior = Posterior("dropout", 3) if "posterior" in acquired.needs else Posterior()
  return Learner(MLP(), optimizer or optax.adam(3e-3), acquired, Protocol(**plan), posterior)


def by_round(learner, data, done=(), seed=0):
  return list(python_driver.run_python("name", seed, data, learner, list(done), lambda *_: None))


def as_one(learner, data, seed=0):
  (runs,) = jax.device_get(loop.sweep(jax.random.key(seed)[None], data, (learner,), pack="map"))
  alone = jax.tree.map(lambda leaf: leaf[0], runs)
  initial, scored = alone.initial.tolist(), learner.acquisition.score is not None
  return list(rows_of("name", seed, alone.info, np.asarray(data.labels), initial, 0.5, {}, scored))


@pytest.mark.parametrize("plan", [{}, {"warm_start": True}, {"val_last": 0.2, "init_balanced": False}])
@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_resumed_run_continues_bit_for_bit(plan, kept, data):
  it = learner("entropy", **plan)
  whole = by_round(it, data)
  rest = by_round(it, data, done=whole[:kept])
  fields = ("round", "selected", "test_accuracy", "test_nll", "num_labeled", "val_accuracy")
  assert [[row[f] for f in fields] for row in rest] == [[row[f] for f in fields] for row in whole[kept:]]


def test_rows_of_another_seed_are_not_resumed(data):
  it = learner("entropy")
  with pytest.raises(UsageError, match="another initial set"):
    by_round(it, data, done=by_round(it, data)[:1], seed=1)


@pytest.mark.parametrize("driven", [by_round, as_one])
def test_scores_that_are_not_finite_are_told_from_none(driven, data):
  """A score of the first class's images is infinite, of the others not a number: neither is JSON."""
  top = lambda log_probs: jnp.where(log_probs.argmax() == 0, jnp.inf, jnp.nan)
  made = learner("entropy", rounds=1)._replace(acquisition=acquisition.from_score(top))
  first, last = driven(made, data)
  assert first["selected_scores"] == [None] * 7 and last["selected_scores"] is None
  json.dumps(first, allow_nan=False)
  assert driven(learner("random", rounds=1), data)[0]["selected_scores"] is None
  assert all(score > 0 for score in driven(learner("entropy", rounds=1), data)[0]["selected_scores"])


@pytest.mark.parametrize("driven", [by_round, as_one])
def test_a_loss_that_is_not_finite_ends_the_run_with_its_round_and_step(driven, data):
  (row,) = driven(learner("entropy", optimizer=optax.sgd(1e30)), data)
  assert row["round"] == 0 and "step" in row["error"]
  json.dumps(row, allow_nan=False)


def test_nothing_compiles_after_the_second_round(data):
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **__: compiled.append(event) if event == "/jax/core/compile/backend_compile_duration" else None
  )
  it = learner("margin", acq_size=5, rounds=4)
  counts = []
  for _ in python_driver.run_python("margin", 0, data, it, [], lambda *_: None):
    counts.append(len(compiled))
  assert counts[0] > 0, "the listener hears nothing"
  assert counts[1] == counts[-1] == counts[0], counts
  before = len(compiled)
  by_round(it, data, seed=1)
  assert len(compiled) == before


def test_the_blog_split_is_scikit_learns_of_the_concatenation(data, monkeypatch):
  from sklearn.model_selection import train_test_split

  digits = data_sources.load("digits")
  monkeypatch.setattr(idx_order, "to_idx_order", lambda it, name: it)
  out = splits.apply("blog", digits, "mnist")
  everything = np.concatenate([digits.images, digits.test_images])
  train, test = train_test_split(everything, test_size=0.33, random_state=42)
  np.testing.assert_array_equal(out.images, train)
  np.testing.assert_array_equal(out.test_images, test)
  assert len(out.labels) == len(train) and len(out.test_labels) == len(test)


def test_the_blogs_rows_trained_on_and_steps():
  held, kept = 18_760, 15_946  # floor(18,760 * 0.85); 499 batches of 32 and one of 2... ten epochs: 4,990 steps
  plan = Protocol(held, 100, 200, batch_size=32, epochs=10, val_last=0.15)
  state = types.ALState(None, None, None, np.int32(0))
  assert rounds.num_trained(state, plan) == kept and -(-kept // 32) * 10 == 4990
  later = state._replace(round=np.int32(116))
  assert rounds.num_labeled(later, plan) == 30_360 and -(-int(rounds.num_trained(later, plan)) // 32) * 10 == 8070


def test_the_line_on_training():
  line = lambda **changes: describe.training_line(config(**changes))
  assert line() == "adam, learning rate 0.0003, batch 32, 200 steps a round: the same for every strategy"
  assert line(weight_decay=5e-4, early_stop=3) == (
    "adam, learning rate 0.0003, weight decay 0.0005, batch 32, at most 200 steps a round: the same for every strategy"
  )
  assert line(weight_decay=7.0, decay_layers="Dense_0", decay_over_labels=True) == (
    "adam, learning rate 0.0003, weight decay 7 over the number of labels on Dense_0, batch 32, 200 steps a round: the"
    " same for every strategy"
  )
  grid = (("learning_rate", (1e-3, 3e-4)), ("weight_decay", (0.0, 0.1)))
  assert line(vmap_over=grid, epochs=7, train_steps=None, optimizer="adadelta") == (
    "adadelta, learning rate 0.001 or 0.0003, weight decay 0 or 0.1, batch 32, 7 epochs a round: the same for every"
    " strategy"
  )
  assert line(full_data=True) == "adam, learning rate 0.0003, batch 32, 4000 steps on the whole pool"
