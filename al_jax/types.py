"""The types every part agrees on. Read this page and you know the API.

Shapes: `N` rows of the pool, `O` originals (`N` without copies), `M` test examples, `S` posterior samples, `C` classes,
`F` features, `B` a batch, `R` acquisitions of a run, `num` ids selected in one of them. Information is measured in
nats. A score is higher for what should be labeled first.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

PyTree = Any
Shape = tuple[int, ...]

UNKNOWN = -1  # the label of a row that nobody has labeled yet
UNUSABLE = -2  # of a row that was available and turned out to be of no use
SKIPPED = -3  # of a row that is asked for again once the others are labeled


def _static(default: Any = dataclasses.MISSING) -> Any:
  return dataclasses.field(default=default, metadata={"static": True})


def _as_array(name: str, values: Any) -> Any:
  """A list as an array; dicts and tuples of inputs are pytrees of arrays, and stay."""
  if not isinstance(values, list):
    return values
  try:
    return np.asarray(values)
  except ValueError as error:
    raise ValueError(f"{name} is a list whose rows have different shapes: give one array") from error


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dataset:
  """A pool to label and a test set to report on. The arrays are traced data, the rest is static.

  Inputs are one array or a pytree of arrays with a common leading axis; `prepare` says how a batch of them enters the
  network. A pool may hold every original several times: id `i` is copy `i // O` of original `i % O`. With `noise`, each
  id has Gaussian noise of its own, drawn from its id and `noise_key` whenever it is read and never stored.
  """

  inputs: PyTree  # arrays `[O, ...]`: the pool's originals
  labels: jax.Array  # `[N]` int32: the oracle's classes, read only through a mask; UNKNOWN where there is none yet
  test_inputs: PyTree  # arrays `[M, ...]`; M may be 0: then no test metric is measured
  test_labels: jax.Array  # `[M]` int32
  num_classes: int = _static()
  prepare: Callable[[PyTree], PyTree] | None = _static(None)  # noqa: RUF009 (hashable; None: as they are)
  copies: int = _static(1)
  noise: float = _static(0.0)  # standard deviation, on the scale on which inputs enter the network
  embedding: jax.Array | None = None  # `[O, E]` floats: features of the caller's, for strategies that compare inputs
  noise_key: jax.Array | None = None  # `[]` key; read where `noise` is not 0
  known: jax.Array | None = None  # `[N]` bool: rows whose label is known; None for all
  available: jax.Array | None = None  # `[N]` bool: rows that may be drawn and acquired; None for all

  def __post_init__(self):
    for name in ("inputs", "labels", "test_inputs", "test_labels", "embedding", "known", "available"):
      object.__setattr__(self, name, _as_array(name, getattr(self, name)))

  @property
  def pool_size(self) -> int:
    """N: rows of the pool, copies included."""
    return self.labels.shape[0]

  @property
  def num_originals(self) -> int:
    """O: rows of the pool without copies."""
    return self.labels.shape[0] // self.copies

  @property
  def test_size(self) -> int:
    """M: test examples."""
    return self.test_labels.shape[0]


InitFn = Callable[[jax.Array, PyTree], PyTree]
ApplyFn = Callable[..., tuple[jax.Array, PyTree]]
SampleFn = Callable[[jax.Array | None, PyTree, PyTree], tuple[jax.Array, jax.Array | None]]
HeadFn = Callable[[PyTree, jax.Array], jax.Array]


class Network(NamedTuple):
  """What the loop asks of a network: pure functions. `from_flax` and `from_nnx` make one, others write their own.

  Variables are a dict with the trained `"params"` and whatever else the network keeps, such as running statistics.
  """

  init: InitFn  # (key, inputs) -> variables; inputs are a batch as it enters the network
  apply: ApplyFn  # (variables, inputs, *, key, weights) -> (logits `[B, C]`, variables): training; of `weights` `[B]`,
  #   0 is padding, whose rows enter no statistic; None where every row counts
  sample: SampleFn  # (key | None, variables, inputs) -> (logits, features `[B, F]` or None): dropout as in training and
  #   all else as in inference; None drops nothing. Row i depends on the key and on row i alone
  head: HeadFn | None = None  # (variables, features) -> logits, where there is one
  name: str = "the network"  # in messages


class Outputs(NamedTuple):
  """What a posterior gives for K inputs."""

  log_probs: jax.Array  # `[K, S, C]` float32
  features: jax.Array | None  # `[K, F]` float32, dropout off, where they were asked for


PredictFn = Callable[..., Outputs]


class Posterior(NamedTuple):
  """What a prediction is made of. `al_jax.posterior` has the factories: `deterministic()`, `mc_dropout(20)`, ..."""

  name: str
  predict: PredictFn  # (key, network, variables, inputs_of, ids, *, chunk_size, features) -> Outputs
  samples: int = 1  # S
  members: int = 1  # networks trained, whose variables have a leading axis where there are several
  joint: bool = True  # whether a sample is one function for all inputs
  drops: bool = False  # whether samples differ by dropout alone
  fit: Callable[..., PyTree] | None = None  # (network, variables, inputs_of, ids, weights, *, chunk_size) -> variables,
  #   with what `predict` reads of the rows trained on: `ids` `[K]`, of which those of weight 0 are padding
  needs_head: bool = False  # whether it reads `Network.head`


SCORE_DTYPES = ("float32", "bfloat16")
STOP_METRICS = ("accuracy", "nll")
KEPT = ("best", "last")


class EarlyStop(NamedTuple):
  """When the validation set is checked and when a training ends by it."""

  patience: int  # checks without a better one after which it ends
  every: int  # steps from one check to the next; with `epochs`, every epoch is checked instead
  samples: int = 1  # of MC dropout, whose mean prediction is checked; 1 checks with dropout off
  metric: str = "accuracy"  # what has to rise, or "nll", which has to fall
  keep: str = "best"  # which variables are returned: of the best check, or "last"


@dataclasses.dataclass(frozen=True)
class TrainPlan:
  """How long and in which batches a model is trained in a round.

  A training lasts `steps` steps whose batches are drawn with replacement, or `epochs` shuffled passes; exactly one of
  the two is given, and is a ceiling where `early_stop` may end it before.
  """

  batch_size: int = 64
  steps: int | None = None
  epochs: int | None = None
  first_epochs: int | None = None  # of round 0, where these are others
  min_epoch_size: int = 0  # draws that an epoch has at least: fewer labels are gone over again; 0 for one pass
  early_stop: EarlyStop | None = None  # needs `val_size`
  warm_start: bool = False  # go on from the last round's variables instead of from new ones
  keep_optimizer: bool = False  # and from its optimizer's state; needs `warm_start`
  label_smoothing: float = 0.0  # the share of a label that is spread over all classes alike
  augment: Callable[[jax.Array, PyTree], PyTree] | None = None  # (key, batch) -> batch, hashable; in training alone


@dataclasses.dataclass(frozen=True)
class Plan:
  """The static plan of a run: how many labels, when, and how each model is trained.

  A run makes `rounds` acquisitions and so `rounds + 1` trainings, the last with `init_labels + rounds * acq_size`
  labels.
  """

  init_labels: int
  acq_size: int
  rounds: int
  train: TrainPlan
  init_balanced: bool = True  # the initial set holds equally many rows of every class, true ones
  initial_ids: tuple[int, ...] = ()  # the initial set itself, `init_labels` pool ids, in place of a draw
  val_size: int = 0  # originals set aside for validation: never labeled, never trained on
  val_last: float = 0.0  # the share of the labeled rows, the last acquired, that is held out of training
  pool_subset: int | None = None  # candidates scored in a round, drawn anew each time; None scores all
  chunk_size: int = 50  # inputs in one forward pass outside training: what fits a processor's cache
  score_dtype: str = "float32"  # or "bfloat16": the arithmetic of the passes that acquisitions read

  @property
  def max_labels(self) -> int:
    """Labels held at the end of the run, and the most there is room for."""
    return self.init_labels + self.rounds * self.acq_size


class ALState(NamedTuple):
  """What the next round needs, and nothing more."""

  variables: PyTree  # of the last fitted model; an ensemble's have a leading axis of members
  labeled: jax.Array  # `[N]` bool
  key: jax.Array  # `[]` the run's base key; constant for the whole run
  round: jax.Array  # `[]` int32
  order: jax.Array | None = None  # `[max_labels]` int32 ids as they were labeled; kept only where `val_last` reads it
  opt_state: PyTree = None  # the last training's; kept only where `keep_optimizer` reads it


class Metrics(NamedTuple):
  """How good a fitted model is. NaN where there is nothing to measure it on."""

  test_accuracy: jax.Array  # `[]` in 0..1
  test_nll: jax.Array  # `[]` nats an example
  test_ece: jax.Array  # `[]` in 0..1
  val_accuracy: jax.Array  # `[]` in 0..1, by the oracle's answers
  test_class_accuracy: jax.Array  # `[C]` in 0..1, of the rows of each class; NaN for one that is not in the test set


class FitInfo(NamedTuple):
  """How a training went."""

  loss: jax.Array  # `[]` nats: the last batch's mean cross-entropy
  steps: jax.Array  # `[]` int32: steps taken, those after the best check of an early stop included
  first_bad_step: jax.Array  # `[]` int32: whose loss was not finite; `steps` where the last update broke it; else -1


class RoundInfo(NamedTuple):
  """Diagnostics of one round, for people: no later round reads them."""

  num_labeled: jax.Array  # `[]` int32: labels the model was trained with, held-out rows included
  metrics: Metrics
  fit: FitInfo
  selected: jax.Array  # `[acq_size]` int32 acquired at the end of the round, best first; -1 in the last round
  scores: jax.Array  # `[acq_size]` their scores; NaN in the last round and for strategies that score no single row


class PoolView(NamedTuple):
  """All that an acquisition may read. What it does not need is None and was not computed."""

  labeled: jax.Array  # `[N]` bool
  candidates: jax.Array  # `[N]` bool: unlabeled and available; at least `num` of them
  log_probs: jax.Array | None = None  # `[N, S, C]` log-probabilities, one row a posterior sample
  features: jax.Array | None = None  # `[N, F]` floats: the network's, dropout off
  embedding: jax.Array | None = None  # `[N, E]` floats: the data set's own, or `features` where it has none
  target_log_probs: jax.Array | None = None  # `[T, S, C]`, by the same samples, of a random part of the pool
  tie_break: jax.Array | None = None  # `[N]` floats in [0, 1): the higher first; None draws them from `select`'s key
  labels: jax.Array | None = None  # `[N]` int32: the oracle's answers for labeled rows, UNKNOWN elsewhere


class Needs(NamedTuple):
  """What an acquisition reads of the pool beyond the masks; inference computes only these."""

  samples: int = 0  # posterior samples, at least; from 2 on they must be able to disagree
  joint: bool = False  # samples are one function each, so that predictions of several rows belong together
  features: bool = False
  embedding: bool = False
  labels: bool = False
  targets: int = 0  # T: rows of `target_log_probs`

  @property
  def fields(self) -> tuple[str, ...]:
    """The view's arrays of floats that are read, of those with a row for each of the pool."""
    read = {"log_probs": self.samples > 0, "features": self.features, "embedding": self.embedding}
    return tuple(name for name, wanted in read.items() if wanted)


ScoreFn = Callable[[PoolView], jax.Array]  # (view) -> `[N]`, each row's from its own row and the targets
SelectFn = Callable[..., jax.Array]  # (key, view, *, num) -> `[num]` int32


class Acquisition(NamedTuple):
  """A strategy: which rows to label next."""

  select: SelectFn  # (key, view, *, num) -> `[num]` int32 distinct candidates, best first; the key is consumed
  score: ScoreFn | None = None  # (view) -> `[N]`, higher = label first; None for random and set-valued methods
  needs: Needs = Needs()
