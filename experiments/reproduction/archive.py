"""The archived rows of a study: the reduced results that are committed and that the pages are made from."""

from collections.abc import Collection
from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any
from typing import NamedTuple

from experiments.analysis.records import MAY_DIFFER
from experiments.analysis.records import check_full_data
from experiments.analysis.records import differing
from experiments.analysis.records import generator
from experiments.analysis.records import is_finite
from experiments.analysis.records import load_config
from experiments.analysis.records import other_generator
from experiments.analysis.records import other_versions
from experiments.analysis.records import outcome
from experiments.analysis.records import parser
from experiments.analysis.records import read_full_data
from experiments.analysis.records import read_rows
from experiments.analysis.records import write_packed
from experiments.common.errors import UsageError
from experiments.common.places import title

_FIELDS = (
  *("acq", "seed", "round", "error", "num_labeled", "test_accuracy", "test_nll", "val_accuracy", "train_steps"),
  *("seconds_train", "seconds_acquire", "seconds_eval", "seconds_total"),
)
_NEEDED = ("num_labeled", "test_accuracy")
_OMITTED = ("test_nll", "val_accuracy", "train_steps")  # by a brief archive
_ABOUT = ("device", "jax", "flags", "data_sha256", "revisions")
# Flags that may differ between parts of one study: where they ran, in what pieces, and where the user keeps features,
# which data_sha256 identifies.
_MAY_DIFFER = MAY_DIFFER | {"seed", "platform", "driver", "pack", "chunk_size", "features"}


class Archived(NamedTuple):
  """The archived results of a study."""

  about: dict[str, Any]  # device, versions, revisions, data hash, and the flags that determine the rows
  rows: list[dict]
  full_data: list[dict]

  @property
  def seconds(self) -> float:
    """Total time of all trainings, with their scoring and evaluation."""
    return sum(row.get("seconds_total", 0) for row in (*self.rows, *self.full_data))


def from_workdir(workdir: Path, strategies: Collection[str] = (), *, brief: bool = False) -> Archived | None:
  """Reads the ended runs of a workdir, completed or failed; None if there is neither one nor a full-data line.

  Unfinished runs are left out, because their curves are incomplete.

  Args:
    workdir: the folder of a study.
    strategies: the strategies to read; empty for all.
    brief: whether to leave out all measurements but test accuracies and times.

  Raises:
    UsageError: a file is damaged.
  """
  if not (workdir / "config.json").exists():
    return None
  config = load_config(workdir / "config.json", "device_kind", "versions")
  rows, full_data = [], read_full_data(workdir / "full_data.json")
  if (workdir / "results.jsonl").exists():
    rows = [row for row in read_rows(workdir / "results.jsonl").rows if not strategies or row["acq"] in strategies]
    last = {(row["acq"], row["seed"]): row for row in rows}
    ended = {run for run, row in last.items() if outcome(row, config["flags"]["rounds"]) != "unfinished"}
    fields = [name for name in _FIELDS if not brief or name not in _OMITTED]
    rows = [{k: row[k] for k in fields if k in row} for row in rows if (row["acq"], row["seed"]) in ended]
    if not all(map(_is_whole, rows)):
      raise UsageError(f"{workdir / 'results.jsonl'} is damaged: a row lacks {' or '.join(_NEEDED)}")
  if not rows and not full_data:
    return None
  flags = {name: value for name, value in config["flags"].items() if name not in _MAY_DIFFER}
  if "dataset" in flags:
    flags["dataset"] = title(flags["dataset"])  # not where a file lies
  versions = [*config.get("earlier_versions", ()), config["versions"]]
  jaxlibs = {own["jaxlib"] for own in versions if "jaxlib" in own}
  revision = config.get("git_revision")
  about = {
    "device": config["device_kind"],
    "jax": " and ".join(sorted({own["jax"] for own in versions})),
    "flags": flags,
    "data_sha256": config["data_sha256"],
    "revisions": [revision[:7] + "+" * revision.endswith("+")] if revision else [],  # + for uncommitted changes
    **generator(config),
    **({"jaxlib": " and ".join(sorted(jaxlibs))} if jaxlibs else {}),
  }
  return Archived(about, rows, full_data)


def joined(parts: Mapping[Path, Archived]) -> Archived:
  """Joins the parts of one study. If two parts have the same run, the longer is taken; of equal ones, the last.

  Raises:
    UsageError: the parts belong to different studies.
  """
  runs, full_data = {}, {}
  (first, kept), *_ = parts.items()
  flags = {}
  for path, part in parts.items():
    now, before = part.about["flags"], kept.about["flags"]
    reasons = [f"--{name} is {now.get(name)} and {before.get(name)}" for name in differing(now, before)]
    if part.about["data_sha256"] != kept.about["data_sha256"]:
      reasons.append("their data differ")
    if other := other_generator(kept.about, part.about):
      reasons.append(f"their random draws differ: {other}")
    if reasons:
      raise UsageError(f"{path} and {first} are not of one study ({', '.join(reasons)}): move one of them away")
    flags = now | flags
    own = {}
    for row in part.rows:
      own.setdefault((row["acq"], row["seed"]), []).append(row)
    longer = {run: rows for run, rows in own.items() if len(rows) >= len(runs.get(run, (None, []))[1])}
    runs |= {run: (path, rows) for run, rows in longer.items()}
    full_data |= {row["seed"]: (path, row) for row in part.full_data}
  sources = {path for path, _ in (*runs.values(), *full_data.values())}
  used = [part.about for path, part in parts.items() if path in sources]
  every = lambda name: sorted({value for own in used for value in own.get(name, "").split(" and ") if value})
  about = kept.about | {"flags": flags}
  about |= {name: " and ".join(every(name)) for name in ("device", "jax", "jaxlib") if every(name)}
  about["revisions"] = list(dict.fromkeys(revision for own in used for revision in own["revisions"]))
  # The sort is stable: strategies keep their order.
  rows = [row for _, own in sorted(runs.values(), key=lambda run: run[1][0]["seed"]) for row in own]
  return Archived(about, rows, [full_data[seed][1] for seed in sorted(full_data)])


def versions_remark(kept: Archived) -> str | None:
  """A sentence that names the versions of JAX and jaxlib behind the rows; None if there is one of each."""
  by_name = {name: kept.about.get(name, "").split(" and ") for name in ("jax", "jaxlib")}
  return other_versions({"versions": {name: value}} for name, values in by_name.items() for value in values if value)


def write(kept: Archived, path: Path) -> None:
  """Writes one JSON object per line: first the description of the study, then its runs, as in `analysis.kept`."""
  path.parent.mkdir(parents=True, exist_ok=True)
  write_packed(path, {"about": kept.about, "full_data": kept.full_data}, kept.rows)


def read(path: Path) -> Archived | None:
  """Reads a file that `write` wrote, in this version or in those that wrote a line per row; None if there is none.

  Raises:
    UsageError: the file is damaged.
  """
  if not path.exists():
    return None
  try:
    head, *lines = path.read_text().splitlines()
    head = json.loads(head)
    about, parse = {name: head["about"][name] for name in _ABOUT}, parser(head)
    rows = [row for line in lines for row in parse(line)]
    if not (about["flags"].keys() >= {"rounds", "acq_size"} and all(map(_is_whole, rows))):
      raise ValueError("flags or numbers are missing")
    about |= generator(head["about"]) | {k: v for k, v in head["about"].items() if k == "jaxlib"}
    return Archived(about, rows, check_full_data(head["full_data"], path))
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise UsageError(f"{path} is damaged: repair it, or delete it and run its study again") from error


def _is_whole(row: dict) -> bool:
  """Whether a row has the numbers that the pages need."""
  return "error" in row or all(is_finite(row.get(name)) for name in _NEEDED)
