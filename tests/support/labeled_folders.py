"""Makes labeled folders without the program that labels them."""

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.labeling import images
from experiments.labeling.answers import Answers
from experiments.labeling.journal import NAME
from experiments.labeling.journal import Journal
from experiments.labeling.labeled import begun

ODD_NAMES = ('a "quoted", name.png', "line\nbreak\r.png", "sub/😀 ü+&?=%20#.png", "sub/[brackets].png", "=1+1.png")


def write_images(root: Path, names: Sequence[str], seed: int = 0) -> np.ndarray:
  """Writes one random image of 6 x 5 pixels per name; returns them, `[N, 6, 5]` uint8."""
  pixels = np.random.default_rng(seed).integers(0, 256, (len(names), 6, 5), dtype=np.uint8)
  for name, image in zip(names, pixels, strict=True):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(root / name)
  return pixels


def begin(root: Path, *, audit: float = 0.0, classes: Sequence[str] = ("cat", "dog")) -> tuple[Path, images.Found]:
  """Reads a folder of images as the first start of the program does; returns its workdir and the images."""
  workdir = root / images.WORKDIR
  workdir.mkdir(exist_ok=True)
  found, _ = images.scan(root.resolve(), images.listed(root)[1], workdir, None, lambda text, done, total: None)
  begun(Journal(workdir / NAME), found, 0, audit, list(classes))
  return workdir, found


def answer(workdir: Path, answers: Mapping[str, str], annotator: str = "anna", guess: str | None = None) -> None:
  """Appends answers, by path: the name of a class, which is added if it is new, or `skip` or `unusable`."""
  by_path = {path: image for image in images.saved(workdir).images for path in (image.path, *image.copies)}
  journal = Journal(workdir / NAME)
  known = {event["label"] for event in journal.events if event["action"] == "class"}
  for label in dict.fromkeys(text for text in answers.values() if text not in ("skip", "unusable", *known)):
    journal.append({"action": "class", "label": label, "time": "2026-11-30T12:00:00.000Z", "annotator": None})
  for path, text in answers.items():
    image, is_label = by_path[path], text not in ("skip", "unusable")
    event = {"action": "label" if is_label else text, "label": text if is_label else None, "annotator": annotator}
    facts = {"id": image.number, "path": image.path, "sha256": image.sha256, "time": "2026-11-30T12:00:00.000Z"}
    shown = {"guess": guess, "probability": guess and 0.75, "shown": guess is not None, "seconds": 1.5}
    why = {"acquisition": "margin", "score": 0.5, "round": 0, "audit": False, "request": None}
    journal.append(event | facts | shown | why)


def answers(workdir: Path) -> Answers:
  """The answers of a workdir."""
  return Answers(Journal(workdir / NAME).events)


def labels(workdir: Path) -> dict[str, str | None]:
  """What every answered image's answers amount to, by its first path: the class, or the action."""
  known = answers(workdir)
  outcomes = [(image.path, known.outcome(image.sha256)) for image in images.saved(workdir).images]
  return {path: outcome.label or outcome.action for path, outcome in outcomes if outcome is not None}
