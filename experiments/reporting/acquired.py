"""What strategies acquired: how evenly over the classes, how much of it in common, and the images themselves."""

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
from experiments.reporting.wording import images
from experiments.reporting.wording import mean_spread
from experiments.reporting.wording import numbered
from experiments.reporting.wording import seeds_said

_SHEETS = 3  # rounds whose images are shown
Runs = dict[int, list[dict]]  # rows by seed


def class_shares(runs: Runs, classes: int) -> np.ndarray:
  """`[S, C]` share of each class among the labels acquired, by seed; the initial set is not among them."""
  acquired = [[label for row in run for label in row["selected_labels"]] for run in runs.values()]
  counts = np.array([np.bincount(labels, minlength=classes) for labels in acquired])
  return counts / counts.sum(axis=1, keepdims=True)


def evenness(shares: np.ndarray) -> np.ndarray:
  """Entropy of `[..., C]` shares over log C -> `[...]`: 1 where all classes were acquired alike, 0 where one was."""
  return stats.entropy(shares, axis=-1) / np.log(shares.shape[-1])


def jaccard(first: set, second: set) -> float:
  """Size of the intersection over that of the union; 1 for two empty sets."""
  return len(first & second) / len(first | second) if first | second else 1.0


def called(class_names: Sequence[str] | None, classes: int) -> list[str]:
  """What `classes` columns are called: the names of the data, or numbers."""
  return [str(c) for c in range(classes)] if class_names is None else list(map(styles.short, class_names))


def by_class(chosen: Chosen, class_names: Sequence[str] | None) -> tuple[list[Block], Drawings]:
  """Accuracy on each class after the last round; nothing of rows that do not have it."""
  last = {name: [run[-1].get("test_class_accuracy") for run in runs.values()] for name, runs in chosen.runs.items()}
  if not all(own for runs in last.values() for own in runs):
    return [], {}
  measured = {name: np.array(runs, float) for name, runs in last.items()}  # None becomes NaN
  names, classes = list(measured), next(iter(measured.values())).shape[1]
  matrix = np.array([own.mean(axis=0) for own in measured.values()])
  columns = called(class_names, classes)
  drawn = {"class_accuracy": figures.heat_map(matrix, names, columns, x="class", y="", top=1.0)}
  caption = f"Test accuracy on the rows of each class after the last round. Mean over {seeds_said(chosen)}."
  balanced = {name: np.nanmean(own, axis=1) for name, own in measured.items()}
  table = Table(["strategy", "balanced accuracy"], [[name, mean_spread(own)] for name, own in balanced.items()])
  note = Text("Balanced accuracy: mean of the classes' accuracies after the last round, mean ± standard deviation.")
  return [*images(drawn, {"class_accuracy": caption}), table, note], drawn


def overlap(strategies: dict[str, Runs], seeds: Sequence[int]) -> np.ndarray:
  """`[K, K]` Jaccard index of the ids that two strategies acquired on the same seed, mean over `seeds`."""
  ids = [[{i for row in runs[seed] for i in row["selected"]} for seed in seeds] for runs in strategies.values()]
  return np.array([[np.mean([jaccard(a, b) for a, b in zip(x, y, strict=True)]) for y in ids] for x in ids])


def balance(chosen: Chosen, class_names: Sequence[str] | None = None) -> tuple[list[Block], Drawings]:
  """Class balance and overlap."""
  labels = [
    [c for row in run for c in row["selected_labels"]] for runs in chosen.runs.values() for run in runs.values()
  ]
  classes = len(class_names) if class_names else 1 + max(max(run, default=0) for run in labels)
  if not all(labels) or classes < 2:
    return [Text("There are no labels of several classes to weigh: no round acquired any.")], {}
  names = list(chosen.runs)
  shares = {name: class_shares(runs, classes) for name, runs in chosen.runs.items()}
  relative = np.array([shares[name].mean(axis=0) for name in names]) * classes
  drawn = {
    "class_balance": figures.heat_map(
      relative, names, called(class_names, classes), x="class", y="", top=max(2.0, relative.max()), digits=1
    )
  }
  captions = {
    "class_balance": "Share of each class among the labels acquired, the initial set left out, in multiples of the"
    f" uniform share 1/{classes}. Mean over {seeds_said(chosen)}."
  }
  if len(names) > 1 and chosen.seeds:
    drawn["overlap"] = figures.heat_map(overlap(chosen.runs, chosen.seeds), *numbered(names), x="", y="", top=1.0)
    captions["overlap"] = (
      "Jaccard index of the ids that two strategies acquired on the same seed, 1 for the same images. Mean over"
      f" {seeds_said(chosen)}."
    )
  first, *others = images(drawn, captions)
  table = Table(["strategy", "evenness"], [[name, mean_spread(evenness(shares[name]))] for name in names])
  note = Text("Evenness: entropy of the shares over its largest value, 1 where all classes were acquired alike.")
  return [first, table, note, *others], drawn


def sheets(study: Study, chosen: Chosen) -> tuple[list[Block], dict[str, bytes]]:
  """The contact sheets of the first rounds of each strategy's first seed, and their files by name."""
  blocks, files = [], {}
  for name, by_seed in chosen.runs.items():
    seed, run = next(iter(by_seed.items()))
    for row in run[:_SHEETS]:
      for path in (workdir / "inspect" / sheet_name(row) for workdir in study.workdirs):
        if path.exists():
          files[path.name] = path.read_bytes()
          caption = f"{name}, seed {seed}: acquired after {row['num_labeled']} labels."
          alt = f"Images acquired in round {row['round']}"
          blocks.append(Image(path.name, files[path.name], alt, caption, wide=True))
  return blocks or [Text("There are no contact sheets: run with --inspect to see the images.")], files
