"""Linear heads on frozen features of MNIST: Bickford Smith, Foster & Rainforth 2024.

The features are not part of this project: both presets need --features, and `experiments.reproduce` --files_dir.
"""

from experiments.papers.base import Features
from experiments.papers.base import Notes
from experiments.papers.base import Preset
from experiments.papers.base import Publication
from experiments.papers.base import Reference
from experiments.papers.base import Reproduction
from experiments.papers.base import StudyCommand

_PAPER = "F. Bickford Smith, A. Foster, T. Rainforth, Making better use of unlabelled data in Bayesian active learning"
_BUDGETS = (10, 20, 50, 100, 200, 300, 400)
_SEEDS = 20
_VAE = Features(
  "vae",
  "embeddings_vae_{train,test}.npy in data/mnist of github.com/fbickfordsmith/vae-embeddings (in IDX order)",
)
_SIMCLR = Features(
  "simclr",
  "the 128 outputs of the encoder in github.com/fbickfordsmith/simclr-embeddings for MNIST in IDX order",
)
# The protocol draws the images of each class anew at each budget. Balanced initial sets of one seed may share images
# between budgets; those of other seeds are independent.
_HEAD = {
  "dataset": "mnist",
  "acq": "random",
  "seeds": _SEEDS,
  "init": "balanced",
  "init_labels": 100,
  "rounds": 0,
  "model": "linear",
  "l2": 1.0,
  "driver": "scan",
}
_DEPARTURES = ("The images are drawn by this project's keys, with other seeds at each budget.",)


def _preset(features: Features, summary: str, expect: str, departures: tuple[str, ...] = ()) -> Preset:
  return Preset(
    summary,
    _HEAD,
    source=f"{_PAPER} (AISTATS 2024), and evaluate_embeddings.py of the repository {features.name}-embeddings",
    cost="20 to 30 s per budget on two cores, all seeds together, of which compiling takes 10 s",
    expect=expect,
    departures=(*_DEPARTURES, *departures),
    brings=features,
  )


def _reproduction(preset: str, title: str, means: tuple[float, ...], deviations: tuple[float, ...]) -> Reproduction:
  """Budgets, each a study of one round, against published means and standard deviations in percent."""
  studies = tuple(
    StudyCommand(f"{preset}_{labels}", preset, (f"--init_labels={labels}", f"--seed={_SEEDS * place}"))
    for place, labels in enumerate(_BUDGETS)
  )
  references = tuple(
    Reference(study.name, f"{labels} labels", round(mean / 100, 3), round(deviation / 100, 3), labels)
    for study, labels, mean, deviation in zip(studies, _BUDGETS, means, deviations, strict=True)
  )
  scales = ("quick", "cpu", "full")
  return Reproduction(
    title,
    preset,
    dict.fromkeys(scales, studies),
    references=references,
    mean_difference=0.01,
    scope=dict.fromkeys(scales, f"{_SEEDS} seeds per budget. The tolerance is one published standard deviation."),
  )


PRESETS: dict[str, Preset] = {
  "vae_features": _preset(
    _VAE,
    "logistic regression on 10 VAE features of MNIST, 100 balanced labels, 20 seeds; needs --features",
    "10 labels -> 44.3%, 100 -> 81.8%, 400 -> 89.9%",
  ),
  "simclr_features": _preset(
    _SIMCLR,
    "logistic regression on 128 SimCLR features of MNIST, 100 balanced labels, 20 seeds; needs --features",
    "10 labels -> 60.0%, 100 -> 94.8%, 400 -> 97.8%",
    ("The features were computed from the published weights and stored as float16.",),
  ),
}

PUBLISHED: dict[str, Publication] = {
  preset: Publication(f"result files of 20 seeds in the repository {name}-embeddings: mean and standard deviation", {})
  for preset, name in (("vae_features", "vae"), ("simclr_features", "simclr"))
}

REPRODUCTIONS: dict[str, Reproduction] = {
  "vae_features": _reproduction(
    "vae_features",
    "A linear head on VAE features",
    (44.3, 55.7, 72.7, 81.8, 87.0, 88.9, 89.9),
    (5.2, 4.5, 2.6, 1.7, 0.8, 0.7, 0.4),
  ),
  "simclr_features": _reproduction(
    "simclr_features",
    "A linear head on SimCLR features",
    (60.0, 77.5, 89.7, 94.8, 96.9, 97.5, 97.8),
    (5.9, 3.8, 1.9, 1.0, 0.3, 0.3, 0.2),
  ),
}

_MACHINE = "two cores of an AMD EPYC with other work on both, JAX 0.10.2, 2026-11-30"
NOTES: dict[tuple[str, str], Notes] = {
  ("vae_features", "cpu"): Notes(
    "All seven means are within one published standard deviation, and within 0.7 points of the published means.",
    (
      ("Time of all fourteen studies of both protocols", "5 minutes 12 s, starts and compiling included", _MACHINE),
      (
        "scikit-learn's LogisticRegression (C = 1, at most 1,000 iterations) on the same images",
        "differs by at most 0.04 points on any of the 20 seeds at 20, 100 and 400 labels",
        "fitted to the `initial` ids of the rows of the workdirs, features in float64",
      ),
    ),
  ),
  ("simclr_features", "cpu"): Notes(
    (
      "All seven means are within one published standard deviation. From 50 labels on, they differ from the published"
      " means by at most 0.11 points. The largest difference is at 20 labels, 2.8 points, to which the choice of 20"
      " seeds contributes: 200 other seeds are 2.0 points below the published mean."
    ),
    (
      (
        "20 labels, 200 seeds",
        "75.5%, standard deviation 4.1; groups of 20 seeds have means from 74.2 to 76.7%",
        f"the second command with --seed=1000 --seeds=200; {_MACHINE}",
      ),
      (
        "scikit-learn's LogisticRegression (C = 1, at most 1,000 iterations) on the same images",
        "differs by at most 0.1 points on any of the 20 seeds at 20, 100 and 400 labels",
        "fitted to the `initial` ids of the rows of the workdirs, features in float64",
      ),
    ),
  ),
}
