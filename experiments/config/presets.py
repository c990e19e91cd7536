"""Named protocols: each is data, and any flag that is typed wins over it."""

from collections.abc import Mapping
import dataclasses
from types import MappingProxyType
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preset:
  """Flag values, with where they come from and what to expect of them.

  Run by `python -m experiments.mnist --preset=NAME`; `python -m experiments.reproduce` runs those of publications and
  holds them against what was published, the figures of which are in `published`.
  """

  summary: str  # one line for --help
  values: Mapping[str, Any]  # by flag
  source: str = ""  # whose protocol it is
  cost: str = ""  # what a run of it takes
  expect: str = ""  # what it should come to
  departures: tuple[str, ...] = ()  # where it does not do as its source did

  def __post_init__(self):
    object.__setattr__(self, "values", MappingProxyType(dict(self.values)))


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
  "The start set is drawn by this project's keys: the notebook's draw has no seed.",
  "The published rows are the running best on the test set of one seed; rows here are each model's own accuracy.",
)

_KIRSCH = {
  "dataset": "mnist",
  "model": "batchbald",
  "init": "batchbald",
  "init_labels": 20,
  "acq_size": 10,
  "rounds": 28,
  "input_mean": 0.1307,
  "input_std": 0.3081,
  "learning_rate": 1e-3,
  "batch_size": 64,
  "mc_samples": 100,
  "eval_posterior": "dropout",
}

# An epoch is `randperm(5056) % n` there: 79 batches of 64.
_BATCHBALD = _KIRSCH | {
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

_STOCHASTIC = _KIRSCH | {
  "seeds": 5,
  "pool_noise": 0.1,
  "weight_decay": 5e-4,
  "epochs": 500,
  "epoch_draws": 1024,
  "early_stop": 20,
  "early_stop_samples": 20,
  "val_size": 4096,
}
_STOCHASTIC_SOURCE = "Kirsch et al. 2021, Stochastic Batch Acquisition, and the authors' logs"
_STOCHASTIC_DEPARTURES = (
  "A ceiling of 500 epochs.",
  "The authors' BatchBALD and SoftRankBALD bought 5 a round: --acq_size=5 --rounds=56.",
  "The initial images are those of the BatchBALD paper: the authors' are not known, and their first networks, at 73%"
  " on one copy and 60% on four, say that they were others.",
)

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
  # The numbers in the post's screenshots only fit a start of 18,760 labels and 100 an iteration.
  "blog": Preset(
    "the blog's experiment as its screenshots ran it: 40% start, 100 a round",
    _BLOG | {"init_labels": 18_760, "acq_size": 100, "rounds": 200},
    source=_BLOG_SOURCE,
    cost="1.5 million steps; --rounds=0 takes 6 minutes on two cores, --full_data 16",
    expect="18,760 labels -> 0.789, 29,660 -> 0.867, 33,560 -> 0.876; --full_data 0.881",
    departures=_BLOG_DEPARTURES,
  ),
  "blog_posted": Preset(
    "the blog's experiment as its code was posted: 50% start, 50 a round",
    _BLOG | {"init_labels": 23_450, "acq_size": 50, "rounds": 200},
    source=_BLOG_SOURCE,
    cost="as blog",
    expect="--full_data 0.881",
    departures=_BLOG_DEPARTURES,
  ),
  # The post's question, asked so that it has an answer: every round and the full-data line take the same number of
  # Adam steps, the validation set is fixed and never trained on, and random stands beside the strategies.
  "blog_fixed": Preset(
    "the blog's question, mended: Adam, equal steps, fixed validation set, random baseline",
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
    cost="40 s a round on two cores: 35 minutes a seed",
    expect="nothing was published: labels to 90, 95 and 97%, or that 1,000 do not suffice",
  ),
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
  "repeated_mnist": Preset(
    "Repeated MNIST of the stochastic-batch paper: four noisy copies, 20 to 300 labels, 10 a round",
    _STOCHASTIC
    | {
      "acq": (
        "random,bald,entropy(posterior=dropout),margin(posterior=dropout),power_bald(coldness=8),"
        "softmax_bald(coldness=8),batchbald(max_configs=40000)"
      ),
      "pool_copies": 4,
    },
    source=_STOCHASTIC_SOURCE,
    cost="240,000 images in the pool and 82,000 passes a look: for a GPU",
    expect="BALD and entropy below random; power BALD, softmax BALD, margin and BatchBALD above it",
    departures=_STOCHASTIC_DEPARTURES,
  ),
  "stochastic_mnist": Preset(
    "the same paper's MNIST: one noisy copy, 20 to 300 labels, 10 a round",
    _STOCHASTIC | {"acq": "random,bald,power_bald(coldness=8),softmax_bald(coldness=8),batchbald(max_configs=40000)"},
    source=_STOCHASTIC_SOURCE,
    cost="a quarter of repeated_mnist's passes: for a GPU",
    expect="mean accuracy over the curve: random 87, BALD 89, BatchBALD 91, power BALD 91, softmax BALD 92%",
    departures=_STOCHASTIC_DEPARTURES,
  ),
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
