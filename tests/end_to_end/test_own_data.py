"""Data given as a path give the same ids and accuracies as the arrays given to the library, and are learned."""

import json

import jax
import numpy as np
import optax
from PIL import Image
import pytest
from sklearn.datasets import load_digits
from sklearn.datasets import load_wine

import al_jax
from al_jax import models
from tests.support.programs import read

pytestmark = pytest.mark.slow

FLAGS = ("--model=mlp", "--acq=margin", "--rounds=2", "--learning_rate=3e-3", "--train_steps=150", "--test_rows=30:70")


def digits(folder):
  """500 digits as PNGs in class folders, and as an .npz in the same order."""
  images, targets = load_digits(return_X_y=True)
  images = np.round(images[:500] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
  order = np.argsort(targets[:500], kind="stable")  # the order of the folders and of their files
  images, targets = images[order], targets[:500][order]
  for i, (image, target) in enumerate(zip(images, targets, strict=True)):
    path = folder / "digits" / f"digit {target}" / f"{i:04}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
  np.savez(folder / "digits.npz", x=images, y=np.array([f"digit {target}" for target in targets]))
  return images[..., None], targets.astype(np.int32), al_jax.inputs.images(std=255), 10


def wine(folder):
  """The wine data as .csv with class names, and as an .npz."""
  bunch = load_wine(as_frame=True)
  table = bunch.data.assign(kind=[f"grape {target}" for target in bunch.target]).sample(frac=1, random_state=0)
  table.to_csv(folder / "wine.csv", index=False)
  x, kinds = table.drop(columns="kind").to_numpy(), table.kind.to_numpy()
  np.savez(folder / "wine.npz", x=x, y=kinds.astype(str))
  pool = np.concatenate([x[:30], x[70:]])
  x = (x - pool.mean(0)) / pool.std(0)
  return x.astype(np.float32), np.array([int(kind[-1]) for kind in kinds], np.int32), al_jax.inputs.as_they_are, 3


@pytest.mark.parametrize(
  ("made", "paths"),
  [
    (digits, [("digits",), ("digits.npz",)]),
    (wine, [("wine.csv", "--label_column=kind"), ("wine.npz", "--scale=standard")]),
  ],
)
def test_a_path_is_its_arrays_in_the_library(made, paths, tmp_path, program):
  x, y, prepare, num_classes = made(tmp_path)
  pool, test = np.r_[0:30, 70 : len(x)], np.r_[30:70]
  data = al_jax.Dataset(x[pool], y[pool], x[test], y[test], num_classes, prepare)
  plan = al_jax.Plan(20, 10, 2, al_jax.TrainPlan(batch_size=32, steps=150))
  trainer = al_jax.Trainer(al_jax.from_flax(models.MLP(num_classes=num_classes)), optax.adam(3e-3), plan)
  _, info = al_jax.run(jax.random.key(0), data, al_jax.Learner(trainer, al_jax.acquisition.margin()))
  for i, (name, *flags) in enumerate(paths):
    printed = program.run(
      "experiments.mnist", f"--dataset={tmp_path / name}", *FLAGS, *flags, f"--workdir={tmp_path / str(i)}"
    )
    rows = read(tmp_path / str(i))
    assert f"{name}: {data.pool_size} rows in the pool, 40 in the test set" in printed
    for row, selected, accuracy in zip(rows, info.selected, info.metrics.test_accuracy, strict=True):
      assert row["selected"] == [i for i in selected.tolist() if i >= 0]
      assert row["test_accuracy"] == pytest.approx(float(accuracy), abs=1e-6)
    assert rows[-1]["test_accuracy"] > (0.9 if made is wine else 0.8)
    assert json.loads((tmp_path / str(i) / "config.json").read_text())["class_names"][0] in ("digit 0", "grape 0")
