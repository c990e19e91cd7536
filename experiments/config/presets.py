"""Presets by name: protocols of publications, and `study`, this project's own. Command-line flags override them."""

from experiments.papers.base import Preset
from experiments.papers.registry import PAPERS

PRESETS: dict[str, Preset] = {
  # The default protocol stops at 120 labels, where strategies hardly differ yet.
  "study": Preset(
    "20 to 320 labels, 30 per round from 10,000 candidates, four strategies, 3 seeds: budgets at which they differ",
    {
      "acq": "random,least_confidence,margin,entropy",
      "seeds": 3,
      "acq_size": 30,
      "rounds": 10,
      "pool_subset": 10_000,
      "train_steps": 300,
    },
  ),
  # Needs a GPU; not run here yet.
  "cifar10_resnet18": Preset(
    "CIFAR-10 as in dal-toolbox: ResNet-18 retrained from scratch on 100 to 4,000 labels, 200 epochs per round",
    {
      "dataset": "cifar10",
      "acq": "random,entropy,kcenter,badge",
      "seeds": 3,
      "init": "random",
      "init_labels": 100,
      "acq_size": 100,
      "rounds": 39,
      "model": "resnet18",
      "norm": "batch",
      "augment": "crop,flip",
      "optimizer": "sgd",
      "learning_rate": 1e-3,
      "momentum": 0.9,
      "weight_decay": 0.05,
      "schedule": "cosine",
      "batch_size": 32,
      "epochs": 200,
      "chunk_size": 500,
      "input_mean": 0.4734,
      "input_std": 0.2516,
    },
    source="D. Huseljic et al., dal-toolbox: results and code of its repository",
    cost="about a day on one GPU (an estimate; not run yet)",
    expect="at 2,000 and 4,000 labels: random 75.1% and 83.6%, entropy 75.5% and 85.7%, core-set 76.6% and 85.6%, BADGE"
    " 76.6% and 85.4%; over three seeds, random has a spread of 1.0 and 0.4 points",
    departures=(
      "Pixels are standardized by one mean and standard deviation instead of one per channel.",
      "All unlabeled rows are candidates; whether the published runs scored only a subset is unknown.",
    ),
  ),
  **{name: preset for paper in PAPERS for name, preset in paper.PRESETS.items()},
}
