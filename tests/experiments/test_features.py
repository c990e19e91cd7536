"""The program that writes features: rows, order, descriptions and refusals."""

import hashlib
import json
import types

from absl.testing import flagsaver
import numpy as np
from PIL import Image
import pytest

from experiments import data as data_sources
from experiments import features
from experiments.config import flag_groups
from experiments.config import flags
from experiments.data import features as feature_files
from experiments.runs import pools

LOADED = data_sources.load("digits")
DIGITS = np.concatenate([LOADED.inputs, LOADED.test_inputs]).astype(np.float32).reshape(-1, 64) / 16


@pytest.fixture
def write(tmp_path):
  """`(*flags, out="f.npy") -> (rows, facts)`: runs the program and reads its files."""

  def run(*words, out="f.npy"):
    with flagsaver.flagsaver():
      flags.FLAGS.unparse_flags()
      for name in [name for group in flag_groups.GROUPS.values() for name in group]:
        flags.FLAGS[name].unparse()
      features.main(["features", *words, "--compilation_cache=none", f"--out={tmp_path / out}"])
    path = tmp_path / out
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    return np.load(path), facts

  return run


def refused(write, *words, **kwargs) -> str:
  with pytest.raises(SystemExit) as ended:
    write(*words, **kwargs)
  message = ended.value.code
  assert message.startswith("error: ") and "\n" not in message
  return message


def test_pixels_are_the_rows_training_rows_first(write):
  rows, facts = write("--dataset=digits", "--method=pixels", "--dtype=float32")
  np.testing.assert_array_equal(rows, DIGITS, strict=True)
  assert (facts["training_rows"], facts["test_rows"]) == (["0:1297"], ["1297:1797"])
  assert facts["data_sha256"] == data_sources.fingerprint(LOADED)
  assert facts["method"] == "pixels" and facts["shape"] == [1797, 64] and facts["dtype"] == "float32"
  half, _ = write("--dataset=digits", "--method=pixels", out="half.npy")
  np.testing.assert_array_equal(half, DIGITS.astype(np.float16), strict=True)
  scaled, _ = write("--dataset=digits", "--method=pixels", "--input_mean=0.5", "--input_std=2", out="scaled.npy")
  np.testing.assert_allclose(scaled, (DIGITS - 0.5) / 2, atol=1e-3)


def components(pool: np.ndarray, num: int) -> np.ndarray:
  """Projections of all digits on the first components of the pool, in float64."""
  pool = pool.astype(float)
  _, _, axes = np.linalg.svd(pool - pool.mean(axis=0), full_matrices=False)
  return (DIGITS - pool.mean(axis=0)) @ axes[:num].T


def test_pca_is_fitted_on_the_pool(write):
  rows, facts = write("--dataset=digits", "--method=pca", "--dimensions=7", "--dtype=float32")
  expected = components(DIGITS[:1297], 7)
  signs = np.sign((rows * expected).sum(axis=0))
  np.testing.assert_allclose(rows, expected * signs, atol=1e-4)
  assert facts["settings"] == {"dimensions": 7} and facts["fitted_on_rows"] == 1297
  again, _ = write("--dataset=digits", "--method=pca", "--dimensions=7", "--dtype=float32", out="again.npy")
  np.testing.assert_array_equal(rows, again)


def test_pca_of_a_smaller_pool_describes_all_rows(write):
  own = ("--pool_size=200", "--pool_seed=3")
  rows, facts = write("--dataset=digits", "--method=pca", "--dimensions=5", "--dtype=float32", *own)
  ids = pools.original_ids(types.SimpleNamespace(pool_size=200, pool_seed=3, imbalance=1, dataset="digits"), LOADED)
  expected = components(DIGITS[ids], 5)
  assert rows.shape == (1797, 5) and facts["fitted_on_rows"] == 200 and facts["pool_sha256"]
  np.testing.assert_allclose(rows, expected * np.sign((rows * expected).sum(axis=0)), atol=1e-4)


def test_features_of_a_path_are_in_its_order_and_serve_as_its_embedding(write, tmp_path):
  labels = LOADED.labels[:200]
  np.savez(tmp_path / "d.npz", x=(DIGITS[:200] * 16).astype(np.uint8).reshape(-1, 8, 8), y=labels)
  path = ("--dataset=" + str(tmp_path / "d.npz"), "--scale=16", "--test_seed=4")
  rows, facts = write(*path, "--method=pixels")
  np.testing.assert_allclose(rows, DIGITS[:200], atol=1e-3)
  options = data_sources.Options(scale="16", test_seed=4)
  found = data_sources.read(str(tmp_path / "d.npz"), None, options)
  ranges = lambda name: [i for text in facts[name] for i in range(*map(int, text.split(":")))]
  assert ranges("training_rows") == found.rows.tolist()
  assert sorted([*found.rows.tolist(), *ranges("test_rows")]) == list(range(200)) and len(ranges("test_rows")) > 30
  embedding, _ = feature_files.load("embedding", str(tmp_path / "f.npy"), found, tested=False)
  np.testing.assert_allclose(embedding, found.data.inputs.reshape(-1, 64) / 16, atol=1e-3)


def test_rows_that_cannot_be_read_are_zeros(write, tmp_path):
  for i in range(120):
    path = tmp_path / "images" / f"class {i % 2}" / f"{i:03}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), 2 * i + 5, np.uint8)).save(path)
  broken = tmp_path / "images" / "class 0" / "004.png"
  broken.write_bytes(broken.read_bytes()[:40])
  rows, facts = write(f"--dataset={tmp_path / 'images'}", "--method=pixels", "--test_size=0")
  order = [*range(0, 120, 2), *range(1, 120, 2)]
  expected = np.array([0 if i == 4 else (2 * i + 5) / 255 for i in order])
  np.testing.assert_allclose(rows[:, 0], expected, atol=1e-3)
  assert facts["unreadable_rows"] == ["2:3"] and facts["test_rows"] == []


@pytest.mark.parametrize(
  ("words", "expected"),
  [
    (["--out=x"], "--out is given 2 times"),
    (["--acq=entropy"], "--acq does not apply to features"),
    (["--val_size=3"], "--val_size does not apply to features"),
    (["--nofull_data"], "--nofull_data does not apply"),
    (["--metod=pca"], "metod"),
    (["pca"], "unexpected argument 'pca'"),
    (["--pool_size=5", "--method=pixels"], "not fitted on it"),
    (["--chunk_size=5", "--method=pca"], "--chunk_size is for --method=pretrained, not pca"),
    (["--method=pca", "--dimensions=65"], "exceeds the 64 principal components of 1297 pool rows"),
    (["--method=pca", "--pool_size=20"], "exceeds the 20 principal components of 20 pool rows"),
    (["--method=pretrained", "--input_mean=0.5"], "scales images itself"),
    (["--method=simclear"], "method"),
    (["--method=pixels", "--data_dir=x", "--test_size=0.1"], "applies only to a path"),
    ([], "--method is missing: give --method=one of pixels"),
  ],
)
def test_wrong_flags_are_refused(words, expected, write):
  assert expected in refused(write, "--dataset=digits", *words)


def test_other_files_are_not_touched(write, tmp_path):
  pixels = ("--dataset=digits", "--method=pixels")
  assert "must be the name of a .npy file" in refused(write, *pixels, out="f.txt")
  assert "does not exist" in refused(write, *pixels, out="no/f.npy")
  (tmp_path / "f.json").write_text("mine")
  assert "f.json exists" in refused(write, *pixels)
  assert (tmp_path / "f.json").read_text() == "mine"
  (tmp_path / "f.part").write_text("of another method")
  assert write(*pixels, "--overwrite")[0].shape == (1797, 64)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["f.json", "f.npy", "f.part"]


def test_rows_that_a_method_cannot_take_are_refused(write, tmp_path):
  labels = np.arange(20) % 2
  np.savez(tmp_path / "t.npz", x=np.arange(60).reshape(20, 3) % 9, y=labels)
  np.savez(tmp_path / "f.npz", x=np.linspace(-3, 3, 320, dtype=np.float32).reshape(20, 4, 4), y=labels)
  np.savez(tmp_path / "c.npz", x=np.zeros((20, 4, 4, 2), np.uint8), y=labels)
  np.savez(tmp_path / "n.npz", x=np.full((20, 3), 1e6), y=labels)
  of = lambda name, method, *more: refused(write, f"--dataset={tmp_path / name}", f"--method={method}", *more)
  assert "tokens, whose numbers have no distances" in of("t.npz", "pixels")
  assert "takes images, not rows of 3 numbers" in of("t.npz", "pretrained")
  assert "these go from -3 to " in of("f.npz", "pretrained")
  assert "1 or 3 channels, not 2" in of("c.npz", "pretrained")
  assert "float16 cannot hold: give --dtype=float32" in of("n.npz", "pixels", "--scale=none")
  assert not (tmp_path / "f.npy").exists()


def test_help_names_every_method_and_flag(capsys):
  with pytest.raises(SystemExit) as ended:
    features.main(["features", "--help"])
  printed = capsys.readouterr().out
  assert not ended.value.code and "--dimensions" in printed and "--dataset" in printed and "--acq" not in printed
  assert all(f"\n  {name} " in printed for name in ("pixels", "pca", "pretrained"))
