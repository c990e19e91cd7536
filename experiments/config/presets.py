"""Named protocols, by name: those of publications, and one of this project's own. A flag that is typed wins."""

from experiments.papers.base import Preset
from experiments.papers.registry import PAPERS

PRESETS: dict[str, Preset] = {
  # The default protocol stops at 120 labels, where strategies have hardly parted.
  "study": Preset(
    "20 to 320 labels, 30 a round from 10,000 candidates, four strategies, 3 seeds: budgets at which they part",
    {
      "acq": "random,least_confidence,margin,entropy",
      "seeds": 3,
      "acq_size": 30,
      "rounds": 10,
      "pool_subset": 10_000,
      "train_steps": 300,
    },
  ),
  **{name: preset for paper in PAPERS for name, preset in paper.PRESETS.items()},
}
