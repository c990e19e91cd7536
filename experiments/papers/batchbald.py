"""BatchBALD: Kirsch, van Amersfoort & Gal 2019, on MNIST and on Repeated MNIST."""

from math import inf

from experiments.papers.base import BATCHBALD
from experiments.papers.base import BY_5
from experiments.papers.base import GPU
from experiments.papers.base import KIRSCH
from experiments.papers.base import Curve
from experiments.papers.base import Preset
from experiments.papers.base import Publication
from experiments.papers.base import Reference
from experiments.papers.base import Reproduction
from experiments.papers.base import StudyCommand
from experiments.papers.base import at
from experiments.papers.base import to_300

# An epoch is `randperm(5056) % n` there: 79 batches of 64.
_BATCHBALD = KIRSCH | {
  "acq": "batchbald(max_configs=40000),bald,random",
  "seeds": 6,
  "epochs": 30,
  "epoch_draws": 5056,
  "early_stop": 3,
  "early_stop_metric": "nll",
  "val_size": 1024,
}
_BATCHBALD_DEPARTURES = (
  "The program that the authors released stops on validation accuracy, --early_stop_metric=accuracy; the logs of the"
  " published runs fit its negative log-likelihood, which is what the preset looks at.",
  "The authors' random baseline bought 5 a round: --acq=random --acq_size=5 --rounds=56.",
  "A run goes on to 300 labels where the authors' ended at their target accuracy or with 290 (random on copies 295):"
  " a published never means not by then.",
)

_RANDOM_5 = ("--acq=random", *BY_5)

PRESETS: dict[str, Preset] = {
  "batchbald": Preset(
    "the BatchBALD paper on MNIST: 20 to 300 labels, 10 a round",
    _BATCHBALD,
    source="Kirsch, van Amersfoort & Gal 2019, BatchBALD, section 4.1, and the authors' code",
    cost="on a CPU core 1.5 minutes a round by BALD, and by BatchBALD of 5 a round; with --mc_samples=20 1 by BALD",
    expect="BatchBALD: 90% at 80 to 120 labels, 95% at 180 to 260; BALD behind it; random 90% at 165 to 280",
    departures=_BATCHBALD_DEPARTURES,
  ),
  "repeated_batchbald": Preset(
    "Repeated MNIST of the BatchBALD paper: three noisy copies, 20 to 300 labels, 10 a round",
    _BATCHBALD | {"pool_copies": 3, "pool_noise": 0.1, "mc_samples": 10, "epochs": 40, "val_size": 3072},
    source="Kirsch, van Amersfoort & Gal 2019, BatchBALD, section 4.2, and the authors' code",
    cost="180,000 images in the pool: on a CPU core by BALD 1.4 minutes a round, by BatchBALD 1.5, by random 0.4",
    expect="90% at 120 to 150 labels by BatchBALD, at 260 to 290 or never by BALD, at 165 to 265 by random",
    departures=_BATCHBALD_DEPARTURES,
  ),
}

PUBLISHED: dict[str, Publication] = {
  # Recomputed from the authors' result logs; 6 trials, random 20 (means, of batches of 5).
  "batchbald": Publication(
    "Kirsch, van Amersfoort & Gal 2019 (BatchBALD), logs of the authors: quartiles of 6 trials; random: means of 20"
    " runs of a later program of theirs",
    {
      "batchbald": Curve(
        "BatchBALD, 10 a round",
        to_300(
          (66.1, 80.8, 88.3, 92.4, 94.6, 95.0),
          (66.6, 81.6, 89.6, 92.5, 94.7, 95.4),
          (66.9, 82.0, 90.1, 93.2, 94.8, 95.7),
        ),
        {0.90: (80, 80, 100, 110, 120, 120), 0.95: (180, 200, 210, 240, 240, 260)},
        means=at((100, 250), (78.13, 87.13), (81.76, 89.30), (82.45, 89.66)),
      ),
      "batchbald, 5 a round": Curve(
        "BatchBALD, 5 a round",
        to_300((66.0, 82.4, 89.6, 93.1, 94.4), (66.3, 83.7, 90.1, 93.4, 94.9), (66.5, 84.5, 91.0, 93.8, 95.2)),
        {0.90: (75, 90, 90, 100, 105, 105), 0.95: (170, 175, 190, 200, 220, 235)},
        means=at((210,), (88.15,), (88.66,), (89.32,)),
      ),
      "bald": Curve(
        "BALD, 10 a round",
        to_300(
          (65.6, 75.8, 84.6, 88.9, 91.5, 93.8),
          (66.2, 76.8, 86.1, 89.6, 92.0, 94.4),
          (66.6, 79.8, 86.7, 91.2, 92.2, 94.9),
        ),
        {0.90: (130, 130, 130, 180, 180, 200), 0.95: (250, 260, 260, inf, inf, inf)},
        means=at((100, 290), (75.72, 85.97), (77.57, 87.33), (79.57, 88.44)),
      ),
      "random": Curve(
        "random, 5 a round",
        to_300((64.1, 75.2, 81.6, 86.5, 88.9, 90.5, 91.7)),
        {0.90: (200,), 0.95: (inf,)},
        {0.90: (165, 280)},
        means=at((100, 300), (73.35, 82.43), (75.46, 84.56), (79.03, 86.65)),
      ),
    },
  ),
  # Recomputed from the authors' result logs; pools of three copies, K = 10.
  "repeated_batchbald": Publication(
    "Kirsch, van Amersfoort & Gal 2019 (BatchBALD), logs of the authors: quartiles of 6 trials, three copies",
    {
      "batchbald": Curve(
        "BatchBALD, 10 a round",
        to_300(
          (62.3, 73.9, 87.9, 90.5, 92.3, 94.1),
          (62.6, 76.0, 88.4, 90.8, 92.5, 94.4),
          (63.3, 77.5, 88.6, 91.7, 92.9, 94.6),
        ),
        {0.90: (120, 130, 130, 140, 140, 150), 0.95: (250, 270, 270, 270, 290, inf)},
        means=at((250,), (85.41,), (86.24,), (87.56,)),
      ),
      "bald": Curve(
        "BALD, 10 a round",
        to_300(
          (62.4, 69.6, 73.3, 79.4, 83.7, 86.1),
          (63.1, 71.5, 77.1, 81.3, 85.6, 86.9),
          (63.3, 73.8, 79.8, 84.5, 86.3, 87.4),
        ),
        {0.90: (260, 270, 290, inf, inf, inf), 0.95: (inf,)},
        means=at((290,), (77.30,), (80.58,), (82.86,)),
      ),
      "random": Curve(
        "random, 5 a round",
        to_300(
          (62.6, 72.2, 77.6, 83.2, 87.8, 89.7),
          (63.6, 74.9, 81.4, 84.4, 88.1, 90.1),
          (64.2, 76.2, 82.1, 85.8, 89.3, 90.9),
        ),
        {0.90: (165, 190, 200, 205, 230, 265), 0.95: (inf,)},
        means=at((290,), (80.75,), (83.08,), (85.12,)),
      ),
    },
  ),
}

REPRODUCTIONS: dict[str, Reproduction] = {
  "batchbald": Reproduction(
    "BatchBALD on MNIST",
    "batchbald",
    {
      "quick": (
        StudyCommand(
          "batchbald",
          "batchbald",
          (
            "--acq=batchbald(max_configs=10000),bald,random",
            *("--seeds=1", "--rounds=8", "--mc_samples=10", "--pool_subset=4000"),
          ),
        ),
        StudyCommand("batchbald_start", "batchbald", ("--acq=random", "--rounds=0")),
      ),
      "cpu": (
        StudyCommand("batchbald", "batchbald", (f"{BATCHBALD},bald", "--mc_samples=20")),
        StudyCommand("batchbald_random", "batchbald", (*_RANDOM_5, "--mc_samples=20")),
      ),
      "full": (
        StudyCommand("batchbald", "batchbald", (f"{BATCHBALD},bald", *GPU)),
        StudyCommand("batchbald_5", "batchbald", (BATCHBALD, *BY_5, *GPU), suffix=", 5 a round"),
        StudyCommand("batchbald_random", "batchbald", (*_RANDOM_5, *GPU)),
      ),
    },
    signs=(("batchbald", "bald"),),
    references=(Reference("batchbald_start", "20 labels, as published, mean (theirs: random, 20 seeds)", 0.641, 0.02),),
    scope={
      "quick": "The first round as published, 6 seeds. The curves by 1 seed instead of 6, to 100 labels instead of 300,"
      " with 10 samples of MC dropout instead of 100, 10,000 joint configurations instead of 40,000, 4,000 fresh"
      " candidates a round instead of the whole pool, and random by 10 a round instead of 5.",
      "cpu": "20 samples of MC dropout instead of 100, and of random 6 seeds instead of 20.",
      "full": "As published, but for random by 6 seeds and 100 samples of MC dropout instead of 20 and 20.",
    },
  ),
  "repeated_batchbald": Reproduction(
    "Repeated MNIST of the BatchBALD paper: three copies",
    "repeated_batchbald",
    {
      "full": tuple(
        StudyCommand(f"repeated_batchbald{name}", "repeated_batchbald", (*flags, *GPU))
        for name, flags in (("", (f"{BATCHBALD},bald",)), ("_random", _RANDOM_5))
      )
    },
    signs=(("batchbald", "random"), ("random", "bald")),
    scope={"full": "As published."},
  ),
}
