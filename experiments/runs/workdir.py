"""Reads and writes the files of a workdir: config.json, results.jsonl, full_data.json and pool.csv."""

from collections.abc import Callable
from collections.abc import Sequence
import csv
import dataclasses
import datetime
import errno
import fcntl
import importlib.metadata
import io
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

import jax
import numpy as np

from al_jax.types import Dataset
from experiments.analysis.records import differing
from experiments.analysis.records import ended_short
from experiments.analysis.records import load_config
from experiments.analysis.records import other_generator
from experiments.analysis.records import other_versions
from experiments.analysis.records import outcome
from experiments.analysis.records import read_full_data
from experiments.analysis.records import read_rows
from experiments.analysis.records import run_of
from experiments.common.errors import UsageError
from experiments.common.places import title
from experiments.config.resolve import Config
from experiments.data import Loaded
from experiments.runs import runtime

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-datasets")
_FILES = ("config.json", "results.jsonl", "full_data.json", "learning_curve.png", "pool.csv")
_FOLDERS = ("checkpoints", "tensorboard", "inspect", "report")


class Workdir:
  """The folder of a study, locked by this process until the process ends.

  What is appended at once, one row or all rows of a run, is one write, flushed to disk. If a kill truncates the last
  line, the line is removed on resuming.
  """

  def __init__(self, config: Config, data_hash: str):
    """Opens or creates the folder.

    Raises:
      UsageError: the folder cannot be written; another process uses it; it has results, and neither --resume nor
        --overwrite is given; or its results are from other flags, other data or other random draws.
    """
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    self.path = Path(config.workdir or f"runs/{_plain(title(config.dataset))}-{stamp}")
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      self._lock = open(self.path / ".lock", "w")  # noqa: SIM115 (held until the process ends)
    except OSError as error:
      raise UsageError(f"--workdir={self.path} cannot be written: {error.strerror}") from error
    try:
      fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UsageError(f"--workdir={self.path} is in use by another process") from error
    self.on_row: Callable[[dict], None] = lambda row: None  # called with every row that is appended
    self.remark: str | None = None  # a sentence on the versions that wrote its rows, if there are several
    self.class_names: Sequence[str] | None = None
    self._earlier_versions: list[dict[str, str]] = []
    self._adopt(config, data_hash)

  def _adopt(self, config: Config, data_hash: str) -> None:
    present = [name for name in _FILES if (self.path / name).exists()]
    if present and not (config.resume or config.overwrite):
      raise UsageError(
        f"--workdir={self.path} already has results: pass --resume to add to them or --overwrite to replace them"
      )
    if config.overwrite:
      for name in present:
        (self.path / name).unlink()
      for name in _FOLDERS if present else ():  # a folder without results may have folders of the user's
        shutil.rmtree(self.path / name, ignore_errors=True)
    # By run, its last row under a smaller `--rounds`, with its place among the lines of the file. It acquired nothing;
    # a row that acquires will replace it.
    self._short_ends: dict[tuple, tuple[int, dict]] = {}
    self._runs: dict[tuple, list[dict]] = {}  # rows by run, in order of rounds
    for place, row in enumerate(self._read_rows()):
      if ended_short(row, config.rounds):
        self._short_ends[run_of(row)] = place, row
      else:
        self._runs.setdefault(run_of(row), []).append(row)
    if config.resume and (self.path / "config.json").exists():
      found = load_config(self.path / "config.json")
      if found["data_sha256"] != data_hash:
        raise UsageError(
          f"--workdir={self.path} has results on other data than --dataset={config.dataset}, or on the same in another"
          " order: give another --workdir or --overwrite"
        )
      if other := other_generator(found, runtime.generator()):
        raise UsageError(
          f"--workdir={self.path} has rows of another random number generator than this version's ({other}), so equal"
          " flags do not give equal ids: resume with the version that wrote them, or start again with --overwrite"
        )
      self._earlier_versions = found.get("earlier_versions", [])
      if other_versions([found, {"versions": _versions()}]) and found["versions"] not in self._earlier_versions:
        self._earlier_versions = [*self._earlier_versions, found["versions"]]
      self.remark = other_versions([{"versions": own} for own in (*self._earlier_versions, _versions())])
      before = found["flags"]
      now = json.loads(json.dumps(dataclasses.asdict(config)))
      changed = [k for k in differing(before, now) if k != "rounds" or now["rounds"] < before["rounds"]]
      changes = ", ".join(f"--{k} was {before.get(k)} and is {now.get(k)}" for k in changed)
      if changes:
        raise UsageError(
          f"--workdir={self.path} has results of other flags: {changes}; give the same flags, another --workdir or"
          " --overwrite"
        )

  def _read_rows(self) -> list[dict]:
    path = self.path / "results.jsonl"
    if not path.exists():
      return []
    found = read_rows(path)
    if found.head:
      raise UsageError(f"{path} is a kept study, which cannot be resumed: give another --workdir or --overwrite")
    if found.size < path.stat().st_size:
      os.truncate(path, found.size)
    return found.rows

  @property
  def rows(self) -> list[dict]:
    """The written rows, run by run."""
    return [row for run in self._runs.values() for row in run]

  def done(self, acq: str, seed: int, point: dict[str, float] | None = None) -> list[dict]:
    """The written rows of one run, in order of rounds; `point` has the values of a grid."""
    return list(self._run(acq, seed, point))

  def ended(self, acq: str, seed: int, point: dict[str, float], rounds: int) -> bool:
    """Whether a run has all its rows or ended in an error."""
    done = self._run(acq, seed, point)
    return bool(done) and outcome(done[-1], rounds) != "unfinished"

  def _run(self, acq: str, seed: int, point: dict[str, float] | None) -> list[dict]:
    return self._runs.get(run_of({"acq": acq, "seed": seed, "hyper": point or {}}), [])

  def short_end(self, acq: str, seed: int) -> dict | None:
    """The last row of a run under a smaller `--rounds`; None if `--rounds` was not raised."""
    _, row = self._short_ends.get((acq, seed, ()), (None, None))
    return row

  def append(self, row: dict) -> None:
    """Adds a row, as `append_rows` does."""
    self.append_rows([row])

  def append_rows(self, rows: Sequence[dict]) -> None:
    """Adds rows of one run, in order of rounds, as one write. The first replaces the run's `short_end`.

    If a kill interrupts the write, the file has the first of these rows, and perhaps a part of the next.

    Raises:
      UsageError: the disk refuses the write; no part of the rows is written.
    """
    if not rows:
      return
    lines = [(json.dumps(row, allow_nan=False) + "\n").encode() for row in rows]
    run = run_of(rows[0])
    if run in self._short_ends:
      place, _ = self._short_ends[run]
      written = (self.path / "results.jsonl").read_bytes().splitlines(keepends=True)
      self._write("results.jsonl", b"".join([*written[:place], lines[0], *written[place + 1 :], *lines[1:]]))
      del self._short_ends[run]
    else:
      self._append(b"".join(lines))
    self._runs.setdefault(run, []).extend(rows)
    for row in rows:
      self.on_row(row)

  def _append(self, lines: bytes) -> None:
    path = self.path / "results.jsonl"
    size = path.stat().st_size if path.exists() else 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
      if os.write(descriptor, lines) < len(lines):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
      os.fsync(descriptor)
    except OSError as error:
      os.ftruncate(descriptor, size)
      raise UsageError(f"{path} cannot be written: {error.strerror}; all earlier rows are kept") from error
    finally:
      os.close(descriptor)

  def write_config(
    self,
    config: Config,
    data_hash: str,
    pool_ids: np.ndarray | None = None,
    class_counts: list[int] | None = None,
    class_names: Sequence[str] | None = None,
  ) -> None:
    """Writes config.json: all resolved flags, command, versions, random number generator, device kind, hash of the
    data, git revision.

    `pool_ids` are the ids of the training images in the pool, in the order of the pool; None if it has all of them.
    `class_counts` are the numbers of pool rows per class, `class_names` the names of the classes.
    """
    self.class_names = class_names
    self._write_json(
      "config.json",
      {
        "flags": dataclasses.asdict(config),
        "command": [Path(sys.argv[0]).stem, *sys.argv[1:]],
        "python": sys.version.split()[0],
        "versions": _versions(),
        **({"earlier_versions": self._earlier_versions} if self._earlier_versions else {}),
        **runtime.generator(),
        "device_kind": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "data_sha256": data_hash,
        "pool_ids": None if pool_ids is None else pool_ids.tolist(),
        "class_counts": class_counts,
        "class_names": None if class_names is None else list(class_names),
        "git_revision": _git_revision(),
      },
    )

  def write_pool(self, data: Dataset, pool_ids: np.ndarray | None, found: Loaded) -> None:
    """Writes pool.csv: for every pool id, its row in the source (counted from 0), its name there, and its class."""
    ids = np.arange(len(found.rows)) if pool_ids is None else pool_ids
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["id", "row", "name", "class"])
    for i, label in enumerate(np.asarray(data.labels).tolist()):
      own = ids[i % len(ids)]
      named = "" if found.row_names is None else found.row_names[own]
      table.writerow([i, found.rows[own], named, found.class_names[label] if label >= 0 else ""])
    self._write("pool.csv", text.getvalue().encode(errors="surrogateescape"))

  def full_data(self) -> list[dict]:
    """The rows of full supervision, one per seed; empty if none was run."""
    return read_full_data(self.path / "full_data.json")

  def write_full_data(self, rows: list[dict]) -> None:
    """Replaces full_data.json."""
    self._write_json("full_data.json", rows)

  def _write_json(self, name: str, content) -> None:
    self._write(name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())

  def _write(self, name: str, content: bytes) -> None:
    """Replaces a file atomically."""
    temporary = self.path / f".{name}.tmp"
    try:
      with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
      os.replace(temporary, self.path / name)
    except OSError as error:
      raise UsageError(f"{self.path / name} cannot be written: {error.strerror}") from error


def _plain(name: str) -> str:
  """A name without characters that a path cannot have."""
  return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "data"


def _versions() -> dict[str, str]:
  return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _git_revision() -> str | None:
  """The git revision of this source tree, with `+` if it has uncommitted changes; None outside git."""
  git = shutil.which("git")
  root = Path(__file__).resolve().parents[2]
  if git is None or not (root / ".git").exists():
    return None
  call = lambda *words: subprocess.run([git, "-C", root, *words], capture_output=True, text=True, check=False).stdout
  revision = call("rev-parse", "HEAD").strip()
  return f"{revision}{'+' if call('status', '--porcelain').strip() else ''}" or None
