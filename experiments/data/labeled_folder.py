"""Reads a folder of images that was labeled with `experiments.label`; the audit images are its test set."""

import functools
import hashlib
import json
from pathlib import Path

import numpy as np

from experiments.common.errors import UsageError
from experiments.data import image_folder
from experiments.data.errors import DataError
from experiments.data.rows import Options
from experiments.data.rows import Progress
from experiments.data.rows import Read
from experiments.data.rows import Rows
from experiments.labeling import images
from experiments.labeling import journal
from experiments.labeling.answers import UNUSABLE
from experiments.labeling.answers import replayed


def workdir(path: Path) -> Path | None:
  """The workdir of a labeled folder, which is `path` or `path/.al_jax`; None if there is none."""
  return next((own for own in (path / images.WORKDIR, path) if (own / journal.NAME).is_file()), None)


def stamp(path: Path) -> str:
  """Sizes and modification times of the images. Later answers do not change it, so that labeling can continue."""
  root, found = _found(path)
  facts = []
  for image in found.images:
    for name in (image.path, *image.copies):
      try:
        facts.append([name, *images.stamp(root, name)])
      except OSError:
        facts.append([name])
  return json.dumps([str(root), facts])


def _found(path: Path) -> tuple[Path, images.Found]:
  """The root, which is `path` if the folder was moved there, and the images of the last start."""
  own = workdir(path)
  assert own is not None
  try:
    found = images.saved(own)
  except UsageError as error:
    raise DataError(f"{error}.") from error
  moved = path.resolve() if own != path else found.root
  root = found.root if found.root.is_dir() else moved
  if not root.is_dir():
    raise DataError(f"{own} has labels of {root}, which is not there: give the folder that was labeled as --dataset.")
  return root, found


def rows(path: Path, options: Options, progress: Progress) -> Rows:
  """The labeled images by path, those of the audit last; with `--unlabeled=keep` also images without a label.

  Unusable images, and images whose file vanished or changed since the last start of the program, are left out. Exact
  copies are one row. Audit images without a label are left out too, so that none is in a pool.

  Raises:
    DataError: there are no labels, or the files of the workdir are damaged.
  """
  own = workdir(path)
  assert own is not None
  root, found = _found(path)
  try:
    answers = replayed(own / journal.NAME, journal.read(own / journal.NAME)[0])
  except UsageError as error:
    raise DataError(f"{error}.") from error
  if answers.start is None or not any(outcome.label for outcome in answers.outcomes.values()):
    raise DataError(f"{own / journal.NAME} has no labels yet: label some images with experiments.label.")
  progress(f"checking {len(found.images):,} images for changes")
  lost = images.changed(root, own)
  pool, test, unlabeled, unusable = [], [], 0, 0
  gone = sum(bool(outcome.label) for outcome in answers.outcomes.values())
  for image in found.images:
    outcome = answers.outcome(image.sha256)
    label = outcome.label if outcome is not None else None
    place = next((name for name in (image.path, *image.copies) if name not in lost), None)
    if place is None:
      continue
    gone -= bool(label)
    audit = answers.is_audit(image.sha256)
    if outcome is not None and outcome.action == UNUSABLE:
      unusable += 1
    elif label is None and (audit or options.unlabeled != "keep"):
      unlabeled += 1
    else:
      (test if audit else pool).append((place, label, image.sha256))
  chosen = pool + test
  remarks = [f"labels of {own / journal.NAME}: {sum(label is not None for _, label, _ in chosen):,} images"]
  for count, what in ((unlabeled, "without a label"), (unusable, "that cannot be used")):
    remarks += [f"{count:,} images {what} left out"] if count else []
  remarks += [f"{gone:,} labeled images left out, because their file vanished or changed"] if gone else []
  names = [name for name, _, _ in chosen]
  read = functools.partial(_read, remarks, root, [root / name for name in names], names, options, progress)
  key = hashlib.sha256(json.dumps([chosen, len(test), remarks]).encode()).hexdigest()
  labels = np.array([label for _, label, _ in chosen], object)
  return Rows(labels, str(own / journal.NAME), read, len(test) or None, names, cacheable=True, key=key)


def _read(remarks: list[str], *rest) -> Read:
  read = image_folder.decoded(*rest)
  return read._replace(remarks=[*remarks, *read.remarks])
