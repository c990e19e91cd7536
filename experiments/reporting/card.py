"""The protocol card: which requirements of a sound comparison a study meets, judged by its files."""

from collections.abc import Callable
import json
import shlex
from typing import NamedTuple

from experiments.analysis import styles
from experiments.analysis.records import generator
from experiments.common.spelling import named
from experiments.reporting.study import Chosen
from experiments.reporting.study import Study
from experiments.reporting.wording import count_of

MET, NOT_MET, NOT_KNOWN = "met", "not met", "not known"
_MANY = 50  # seeds: the current standard
_INITIAL = {
  True: "as recorded in round 0",
  False: "some strategies of one seed started from different sets",
  None: "no seed has two strategies with a recorded initial set",
}
_TRAINING = ("model", "optimizer", "learning_rate", "momentum", "weight_decay", "decay_layers", "decay_over_labels")
_TRAINING = (*_TRAINING, "dropout_rate", "batch_size", "train_steps", "epochs", "epoch_draws", "early_stop")


class Point(NamedTuple):
  """One point of the card."""

  what: str
  verdict: str
  remark: str


def card(study: Study, chosen: Chosen) -> list[Point]:
  """All points in order: comparison, training, references, published files."""
  return [*_comparison(study, chosen), *_training(study), *_reference(study, chosen), *_published(study)]


def _verdict(met: bool | None) -> str:
  return NOT_KNOWN if met is None else MET if met else NOT_MET


def _comparison(study: Study, chosen: Chosen) -> list[Point]:
  count = len(chosen.seeds)
  budgets = max(len(chosen.labels(name)) for name in chosen.runs)
  initial = _agree(study, lambda row: None, lambda row: row.get("initial"))
  start = _agree(study, lambda row: json.dumps(row.get("hyper"), sort_keys=True), lambda row: row["test_accuracy"])
  return [
    Point(
      "many seeds",
      _verdict(count >= _MANY),
      f"{count_of(count, 'matched seed')}; {_MANY} are the current standard (with 3, two strategies can come out"
      " in the wrong order)",
    ),
    Point(
      "same initial set for all strategies of a seed",
      _verdict(initial),
      _INITIAL[initial],
    ),
    Point(
      "same initial weights",
      _verdict(True if start else None),
      "in round 0, all strategies of a seed have the same accuracy" if start else "round 0 does not show it",
    ),
    Point("separate random keys", MET, "each draw uses a separate key, derived from the seed, its role and its round"),
    Point("several budgets", _verdict(budgets > 2), f"{count_of(budgets, 'budget')}, the first before any acquisition"),
    Point("several batch sizes", NOT_MET, f"one: {study.flags.get('acq_size', 'not recorded')} labels per round"),
  ]


def _agree(study: Study, group: Callable, value: Callable) -> bool | None:
  """Whether the rows of round 0 with the same seed and group have the same value; None if no two rows share them."""
  groups: dict[tuple, list] = {}
  for row in study.rows:
    if row["round"] == 0 and "error" not in row and value(row) is not None:
      groups.setdefault((row["seed"], group(row)), []).append(value(row))
  compared = [values for values in groups.values() if len(values) > 1]
  return all(value == values[0] for values in compared for value in values) if compared else None


def _training(study: Study) -> list[Point]:
  flags = study.flags
  idle = {"momentum"} if flags.get("optimizer") != "sgd" else set()
  idle |= {name for name in ("epoch_draws", "decay_over_labels") if not flags.get(name)}
  settings = ", ".join(
    f"{name}={flags[name]}" for name in _TRAINING if flags.get(name) is not None and name not in idle
  )
  over = [name for name, _ in flags.get("vmap_over") or ()]
  if over:
    settings += f"; a grid over {', '.join(over)}, the same for all strategies"
  validation = "none; no setting was chosen on validation data"
  if flags.get("val_last"):
    validation = f"the last {flags['val_last']:.0%} of the labeled rows"
  if flags.get("val_size"):
    validation = f"{flags['val_size']} pool images"
  stopping = "no early stopping"
  if flags.get("early_stop"):
    samples = flags.get("early_stop_samples", 1)
    by = f", measured with {samples} MC dropout samples" if samples > 1 else ""
    metric = "negative log-likelihood" if flags.get("early_stop_metric") == "nll" else "accuracy"
    stopping = f"stopped after {flags['early_stop']} validation checks without a better {metric}{by}"
  weights = {True: "each round starts from the last round's weights", False: "each round starts from new weights"}
  warm = flags.get("warm_start")
  return [
    Point("same optimizer settings for all strategies", MET, settings),
    Point("hyper-parameters tuned by a stated rule", NOT_KNOWN, "the files do not record how the settings were chosen"),
    Point("validation set", _verdict(bool(flags.get("val_size") or flags.get("val_last"))), validation),
    Point("no early stopping on test data", MET, stopping),
    Point("retraining or warm start stated", NOT_KNOWN if warm is None else MET, weights.get(warm, "not recorded")),
  ]


def _reference(study: Study, chosen: Chosen) -> list[Point]:
  random = any(named(name).name == styles.RANDOM for name in chosen.runs)
  full = f"{study.full_accuracy:.3f}, {count_of(len(study.full_data), 'seed')}" if study.full_data else None
  paired = len(chosen.seeds) > 1 and len(chosen.runs) > 1
  return [
    Point(
      "random baseline with the same training",
      _verdict(random),
      "trained like every other strategy" if random else "run again with random added to --acq, and --resume",
    ),
    Point("full-data accuracy", _verdict(bool(full)), full or "run --full_data --resume on a workdir"),
    Point(
      "intervals and paired tests",
      _verdict(paired),
      "in this report" if paired else "these need two matched seeds and two strategies",
    ),
  ]


def _published(study: Study) -> list[Point]:
  rows = [row for row in study.rows if "error" not in row]
  memory = all(row.get("peak_bytes") is not None for row in rows)
  apart = all(row.get("seconds_train") is not None for row in rows)
  cost = "training, scoring and testing separately" if apart else "mean time per round of a compiled program"
  revisions = [config.get("git_revision") for config in study.configs]
  clean = None if None in revisions else not any(revision.endswith("+") for revision in revisions)
  sources = ["not recorded" if r is None else r.replace("+", ", modified since") for r in revisions]
  hardware = [f"{c['device_kind']} ({c.get('platform')})" for c in study.configs if "device_kind" in c]
  versions = [
    ", ".join(f"{name} {version}" for name, version in {"Python": c.get("python"), **c["versions"]}.items())
    for c in study.configs
    if "versions" in c
  ]
  return [
    Point("time and memory of every round", _verdict(memory), cost if memory else f"{cost}; memory is missing"),
    Point("acquired ids published", MET, "the selected ids in each row of results.jsonl, best first"),
    Point("hardware", _verdict(bool(hardware) or None), _joined(hardware)),
    Point("versions", _verdict(bool(versions) or None), _joined(versions)),
    Point("random number generator", MET, ", ".join(f"{k} {v}" for k, v in generator(study.configs[0]).items())),
    Point("data hash", MET, f"SHA-256 {study.configs[0]['data_sha256']}"),
    Point("source revision", _verdict(clean), _joined(sources)),
  ]


def _joined(values: list[str]) -> str:
  return "; ".join(dict.fromkeys(values)) or "not recorded"


def commands(study: Study) -> list[str]:
  """The command of each workdir, as recorded in its config.json."""
  recorded = [config["command"] for config in study.configs if "command" in config]
  return list(dict.fromkeys(f"python -m experiments.{program} {shlex.join(words)}" for program, *words in recorded))
