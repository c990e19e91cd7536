"""The process that reads the images, trains and chooses, at low priority. It talks to the server in lines of JSON.

Started as `python -m experiments.labeling.worker`. The first line is a `Task`; each further one asks for a training.
The process ends when the server does.
"""

import io
import os
from pathlib import Path
import sys
import threading
import time
import zipfile

from absl import logging
import numpy as np

from al_jax import inputs
from experiments.common.errors import UsageError
from experiments.config.flags import FLAGS
from experiments.config.resolve import resolve
from experiments.data import image_files
from experiments.data.errors import DataError
from experiments.encoders import efficientnet_lite0
from experiments.encoders import pretrained
from experiments.labeling import images
from experiments.labeling import journal
from experiments.labeling.answers import replayed
from experiments.labeling.messages import Channel
from experiments.labeling.messages import Task
from experiments.labeling.messages import packed
from experiments.labeling.model import Model
from experiments.labeling.model import components
from experiments.runs import runtime

_NICE = 10
_SIDE, _WIDTH, _KEPT = 224, 1280, 256  # of the pretrained network: image, features, principal components of these
_SAVE_EVERY = 60  # seconds between two writes of unfinished features


def _opened_features(path: Path, files: int) -> np.ndarray:
  """The rows `[files, F]` of numbers of a .npy file, memory-mapped.

  Raises:
    UsageError: the file cannot be read, or does not hold one row of numbers per file.
  """
  try:
    rows = np.load(path, allow_pickle=False, mmap_mode="r")
  except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
    raise UsageError(f"--features={path} cannot be read as a .npy file ({error})") from error
  is_array = isinstance(rows, np.ndarray)
  if not is_array or rows.ndim != 2 or rows.dtype.kind not in "fiu" or len(rows) != files or not rows.shape[1]:
    given = f"{rows.dtype} of shape {rows.shape}" if is_array else "several arrays"
    raise UsageError(f"--features={path} must hold {files:,} rows of numbers, one per image file, not {given}")
  return rows


def _own_features(path: Path, rows: np.ndarray, found: images.Found, files: list[str]) -> np.ndarray:
  """The features `[N, F]` float32 of the images, from the rows of a file, which are in the order of the paths.

  Raises:
    UsageError: a row has a value that is not finite.
  """
  place = {name: i for i, name in enumerate(files)}
  out = np.asarray(rows[[place[image.path] for image in found.images]], np.float32)
  if not np.isfinite(out).all():
    row = place[found.images[int((~np.isfinite(out).all(axis=1)).argmax())].path]
    raise UsageError(f"--features={path}: row {row} has a value that is not finite")
  return out


class _Encoding:
  """Features of the pretrained network, computed a little at a time; finished ones are kept in the workdir."""

  def __init__(self, found: images.Found, workdir: Path):
    """Raises UsageError if the weights are not installed, and DataError if their file is damaged."""
    self._found, self._path = found, workdir / "pretrained.npz"
    self._encode = pretrained.compiled(inputs.images(std=255))
    self.rows = np.zeros((len(found.images), _WIDTH), np.float16)
    known = self._saved()
    self._left = [image for image in found.images if image.sha256 not in known]
    for image in found.images:
      if image.sha256 in known:
        self.rows[image.number] = known[image.sha256]
    self._saved_at = time.monotonic()

  def _saved(self) -> dict[str, np.ndarray]:
    try:
      with np.load(self._path, allow_pickle=False) as file:
        hashes, rows = file["sha256"].tolist(), file["rows"]
        return dict(zip(hashes, rows, strict=True)) if rows.shape[1:] == (_WIDTH,) else {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
      return {}

  def _save(self) -> None:
    left = {image.sha256 for image in self._left}
    done = [image for image in self._found.images if image.sha256 not in left]
    temporary = self._path.with_suffix(".tmp")
    try:
      with open(temporary, "wb") as file:
        np.savez(file, sha256=np.array([image.sha256 for image in done]), rows=self.rows[[i.number for i in done]])
      os.replace(temporary, self._path)
    except OSError as error:
      logging.warning("%s cannot be written, and a restart computes its features again: %s", self._path, error)
    self._saved_at = time.monotonic()

  @property
  def done(self) -> int:
    return len(self.rows) - len(self._left)

  def step(self) -> bool:
    """Encodes the next images; returns whether any are left. One that cannot be decoded any more gets zeros."""
    batch, self._left = self._left[: pretrained.CPU_CHUNK], self._left[pretrained.CPU_CHUNK :]
    decoded = np.zeros((pretrained.CPU_CHUNK, _SIDE, _SIDE, 3), np.uint8)
    for i, image in enumerate(batch):
      try:
        content = io.BytesIO(images.content(self._found.root, image))
        decoded[i] = image_files.decoded(content, False, (_SIDE, _SIDE))
      except Exception as error:  # Pillow raises many types of errors for a file that was damaged meanwhile.
        logging.warning("%s can no longer be read: %s", image.path, error)
    if batch:
      self.rows[[image.number for image in batch]] = np.asarray(self._encode(decoded))[: len(batch)]
    if not self._left or time.monotonic() - self._saved_at > _SAVE_EVERY:
      self._save()
    return bool(self._left)


def _is_there() -> bool:
  """Whether the weights of the pretrained network are installed."""
  try:
    efficientnet_lite0.find()
  except UsageError:
    return False
  return True


class Worker:
  """Answers the server's requests, and computes pretrained features in between."""

  def __init__(self, task: Task, channel: Channel):
    """Reads the images, from which the first model gets pixel features."""
    self._channel, workdir = channel, Path(task.workdir)
    FLAGS(["experiments.label", *task.flags])
    self._config = resolve()
    runtime.configure(self._config.platform, None, self._config.compilation_cache)
    path = Path(task.features) if task.features.endswith(".npy") else None
    own = None if path is None else _opened_features(path, len(task.paths))
    answers = replayed(workdir / journal.NAME, journal.read(workdir / journal.NAME)[0])
    answered = answers.outcomes.keys()
    size = None if task.image_size is None else (task.image_size[0], task.image_size[1])
    found, self._pixels = images.scan(Path(task.root), task.paths, workdir, size, channel.progress, answered)
    channel.send("images")
    if path is not None and own is not None:
      self._use(components(_own_features(path, own, found, task.paths), _KEPT), task.features)
    else:
      self._use(components(self._pixels), "the pixels")
    wants = task.features == "pretrained" or (task.features == "auto" and found.largest > images.SMALL and _is_there())
    self._encoding = _Encoding(found, workdir) if wants else None

  def _use(self, features: np.ndarray, source: str) -> None:
    self._model = Model(self._config, features, self._pixels)
    learner = "linear head on" if self._model.is_head else f"{self._config.model} on the images, compared by"
    text = f"{learner} {features.shape[1]} principal components of {source}"
    self._channel.send("features", description=text)

  def serve(self) -> None:
    """Serves until the server ends."""
    while True:
      request = self._channel.receive(wait=self._encoding is None)
      if request is not None:
        self._channel.send("fitted", **self._answer(request))
      elif self._encoding is not None:
        self._encode()

  def _answer(self, request: dict) -> dict:
    labels = {int(image): int(c) for image, c in request["labels"]}
    barred, skipped, num = request["barred"], request["skipped"], request["num"]
    if request["typical"]:
      chosen = self._model.typical(list(labels), [*barred, *skipped], num)
      if not len(chosen.ids):
        chosen = self._model.typical(list(labels), barred, num)
    else:
      chosen = self._model.fit(labels, barred, skipped, request["round"], num)
    scores = None if chosen.scores is None else [float(s) if np.isfinite(s) else None for s in chosen.scores]
    return {
      "ids": [int(i) for i in chosen.ids],
      "scores": scores,
      "acquisition": "typiclust" if request["typical"] else self._config.acq[0],
      "guesses": packed(chosen.guesses),
      "probabilities": packed(chosen.probabilities),
    }

  def _encode(self) -> None:
    encoding = self._encoding
    assert encoding is not None
    left = encoding.step()
    self._channel.progress("features of EfficientNet-Lite0", encoding.done, len(encoding.rows))
    if not left:
      self._encoding = None
      self._use(components(encoding.rows, _KEPT), "1,280 features of EfficientNet-Lite0")


def _end_with(parent: int) -> None:
  """Ends this process when the server has ended, which a training would notice late."""
  while os.getppid() == parent:
    time.sleep(0.5)
  os._exit(1)


def main() -> None:
  # Whatever a library prints goes to the standard error, and not among the messages.
  outgoing = os.fdopen(os.dup(1), "wb")
  os.dup2(2, 1)
  os.nice(_NICE)
  threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
  channel = Channel(sys.stdin.buffer, outgoing)
  try:
    first = channel.receive(wait=True)
    assert first is not None
    Worker(Task(**first), channel).serve()
  except (UsageError, DataError) as error:
    channel.send("failed", error=str(error))
  except (EOFError, BrokenPipeError, KeyboardInterrupt):
    pass  # the server has ended


if __name__ == "__main__":
  main()
