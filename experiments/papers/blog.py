"""The blog's experiment: notenail.github.io (2020-08-29), Active learning on MNIST."""

from experiments.papers.base import GPU
from experiments.papers.base import Curve
from experiments.papers.base import Notes
from experiments.papers.base import Preset
from experiments.papers.base import Publication
from experiments.papers.base import Reference
from experiments.papers.base import Reproduction
from experiments.papers.base import StudyCommand

_BLOG_SOURCE = 'notenail.github.io, "Active learning on MNIST", part 2 (2020-08-29), and its Kaggle notebook'
# MNIST's training and test images are concatenated in IDX order and split 46,900 / 23,100 (scikit-learn's
# train_test_split, test_size 0.33, random_state 42); Keras's Adadelta at its default learning rate of 1e-3, 10 epochs,
# batch 32, a new model every iteration. Two traps are kept on purpose. At that learning rate accuracy is set by the
# number of steps, so that rounds and the supervised reference (validation_split 0.1) are not compared at equal
# training; and validation_split takes the last rows, which is where new labels are appended, so that fresh labels are
# not trained on for many rounds.
_BLOG = {
  "dataset": "mnist",
  "split": "blog",
  "init": "random",
  "optimizer": "adadelta",
  "learning_rate": 1e-3,
  "batch_size": 32,
  "epochs": 10,
  "val_last": 0.15,
  "full_val_last": 0.1,
  "dropout_rate": 0.25,
}
_BLOG_DEPARTURES = (
  "The initial set is drawn by this project's keys: the notebook's draw has no seed.",
  "The published rows are the running best on the test set of one seed; rows here are each model's own accuracy.",
)

_POST = "notenail.github.io (2020-08-29), Active learning on MNIST, part 2"

_TO_THE_END = ("--acq_size=1480", "--rounds=10")  # 18,760 to 33,560 labels in 11 trainings in place of 149
_AS_PUBLISHED = (
  StudyCommand("blog_full_data", "blog", ("--full_data",)),
  StudyCommand("blog_start", "blog", ("--rounds=0",)),
)


def _fixed(seeds: int, *flags: str) -> tuple[StudyCommand, ...]:
  flags = (f"--seeds={seeds}", *flags)
  return (
    StudyCommand("blog_fixed", "blog_fixed", flags),
    StudyCommand("blog_fixed_full", "blog_fixed", (*flags, "--full_data")),
  )


PRESETS: dict[str, Preset] = {
  # The numbers in the post's screenshots only fit a start of 18,760 labels and 100 an iteration.
  "blog": Preset(
    "the blog's experiment as in its screenshots: starts with 40% of the pool, acquires 100 per round",
    _BLOG | {"init_labels": 18_760, "acq_size": 100, "rounds": 200},
    source=_BLOG_SOURCE,
    cost="1.5 million steps; --rounds=0 takes 6 minutes on two cores, --full_data 16",
    expect="18,760 labels -> 0.789, 29,660 -> 0.867, 33,560 -> 0.876; --full_data 0.881",
    departures=_BLOG_DEPARTURES,
  ),
  "blog_posted": Preset(
    "the blog's experiment as in its posted code: starts with 50% of the pool, acquires 50 per round",
    _BLOG | {"init_labels": 23_450, "acq_size": 50, "rounds": 200},
    source=_BLOG_SOURCE,
    cost="as blog",
    expect="--full_data 0.881",
    departures=_BLOG_DEPARTURES,
  ),
  # The post's question, asked so that it has an answer: every round and the full-data line take the same number of
  # Adam steps, the validation set is fixed and never trained on, and random stands beside the strategies.
  "blog_fixed": Preset(
    "the blog's experiment, corrected: Adam, equal steps, fixed validation set, random baseline",
    {
      "dataset": "mnist",
      "split": "blog",
      "acq": "random,least_confidence,margin,entropy",
      "init_labels": 40,
      "acq_size": 80,
      "rounds": 12,
      "val_size": 1000,
      "optimizer": "adam",
      "train_steps": 1000,
      "full_train_steps": 1000,
    },
    source=_BLOG_SOURCE,
    cost="40 s per round on two cores: 35 minutes per seed, all four strategies together",
    expect="no numbers were published: the labels needed for 90, 95 and 97%, or that 1,000 do not suffice",
  ),
}

PUBLISHED: dict[str, Publication] = {
  "blog": Publication(
    f"{_POST}: the printed rows, the running best on the test set of one seed",
    {
      "entropy": Curve(
        "entropy",
        {18_760: (0.789,), 18_860: (0.820,), 18_960: (0.824,), 29_660: (0.867,), 30_360: (0.874,), 33_560: (0.876,)},
        running_best=True,
      )
    },
    full_data=0.881,
  ),
  "blog, 1480 per round": Publication(
    f"{_POST}: the running best of one seed, 100 labels per round, at 29,660, 30,360 and 33,560 labels; here it is"
    " compared with our nearest budgets, 29,120, 30,600 and 33,560",
    {
      "entropy": Curve(
        "entropy, 100 per round", {29_120: (0.867,), 30_600: (0.874,), 33_560: (0.876,)}, running_best=True
      )
    },
    full_data=0.881,
  ),
  "blog_posted": Publication(f"{_POST}: the supervised reference", {}, full_data=0.881),
}

REPRODUCTIONS: dict[str, Reproduction] = {
  "blog": Reproduction(
    "The blog's experiment",
    "blog",
    {"quick": _AS_PUBLISHED, "cpu": _AS_PUBLISHED, "full": _AS_PUBLISHED},
    references=(
      Reference("blog_full_data", "supervised", 0.881, 0.01),
      Reference("blog_start", "18,760 labels, round 0", 0.789, 0.03),
    ),
    scope={"quick": "As published, one seed.", "cpu": "As published, one seed.", "full": "As published, one seed."},
  ),
  "blog_curve": Reproduction(
    "The blog's curve to its last points, with 1,480 labels per round",
    "blog, 1480 per round",
    {
      "cpu": (
        StudyCommand("blog_curve", "blog", ("--acq=entropy", *_TO_THE_END)),
        StudyCommand("blog_curve_random", "blog", ("--acq=random", *_TO_THE_END)),
      )
    },
    scope={"cpu": "One seed, with 1,480 labels acquired per round in place of 100."},
  ),
  "blog_fixed": Reproduction(
    "The blog's experiment, corrected",
    None,
    {"cpu": _fixed(3), "full": _fixed(10, *GPU)},
    thresholds=(0.90, 0.95, 0.97),
    scope={"cpu": "Three seeds.", "full": "Ten seeds."},
  ),
}

NOTES: dict[tuple[str, str], Notes] = {
  ("blog", "quick"): Notes(
    (
      "The preset keeps two flaws of the original. First, with Adadelta at 1e-3 the accuracy depends mainly on the"
      " number of steps, and the full-data model trains for more steps than a round. --train_steps=13200"
      " --full_train_steps=13200 gives both the same number. Second, the validation set consists of the rows acquired"
      " last."
    ),
    (
      (
        "Steps and time of the supervised reference",
        "13,200 steps, 598 s",
        "--preset=blog --full_data; one core of an AMD EPYC, the other core at work too, JAX 0.10.2, 2026-11-26",
      ),
      ("Steps and time of the first round", "4,990 steps, 241 s", "--preset=blog --rounds=0; the same machine and day"),
    ),
  ),
  ("blog_curve", "cpu"): Notes(
    (
      "Our best so far is 1.8 to 2.1 points below the published one, which is the best of 110 to 149 models where ours"
      " is the best of 8 to 11; single models differ by 2 to 4 points from one round to the next. Up to 21,720 labels"
      " both strategies train on the same rows of the initial set, because the validation set takes the last 15%, and"
      " their accuracies are equal. Steps, not labels, make the curve: the 18,760 labels of round 0 trained for the"
      " 8,920 steps of the last round reach 84.9%, as much as entropy (85.0%) and more than random (84.1%) with 33,560."
      " From 26,160 labels on, entropy is 0.4 to 0.9 points above random."
    ),
    (
      (
        "Random at 29,120, 30,600 and 33,560 labels",
        "84.3, 84.8 and 84.1%; best so far 84.3, 84.8 and 84.8%",
        "the second command; an AMD EPYC, one core for each command, other work on both, JAX 0.10.2, 2026-11-30",
      ),
      (
        "Steps of the rounds with 18,760, 29,120, 30,600 and 33,560 labels",
        "4,990, 7,740, 8,130 and 8,920",
        "the rows",
      ),
      (
        "18,760 labels, 8,920 steps",
        "84.93%",
        "--preset=blog --rounds=0 --train_steps=8920; batches drawn with replacement; the same machine and day",
      ),
      ("Time of one strategy", "152 and 146 minutes, on about half a core each", "the rows"),
    ),
  ),
  ("blog_fixed", "cpu"): Notes(
    (
      "Margin and least confidence reach 90% with 360 labels, entropy with 440 and random with 600. 95% takes 600"
      " labels by margin, 680 by entropy and 760 by least confidence. A model trained on all 45,900 labels has 97.0%,"
      " which only least confidence reaches with 1,000. Random reaches neither 95% nor 97%."
    ),
    (
      (
        "Protocol",
        "40 labels, 80 per round, 1,000 Adam steps for every model; 1,000 of the 46,900 images are the validation set",
        "two cores of an AMD EPYC, several processes, with other work on the machine, JAX 0.10.2, 2026-11-24",
      ),
      ("Margin at 1,000 labels", "96.8% (96.7 to 96.8)", ""),
      ("Least confidence at 1,000 labels", "97.0%; 96.97, 97.00 and 97.04% by seed", ""),
      ("Entropy at 1,000 labels", "96.8% (96.6 to 96.9)", ""),
      ("Random at 1,000 labels", "92.4% (91.8 to 92.8)", ""),
    ),
  ),
}
