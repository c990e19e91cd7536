"""Deep Bayesian active learning: Gal, Islam & Ghahramani 2017, on MNIST."""

from collections.abc import Mapping
from collections.abc import Sequence

from experiments.papers.base import GPU
from experiments.papers.base import Curve
from experiments.papers.base import Preset
from experiments.papers.base import Publication
from experiments.papers.base import Reproduction
from experiments.papers.base import StudyCommand
from experiments.papers.base import at

_GAL = {
  "dataset": "mnist",
  "model": "gal",
  "acq": "bald,variation_ratio,entropy(posterior=dropout),mean_std,random",
  "seeds": 3,
  "init": "balanced",
  "learning_rate": 1e-3,
  "weight_decay": 7.0,
  "decay_layers": "Dense_0",
  "decay_over_labels": True,
  "batch_size": 128,
  "epochs": 50,
  "val_size": 100,
  "mc_samples": 100,
  "eval_posterior": "dropout",
}
_GAL_SOURCE = "Gal, Islam & Ghahramani 2017, Deep Bayesian Active Learning with Image Data, section 5.1"
_GAL_DEPARTURES = (
  "The paper chooses a weight decay by the 100 validation images, which are only set aside here; it is that of the"
  " authors' released program, an L2 penalty on the kernel of the hidden dense layer of 3.5 over the number of labels.",
  "The program scores 2,000 fresh candidates a round, --pool_subset=2000, does not take what it bought out of the pool,"
  " and tests with dropout off; its network, as left there, is another than the paper's.",
  "variation_ratio counts votes, as public copies of the program do; the paper defines 1 - max of the mean prediction,"
  " which is least_confidence(posterior=dropout).",
  "How long the authors trained is not known: by its falls at 130 labels the series of table 1 fits 35 to 50 epochs,"
  " and that from 20 labels fewer.",
)

_CPU_GAL = ("--mc_samples=20", "--pool_subset=2000")


def _of_arrays(rows: Mapping[str, tuple], labels: Sequence[int], lasts: Sequence[int], first: int = 20):
  """Curves of a series of the authors' arrays, by acquisition: accuracies at `labels` and means to `lasts`.

  A row has the name, the accuracies, the labels to 90% and to 95%, and the means.
  """
  return {
    name: Curve(said, at(labels, accuracies), {0.90: (ten,), 0.95: (five,)}, means=at(lasts, means), first=first)
    for name, (said, accuracies, ten, five, means) in rows.items()
  }


# The runs with 20 initial labels and 10 a step.
_FROM_20 = {
  "bald": ("BALD", (54.8, 64.3, 69.9, 85.2, 89.0, 95.1, 98.2), 320, 500, (79.34, 89.64)),
  "variation_ratio": ("variation ratios", (58.3, 62.6, 76.3, 91.7, 95.1, 96.7, 98.2), 170, 300, (84.39, 92.33)),
  "entropy": ("max entropy", (59.4, 55.4, 71.6, 91.2, 93.1, 95.8, 98.0), 200, 370, (82.33, 91.22)),
  "mean_std": ("mean STD", (56.1, 64.2, 74.0, 89.0, 92.3, 94.6, 96.2), 220, 570, (83.14, 90.49)),
  "random": ("random", (59.9, 65.7, 77.1, 89.4, 90.9, 94.6, 96.6), 220, 590, (83.17, 90.54)),
}

# The runs of table 1 of the same paper, which start from 100 labels; it prints the images bought until 10% and 5% test
# error, 100 fewer than the labels here.
_TABLE_1 = {
  "bald": ("BALD", (83.0, 84.4, 89.3, 93.1, 94.3, 97.2, 97.8), 245, 435, (86.55, 93.99)),
  "variation_ratio": ("variation ratios", (85.6, 85.3, 88.9, 94.1, 95.4, 97.1, 98.0), 220, 395, (87.68, 94.50)),
  "entropy": ("max entropy", (84.7, 84.0, 88.2, 91.2, 93.9, 96.8, 97.6), 265, 455, (86.70, 93.75)),
  "mean_std": ("mean STD", (85.4, 81.7, 85.4, 88.9, 91.3, 94.0, 95.4), 330, 795, (84.44, 91.39)),
  "random": ("random", (85.4, 81.5, 84.9, 89.2, 89.8, 93.7, 95.0), 355, 935, (84.36, 91.19)),
}

PRESETS: dict[str, Preset] = {
  "gal2017": Preset(
    "Deep Bayesian Active Learning on MNIST, as its text has it: 20 to 1,000 labels, 10 a round",
    _GAL | {"init_labels": 20, "acq_size": 10, "rounds": 98},
    source=_GAL_SOURCE,
    cost="98 rounds of 100 passes over the pool: for a GPU, or --mc_samples=20 --pool_subset=2000",
    expect="90% / 95% at: BALD 320 / 500, variation ratios 170 / 300, max entropy 200 / 370, random 220 / 590",
    departures=_GAL_DEPARTURES,
  ),
  "gal2017_table1": Preset(
    "the same as its table 1 was made: 100 to 1,100 labels, 5 a round",
    _GAL | {"init_labels": 100, "acq_size": 5, "rounds": 200},
    source=_GAL_SOURCE,
    cost="twice gal2017",
    expect="images bought until 10% / 5% error: BALD 145 / 335, variation ratios 120 / 295, max entropy 165 / 355,"
    " mean STD 230 / 695, random 255 / 835; totals are 100 more",
    departures=_GAL_DEPARTURES,
  ),
}

PUBLISHED: dict[str, Publication] = {
  "gal2017": Publication(
    "Gal, Islam & Ghahramani 2017 (Deep Bayesian Active Learning), arrays of the authors: means of their repeats",
    _of_arrays(_FROM_20, (20, 50, 100, 200, 300, 500, 1000), (400, 1000)),
  ),
  "gal2017_table1": Publication(
    "Gal, Islam & Ghahramani 2017 (Deep Bayesian Active Learning), table 1, with the 100 initial labels added, and the"
    " authors' arrays behind it: means of their repeats",
    _of_arrays(_TABLE_1, (100, 150, 200, 300, 400, 700, 1000), (300, 1000), first=100),
  ),
}

REPRODUCTIONS: dict[str, Reproduction] = {
  "gal2017": Reproduction(
    "Deep Bayesian Active Learning",
    "gal2017",
    {
      "cpu": (StudyCommand("gal2017", "gal2017", ("--rounds=38", *_CPU_GAL)),),
      "full": (StudyCommand("gal2017", "gal2017", GPU),),
    },
    signs=(("variation_ratio", "random"), ("entropy", "random")),
    scope={
      "cpu": "400 labels instead of 1,000, 20 samples of MC dropout instead of 100, and 2,000 fresh candidates a round"
      " instead of the whole pool.",
      "full": "As published.",
    },
  ),
  "gal2017_table1": Reproduction(
    "Deep Bayesian Active Learning, table 1",
    "gal2017_table1",
    {
      "cpu": (StudyCommand("gal2017_table1", "gal2017_table1", ("--rounds=40", *_CPU_GAL)),),
      "full": (StudyCommand("gal2017_table1", "gal2017_table1", GPU),),
    },
    signs=(("bald", "random"), ("variation_ratio", "random"), ("entropy", "random")),
    scope={
      "cpu": "300 labels instead of 1,100, 20 samples of MC dropout instead of 100, and 2,000 fresh candidates a round"
      " instead of the whole pool.",
      "full": "As published.",
    },
  ),
}
