"""The types every part agrees on. Read this page and you know the API.

Shapes: `N` pool images, `S` posterior samples, `C` classes, `F` features, `B` a batch, `R` acquisitions of a run, `num`
labels bought in one of them. Information is measured in nats. A score is higher for what should be labeled first.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import NamedTuple

import jax

PyTree = Any
Shape = tuple[int, ...]


def _static(default: Any = dataclasses.MISSING) -> Any:
  return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dataset:
  """A pool to label and a test set to report on. The arrays are traced data, the rest is static.

  Integer images enter the network as `(x - mean) / std`, computed on the device; floating ones are taken as they are.
  A pool may hold every image several times: id `i` is copy `i // O` of original `i % O`. With `noise`, each id has
  Gaussian noise of its own, drawn from its id and `noise_key` whenever it is looked at and never stored.
  """

  images: jax.Array  # `[O, ...]` uint8 or float: the pool's originals; O = N without copies
  labels: jax.Array  # `[N]` int32: the classes, which the oracle is asked for; read only through a labeled mask
  test_images: jax.Array  # `[M, ...]`
  test_labels: jax.Array  # `[M]` int32
  num_classes: int = _static()
  mean: float = _static(0.0)
  std: float = _static(255.0)
  noise: float = _static(0.0)  # standard deviation, on the scale on which images enter the network
  embedding: jax.Array | None = None  # `[O, E]` floats: features of the caller's, for what compares images
  noise_key: jax.Array | None = None  # `[]` key; read where `noise` is not 0

  @property
  def pool_size(self) -> int:
    """N: images in the pool, copies included."""
    return self.labels.shape[0]


@dataclasses.dataclass(frozen=True)
class Posterior:
  """What a prediction is made of.

  - `deterministic`: one pass of the network as fitted, dropout off; one sample.
  - `dropout`: MC dropout (Gal & Ghahramani 2016), consistent: one set of masks a sample, shared by the whole pool in a
    round; with `per_example`, every image has masks of its own.
  - `ensemble`: as many networks, each from its own weights, minibatches and dropout (Lakshminarayanan et al. 2017).
  """

  kind: str = "deterministic"
  samples: int = 1
  per_example: bool = False

  def __post_init__(self):
    if self.kind not in POSTERIORS:
      raise ValueError(f"unknown posterior {self.kind!r}; choose from {', '.join(POSTERIORS)}")
    if self.samples < 1 or (self.kind == "deterministic" and self.samples > 1):
      raise ValueError(f"a {self.kind} posterior cannot have {self.samples} samples")


POSTERIORS = ("deterministic", "dropout", "ensemble")
SCORE_DTYPES = ("float32", "bfloat16")
STOP_METRICS = ("accuracy", "nll")


class EarlyStop(NamedTuple):
  """When a training is looked at and when it ends, by how good it is on the validation set."""

  patience: int  # looks without a better one after which it ends
  every: int  # steps from one look to the next; with `epochs`, every epoch is looked at instead
  samples: int = 1  # of MC dropout, whose mean prediction is looked at; 1 looks with dropout off
  metric: str = "accuracy"  # what has to rise, or "nll", which has to fall


@dataclasses.dataclass(frozen=True)
class Protocol:
  """The static plan of a run: how many labels, when, and how long each model is trained.

  A run makes `rounds` acquisitions and so `rounds + 1` trainings, the last with `init_labels + rounds * acq_size`
  labels. A training lasts `train_steps` steps whose batches are drawn with replacement, or `epochs` shuffled passes;
  exactly one of the two is given, and is a ceiling where `early_stop` may end it before. With `epoch_draws`, an epoch
  that has fewer images goes over them again and again until it has so many.
  """

  init_labels: int
  acq_size: int
  rounds: int
  batch_size: int = 64
  train_steps: int | None = None
  epochs: int | None = None
  epoch_draws: int = 0  # images that an epoch has at least; 0 for one pass
  init_balanced: bool = True  # the initial set holds equally many images of every class, true ones
  initial_ids: tuple[int, ...] = ()  # the initial set itself, `init_labels` pool ids, in place of a draw
  warm_start: bool = False  # go on from the last round's parameters instead of from new ones
  val_size: int = 0  # pool images set aside for validation: never labeled, never trained on
  val_last: float = 0.0  # the share of the labeled rows, the last acquired, that is held out of training
  pool_subset: int | None = None  # candidates looked at in a round, drawn anew each time; None looks at all
  chunk_size: int = 50  # images in one forward pass outside training: what fits a processor's cache
  early_stop: EarlyStop | None = None  # needs `val_size`
  score_dtype: str = "float32"  # or "bfloat16": the arithmetic of the passes that acquisitions look at

  @property
  def max_labels(self) -> int:
    """Labels held at the end of the run."""
    return self.init_labels + self.rounds * self.acq_size


class ALState(NamedTuple):
  """What the next round needs, and nothing more."""

  params: PyTree  # parameters of the last fitted model; an ensemble's have a leading axis of members
  labeled: jax.Array  # `[N]` bool
  key: jax.Array  # `[]` the run's base key; constant for the whole run
  round: jax.Array  # `[]` int32
  order: jax.Array | None = None  # `[max_labels]` int32 ids as they were labeled; kept only where `val_last` reads it


class Metrics(NamedTuple):
  """How good a fitted model is."""

  test_accuracy: jax.Array  # `[]` in 0..1
  test_nll: jax.Array  # `[]` nats an example
  test_ece: jax.Array  # `[]` in 0..1
  val_accuracy: jax.Array  # `[]` in 0..1, by the oracle's answers; NaN where the protocol has no validation set


class FitInfo(NamedTuple):
  """How a training went."""

  loss: jax.Array  # `[]` nats: the last batch's mean cross-entropy
  steps: jax.Array  # `[]` int32: steps taken, those after the best look of an early stop included
  first_bad_step: jax.Array  # `[]` int32: whose loss was not finite; `steps` where the last update broke it; else -1


class RoundInfo(NamedTuple):
  """Diagnostics of one round, for people: no later round reads them."""

  num_labeled: jax.Array  # `[]` int32: labels the model was trained with, held-out rows included
  metrics: Metrics
  fit: FitInfo
  selected: jax.Array  # `[acq_size]` int32 acquired at the end of the round, best first; -1 in the last round
  scores: jax.Array  # `[acq_size]` their scores; NaN in the last round and for strategies that score no single image


class PoolView(NamedTuple):
  """All that an acquisition may look at. What it does not need is None and was not computed."""

  labeled: jax.Array  # `[N]` bool
  candidates: jax.Array  # `[N]` bool: unlabeled and for sale; at least `num` of them
  log_probs: jax.Array | None = None  # `[N, S, C]` log-probabilities, one row a posterior sample
  features: jax.Array | None = None  # `[N, F]` floats: the input of the network's last dense layer, dropout off
  embedding: jax.Array | None = None  # `[N, E]` floats: the data set's own, or `features` where it has none
  target_log_probs: jax.Array | None = None  # `[T, S, C]`, by the same samples, of a random part of the pool
  tie_break: jax.Array | None = None  # `[N]` floats in [0, 1): the higher first; None draws them from `select`'s key


# What an acquisition may need -> the field of the view that holds it. "posterior" asks for samples that can disagree,
# "joint" for samples that are one function each, so that predictions of several images belong together.
NEEDS = {
  "samples": "log_probs",
  "posterior": "log_probs",
  "joint": "log_probs",
  "features": "features",
  "embedding": "embedding",
}


ScoreFn = Callable[[PoolView], jax.Array]  # (view) -> `[N]`, each image's from its own row and the targets
SelectFn = Callable[..., jax.Array]  # (key, view, *, num) -> `[num]` int32


class Acquisition(NamedTuple):
  """A strategy: which images to label next."""

  select: SelectFn  # (key, view, *, num) -> `[num]` int32 distinct candidates, best first; the key is consumed
  score: ScoreFn | None = None  # (view) -> `[N]`, higher = label first; None for random and set-valued methods
  needs: frozenset[str] = frozenset()  # of the view beyond the masks: keys of NEEDS
  targets: int = 0  # T: images of `target_log_probs`


class Learner(NamedTuple):
  """Everything static about a run. Hashable: the same learner never compiles twice."""

  model: Any  # a Flax module called as `model(images, train=bool)`, returning `[B, C]` logits
  optimizer: Any  # an optax GradientTransformation
  acquisition: Acquisition
  protocol: Protocol
  posterior: Posterior = Posterior()  # what the acquisition's samples are; an ensemble is trained as one
  eval_posterior: Posterior = Posterior()  # what the metrics are measured on; of an ensemble, by default, its first
  label_noise: float | jax.Array = 0.0  # probability that the oracle answers with another class: `oracle.answers`
