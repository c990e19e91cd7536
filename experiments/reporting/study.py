"""Reads the workdirs of one study, checks every row, and chooses the runs to compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.analysis import grid
from experiments.analysis import kept
from experiments.analysis import styles
from experiments.analysis.curves import area_under_curve
from experiments.analysis.curves import curves
from experiments.analysis.curves import name_of
from experiments.analysis.records import Rows
from experiments.analysis.records import check_config
from experiments.analysis.records import check_full_data
from experiments.analysis.records import differing
from experiments.analysis.records import is_finite
from experiments.analysis.records import load_config
from experiments.analysis.records import other_generator
from experiments.analysis.records import other_versions
from experiments.analysis.records import outcome
from experiments.analysis.records import read_full_data
from experiments.analysis.records import read_rows
from experiments.analysis.records import run_of
from experiments.analysis.records import write_packed
from experiments.common.errors import UsageError
from experiments.common.spelling import named

_NUMBERS = ("num_labeled", "test_accuracy", "test_nll", "test_ece", "seconds_total")
_FOLDERS = ("data_dir", "workdir", "compilation_cache", "init_file", "features", "embedding")
_LISTS = ("selected", "selected_labels")


class Study(NamedTuple):
  """The rows of all workdirs, and the full-data lines; `configs` has one entry per workdir."""

  workdirs: tuple[Path, ...]  # or files that `keep` wrote
  configs: tuple[dict, ...]
  rows: tuple[dict, ...]
  full_data: tuple[dict, ...]

  @property
  def name(self) -> str:
    """The name of the first workdir, or of the first kept file without its ending."""
    path = self.workdirs[0].absolute()
    return path.stem if path.suffix == ".jsonl" else path.name

  @property
  def flags(self) -> dict:
    """The flags of the first workdir; the others share them, except for the seed and those in `MAY_DIFFER`."""
    return self.configs[0]["flags"]

  @property
  def class_names(self) -> list[str] | None:
    """The names of the classes; None if the data have none."""
    return self.configs[0].get("class_names")

  @property
  def versions_remark(self) -> str | None:
    """A sentence that names the versions behind the rows; None if there is one of each."""
    earlier = [{"versions": own} for config in self.configs for own in config.get("earlier_versions", ())]
    return other_versions([*earlier, *self.configs])

  @property
  def full_accuracy(self) -> float | None:
    """Mean test accuracy of full supervision; None if it was not run."""
    return float(np.mean([row["test_accuracy"] for row in self.full_data])) if self.full_data else None


def gather(paths: Sequence[Path]) -> Study:
  """Reads the workdirs of one study, or files that `keep` wrote.

  Raises:
    UsageError: a workdir has missing or damaged results or no test accuracy, the workdirs belong to different studies,
      or two have the same run.
  """
  configs, rows, full_data, holders, labels = [], [], [], {}, {}
  for place, path in enumerate(paths):
    own_configs, found, own_full_data, source = _kept(path) if path.is_file() else _workdir(path)
    for config in own_configs:
      configs.append(config)
      first, plan = _plan(configs[0]), _plan(config)
      for name in differing(first, plan):
        raise UsageError(
          f"{path} and {paths[0]} belong to different studies ({name} is {plan.get(name)}, not {first.get(name)}):"
          " make a separate report of each"
        )
      if other := other_generator(configs[0], config):
        raise UsageError(
          f"{paths[0]} and {path} differ in their random draws ({other}): make a separate report of each"
        )
    if found.rows and all("error" not in row and row.get("test_accuracy", 0) is None for row in found.rows):
      raise UsageError(f"{path} has no test accuracies: a report needs a study with a test set")
    _check(source, found, labels)
    for row in found.rows:
      if holders.setdefault(run_of(row), place) != place:
        other = paths[holders[run_of(row)]]
        raise UsageError(f"{path} and {other} both have {name_of(row)}, seed {row['seed']}: leave one of them out")
    rows += found.rows
    full_data += own_full_data
  return Study(tuple(paths), tuple(configs), tuple(rows), tuple(full_data))


def _workdir(path: Path) -> tuple[list[dict], Rows, list[dict], Path]:
  """The config.json of a workdir, its rows, its full-data lines, and the file of the rows."""
  source = path / "results.jsonl"
  if not source.exists() or not (path / "config.json").exists():
    raise UsageError(f"{path} is no workdir: it needs a results.jsonl and a config.json")
  return [load_config(path / "config.json")], read_rows(source), read_full_data(path / "full_data.json"), source


def _kept(path: Path) -> tuple[list[dict], Rows, list[dict], Path]:
  """The same of a kept study, whose first line has the config.json of each of its workdirs."""
  found = read_rows(path)
  configs = found.head.get("configs")
  if not isinstance(configs, list) or not configs:
    raise UsageError(f"{path} is no kept study: name a workdir, or a file that --keep wrote")
  return [check_config(own, path) for own in configs], found, check_full_data(found.head["full_data"], path), path


def keep(study: Study, path: Path) -> None:
  """Writes a study to one file, from which `gather` reads all that a report needs.

  The ids of the pool's images, folders, and the fields that are not in `kept.FIELDS` are left out.
  """
  configs = []
  for config in study.configs:
    own = {name: value for name, value in config.items() if name != "pool_ids"}
    own["flags"] = {name: _without_folder(name, value) for name, value in config["flags"].items()}
    if "command" in config:
      own["command"] = [_word_without_folder(word) for word in config["command"]]
    configs.append(own)
  names = ("acq", "seed", "round", "hyper", "initial", "error", *kept.FIELDS)
  rows = [{name: row[name] for name in names if name in row} for row in study.rows]
  write_packed(path, {"configs": configs, "full_data": list(study.full_data)}, rows)


def _without_folder(name: str, value):
  """The value of a flag, or if it is one of `_FOLDERS`, a path of the machine, the file names alone."""
  return ",".join(Path(one).name for one in value.split(",")) if name in _FOLDERS and isinstance(value, str) else value


def _word_without_folder(word: str) -> str:
  name, equals, value = word.partition("=")
  return name + equals + _without_folder(name.lstrip("-"), value)


def _plan(config: dict) -> dict:
  """The settings that all workdirs of one study share."""
  flags = {name: value for name, value in config["flags"].items() if name != "seed"}
  return flags | {"the data": config["data_sha256"]}


def _check(path: Path, found: Rows, labels: dict[int, int]) -> None:
  """Checks all rows of a file; adds the number of labels of each round to `labels`.

  Raises:
    UsageError: a row is invalid; names the file and the line.
  """
  ended: dict[tuple, list[dict]] = {}
  for number, row in zip(found.lines, found.rows, strict=True):
    before = ended.setdefault(run_of(row), [])
    fault = _fault(row, before, labels)
    if fault:
      raise UsageError(f"{path} is damaged in line {number}: {fault}")
    before.append(row)


def _fault(row: dict, before: list[dict], labels: dict[int, int]) -> str | None:
  if row["round"] != len(before) or (before and "error" in before[-1]):
    return f"it has round {row['round']} of {name_of(row)}, seed {row['seed']}, instead of round {len(before)}"
  if "error" in row:
    return None
  for name in _NUMBERS:
    if not is_finite(row.get(name)):
      return f"{name} is {row.get(name)}, not a number"
  for name in _LISTS:
    if not isinstance(row.get(name), list) or not all(isinstance(i, int) and i >= 0 for i in row[name]):
      return f"{name} is {row.get(name)}, not a list of whole numbers"
  if len(row["selected"]) != len(row["selected_labels"]):
    return f"it has {len(row['selected'])} selected ids and {len(row['selected_labels'])} labels"
  if before and row["num_labeled"] <= before[-1]["num_labeled"]:
    return f"{row['num_labeled']} labels follow {before[-1]['num_labeled']}"
  expected = labels.setdefault(row["round"], row["num_labeled"])
  if row["num_labeled"] != expected:
    return f"round {row['round']} has {row['num_labeled']} labels, but {expected} in other runs"
  return None


class Chosen(NamedTuple):
  """The runs in figures and tables, by decreasing mean area; all runs of a strategy have the same length."""

  runs: dict[str, dict[int, list[dict]]]  # by strategy and seed
  seeds: tuple[int, ...]  # matched seeds, which every strategy completed; if empty, nothing is paired
  remarks: tuple[str, ...]  # which runs were left out, and why

  def labels(self, name: str) -> np.ndarray:
    """`[L]` number of labels in each round of a strategy."""
    return np.array([row["num_labeled"] for row in next(iter(self.runs[name].values()))])

  def values(self, name: str, metric: str) -> np.ndarray:
    """`[S, L]` values of a field of the rows, by seed and round."""
    return np.array([[row[metric] for row in run] for run in self.runs[name].values()], float)

  def quartiles(self, name: str, metric: str) -> np.ndarray:
    """`[3, L]` lower quartile, median and upper quartile over seeds of a field of the rows, by round."""
    return np.quantile(self.values(name, metric), [0.25, 0.5, 0.75], axis=0)

  def areas(self, name: str) -> np.ndarray:
    """`[S]` area under the curve of test accuracy over labels, by seed."""
    return area_under_curve(self.labels(name), self.values(name, "test_accuracy"))

  def baselines(self) -> dict[str, str]:
    """The baseline of each other strategy: random, in a grid at the same point."""
    found = {name.partition(" [")[2]: name for name in self.runs if named(name).name == styles.RANDOM}
    names = [name for name in self.runs if name not in found.values()]
    return {name: found[point] for name in names if (point := name.partition(" [")[2]) in found}


def choose(study: Study) -> Chosen:
  """Chooses the runs to report: the completed runs on matched seeds.

  A seed is matched if every strategy with a completed run completed it. If no seed is matched, chooses all completed
  runs. If no run is complete, chooses all runs, each cut to the shortest run of its strategy.

  Raises:
    UsageError: no run has a usable row.
  """
  versions = (study.versions_remark,) if study.versions_remark else ()
  found = curves(study.rows)
  if not found:
    errors = "".join(f"; {name_of(row)}, seed {row['seed']}: {row['error']}" for row in study.rows[:1])
    raise UsageError(
      f"{', '.join(map(str, study.workdirs))} has no row without an error, so there is nothing to report{errors}"
    )
  rounds = study.flags["rounds"]
  completed = {
    name: {seed: run for seed, run in sorted(by_seed.items()) if outcome(run[-1], rounds) == "completed"}
    for name, by_seed in found.items()
  }
  completed = {name: by_seed for name, by_seed in completed.items() if by_seed}
  if not completed:
    runs = {}
    for name, by_seed in found.items():
      shortest = min(map(len, by_seed.values()))
      runs[name] = {seed: run[:shortest] for seed, run in sorted(by_seed.items())}
    return _sorted(runs, (), ("No run is complete. Each curve ends with its strategy's shortest run.", *versions))
  absent = sorted(found.keys() - completed.keys())
  remarks = [*versions, *([f"Left out, because no run is complete: {', '.join(absent)}."] if absent else [])]
  matched = set.intersection(*(set(by_seed) for by_seed in completed.values()))
  if not matched:
    remarks.append("No seed was completed by every strategy, so nothing is paired.")
    return _sorted(completed, (), tuple(remarks))
  others = sorted({seed for by_seed in found.values() for seed in by_seed} - matched)
  if others:
    listed = ", ".join(map(str, others))
    remarks.append(f"Left out, because not every strategy completed it: seed{'s' * (len(others) > 1)} {listed}.")
  runs = {name: {seed: by_seed[seed] for seed in sorted(matched)} for name, by_seed in completed.items()}
  return _sorted(runs, tuple(sorted(matched)), tuple(remarks))


def _sorted(runs: dict, seeds: tuple[int, ...], remarks: tuple[str, ...]) -> Chosen:
  chosen = Chosen(runs, seeds, remarks)
  order = sorted(runs, key=lambda name: -chosen.areas(name).mean())
  return chosen._replace(runs={name: runs[name] for name in order})


def incomplete(study: Study) -> list[tuple[str, int, str]]:
  """Strategy, seed and state of every run that failed, is unfinished or has not started."""
  last = {(name_of(row), row["seed"]): row for row in study.rows}
  planned = [
    (name_of({"acq": acq} | ({"hyper": point} if point else {})), seed)
    for flags in (config["flags"] for config in study.configs)
    for acq in flags["acq"]
    for seed in range(flags["seed"], flags["seed"] + flags["seeds"])
    for point in grid.points(flags.get("vmap_over") or ())
  ]
  out = []
  for name, seed in dict.fromkeys([*planned, *last]):
    row = last.get((name, seed))
    if row is None:
      out.append((name, seed, "not started"))
      continue
    state = outcome(row, study.flags["rounds"])
    if state == "failed":
      out.append((name, seed, f"stopped in round {row['round']}: {row['error']}"))
    elif state == "unfinished":
      out.append((name, seed, f"unfinished: round {row['round']} of {study.flags['rounds']}"))
  return out
