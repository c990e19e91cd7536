"""BatchBALD: Kirsch, van Amersfoort & Gal 2019, on MNIST and on Repeated MNIST."""

from math import inf

from experiments.papers.base import BATCHBALD
from experiments.papers.base import BY_5
from experiments.papers.base import GPU
from experiments.papers.base import KIRSCH
from experiments.papers.base import Curve
from experiments.papers.base import Notes
from experiments.papers.base import Preset
from experiments.papers.base import Publication
from experiments.papers.base import Reference
from experiments.papers.base import Reproduction
from experiments.papers.base import StudyCommand
from experiments.papers.base import at
from experiments.papers.base import to_300

# In the authors' code an epoch is `randperm(5056) % n`: 79 minibatches of 64.
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
  "The authors' released program stops on validation accuracy (--early_stop_metric=accuracy). The logs of the published"
  " runs fit stopping on validation negative log-likelihood, which the preset uses.",
  "The authors' random baseline acquires 5 per round: --acq=random --acq_size=5 --rounds=56.",
  "Our runs continue to 300 labels. The authors' runs end at their target accuracy or at 290 labels (random on copies"
  " at 295), so a published never means not by then.",
)

_RANDOM_5 = ("--acq=random", *BY_5)

PRESETS: dict[str, Preset] = {
  "batchbald": Preset(
    "the BatchBALD paper on MNIST: 20 to 300 labels, 10 per round",
    _BATCHBALD,
    source="Kirsch, van Amersfoort & Gal 2019, BatchBALD, section 4.1, and the authors' code",
    cost="on one CPU core, 1.5 minutes per round for BALD and for BatchBALD with 5 per round; with --mc_samples=20,"
    " 1 minute for BALD",
    expect="BatchBALD: 90% at 80 to 120 labels, 95% at 180 to 260; BALD needs more; random: 90% at 165 to 280",
    departures=_BATCHBALD_DEPARTURES,
  ),
  "repeated_batchbald": Preset(
    "Repeated MNIST of the BatchBALD paper: three noisy copies, 20 to 300 labels, 10 per round",
    _BATCHBALD | {"pool_copies": 3, "pool_noise": 0.1, "mc_samples": 10, "epochs": 40, "val_size": 3072},
    source="Kirsch, van Amersfoort & Gal 2019, BatchBALD, section 4.2, and the authors' code",
    cost="180,000 images in the pool; minutes per round on one CPU core: BALD 1.4, BatchBALD 1.5, random 0.4",
    expect="labels needed for 90%: BatchBALD 120 to 150, BALD 260 to 290 or never, random 165 to 265",
    departures=_BATCHBALD_DEPARTURES,
  ),
}

PUBLISHED: dict[str, Publication] = {
  # Recomputed from the authors' result logs: quartiles of 6 trials; random: means of 20 trials with 5 per round.
  "batchbald": Publication(
    "Kirsch, van Amersfoort & Gal 2019 (BatchBALD), the authors' logs: quartiles of 6 trials; random: means of 20 runs"
    " of a later program of the authors",
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
  # Recomputed from the authors' result logs; pools of three copies, 10 posterior samples.
  "repeated_batchbald": Publication(
    "Kirsch, van Amersfoort & Gal 2019 (BatchBALD), the authors' logs: quartiles of 6 trials, three copies",
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
    orderings=(("batchbald", "bald"),),
    references=(Reference("batchbald_start", "mean at 20 labels (authors: random, 20 seeds)", 0.641, 0.02),),
    scope={
      "quick": "First round: as published, 6 seeds. Curves: 1 seed instead of 6, 100 labels instead of 300, 10 MC"
      " dropout samples instead of 100, 10,000 joint configurations instead of 40,000, and 4,000 new random candidates"
      " per round instead of the whole pool; random acquires 10 per round instead of 5.",
      "cpu": "20 MC dropout samples instead of 100; 6 seeds of random instead of 20.",
      "full": "As published, except for random: 6 seeds and 100 MC dropout samples instead of 20 and 20.",
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
    orderings=(("batchbald", "random"), ("random", "bald")),
    scope={"full": "As published."},
  ),
}

NOTES: dict[tuple[str, str], Notes] = {
  ("batchbald", "quick"): Notes(
    (
      "The first round checks the network, the initializer, the epochs, early stopping and MC evaluation together,"
      " on the authors' 20 images and with their 100 samples. The mean of our six seeds is within a point of the"
      " mean of the authors' twenty random runs; over twenty seeds our mean is 64.0% and theirs 64.1%. Six seeds are"
      " few: the published quartiles of BatchBALD and of BALD come from the same six networks."
    ),
    (
      (
        "First round, six seeds",
        "mean within a point of the mean of the authors' twenty random runs, 64.1%",
        "",
      ),
      (
        "First round, twenty seeds (fourteen more)",
        "64.0%",
        "batchbald_first_rounds.jsonl; --acq=random --rounds=0 --seed=6 --seeds=14",
      ),
      (
        "Published quartiles of BatchBALD and BALD at 20 labels (66%)",
        "from six networks: the runs of both start with the same six seeds",
        "",
      ),
      (
        "Range of first rounds from the same 20 images",
        "theirs 60.2% to 67.7%, ours 61.5% to 67.0%",
        "",
      ),
    ),
  ),
  ("batchbald", "cpu"): Notes(
    (
      "BatchBALD is above BALD on five of six seeds, and the 95% interval of the mean, +0.1 to +5.0, just excludes"
      " zero. All medians of the labels needed for 90% and 95% are inside the published spread. With 20 samples,"
      " BALD at 100 labels is 6 points below the published median; the samples are the likely reason, not a proven"
      " one. The preset stops on validation NLL, because the epochs in the published logs do not fit stopping on"
      " accuracy. The first round is three points below the published one, mostly by chance, with six seeds on each"
      " side."
    ),
    (
      (
        "Runs",
        "all six seeds of the three strategies, as published",
        "one core of an AMD EPYC per run; the other core was busy too",
      ),
      (
        "Labels that BatchBALD needs for 90% and 95%",
        (
          "90% with 120 labels (median), as many as the slowest of the six published runs needs (two of ours need"
          " 130); 95% with 190 to 250 (published 180 to 260)"
        ),
        "",
      ),
      (
        "Labels that random needs for 90% and 95%",
        "90% with 135 to 265 labels, median 190 (published 165 to 280, median 200); 95% in no run, as published",
        "",
      ),
      (
        "Labels that BALD needs for 90% and 95%",
        (
          "90% with 120 to 170 labels (published 130 to 200); 95% with 200, 250, 280 and 290 in four of six runs"
          " (published: 250, 260 and 260 in three of six)"
        ),
        "",
      ),
      (
        "BatchBALD above BALD",
        (
          "on five of six seeds; the 95% interval of the mean, +0.1 to +5.0, just excludes zero; with the first"
          " three seeds alone it was -6.2 to +10.0 and left the ordering open"
        ),
        "",
      ),
      (
        "How much three seeds show at one number of labels",
        (
          "little: random at 100 labels has a median of 86.2% over its first three runs and 82.7% over all six;"
          " published 81.6%"
        ),
        "",
      ),
      (
        "Paused runs",
        "the third run of random for half an hour, the fifth of BALD for 15 minutes; their minutes include the pause",
        "",
      ),
      (
        "Minutes per run since the samples share the convolution of each channel",
        (
          "BALD 29 instead of 66, BatchBALD 38 instead of 75; the fourth and fifth runs of BatchBALD used it from"
          " the sixteenth and the twelfth training on"
        ),
        "from revision 640e857 on",
      ),
      (
        "BALD at 100 labels, 20 samples",
        (
          "6 points below the published median, the only miss at 100 and 200 labels; by seed 75.8, 87.8, 80.6,"
          " 79.1, 74.5 and 88.5%; the six published runs 84.0 to 87.3%"
        ),
        "",
      ),
      (
        "BALD at 100 labels, with 100 samples of the whole pool, as published, instead of 20",
        (
          "same six seeds 85.0, 85.3, 89.8, 86.6, 88.8 and 85.6%; median 86.1%, as published; 5.8 points more per"
          " seed on average, 95% interval -1.5 to +13.2"
        ),
        (
          "batchbald_by_100_samples.jsonl; --preset=batchbald --acq=bald, stopped at that budget; one core per run,"
          " 90 seconds per round"
        ),
      ),
      (
        "BALD at 50 labels, 100 samples instead of 20",
        "76.6% (published 76.8%, with 20 samples 73.6%)",
        "batchbald_by_100_samples.jsonl",
      ),
      (
        "BatchBALD at 50 labels, 100 samples instead of 20",
        (
          "80.4, 84.7, 79.0, 76.0, 82.6 and 81.9% with 100; 74.3, 76.6, 81.3, 79.8, 73.1 and 82.3% with 20; 2.9"
          " points more on average (-3.1 to +8.9); published 81.6%"
        ),
        "see the full scale, where BALD's six runs continue to 300 labels",
      ),
      (
        "Accuracy by best epoch, where the curve is steepest",
        (
          "75 to 82% if the first epoch is the best, so that training ends after four; 80 to 88% if the second or"
          " third is the best"
        ),
        "",
      ),
      (
        "Labels from which the best epoch is later than the first",
        (
          "ours with 20 samples 80, 80, 90, 110, 110 and 120, with 100 samples 70, 70, 80, 80, 90 and 90; published"
          " runs, judging by their accuracy, mostly 80 to 100"
        ),
        "",
      ),
      (
        "BALD with 12,000 new candidates per round, fourth and fifth seed",
        (
          "86.5 and 89.8% with 20 samples, 89.0 and 86.5% with 100, so 20 are no worse; the ten highest of 60,000"
          " scores from 20 samples are high partly by sampling error"
        ),
        (
          "batchbald_12000_by_20.jsonl, batchbald_12000_by_100.jsonl; tested with dropout off, which gives two to"
          " three points more after a first epoch"
        ),
      ),
      (
        "The 100 labels of one published run (85.6%, six epochs), trained here with four seeds",
        (
          "82.0, 83.6, 82.2 and 83.4%, in five or six epochs; this set and the next three show that the cause is"
          " neither the training nor chance alone"
        ),
        "batchbald_100_published.jsonl (ids and rows); --init=file --rounds=0",
      ),
      (
        "The 100 labels of our fourth BALD run with 20 samples (79.1%, four epochs)",
        "83.0, 82.1, 86.3 and 83.8%: the run was unlucky as well",
        "batchbald_100_bald_3.jsonl (seed counted from 0; ids and rows); --init=file --rounds=0",
      ),
      (
        "The 100 labels of our fifth BALD run with 20 samples (74.5%, four epochs)",
        "84.0, 83.1, 80.4 and 81.3%: the run was unlucky as well",
        "batchbald_100_bald_4.jsonl (seed counted from 0; ids and rows); --init=file --rounds=0",
      ),
      (
        "The 90 labels of our fifth BALD run",
        "72.9 to 79.9%, where the published run above had 83.5%",
        "batchbald_90_bald_4.jsonl (seed counted from 0; ids and rows); --init=file --rounds=0",
      ),
      (
        "Runs of the authors' later program at 100 labels",
        "83.1 to 87.2% with 20 samples, 73.9 to 85.6% with 50, 77.6 to 87.8% with 100 (five runs each)",
        "",
      ),
      (
        "Stopping rule of the published trainings",
        (
          "the released program stops on validation accuracy, which does not fit the logs of the twelve published"
          " runs of this table (BatchBALD and BALD, 10 per round); so the preset stops on NLL"
        ),
        "",
      ),
      (
        "Epochs in the twelve published logs",
        (
          "4 in every run at 30 and at 40 labels, the fewest that a patience of 3 allows; BALD 4.3 on average from"
          " 30 to 90 labels and 7.0 from 100 to 250; BatchBALD 4.7 and 7.8"
        ),
        "",
      ),
      (
        "Our epochs when stopping on validation NLL, same two ranges of labels",
        "BALD 4.0 to 4.3 and then 6.2 to 7.1; BatchBALD 4.0 to 4.6 and then 7.0 to 7.5",
        "",
      ),
      (
        "Our epochs when stopping on accuracy, first seed, same two ranges of labels",
        "BALD 7.6 and 8.2; BatchBALD 7.1 and 8.3",
        "batchbald_by_accuracy.jsonl",
      ),
      (
        "Epochs when stopping on the NLL of the mean of 20 samples",
        (
          "on the sets of 50 to 110 labels of our second BatchBALD seed: 5 5 5 9 10 8 10; published medians 4 5 5"
          " 5.5 5 5 6.5; ours, with dropout off, 4 4 4 4 4 6 5"
        ),
        "rows not kept",
      ),
      (
        "Epochs when stopping on the mean of the NLLs of 20 samples, which the published logs report",
        (
          "two seeds on four sets of our second run with 5 per round (50, 70, 90 and 110 labels): 4 5, 4 6, 5 6 and"
          " 6 6; with dropout off 4 4, 4 4, 6 6 and 6 6; too similar to decide which of the two the authors used"
        ),
        "rows not kept",
      ),
      (
        "A copy of the released training in PyTorch, on the 20 images and 80 random others",
        (
          "stopping on accuracy 88.3, 86.5 and 87.0% (seeds 0, 1, 2); stopping on NLL 83.3 and 82.5% (seeds 0, 1);"
          " ours stopping on accuracy, six seeds, 85.7%"
        ),
        "rows not kept",
      ),
      (
        "Published random runs, compared with that copy",
        (
          "81.6% for the random runs of this table, which are twenty runs of a later program whose versions stop on"
          " accuracy or on NLL; 85.3% and 85.9% for random on two and five copies"
        ),
        "",
      ),
      (
        "Epochs in a published log of the same series as the copies (BALD, two copies, seed 133926)",
        "7 5 12 5 8 7 5 5 11 14, as when stopping on accuracy",
        "",
      ),
      (
        "Weights after a training",
        "the published runs restored their best weights, as the released program and ours do",
        "",
      ),
      (
        "Test NLL in the published logs at 20 labels",
        "2.41 (BALD, seed 1029338) and 2.43 (BatchBALD, seed 572400)",
        "",
      ),
      (
        "Kind of NLL in the published logs",
        (
          "the mean of the NLLs of the samples: here 2.35 to 2.70 after the first epoch, the best, and 3.6 after"
          " the fourth; not the NLL of the mean prediction, here 1.2 to 1.5, nor that with dropout off, 1.8 to 2.4"
        ),
        "",
      ),
      (
        "First round, compared with the twelve published runs",
        "three points below, mostly by chance, with six seeds on each side",
        "",
      ),
      (
        "Networks behind the twelve published first rounds",
        (
          "six: the BALD run and the BatchBALD run of a seed begin alike; BALD 66.0, 66.6, 66.9, 64.4, 65.5 and"
          " 66.5%, BatchBALD 66.0, 67.0, 67.3, 64.4, 66.6 and 66.6%"
        ),
        "",
      ),
      (
        "First round of six other published networks on the same images",
        "65.2% on average (BatchBALD, 40 per round) and 63.5% (BALD, one per round, 20 samples)",
        "",
      ),
      (
        "First round of our six seeds, and of twenty seeds (fourteen more)",
        (
          "six: 63.3% on average; twenty: 61.5 to 67.0%, 64.0% on average; the authors' twenty random runs: 60.5 to"
          " 66.4%, 64.1% on average"
        ),
        (
          "batchbald_first_rounds.jsonl, kept with the quick scale; --preset=batchbald --acq=random --rounds=0"
          " --seed=6 --seeds=14"
        ),
      ),
      (
        "First round with dropout off",
        "thirteen seeds 64.5%, ten of the copy in PyTorch 64.7%",
        "",
      ),
      (
        "First round after one, two and four epochs",
        "63.3, 62.5 and 63.2% (means of four seeds), so the number of epochs is not the reason",
        "",
      ),
      (
        "First round with 100 samples and with dropout off",
        "63.3% with 100 samples, 63.8% with dropout off (means of six seeds), so the samples are not the reason",
        "",
      ),
      (
        "Stopping on accuracy instead of NLL, first seed",
        (
          "outside the published range: BALD reaches 90% with 90 labels and 95% with 220, where the six published"
          " runs need 130 to 200 and 250 or more; BatchBALD reaches 90% with 110; the two runs end at 220 and 210"
          " labels"
        ),
        "--early_stop_metric=accuracy; batchbald_by_accuracy.jsonl",
      ),
      (
        "BALD at 100 labels, stopping on accuracy instead of NLL, first seed",
        "90.9% with accuracy, 75.8% with NLL: top-k BALD gains most from the longer trainings",
        "--early_stop_metric=accuracy; batchbald_by_accuracy.jsonl",
      ),
    ),
  ),
  ("batchbald", "full"): Notes(
    (
      "BatchBALD is above BALD on every seed, by 0.8 to 3.0 points of area. With 10 acquired per round, all medians"
      " of the labels needed for 90% and 95% are inside the published spread. From 50 labels on, every median"
      " accuracy of BatchBALD and BALD is within two points of the published one. Only the first round is two and a"
      " half to three points below, mostly by chance, with six seeds. With 5 per round, two seeds of BatchBALD reach"
      " 90% later than the published runs, and their curves are outside the published spread."
    ),
    (
      (
        "Runs",
        "six complete runs of each strategy; as many were published of BatchBALD and of BALD (of random, twenty)",
        "CPU, one core of an AMD EPYC per run; the other core was busy too; no run used a GPU",
      ),
      (
        "Runs of BatchBALD with 5 per round",
        (
          "two seeds; the second took longer, because it ran on a slower processor and, for its last third, on both"
          " cores"
        ),
        "a later revision, faster on the whole pool",
      ),
      (
        "BatchBALD, labels by seed",
        (
          "90% with 110, 90, 100, 100, 120 and 110; 95% with 240, 250, 210, 250, 230 and 210; medians inside the"
          " published spread"
        ),
        "",
      ),
      (
        "BALD, labels by seed",
        (
          "90% with 140, 120, 120, 140, 120 and 170; 95% with 240, 290, 260, 250, 250 and 290; medians inside the"
          " published spread"
        ),
        "",
      ),
      (
        "Random, labels by seed",
        "90% with 135, 230, 180, 190, 285 and 180, median inside the published spread; 95% never",
        "",
      ),
      (
        "BALD's median of the labels needed for 90%",
        (
          "between 120 and 140, of which the upper one is taken, as everywhere here; half of its seeds reach 90%"
          " one round of ten labels before the fastest of the six published runs; its first three seeds alone had a"
          " median of 120, outside the spread"
        ),
        "",
      ),
      (
        "BALD reaching 95% by 290 labels, where the published runs end",
        "three of the six published runs do not; all six of ours do, the last two with 290",
        "",
      ),
      (
        "BatchBALD above BALD",
        (
          "by area on every seed, by 0.8 to 3.0 points; of 29 budgets, BALD is ahead at 3, 3, 5, 10, 4 and none, by"
          " seed"
        ),
        "",
      ),
      (
        "20 samples instead of 100: labels needed for 90% and 95%",
        "BatchBALD 120 and 230, BALD 150 and 290 (medians of six seeds)",
        "",
      ),
      (
        "BatchBALD and BALD, accuracies from 50 labels on",
        (
          "every median is within two points of the published one, also where it is not with 20 samples: BALD at"
          " 100 labels 86.1% (published 86.1%, with 20 samples 79.8%), BatchBALD at 50 labels 81.2% (published"
          " 81.6%, with 20 samples 78.2%)"
        ),
        "",
      ),
      (
        "First round",
        (
          "two and a half to three points below, mostly by chance, with six seeds: the mean of our twenty seeds is"
          " 64.0%, that of twenty published random runs 64.1%"
        ),
        "see the cpu scale",
      ),
      (
        "Random, accuracies",
        (
          "every row is within two points of the published mean of twenty runs; its first three seeds alone had"
          " 86.5% at 100 labels (published 81.6%)"
        ),
        "",
      ),
      (
        "BatchBALD with 5 per round, two seeds: accuracies",
        (
          "within two points of the published medians from 50 labels on; at 100 labels 89.9 and 88.9%, which are a"
          " fraction of a point and a point below the published median of 90.1%"
        ),
        "",
      ),
      (
        "BatchBALD with 5 per round, two seeds: labels",
        (
          "95% with 235 and 230, as many as the slowest of the six published runs needs; 90% with 130 and 110,"
          " where the published six need 75 to 105"
        ),
        "",
      ),
      (
        "BatchBALD, mean accuracy over the curve",
        (
          "5 per round, two seeds: 1.7 and 0.8 points below the published median, outside the spread of the six; 10"
          " per round, six seeds: 0.9 below and inside"
        ),
        "",
      ),
    ),
  ),
  ("repeated_batchbald", "full"): Notes(
    (
      "Both orderings hold on every seed and are significant: on a pool where two of three images are copies,"
      " BatchBALD is one to five points of area above random, and BALD two to eight points below it. Every median of"
      " the labels needed for 90% and 95% is inside the published spread, and so are all three mean accuracies. Four"
      " of eighteen accuracies are more than two points off, two above and two below. With six runs on each side,"
      " the tests do not distinguish them from chance."
    ),
    (
      (
        "Runs",
        (
          "all six seeds; the fourth run of BatchBALD was paused twice, which its minutes include; the sixth runs"
          " of BatchBALD and of BALD were stopped and resumed"
        ),
        "CPU, one core of an AMD EPYC per run; the other core was busy too",
      ),
      (
        "BatchBALD, labels by run",
        (
          "90% with 170, 110, 150, 100, 130 and 150; 95% with 280, never, 250, 260, never and 290; medians inside"
          " the published spread"
        ),
        "",
      ),
      (
        "BALD, labels by run",
        (
          "90% never, never, 250, 260, 300 and 200, median inside the published spread; three of the six published"
          " runs and three of ours do not reach it by 290 labels, where the published runs end"
        ),
        "",
      ),
      (
        "Random, labels by run",
        "90% with 280, 270, 205, 170, 175 and 165; median inside the published spread",
        "",
      ),
      (
        "Mean accuracy over the curve",
        "all three inside the published spread; BatchBALD and random within a point of its median, BALD within two",
        "",
      ),
      (
        "Accuracies more than two points off",
        "four rows of eighteen, two above and two below",
        "",
      ),
      (
        "BatchBALD at 50 labels",
        "four points above: 78.4, 81.0, 82.3, 78.4, 80.0 and 80.1%; the six published runs 70.2 to 82.2%",
        "",
      ),
      (
        "BatchBALD at 100 labels",
        "two and a half points below: 84.9, 87.2, 84.8, 90.6, 82.5 and 88.0%; the six published runs 87.5 to 89.6%",
        "",
      ),
      (
        "BALD at 100 labels",
        "two and a half points below: 79.9, 72.8, 73.8, 70.6, 75.4 and 77.9%; the six published runs 68.2 to 80.6%",
        "",
      ),
      (
        "Random at 150 labels",
        "four points above: 88.4, 87.5, 85.0, 88.0, 89.9 and 88.8%; the six published runs 81.4 to 88.8%",
        "",
      ),
      (
        "Our runs against the published ones, one test per row",
        (
          "with six runs on each side and this spread, no difference is distinguishable from chance; smallest"
          " p-values 0.04 (BatchBALD at 50 labels), 0.06 (random at 150), 0.13 (BatchBALD at 100, BALD at 250);"
          " among eighteen rows, one of 0.05 is to be expected"
        ),
        "two-sided Mann-Whitney tests",
      ),
      (
        "Epochs of BatchBALD",
        (
          "similar: the first of the authors' six logs has 4 in each round up to 80 labels, then 5 or 6 up to 150,"
          " then 5 to 10 up to 250; our six runs have 4 or 5, 4 to 8 and 6 to 12"
        ),
        "",
      ),
    ),
  ),
}
