"""Data given as a path: all formats give the same arrays, and errors name what cannot be used."""

import os
from pathlib import Path
import struct
import zlib

import numpy as np
import pandas as pd
from PIL import Image
import pytest
from sklearn.datasets import load_digits
from sklearn.datasets import load_wine

from al_jax import inputs
from al_jax import types
from experiments import data
from experiments.common.places import title
from experiments.data import DataError
from experiments.data import Options
from experiments.data import classes

IMAGES, TARGETS = load_digits(return_X_y=True)
IMAGES, TARGETS = np.round(IMAGES[:120] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8), TARGETS[:120]
TABLE = Options(label_column="kind")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
  """Sixty digits as PNGs, in one folder per class."""
  return images_in(tmp_path / "digits")


def images_in(root: Path, start: int = 0, stop: int = 60) -> Path:
  for i in range(start, stop):
    path = root / f"digit {TARGETS[i]}" / f"{i:04}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[i]).save(path)
  return root


@pytest.fixture
def wine(tmp_path):
  """The wine data as a CSV file with text classes."""
  bunch = load_wine(as_frame=True)
  table = bunch.data.assign(kind=[f"grape {target}" for target in bunch.target])
  table.to_csv(tmp_path / "wine.csv", index=False)
  return table, tmp_path / "wine.csv"


def read(path, **options):
  return data.read(str(path), options=Options(**options))


def refused(path, *words, **options):
  with pytest.raises(DataError) as caught:
    read(path, **options)
  sentence = str(caught.value)
  assert "\n" not in sentence and sentence.endswith((".", "?"))
  for word in words:
    assert word in sentence, sentence


def test_a_folder_of_images_is_the_arrays_of_its_files(folder):
  found = read(folder)
  assert found.class_names == tuple(f"digit {c}" for c in range(10))
  ids = [int(Path(name).stem) for name in found.row_names]
  np.testing.assert_array_equal(found.data.inputs[..., 0], IMAGES[ids])
  np.testing.assert_array_equal(found.data.labels, TARGETS[ids])
  assert found.data.prepare == inputs.images(std=255) and found.data.inputs.dtype == np.uint8
  others = sorted(set(range(60)) - set(ids))
  assert sorted(found.data.test_labels) == sorted(TARGETS[others])
  counts = np.bincount(TARGETS[:60])
  assert np.bincount(found.data.test_labels).tolist() == [round(0.2 * count) for count in counts]


def test_decoded_images_come_from_the_cache_until_a_file_or_an_option_changes(folder, monkeypatch):
  first, decode = read(folder), []
  from experiments.data import image_files

  own = image_files.decoded
  monkeypatch.setattr(image_files, "decoded", lambda *args: decode.append(args) or own(*args))
  again = read(folder)
  assert not decode and again.remarks == first.remarks and again.row_names == first.row_names
  np.testing.assert_array_equal(again.data.inputs, first.data.inputs)
  assert len(read(folder, test_size=0.4).data.inputs) < 60 * 0.7 and len(decode) == 60
  os.utime(folder / "digit 0" / "0000.png", (1, 1))
  read(folder)
  assert len(decode) == 120


def test_train_and_test_folders_are_the_pool_and_the_test_set(tmp_path):
  images_in(tmp_path / "both" / "train", 0, 60)
  images_in(tmp_path / "both" / "test", 60, 90)
  found = read(tmp_path / "both")
  assert len(found.data.inputs) == 60 and sorted(found.data.test_labels) == sorted(TARGETS[60:90])
  assert "include a test set of 30 rows" in " ".join(found.remarks)
  refused(tmp_path / "both", "has one: omit the flag", test_rows="0:9")
  refused(tmp_path / "both", "--test_size=0.4", test_size=0.4)
  images_in(tmp_path / "both" / "test", 60, 61)
  (tmp_path / "both" / "test" / "digit 0").rename(tmp_path / "both" / "test" / "elephant")
  refused(tmp_path / "both", "'elephant'")


def test_images_of_every_kind_are_brought_to_one(tmp_path):
  """Color, grayscale, 16 bits, CMYK, transparency and EXIF rotation."""
  rng, root = np.random.default_rng(0), tmp_path / "kinds"
  color = rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)
  deep = (color[..., 0].astype(np.uint16)) * 257
  made = {
    "a.png": Image.fromarray(color),
    "b.png": Image.fromarray(color[..., 0]),
    "c.png": Image.fromarray(deep),
    "d.jpg": Image.fromarray(color).convert("CMYK"),
    "e.png": Image.fromarray(np.dstack([color, np.zeros((6, 4, 1), np.uint8)])),
  }
  for c in "xy":
    (root / c).mkdir(parents=True)
    for name, image in made.items():
      image.save(root / c / name)
    turned = Image.fromarray(np.rot90(color))
    exif = turned.getexif()
    exif[0x0112] = 6  # viewers rotate it clockwise
    turned.save(root / c / "f.png", exif=exif)
  found = read(root, test_size=0.0)
  assert found.data.inputs.shape == (12, 6, 4, 3)
  images = dict(zip("abcdef", found.data.inputs, strict=False))
  np.testing.assert_array_equal(images["a"], color)
  np.testing.assert_array_equal(images["f"], color)
  for letter in "bc":
    np.testing.assert_array_equal(images[letter], np.repeat(color[..., :1], 3, axis=-1))
  assert images["d"].std() > 20 and (images["e"] == 255).all()  # transparent pixels become white
  assert "in color, converted from CMYK, I;16, L, RGB, RGBA" in found.remarks[0]


def test_images_of_several_sizes_need_to_be_told_one(folder):
  Image.fromarray(IMAGES[3].repeat(2, axis=0)).save(folder / "digit 3" / "tall.png")
  refused(folder, "2 sizes", "8 x 8", "16 x 8", "tall.png", "--image_size=64")
  found = read(folder, image_size=(12, 10))
  assert found.data.inputs.shape[1:] == (12, 10, 1) and "scaled" in found.remarks[0]


def test_images_that_cannot_be_read_are_left_out_and_many_are_refused(tmp_path):
  root = images_in(tmp_path / "digits", 0, 119)
  good = read(root, test_size=0.0)
  whole = (root / "digit 0" / "0000.png").read_bytes()
  (root / "digit 0" / "zz.png").write_bytes(whole[:70])
  found = read(root, test_size=0.0)
  assert len(found.data.inputs) == 119 and "zz.png" in found.remarks[-2]
  np.testing.assert_array_equal(found.data.inputs, good.data.inputs)
  assert read(root, test_size=0.0).remarks == found.remarks  # from the cache
  for name in ("a", "b"):
    (root / "digit 0" / f"{name}.png").write_text("no image")
  refused(root, "of 122 images cannot be read", "a.png")


def png_header(width: int, height: int) -> bytes:
  chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
  return (
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", b"")
  )


@pytest.mark.parametrize("side", [9_000, 30_000])
def test_a_huge_image_is_refused_by_its_header(folder, side):
  (folder / "digit 1" / "huge.png").write_bytes(png_header(side, side))
  refused(folder, "huge.png", "pixels")


def test_folders_that_hold_no_data_set(tmp_path):
  (tmp_path / "empty").mkdir()
  refused(tmp_path / "empty", "has no subfolders")
  refused(images_in(tmp_path / "one", 0, 1), "one class", "'digit 0'")
  refused(images_in(tmp_path / "single", 0, 9), "fewer than two per class on average")
  root = images_in(tmp_path / "digits")
  (root / "digit 9 too").mkdir()
  refused(root, "'digit 9 too'", "no image")
  (root / "digit 9 too" / "notes.txt").write_text("no image")
  refused(root, "'digit 9 too'")
  (root / "digit 9 too").joinpath("notes.txt").unlink()
  (root / "digit 9 too").rmdir()
  (root / "digit 9").joinpath("link.png").symlink_to(tmp_path / "single" / "digit 0" / "0000.png")
  refused(root, "link.png", "symbolic link")


def test_names_may_hold_any_characters(tmp_path):
  root = tmp_path / "odd"
  for name in ("a b", "c'\"d", "\U0001f408", "two\nlines"):
    (root / name).mkdir(parents=True)
    for i in range(3):
      Image.fromarray(IMAGES[i]).save(root / name / f"{i}.png")
  found = read(root, test_size=0.0)
  assert found.class_names == tuple(sorted(("a b", "c'\"d", "\U0001f408", "two\nlines")))
  (root / "two\nlines" / "bad.png").write_text("")
  refused(root, "two\\nlines")


def test_a_folder_that_changes_while_it_is_read_is_refused(folder, monkeypatch):
  from experiments.data import image_folder

  own = image_folder._one_size
  monkeypatch.setattr(image_folder, "_one_size", lambda *args: (folder / "digit 0" / "0000.png").touch() or own(*args))
  refused(folder, "changed while it was read")


def test_a_file_that_changes_while_it_is_read_is_refused(wine, monkeypatch):
  _, path = wine
  own = pd.read_csv
  monkeypatch.setattr(pd, "read_csv", lambda *args, **how: [own(*args, **how), os.utime(path, (1, 1))][0])
  refused(path, "changed while it was read", label_column="kind")


@pytest.mark.parametrize(
  ("x", "inputs_as", "dtype", "words"),
  [
    (IMAGES, inputs.images(std=255), np.uint8, "images of 8 x 8, divided by 255"),
    (IMAGES.reshape(120, -1), inputs.images(std=255), np.uint8, "rows of 64 bytes"),
    (IMAGES / np.float16(255), inputs.as_they_are, np.float16, "images of 8 x 8, unscaled"),
    (IMAGES.reshape(120, -1).astype(np.int64), inputs.as_they_are, np.int32, "rows of 64 tokens"),
    (IMAGES > 99, inputs.as_they_are, np.float32, "images of 8 x 8"),
  ],
)
def test_arrays_are_what_their_shape_and_dtype_say(x, inputs_as, dtype, words, tmp_path):
  np.savez(tmp_path / "own.npz", x=x, y=TARGETS)
  found = read(tmp_path / "own.npz", test_rows="100:")
  own = found.data
  assert own.prepare == inputs_as and own.inputs.dtype == dtype and words in found.remarks[0]
  stored = x[..., None] if x.ndim == 3 else x
  np.testing.assert_allclose(own.inputs, stored[:100].astype(dtype))
  np.testing.assert_allclose(own.test_inputs, stored[100:].astype(dtype))
  np.testing.assert_array_equal(own.labels, TARGETS[:100])


def test_arrays_with_a_test_set_and_pairs_of_files(tmp_path):
  np.savez(tmp_path / "own.npz", x_train=IMAGES[:80], y_train=TARGETS[:80], x_test=IMAGES[80:], y_test=TARGETS[80:])
  np.save(tmp_path / "x_own.npy", IMAGES)
  np.save(tmp_path / "y_own.npy", TARGETS)
  for found in (read(tmp_path / "own.npz"), read(tmp_path / "x_own.npy", test_rows="80:")):
    np.testing.assert_array_equal(found.data.inputs[..., 0], IMAGES[:80])
    np.testing.assert_array_equal(found.data.test_inputs[..., 0], IMAGES[80:])
    np.testing.assert_array_equal(found.data.test_labels, TARGETS[80:])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_of_floats_are_standardized_on_the_pool_unless_a_scale_is_given(tmp_path, dtype):
  rows = (1000.0 + IMAGES.reshape(120, -1)).astype(dtype)
  np.savez(tmp_path / "rows.npz", x=rows, y=TARGETS)
  found = read(tmp_path / "rows.npz", test_rows="90:")
  of_pool = rows[:90].astype(np.float64)
  wanted = (rows.astype(np.float64) - of_pool.mean(0)) / np.where(of_pool.std(0) > 0, of_pool.std(0), 1)
  np.testing.assert_allclose(found.data.inputs, wanted[:90], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(found.data.test_inputs, wanted[90:], rtol=1e-4, atol=1e-5)
  assert any("scaled by the pool's means" in remark for remark in found.remarks)
  np.testing.assert_array_equal(found.rows, range(90))
  np.testing.assert_array_equal(found.test_rows, range(90, 120))
  plain = read(tmp_path / "rows.npz", test_rows="90:", scale="none").data
  np.testing.assert_array_equal(plain.inputs, rows[:90].astype(np.float32))


def test_whole_numbers_are_divided_or_scaled_where_that_is_said(tmp_path):
  deep = IMAGES.astype(np.uint16) * 257
  np.savez(tmp_path / "own.npz", x=deep, y=TARGETS)
  refused(tmp_path / "own.npz", "uint16", "--scale=4095")
  assert read(tmp_path / "own.npz", scale="65535").data.prepare == inputs.images(std=65535)
  rows = IMAGES.reshape(120, -1).astype(np.int32)
  np.savez(tmp_path / "rows.npz", x=rows, y=TARGETS)
  scaled = read(tmp_path / "rows.npz", scale="standard", test_rows="90:").data
  wanted = (rows - rows[:90].mean(0)) / np.where(rows[:90].std(0) > 0, rows[:90].std(0), 1)
  np.testing.assert_allclose(scaled.inputs, wanted[:90], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(scaled.test_inputs, wanted[90:], rtol=1e-4, atol=1e-5)
  refused(tmp_path / "rows.npz", "--scale=big", scale="big")


def test_arrays_that_are_no_data_set(tmp_path):
  path = tmp_path / "own.npz"
  nan = IMAGES / 255.0
  nan[7, 3, 3] = np.nan
  cases = [
    ({"x": IMAGES}, "name the inputs x and the labels y"),
    ({"x": IMAGES, "y": TARGETS[:-1]}, "120 rows", "119 labels"),
    ({"x": np.array([{}] * 120, object), "y": TARGETS}, "Python objects"),
    ({"x": nan, "y": TARGETS}, "row 7 of x"),
    ({"x": TARGETS, "y": TARGETS}, "[N, F]"),
    ({"x": IMAGES, "y": np.eye(10)[TARGETS]}, "one-hot"),
    ({"x": IMAGES, "y": TARGETS + 0.5}, "0.5"),
    ({"x": IMAGES, "y": TARGETS, "x_test": IMAGES[:, :4], "y_test": TARGETS}, "alike"),
    ({"x": IMAGES, "y": np.arange(120)}, "120 classes"),
    ({"x": IMAGES, "y": np.zeros(120, int)}, "one class"),
    ({"x": IMAGES, "y": TARGETS, "y_test": TARGETS}, "no x_test"),
    ({"x": IMAGES, "y": TARGETS, "x_test": IMAGES, "y_test": np.eye(10)[TARGETS]}, "make them alike"),
    ({"x": IMAGES, "y": 3}, "1 labels"),
    ({"x": IMAGES[:0], "y": TARGETS[:0]}, "no rows"),
    ({"x": IMAGES.reshape(120, 2, 2, 4, 4), "y": TARGETS}, "(120, 2, 2, 4, 4)"),
    ({"x": IMAGES, "y": np.where(TARGETS == 0, np.inf, TARGETS)}, "inf"),
    ({"x": IMAGES, "y": np.where(TARGETS == 0, 1e30, TARGETS)}, "1e+30"),
    ({"x": IMAGES.reshape(120, -1).astype(int) + 2**40, "y": TARGETS}, "token"),
    ({"x": IMAGES.reshape(120, -1).astype(int) - 1, "y": TARGETS}, "token -1"),
  ]
  for arrays, *words in cases:
    np.savez(path, **arrays)
    refused(path, *words)
  path.write_bytes(path.read_bytes()[:200])
  refused(path, "cannot be read as .npz")
  np.save(tmp_path / "x.npy", IMAGES)
  refused(tmp_path / "x.npy", "y.npy")
  refused(tmp_path / "none.npz", "does not exist")


def test_a_table_is_its_numbers_scaled_on_the_pool_and_its_categories(wine, tmp_path):
  table, path = wine
  found = read(path, label_column="kind", test_rows="100:140")
  numbers = table.drop(columns="kind").to_numpy()
  test, pool = numbers[100:140], np.concatenate([numbers[:100], numbers[140:]])
  np.testing.assert_allclose(found.data.inputs, (pool - pool.mean(0)) / pool.std(0), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(found.data.test_inputs, (test - pool.mean(0)) / pool.std(0), rtol=1e-4, atol=1e-5)
  assert found.class_names == ("grape 0", "grape 1", "grape 2")
  between = read(path, label_column="kind", scale="minmax", test_size=0.0).data.inputs
  assert between.min() == 0 and between.max() == 1
  table.to_parquet(tmp_path / "wine.parquet")
  again = read(tmp_path / "wine.parquet", label_column="kind", test_rows="100:140")
  np.testing.assert_array_equal(again.data.inputs, found.data.inputs)


def test_values_that_are_missing_are_counted_and_filled_by_the_pool(tmp_path):
  height = [1.0, 2.0, 9.0, None, 4.0, None]
  table = pd.DataFrame(
    {"height": height, "colour": ["red", None, "red", "blue", "green", "red"], "kind": list("ababab")}
  )
  table.to_csv(tmp_path / "own.csv", index=False)
  found = read(tmp_path / "own.csv", label_column="kind", test_rows="4:", scale="none")
  np.testing.assert_array_equal(found.data.inputs, [[1, 0, 1], [2, 0, 1], [9, 0, 1], [2, 1, 0]])
  np.testing.assert_array_equal(found.data.test_inputs, [[4, 0, 0], [2, 0, 1]])  # green is not in the pool
  assert "2 in 'height', 1 in 'colour'" in " ".join(found.remarks)
  refused(tmp_path / "own.csv", "'height'", "2 rows", label_column="kind", missing="error")


def test_tables_that_are_no_data_set(wine, tmp_path):
  table, path = wine
  own = tmp_path / "own.csv"
  write = lambda changed, **how: changed.to_csv(own, index=False, **how)
  refused(path, "'alcohol'", "--label_column")
  refused(path, "did you mean 'kind'", label_column="kinds")
  refused(path, "'quince'", label_column="kind", ignore_columns=("quince",))
  cases = [
    (table.assign(day=pd.date_range("2026-01-01", periods=178)), "'day'", "dates", "--ignore_columns=day"),
    (table.assign(note=[f"wine number {i}" for i in range(178)]), "'note'", "178 distinct values"),
    (table.assign(kind="grape"), "one class"),
    (table.assign(alcohol=np.inf), "'alcohol'", "infinite"),
    (table.assign(empty=np.nan), "'empty'", "no values"),
    (table.assign(kind=np.arange(178)), "178 classes"),
    (table.assign(kind=[None, *table.kind[1:]]), "row 0", "--unlabeled=keep"),
    (table[["kind"]], "0 columns"),
    (table.reset_index().rename(columns={"index": "Unnamed: 0"}), "'Unnamed: 0'", "row numbers"),
    (table.assign(ash=["?", *table.ash[1:]]), "'ash'", "such as '?'"),
    (table.assign(ash=[f"{ash:.1f}".replace(".", ",") for ash in table.ash]), "'ash'", "decimal points"),
  ]
  for changed, *words in cases:
    write(changed)
    refused(own, *words, label_column="kind")
  refused(path, "'kind'", label_column="kind", ignore_columns=("kind",))
  write(table, header=False)
  refused(own, "the first row must name the columns", label_column="kind")
  own.write_text("a,b,kind\n9,1,2,x\n9,2,3,y\n9,1,2,x\n9,2,3,y\n")
  refused(own, "cannot be read as a table", label_column="kind")
  write(table, sep=";")
  refused(own, "separate the values with commas", label_column="kind")
  write(table.assign(kind="caf\xe9"), encoding="latin-1")
  refused(own, "UTF-8", label_column="kind")
  own.write_bytes(b"")
  refused(own, "cannot be read as a table", label_column="kind")
  refused(own, "--image_size", image_size=(8, 8))


def test_words_for_nothing_are_classes_in_the_column_of_these(wine, tmp_path):
  table, _ = wine
  table.assign(kind=table.kind.map({"grape 0": "None", "grape 1": "NA", "grape 2": "null"})).to_csv(
    tmp_path / "own.csv"
  )
  found = read(tmp_path / "own.csv", label_column="kind", ignore_columns=("Unnamed: 0",), test_rows="0:20")
  assert found.class_names == ("NA", "None", "null")
  assert "no row of class 'NA', 'null'" in found.remarks[-1]


@pytest.mark.parametrize("names", [("Train", "val"), ("training", "validation"), ("test",)])
def test_parts_of_a_data_set_are_no_classes(names, tmp_path):
  for name in names:
    images_in(tmp_path / "own" / name, 0, 30)
  refused(tmp_path / "own", "name them train and test")
  images_in(tmp_path / "other" / "Train", 0, 60)
  images_in(tmp_path / "other" / "TEST", 60, 90)
  assert len(read(tmp_path / "other").data.test_labels) == 30


def test_labels_of_any_kind_become_classes():
  of = lambda labels: classes.of_labels(np.array(labels), "y")
  assert of([3, 1, 3, 1]) == (("1", "3"), pytest.approx([1, 0, 1, 0]))
  assert of([[3], [1], [3], [1]]).names == ("1", "3")
  assert of([10, 9, 10, 9]).names == ("9", "10")
  assert of([True, False, True, False]).names == ("False", "True")
  assert classes.of_labels(np.array([True, False, True, False], object), "y").names == ("False", "True")
  assert of([2.0, 1.0, 2.0, 1.0]).names == ("1", "2")
  assert of(["b", "a", "b", "a"]).labels.tolist() == [1, 0, 1, 0]


def test_rows_without_a_label_are_refused_or_kept_and_not_asked_for(tmp_path):
  labels = TARGETS.copy()
  labels[[3, 50]] = -1
  np.savez(tmp_path / "own.npz", x=IMAGES, y=labels)
  refused(tmp_path / "own.npz", "2 rows without a label", "row 3", "--unlabeled=keep")
  found = read(tmp_path / "own.npz", unlabeled="keep", test_rows="100:").data
  assert found.labels[3] == types.UNKNOWN and found.known.sum() == found.available.sum() == 98
  refused(tmp_path / "own.npz", "row 50", "test set", unlabeled="keep", test_rows="40:60")


def test_the_test_set_is_drawn_by_class_and_seed():
  labels = np.repeat(np.arange(3), [100, 10, 1])
  drawn = classes.held_out(labels, 0.3, 0)
  assert np.bincount(labels[drawn]).tolist() == [30, 3]
  assert (classes.held_out(labels, 0.3, 0) == drawn).all() and (classes.held_out(labels, 0.3, 1) != drawn).any()
  for text in ("5", "5:2", "0:111", "a:b", ":200", "-3:5"):
    with pytest.raises(DataError, match="must be"):
      classes.named_rows(text, 111)
  assert np.flatnonzero(classes.named_rows("109:", 111)).tolist() == [109, 110]


def test_a_name_is_a_name_and_a_path_a_path(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("digits", "mnist", "my_images"):
    (tmp_path / name).mkdir()
  assert not data.is_path("digits") and not data.is_path("mnist") and not data.is_path("my_pictures")
  assert data.is_path("my_images") and data.is_path("./digits") and data.is_path("~/x") and data.is_path("x.npz")
  assert title("~/pets/") == "pets" and title("cats_vs_dogs/1:2.0.0") == "cats_vs_dogs/1:2.0.0"
