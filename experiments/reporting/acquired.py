"""The report's section on acquired rows: class balance, overlap between strategies, and contact sheets."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from experiments.analysis import styles
from experiments.analysis.records import sheet_name
from experiments.reporting import figures
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Image
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.study import Chosen
from experiments.reporting.study import Study
from experiments.reporting.wording import Drawings
from experiments.reporting.wording import format_seeds
from experiments.reporting.wording import images
from experiments.reporting.wording import mean_spread
from experiments.reporting.wording import numbered

_SHEETS = 3  # rounds per strategy whose images are shown
Runs = dict[int, list[dict]]  # rows by seed


def class_shares(runs: Runs, classes: int) -> np.ndarray:
  """`[S, C]` share of each class among the acquired labels by seed, the initial set excluded."""
  acquired = [[label for row in run for label in row["selected_labels"]] for run in runs.values()]
  counts = np.array([np.bincount(labels, minlength=classes) for labels in acquired])
  return counts / counts.sum(axis=1, keepdims=True)


def evenness(shares: np.ndarray) -> np.ndarray:
  """Entropy of `[..., C]` shares divided by log C -> `[...]`: 1 for equal shares, 0 for a single class."""
  return stats.entropy(shares, axis=-1) / np.log(shares.shape[-1])


def jaccard(first: set, second: set) -> float:
  """Jaccard index, the size of the intersection over that of the union; 1 for two empty sets."""
  return len(first & second) / len(first | second) if first | second else 1.0


def class_labels(class_names: Sequence[str] | None, classes: int) -> list[str]:
  """Column labels for `classes` classes: the names in the data, or numbers."""
  return [str(c) for c in range(classes)] if class_names is None else list(map(styles.short, class_names))


def by_class(chosen: Chosen, class_names: Sequence[str] | None) -> tuple[list[Block], Drawings]:
  """Accuracy on each class after the last round; empty if the rows lack it."""
  last = {name: [run[-1].get("test_class_accuracy") for run in runs.values()] for name, runs in chosen.runs.items()}
  if not all(own for runs in last.values() for own in runs):
    return [], {}
  measured = {name: np.array(runs, float) for name, runs in last.items()}  # None becomes NaN
  names, classes = list(measured), next(iter(measured.values())).shape[1]
  matrix = np.array([own.mean(axis=0) for own in measured.values()])
  columns = class_labels(class_names, classes)
  drawn = {"class_accuracy": figures.heat_map(matrix, names, columns, x="class", y="", top=1.0)}
  caption = f"Test accuracy on the rows of each class after the last round. Mean over {format_seeds(chosen)}."
  balanced = {name: np.nanmean(own, axis=1) for name, own in measured.items()}
  table = Table(["strategy", "balanced accuracy"], [[name, mean_spread(own)] for name, own in balanced.items()])
  note = Text(
    "Balanced accuracy: the mean over classes of the accuracy after the last round. Mean ± standard deviation over"
    " seeds."
  )
  return [*images(drawn, {"class_accuracy": caption}), table, note], drawn


def overlap(strategies: dict[str, Runs], seeds: Sequence[int]) -> np.ndarray:
  """`[K, K]` Jaccard index of the ids that two strategies acquired with the same seed, mean over `seeds`."""
  ids = [[{i for row in runs[seed] for i in row["selected"]} for seed in seeds] for runs in strategies.values()]
  return np.array([[np.mean([jaccard(a, b) for a, b in zip(x, y, strict=True)]) for y in ids] for x in ids])


def balance(chosen: Chosen, class_names: Sequence[str] | None = None) -> tuple[list[Block], Drawings]:
  """Class balance of each strategy, and overlap between strategies."""
  labels = [
    [c for row in run for c in row["selected_labels"]] for runs in chosen.runs.values() for run in runs.values()
  ]
  classes = len(class_names) if class_names else 1 + max(max(run, default=0) for run in labels)
  if not all(labels) or classes < 2:
    return [Text("Class balance needs acquired labels in every run, of two or more classes.")], {}
  names = list(chosen.runs)
  shares = {name: class_shares(runs, classes) for name, runs in chosen.runs.items()}
  relative = np.array([shares[name].mean(axis=0) for name in names]) * classes
  drawn = {
    "class_balance": figures.heat_map(
      relative, names, class_labels(class_names, classes), x="class", y="", top=max(2.0, relative.max()), digits=1
    )
  }
  captions = {
    "class_balance": "Share of each class among the acquired labels (without the initial set), in multiples of the"
    f" uniform share 1/{classes}. Mean over {format_seeds(chosen)}."
  }
  if len(names) > 1 and chosen.seeds:
    drawn["overlap"] = figures.heat_map(overlap(chosen.runs, chosen.seeds), *numbered(names), x="", y="", top=1.0)
    captions["overlap"] = (
      "Jaccard index of the ids that two strategies acquired with the same seed; 1 means the same images. Mean over"
      f" {format_seeds(chosen)}."
    )
  first, *others = images(drawn, captions)
  table = Table(["strategy", "evenness"], [[name, mean_spread(evenness(shares[name]))] for name in names])
  note = Text("Evenness: entropy of the class shares divided by its maximum; 1 means equal shares.")
  return [first, table, note, *others], drawn


def sheets(study: Study, chosen: Chosen) -> tuple[list[Block], dict[str, bytes]]:
  """Contact sheets of the first rounds of each strategy's first seed, and their files by name."""
  blocks, files = [], {}
  for name, by_seed in chosen.runs.items():
    seed, run = next(iter(by_seed.items()))
    for row in run[:_SHEETS]:
      for path in (workdir / "inspect" / sheet_name(row) for workdir in study.workdirs):
        if path.exists():
          files[path.name] = path.read_bytes()
          caption = f"{name}, seed {seed}: images acquired at {row['num_labeled']} labels."
          alt = f"Images acquired in round {row['round']}"
          blocks.append(Image(path.name, files[path.name], alt, caption, wide=True))
  return blocks or [Text("No contact sheets: run with --inspect to see the acquired images.")], files
