"""Which runs repeat which publication, at three scales."""

from collections.abc import Mapping
import dataclasses
import shlex

from experiments.config import presets
from experiments.config.strategies import parse
from experiments.config.strategies import split

SCALES = {
  "quick": "about an hour on two cores: signs, and published numbers of single trainings",
  "cpu": "up to a night on two cores for each protocol: fewer samples of MC dropout, seeds or labels, smaller pools",
  "full": "as published, for a GPU; without BALD of one label a round",
}


@dataclasses.dataclass(frozen=True)
class Study:
  """One command of experiments.mnist and the folder of its results."""

  name: str
  preset: str
  flags: tuple[str, ...] = ()
  batch_said: str = ""  # behind the names of its strategies, where another study of the part has the same


@dataclasses.dataclass(frozen=True)
class Figure:
  """One published number, of a study's full-data line or of its first round, for which alone the study is run."""

  study: str
  said: str
  published: float
  tolerance: float


@dataclasses.dataclass(frozen=True)
class Part:
  """What one preset is to show."""

  title: str
  published: str | None  # key of `published.PUBLISHED`
  studies: Mapping[str, tuple[Study, ...]]  # by scale
  signs: tuple[tuple[str, str], ...] = ()  # the first above the second; names without hyper-parameters
  figures: tuple[Figure, ...] = ()
  thresholds: tuple[float, ...] = ()  # accuracies whose labels are asked for, where nothing was published
  said: Mapping[str, str] = dataclasses.field(default_factory=dict)  # by scale: what it does with less


_BLOG = (
  Study("blog_full_data", "blog", ("--full_data",)),
  Study("blog_start", "blog", ("--rounds=0",)),
)
_BY_5 = ("--acq_size=5", "--rounds=56")
_RANDOM_5 = ("--acq=random", *_BY_5)
_BATCHBALD = "--acq=batchbald(max_configs=40000)"  # as published
_SETS = f"{_BATCHBALD},softrank_bald(coldness=1)"
_STOCHASTIC = "power_bald(coldness=8),softmax_bald(coldness=8)"
_POINTWISE = f"--acq=random,bald,entropy(posterior=dropout),margin(posterior=dropout),{_STOCHASTIC}"
# After five seeds the interval of power BALD above random had just included zero.
_TEN_SEEDS = "--acq=random,power_bald(coldness=8)"
_FIVE_SEEDS = "--acq=bald,entropy(posterior=dropout),margin(posterior=dropout),softmax_bald(coldness=8)"
_GPU = ("--chunk_size=500",)
_QUICK_COPIES = (
  *("--seeds=2", "--mc_samples=10", "--pool_size=2500", "--init=balanced"),
  *("--val_size=500", "--early_stop_samples=1", "--early_stop=10"),
)
# By the spread of the published runs, five seeds to 150 labels tell signs from chance as three to 300 do, for less.
_CPU_NOISY = (
  *("--mc_samples=20", "--early_stop_samples=1", "--init=balanced"),
  *("--pool_size=5000", "--val_size=1024"),
)
_CPU_NOISY_10 = ("--seeds=5", "--rounds=13", *_CPU_NOISY)
_CPU_NOISY_5 = ("--seeds=5", "--acq_size=5", "--rounds=26", *_CPU_NOISY)
_CPU_GAL = ("--mc_samples=20", "--pool_subset=2000")


def _fixed(seeds: int, *flags: str) -> tuple[Study, ...]:
  flags = (f"--seeds={seeds}", *flags)
  return (Study("blog_fixed", "blog_fixed", flags), Study("blog_fixed_full", "blog_fixed", (*flags, "--full_data")))


PARTS: dict[str, Part] = {
  "blog": Part(
    "The blog's experiment",
    "blog",
    {"quick": _BLOG, "cpu": _BLOG, "full": _BLOG},
    figures=(
      Figure("blog_full_data", "supervised", 0.881, 0.01),
      Figure("blog_start", "18,760 labels, round 0", 0.789, 0.03),
    ),
    said={"quick": "As published, one seed.", "cpu": "As published, one seed.", "full": "As published, one seed."},
  ),
  "blog_fixed": Part(
    "The blog's question, mended",
    None,
    {"cpu": _fixed(3), "full": _fixed(10, *_GPU)},
    thresholds=(0.90, 0.95, 0.97),
    said={"cpu": "Three seeds.", "full": "Ten seeds."},
  ),
  "batchbald": Part(
    "BatchBALD on MNIST",
    "batchbald",
    {
      "quick": (
        Study(
          "batchbald",
          "batchbald",
          (
            "--acq=batchbald(max_configs=10000),bald,random",
            *("--seeds=1", "--rounds=8", "--mc_samples=10", "--pool_subset=4000"),
          ),
        ),
        Study("batchbald_start", "batchbald", ("--acq=random", "--rounds=0")),
      ),
      "cpu": (
        Study("batchbald", "batchbald", (f"{_BATCHBALD},bald", "--mc_samples=20")),
        Study("batchbald_random", "batchbald", (*_RANDOM_5, "--mc_samples=20")),
      ),
      "full": (
        Study("batchbald", "batchbald", (f"{_BATCHBALD},bald", *_GPU)),
        Study("batchbald_5", "batchbald", (_BATCHBALD, *_BY_5, *_GPU), batch_said=", 5 a round"),
        Study("batchbald_random", "batchbald", (*_RANDOM_5, *_GPU)),
      ),
    },
    signs=(("batchbald", "bald"),),
    figures=(Figure("batchbald_start", "20 labels, as published, mean (theirs: random, 20 seeds)", 0.641, 0.02),),
    said={
      "quick": "The first round as published, 6 seeds. The curves by 1 seed instead of 6, to 100 labels instead of 300,"
      " with 10 samples of MC dropout instead of 100, 10,000 joint configurations instead of 40,000, 4,000 fresh"
      " candidates a round instead of the whole pool, and random by 10 a round instead of 5.",
      "cpu": "20 samples of MC dropout instead of 100, and of random 6 seeds instead of 20.",
      "full": "As published, but for random by 6 seeds and 100 samples of MC dropout instead of 20 and 20.",
    },
  ),
  "repeated_batchbald": Part(
    "Repeated MNIST of the BatchBALD paper: three copies",
    "repeated_batchbald",
    {
      "full": tuple(
        Study(f"repeated_batchbald{name}", "repeated_batchbald", (*flags, *_GPU))
        for name, flags in (("", (f"{_BATCHBALD},bald",)), ("_random", _RANDOM_5))
      )
    },
    signs=(("batchbald", "random"), ("random", "bald")),
    said={"full": "As published."},
  ),
  "repeated_mnist": Part(
    "Repeated MNIST: four copies",
    "repeated_mnist",
    {
      "quick": (
        Study("repeated_mnist", "repeated_mnist", (_POINTWISE, "--rounds=8", *_QUICK_COPIES)),
        Study(
          "repeated_mnist_5",
          "repeated_mnist",
          ("--acq=batchbald(max_configs=10000)", "--acq_size=5", "--rounds=16", *_QUICK_COPIES),
        ),
      ),
      "cpu": (
        Study("repeated_mnist_random", "repeated_mnist", (_TEN_SEEDS, "--seeds=10", "--rounds=13", *_CPU_NOISY)),
        Study("repeated_mnist", "repeated_mnist", (_FIVE_SEEDS, *_CPU_NOISY_10)),
        Study("repeated_mnist_5", "repeated_mnist", (_BATCHBALD, *_CPU_NOISY_5)),
      ),
      "full": (
        Study("repeated_mnist", "repeated_mnist", (_POINTWISE, *_GPU)),
        Study("repeated_mnist_5", "repeated_mnist", (_SETS, *_BY_5, *_GPU)),
      ),
    },
    signs=(
      ("random", "bald"),
      ("random", "entropy"),
      ("power_bald", "random"),
      ("softmax_bald", "random"),
      ("margin", "random"),
      ("batchbald", "random"),
      ("softrank_bald", "random"),
    ),
    said={
      "quick": "2 seeds instead of 5, 100 labels instead of 300, 10 samples of MC dropout instead of 100, 10,000 joint"
      " configurations instead of 40,000, copies of 2,500 images instead of 60,000, balanced initial sets, patience 10"
      " instead of 20, and by 500 validation images instead of 4,096, with dropout off instead of 20 samples.",
      "cpu": "150 labels instead of 300, 20 samples of MC dropout instead of 100, copies of 5,000 images instead of"
      " 60,000, balanced initial sets, and validation by 1,024 images instead of 4,096, with dropout off instead of 20"
      " samples; without SoftRankBALD. Random and power BALD by ten seeds, five of them added after a look: see below.",
      "full": "As published.",
    },
  ),
  "stochastic_mnist": Part(
    "The same paper's MNIST: one noisy copy",
    "stochastic_mnist",
    {
      "cpu": (
        Study("stochastic_mnist", "stochastic_mnist", (f"--acq=random,bald,{_STOCHASTIC}", *_CPU_NOISY_10)),
        Study("stochastic_mnist_5", "stochastic_mnist", (_SETS, *_CPU_NOISY_5)),
      ),
      "full": (
        Study("stochastic_mnist", "stochastic_mnist", (f"--acq=random,bald,{_STOCHASTIC}", *_GPU)),
        Study("stochastic_mnist_5", "stochastic_mnist", (_SETS, *_BY_5, *_GPU)),
      ),
    },
    signs=(
      ("bald", "random"),
      ("batchbald", "bald"),
      ("power_bald", "bald"),
      ("softmax_bald", "bald"),
      ("softrank_bald", "bald"),
    ),
    said={
      "cpu": "150 labels instead of 300, 20 samples of MC dropout instead of 100, 5,000 images instead of 60,000,"
      " balanced initial sets, and validation by 1,024 images instead of 4,096, with dropout off instead of 20"
      " samples.",
      "full": "As published.",
    },
  ),
  "gal2017": Part(
    "Deep Bayesian Active Learning",
    "gal2017",
    {
      "cpu": (Study("gal2017", "gal2017", ("--rounds=38", *_CPU_GAL)),),
      "full": (Study("gal2017", "gal2017", _GPU),),
    },
    signs=(("variation_ratio", "random"), ("entropy", "random")),
    said={
      "cpu": "400 labels instead of 1,000, 20 samples of MC dropout instead of 100, and 2,000 fresh candidates a round"
      " instead of the whole pool.",
      "full": "As published.",
    },
  ),
  "gal2017_table1": Part(
    "Deep Bayesian Active Learning, table 1",
    "gal2017_table1",
    {
      "cpu": (Study("gal2017_table1", "gal2017_table1", ("--rounds=40", *_CPU_GAL)),),
      "full": (Study("gal2017_table1", "gal2017_table1", _GPU),),
    },
    signs=(("bald", "random"), ("variation_ratio", "random"), ("entropy", "random")),
    said={
      "cpu": "300 labels instead of 1,100, 20 samples of MC dropout instead of 100, and 2,000 fresh candidates a round"
      " instead of the whole pool.",
      "full": "As published.",
    },
  ),
}


def _value(study: Study, flag: str, default=None):
  """What a study sets a flag to: typed, or as its preset has it."""
  typed = dict(word.removeprefix("--").split("=", 1) for word in study.flags if "=" in word)
  return typed.get(flag, presets.PRESETS[study.preset].values.get(flag, default))


def all_seeds(study: Study) -> range:
  """The seeds of a study."""
  return range(int(_value(study, "seeds", 1)))


def strategies(study: Study) -> list[str]:
  """The strategies that a study or its preset names, in that order, as rows spell them."""
  return [parse(entry).spelling for entry in split(_value(study, "acq", "")) if entry]


def folder_name(study: Study, seeds: range | None = None) -> str:
  """The folder of a study's results or, with seeds, of those alone."""
  return study.name if seeds is None else f"{study.name}-{seeds.start}"


def words(study: Study, folder: str, seeds: range | None = None) -> list[str]:
  """Flags of experiments.mnist that run a study, or what is missing of it, in its place in a folder: all, or seeds."""
  flags = list(study.flags)
  if seeds is not None:
    flags = [flag for flag in flags if not flag.startswith("--seeds=")]
    flags += [f"--seed={seeds.start}", f"--seeds={len(seeds)}"]
  return [f"--preset={study.preset}", *flags, f"--workdir={folder}/{folder_name(study, seeds)}", "--resume"]


def command(study: Study, folder: str, seeds: range | None = None) -> str:
  """What repeats a study, or seeds of it, by hand."""
  return shlex.join(["python", "-m", "experiments.mnist", *words(study, folder, seeds)])
