"""Linear heads on features, run by both programs: their rows, resumed studies, full supervision and data by path."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from experiments import data as data_sources
from tests.support.programs import read
from tests.support.programs import untimed

pytestmark = pytest.mark.slow

STUDY = ("--dataset=digits", "--model=linear", "--acq=entropy,bald,typiclust", "--seeds=2", "--rounds=2")


@pytest.fixture(scope="module")
def digits():
  return data_sources.load("digits")


@pytest.fixture(scope="module")
def features(tmp_path_factory, digits):
  """The flag for the pixels of the digits, written as features of pool and test set."""
  folder = tmp_path_factory.mktemp("features")
  for name, images in (("train", digits.inputs), ("test", digits.test_inputs)):
    np.save(folder / f"{name}.npy", images.reshape(len(images), -1).astype(np.float32))
  return f"--features={folder / 'train.npy'},{folder / 'test.npy'}"


@pytest.fixture(scope="module")
def study(program, features, tmp_path_factory):
  """The workdir of the study by the Python driver, and its output."""
  folder = tmp_path_factory.mktemp("heads") / "study"
  return folder, program.run("experiments.mnist", *STUDY, features, f"--workdir={folder}")


def in_order(rows):
  return sorted(map(untimed, rows), key=lambda row: (row["acq"], row["seed"], row["round"]))


def test_the_head_is_scikit_learns_on_standardized_features(study, digits):
  folder, printed = study
  assert "features: 64 per row, from" in printed and "bald: scored on 20 samples of laplace" in printed
  assert "logistic regression with an L2 penalty of 1, to convergence per round" in printed
  train, test = (images.reshape(len(images), -1) for images in (digits.inputs, digits.test_inputs))
  scale = StandardScaler().fit(train)
  labeled: dict[tuple, list[int]] = {}
  for row in read(folder):
    ids = labeled.setdefault((row["acq"], row["seed"]), row.get("initial"))
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000)
    reference.fit(scale.transform(train[ids]), digits.labels[ids])
    probs = reference.predict_proba(scale.transform(test))
    assert len(ids) == row["num_labeled"] and 0 < row["train_steps"] < 100
    assert abs(row["test_accuracy"] - (probs.argmax(1) == digits.test_labels).mean()) < 1.5 / len(test)
    nll = -np.log(probs[np.arange(len(test)), digits.test_labels]).mean()
    assert row["test_nll"] == pytest.approx(nll, abs=1e-3)
    ids += row["selected"]


def test_the_scan_driver_gives_the_same_rows_and_completes_a_killed_study(study, features, program, tmp_path):
  flags = (*STUDY, features, "--cpu_devices=1")
  program.run("experiments.ablation", *flags, "--pack=map", f"--workdir={tmp_path / 'map'}")
  rows = read(tmp_path / "map")
  for own, other in zip(in_order(rows), in_order(read(study[0])), strict=True):
    assert own["selected"] == other["selected"] and own["train_steps"] == other["train_steps"]
    assert own["test_accuracy"] == other["test_accuracy"]
    assert own["test_nll"] == pytest.approx(other["test_nll"], rel=1e-5)

  # The packing of linear heads: the same initial sets, and nearly always the same ids.
  assert "per program (heads" in program.run("experiments.ablation", *flags, f"--workdir={tmp_path / 'heads'}")
  heads = read(tmp_path / "heads")
  assert [row.get("initial") for row in in_order(heads)] == [row.get("initial") for row in in_order(rows)]
  first = [row["selected"] for row in in_order(heads) if row["round"] == 0]
  assert first == [row["selected"] for row in in_order(rows) if row["round"] == 0]
  path = tmp_path / "heads" / "results.jsonl"
  lines = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b"".join(lines[:7]) + lines[7][:30])  # a kill within the third run
  program.run("experiments.ablation", *flags, f"--workdir={tmp_path / 'heads'}", "--resume")
  again = read(tmp_path / "heads")
  assert len(again) == len(heads) and again[:7] == heads[:7]
  assert [row["selected"] for row in in_order(again)] == [row["selected"] for row in in_order(heads)]


def test_a_study_by_the_python_driver_is_resumed_to_the_same_rows(study, features, program, tmp_path):
  command = ("experiments.mnist", *STUDY, "--acq=entropy,bald", features, f"--workdir={tmp_path / 'study'}")
  command = tuple(word for word in command if word != "--acq=entropy,bald,typiclust")
  program.run(*command)
  rows = read(tmp_path / "study")
  path = tmp_path / "study" / "results.jsonl"
  lines = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b"".join(lines[:4]) + lines[4][:30])
  program.run(*command, "--resume")
  assert list(map(untimed, read(tmp_path / "study"))) == list(map(untimed, rows))
  whole = {(row["acq"], row["seed"], row["round"]): untimed(row) for row in read(study[0])}
  assert all(untimed(row) == whole[row["acq"], row["seed"], row["round"]] for row in rows)


def test_full_supervision_is_scikit_learns(study, features, program, digits):
  folder, _ = study
  printed = program.run("experiments.mnist", *STUDY, features, f"--workdir={folder}", "--full_data", "--resume")
  assert "to convergence on the whole pool" in printed
  found = json.loads((folder / "full_data.json").read_text())
  train, test = (images.reshape(len(images), -1) for images in (digits.inputs, digits.test_inputs))
  scale = StandardScaler().fit(train)
  reference = LogisticRegression(C=1.0, max_iter=10_000).fit(scale.transform(train), digits.labels)
  accuracy = reference.score(scale.transform(test), digits.test_labels)
  assert len(found) == 2 and all(abs(row["test_accuracy"] - accuracy) < 2.5 / len(test) for row in found)


@pytest.mark.parametrize("init", ["typiclust", "probcover", "kcenter"])
def test_a_strategy_chooses_the_first_batch_by_the_features(init, features, program, tmp_path):
  words = ("--dataset=digits", "--model=linear", "--acq=random", "--rounds=0", "--features_dtype=float16")
  program.run("experiments.mnist", *words, features, f"--init={init}", "--seeds=2", f"--workdir={tmp_path / 'study'}")
  rows = read(tmp_path / "study")
  assert rows[0]["initial"] == rows[1]["initial"] and len(set(rows[0]["initial"])) == 20
  config = json.loads((tmp_path / "study" / "config.json").read_text())
  assert sorted(config["flags"]["init_ids"]) == rows[0]["initial"]
  assert config["flags"]["features_dtype"] == "float16"


def test_features_of_half_precision_give_nearly_the_same_curve(study, features, program, tmp_path):
  command = ("experiments.mnist", *STUDY, features, "--features_dtype=float16", f"--workdir={tmp_path / 'study'}")
  printed = program.run(*command, "--describe")
  assert "each row has shape 64 and type float16" in printed and "features: 64 per row, from" in printed
  program.run(*command)
  first = lambda folder: [row for row in read(folder) if row["round"] == 0]
  for own, other in zip(first(tmp_path / "study"), first(study[0]), strict=True):
    assert own["initial"] == other["initial"] and abs(own["test_accuracy"] - other["test_accuracy"]) < 0.01


def test_rows_of_floats_in_a_file_are_standardized_and_a_class_may_lack_test_rows(digits, program, tmp_path):
  keep = np.flatnonzero(digits.test_labels != 3)
  of = lambda images: 1000 + 50 * images.reshape(len(images), -1).astype(np.float32)
  np.savez(
    tmp_path / "d.npz",
    x=of(digits.inputs),
    y=digits.labels,
    x_test=of(digits.test_inputs[keep]),
    y_test=digits.test_labels[keep],
  )
  command = (
    "experiments.mnist",
    f"--dataset={tmp_path / 'd.npz'}",
    "--model=linear",
    "--acq=margin,bald",
    "--rounds=2",
  )
  printed = program.run(*command, f"--workdir={tmp_path / 'study'}")
  assert "rows of 64 numbers, scaled by the pool's means and standard deviations" in printed
  assert "the test set has no row of class '3'" in printed
  rows = read(tmp_path / "study")
  assert all(row["test_class_accuracy"][3] is None and row["test_accuracy"] > 0.6 for row in rows)


def test_wrong_features_end_the_program_in_one_sentence(features, program, tmp_path):
  np.save(tmp_path / "short.npy", np.ones((5, 3), np.float32))
  words = ("experiments.mnist", "--dataset=digits", "--model=linear", f"--workdir={tmp_path / 'study'}")
  for flags, sentence in (
    ((f"--features={tmp_path / 'short.npy'}",), "short.npy has 5 rows, but the data set has"),
    ((f"--features={tmp_path / 'none.npy'}",), "none.npy cannot be read as a .npy file"),
    ((features, "--inspect"), "--inspect draws images, but rows of these data have shape (64,)"),
    ((features, "--posterior=dropout", "--acq=bald"), "MC dropout needs a network with dropout, and Linear has none"),
    ((features, "--input_mean=0.5"), "--input_mean and --input_std apply to images"),
    ((features, "--model=cnn"), "CNN cannot take inputs of 64"),
  ):
    own = [word for word in words if not (word.startswith("--model") and any("--model" in flag for flag in flags))]
    printed = program.run(*own, *flags, expect=1)
    assert sentence.lower() in printed.lower() and "Traceback" not in printed, printed
  assert not (tmp_path / "study").exists()
