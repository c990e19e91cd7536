"""Labels 300 of 5,000 MNIST images in a browser, by keys, for several seeds and strategies; prints a row per session.

python -m tests.end_to_end.page_study --data_dir=FOLDER --out=rows.jsonl

The keys are key events in headless Chromium, and the answers are MNIST's labels. A row has the times from a key to the
next painted image as the page measured them, the accuracy of a model trained on the session's labels on all images that
were never shown, and what the page said at the end. Sessions that are in the file already are left out.
"""

import argparse
import json
from pathlib import Path
import tempfile

import numpy as np
from PIL import Image

from experiments import data as data_sources
from experiments.config.flags import FLAGS
from experiments.config.resolve import resolve
from experiments.data.rows import Options
from experiments.labeling import images
from experiments.labeling.answers import Answers
from experiments.labeling.journal import Journal
from experiments.labeling.labeled import Labeled
from experiments.labeling.model import Model
from experiments.labeling.model import components
from tests.support import browser
from tests.support import labeling

IMAGES, KEYS, EVERY = 5000, 300, 50
CLASSES = "--classes=1,2,3,4,5,6,7,8,9,0"  # the key of a digit is the digit


def write(folder: Path, data_dir: str) -> np.ndarray:
  """Writes the first images as PNG files; returns their labels."""
  data = data_sources.read("mnist", data_dir, Options(), print).data
  folder.mkdir(parents=True)
  for i, image in enumerate(data.inputs[:IMAGES]):
    Image.fromarray(image.reshape(28, 28)).save(folder / f"{i:04d}.png")
  return data.labels[:IMAGES]


def session(folder: Path, workdir: Path, truth: np.ndarray, acq: str, seed: int) -> dict:
  """One session of `KEYS` answers."""
  key_of = lambda name: str(truth[int(name.removesuffix(".png"))])
  words = (str(folder), f"--workdir={workdir}", CLASSES, f"--acq={acq}", f"--seed={seed}")
  with labeling.serving(*words) as server, browser.browser() as driver:
    server.wait()
    browser.join(driver, server.address)
    for _ in range(KEYS):
      labeling.answer(driver, key_of)
    times = browser.timings(driver)
    stats = server.state()["stats"]
  found = images.saved(workdir)
  labeled = Labeled(found, Answers(labeling.events(workdir)), Journal(workdir / "labels.jsonl"))
  pixels = np.load(workdir / images.PIXELS)
  model, labels = Model(resolve(), components(pixels), pixels), labeled.training_labels()
  shown = [i for i in range(len(found.images)) if labeled.outcome(i) is not None]
  unseen = np.setdiff1d(np.arange(len(found.images)), shown)
  classes = list(labeled.classes)
  names = np.array([str(truth[int(image.path.removesuffix(".png"))]) for image in found.images])
  accuracy = {}
  for count in (*range(EVERY, len(labels), EVERY), len(labels)):
    guesses = model.fit(dict(labels[:count]), [], [], 0, 0).guesses
    accuracy[count] = float((np.array(classes)[guesses[unseen]] == names[unseen]).mean())
  return {
    "acq": acq,
    "seed": seed,
    "keys": len(times),
    "milliseconds": {str(q): round(float(np.percentile(times, q)), 1) for q in (50, 95, 100)},
    "rounds": stats["model"]["round"],
    "accuracy": {str(count): round(value, 4) for count, value in accuracy.items()},
    "audit": stats["accuracy"] and {k: stats["accuracy"][k] for k in ("estimate", "low", "high", "answers")},
    "advice": stats["advice"],
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--data_dir", required=True, help="folder with MNIST")
  parser.add_argument("--out", required=True, type=Path, help="file of rows")
  parser.add_argument("--seeds", type=int, default=5)
  options = parser.parse_args()
  FLAGS(["page_study", "--model=linear", "--acq=margin"])
  done = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
  with tempfile.TemporaryDirectory() as place:
    truth = write(Path(place) / "mnist", options.data_dir)
    for seed in range(options.seeds):
      for acq in ("margin", "random"):
        if not any((row["acq"], row["seed"]) == (acq, seed) for row in done):
          row = session(Path(place) / "mnist", Path(place) / f"{acq}-{seed}", truth, acq, seed)
          print(json.dumps(row), flush=True)
          with open(options.out, "a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
  main()
