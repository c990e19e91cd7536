"""The types of the public API.

Shapes: `N` pool rows (or rows of a view), `O` originals (`N` without copies), `M` test examples, `K` rows or keys given
to a function, `S` posterior samples, `T` targets, `C` classes, `F` features, `E` features of an embedding, `B` rows of
a minibatch, `L` labels, `num` ids selected per acquisition. Information is in nats. Higher scores are labeled first.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

PyTree = Any
Shape = tuple[int, ...]

UNKNOWN = -1  # value in `labels` of a row that has no label yet
UNUSABLE = -2  # answer to `tell` for a row that cannot be used; `tell` also marks the row as not available
SKIPPED = -3  # answer to `tell` for a row that was skipped; `ask` returns it again when no other rows are left


def _static(default: Any = dataclasses.MISSING) -> Any:
  return dataclasses.field(default=default, metadata={"static": True})


def _as_array(name: str, values: Any) -> Any:
  """Converts a list to an array; leaves arrays and pytrees (dicts, tuples) unchanged."""
  if not isinstance(values, list):
    return values
  try:
    return np.asarray(values)
  except ValueError as error:
    raise ValueError(f"{name} is a list whose rows have different shapes: give one array") from error


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Dataset:
  """A pool to label and a test set. The arrays are traced; all other fields are static.

  Inputs are one array, or a pytree of arrays with a common leading axis. `prepare` maps a batch of them to network
  inputs. With `copies`, the pool holds every original several times: id `i` is copy `i // O` of original `i % O`. With
  `noise`, each id has its own Gaussian noise, drawn from the id and `noise_key` on every read and never stored.
  """

  inputs: PyTree  # arrays `[O, ...]`: the originals of the pool
  labels: jax.Array  # `[N]` int32: classes; UNKNOWN, and never read, for rows outside `known`
  test_inputs: PyTree  # arrays `[M, ...]`; if M is 0, test metrics are NaN
  test_labels: jax.Array  # `[M]` int32
  num_classes: int = _static()  # C
  prepare: Callable[[PyTree], PyTree] | None = _static(None)  # noqa: RUF009 (hashable; None: floats become float32, integers are refused)
  copies: int = _static(1)  # N / O
  noise: float = _static(0.0)  # standard deviation, on the scale of the network's inputs
  embedding: jax.Array | None = None  # `[O, E]` floats: user-provided features for diversity-based acquisitions
  noise_key: jax.Array | None = None  # `[]` key; required if `noise` is not 0
  known: jax.Array | None = None  # `[N]` bool: rows whose label is known; None: all
  available: jax.Array | None = None  # `[N]` bool: rows that may be drawn and acquired; None: all

  def __post_init__(self):
    for name in ("inputs", "labels", "test_inputs", "test_labels", "embedding", "known", "available"):
      object.__setattr__(self, name, _as_array(name, getattr(self, name)))

  @property
  def pool_size(self) -> int:
    """N: number of pool rows, copies included."""
    return self.labels.shape[0]

  @property
  def num_originals(self) -> int:
    """O: number of originals, that is of pool rows without their copies."""
    return self.labels.shape[0] // self.copies

  @property
  def test_size(self) -> int:
    """M: number of test examples."""
    return self.test_labels.shape[0]


InitFn = Callable[[jax.Array, PyTree], PyTree]
ApplyFn = Callable[..., tuple[jax.Array, PyTree]]
SampleFn = Callable[[jax.Array | None, PyTree, PyTree], tuple[jax.Array, jax.Array | None]]
HeadFn = Callable[[PyTree, jax.Array], jax.Array]


class Network(NamedTuple):
  """A network as pure functions. `from_flax` and `from_nnx` build one; other frameworks need one written by hand.

  Variables are a dict with the trained `"params"` and any other state of the network, such as running statistics.
  """

  init: InitFn  # (key, inputs) -> variables; inputs are a prepared batch
  apply: ApplyFn  # (variables, inputs, *, key, weights) -> (logits `[B, C]`, variables): the training pass. Rows whose
  #   `weights` `[B]` are 0 are padding and must not enter batch statistics; `weights=None`: no padding
  sample: SampleFn  # (key | None, variables, inputs) -> (logits, features `[B, F]` or None): dropout as in training,
  #   everything else as in inference; without a key, dropout is off. Row i depends only on the key and on row i
  head: HeadFn | None = None  # the last dense layer: (variables, features) -> logits; None if there is none
  name: str = "the network"  # used in messages


class Outputs(NamedTuple):
  """Predictions of a posterior for K inputs."""

  log_probs: jax.Array  # `[K, S, C]` float32
  features: jax.Array | None  # `[K, F]` float32, dropout off; None unless requested


PredictFn = Callable[..., Outputs]


class Posterior(NamedTuple):
  """How predictions are sampled. Factories are in `al_jax.posterior`: `deterministic()`, `mc_dropout(20)`, ..."""

  name: str
  predict: PredictFn  # (key, network, variables, inputs_of, ids, *, chunk_size, features) -> Outputs: the predictions
  #   for rows `ids` `[K]`, whose network inputs are `inputs_of(ids)`, `chunk_size` rows at a time; `features` is a bool
  samples: int = 1  # S
  members: int = 1  # number of trained networks; if more than 1, variables have a leading axis of members
  joint: bool = True  # whether a sample uses the same weights and masks for all inputs
  drops: bool = False  # whether samples are those of MC dropout, so that the network must have dropout
  fit: Callable[..., PyTree] | None = None  # (network, variables, inputs_of, ids, weights, *, chunk_size) -> variables,
  #   extended by what `predict` needs from the training rows `ids` `[K]`; ids of weight 0 are padding
  needs_head: bool = False  # whether it calls `Network.head`


SCORE_DTYPES = ("float32", "bfloat16")
STOP_METRICS = ("accuracy", "nll")
KEPT = ("best", "last")


class EarlyStop(NamedTuple):
  """Early stopping on the validation set."""

  patience: int  # validation checks without improvement after which training stops
  every: int  # steps between validation checks; with `epochs`, there is one check per epoch instead
  samples: int = 1  # MC dropout samples whose mean prediction is checked; 1: dropout off
  metric: str = "accuracy"  # "accuracy" (higher is better) or "nll" (lower is better)
  keep: str = "best"  # variables that training returns: "best" for those of the best check, or "last"
  first_patience: int | None = None  # patience of round 0; None: `patience`


class FullBatch(NamedTuple):
  """Full-batch training of a linear softmax head: multinomial logistic regression, solved to the optimum.

  The loss is the sum of the cross-entropies plus `l2 / 2` times the squared kernel; the bias is not penalized. This is
  scikit-learn's `LogisticRegression(C=1 / l2)`, or `C=2 / l2` for two classes, for which scikit-learn has one column of
  weights. The problem is convex: each round starts from the previous solution, which changes the time and, within the
  tolerance, not the result. An ensemble's first member is fitted to the labeled set, the others to bootstrap resamples
  of it.
  """

  l2: float = 1.0  # positive
  tolerance: float = 1e-5  # gradient norm per label at which training ends
  max_iterations: int = 100  # largest number of Newton steps


@dataclasses.dataclass(frozen=True)
class TrainPlan:
  """How a model is trained in each round.

  Training takes `steps` steps on minibatches drawn with replacement, `epochs` shuffled passes over the labeled set, or
  is `full_batch`, for linear heads. Give exactly one of the three. With `early_stop`, the first two are upper limits.
  """

  batch_size: int = 64  # rows per training step
  steps: int | None = None  # training steps per round
  epochs: int | None = None  # passes over the labeled set per round
  first_epochs: int | None = None  # epochs of round 0; None: `epochs`
  min_epoch_size: int = 0  # least number of examples per epoch; smaller labeled sets are repeated; 0: a single pass
  drop_last: bool = False  # leave out an epoch's last minibatch if it is smaller than the others and not the only one
  early_stop: EarlyStop | None = None  # needs `val_size`
  warm_start: bool = False  # start from the previous round's variables instead of new ones
  keep_optimizer: bool = False  # also start from the previous optimizer state; needs `warm_start`
  label_smoothing: float = 0.0  # share of each label that is spread uniformly over all classes
  augment: Callable[[jax.Array, PyTree], PyTree] | None = None  # (key, prepared batch) -> batch: hashable; only in
  #   training
  full_batch: FullBatch | None = None  # needs a network that is one dense layer, such as `models.Linear`

  @property
  def continues(self) -> bool:
    """Whether a training starts from the previous round's variables."""
    return self.warm_start or self.full_batch is not None


@dataclasses.dataclass(frozen=True)
class Plan:
  """The static plan of a run: number of labels, rounds, validation and training.

  A run makes `rounds` acquisitions and `rounds + 1` trainings. The last training has `init_labels + rounds * acq_size`
  labels.
  """

  init_labels: int  # size of the initial set
  acq_size: int  # rows acquired per round
  rounds: int  # acquisitions
  train: TrainPlan
  init_balanced: bool = True  # draw equally many rows of every true class for the initial set (as equal as possible)
  initial_ids: tuple[int, ...] = ()  # the `init_labels` pool ids of the initial set; (): draw them
  val_size: int = 0  # originals held out for validation: never acquired, never trained on
  val_last: float = 0.0  # share of the labeled rows, the most recent ones, used for `val_accuracy` and not for training
  pool_subset: int | None = None  # number of candidates scored per round, drawn anew each round; None: all
  chunk_size: int = 50  # inputs per forward pass outside training; the default suits a CPU cache
  score_dtype: str = (
    "float32"  # or "bfloat16": dtype in which the network runs when it scores the pool; views are float32
  )

  @property
  def max_labels(self) -> int:
    """Number of labels at the end of the run, which is also the capacity of the labeled set."""
    return self.init_labels + self.rounds * self.acq_size


class ALState(NamedTuple):
  """State of a run between rounds: only what the next round needs."""

  variables: PyTree  # of the last fitted model; with a leading axis of members for an ensemble
  labeled: jax.Array  # `[N]` bool: rows that the next training may use
  key: jax.Array  # `[]` base key, constant throughout the run
  round: jax.Array  # `[]` int32: the next round, from 0
  order: jax.Array | None = None  # `[max_labels]` int32 ids in the order of labeling; None without `val_last`
  opt_state: PyTree = None  # optimizer state after the last training; None without `keep_optimizer`


class Metrics(NamedTuple):
  """Metrics of a fitted model. NaN if there are no rows to measure on."""

  test_accuracy: jax.Array  # `[]` in 0..1
  test_nll: jax.Array  # `[]` nats per example
  test_ece: jax.Array  # `[]` in 0..1
  val_accuracy: jax.Array  # `[]` in 0..1, against the oracle's labels
  test_class_accuracy: jax.Array  # `[C]` in 0..1, per class; NaN for a class without test examples


class FitInfo(NamedTuple):
  """Diagnostics of one training."""

  loss: jax.Array  # `[]` nats: mean cross-entropy of the last minibatch; of an ensemble, the mean over members
  steps: jax.Array  # `[]` int32: steps taken, including those after the best check of early stopping; with
  #   `full_batch`, Newton steps
  first_bad_step: jax.Array  # `[]` int32: first step with a non-finite loss; `steps` if every loss is finite but the
  #   returned parameters are not; -1 if all are finite


class RoundInfo(NamedTuple):
  """Diagnostics of one round. Later rounds do not read them."""

  num_labeled: jax.Array  # `[]` int32: size of the labeled set at training, including rows held out by `val_last`
  metrics: Metrics
  fit: FitInfo
  selected: jax.Array  # `[acq_size]` int32 ids acquired at the end of the round, best first; -1 in the last round
  scores: jax.Array  # `[acq_size]` scores of `selected`; NaN in the last round and for acquisitions without `score`


class Head(NamedTuple):
  """The dense layer that returns a network's logits: `features @ kernel + bias`."""

  kernel: jax.Array  # `[F, C]` float32
  bias: jax.Array  # `[C]` float32


class PoolView(NamedTuple):
  """Everything that an acquisition may read. Fields outside its `needs` are None and are not computed.

  For an acquisition with `pointwise`, the fields below `candidates` hold one chunk of rows, in which `pointwise` is
  computed; `select` gets the whole pool's masks, `tie_break` and `scores`, and no other field.
  """

  labeled: jax.Array  # `[N]` bool
  candidates: jax.Array  # `[N]` bool: unlabeled and available; true for at least `num` rows
  log_probs: jax.Array | None = None  # `[N, S, C]` log-probabilities of S posterior samples
  features: jax.Array | None = None  # `[N, F]` floats: last hidden layer of the network, dropout off
  embedding: jax.Array | None = None  # `[N, E]` floats: `Dataset.embedding`, or `features` if there is none
  target_log_probs: jax.Array | None = None  # `[T, S, C]`: same samples, for T random available rows
  tie_break: jax.Array | None = None  # `[N]` floats in [0, 1): ties go to the highest; None: drawn from `select`'s key
  labels: jax.Array | None = None  # `[N]` int32: the oracle's labels of labeled rows, UNKNOWN elsewhere
  scores: jax.Array | None = None  # `[N]` floats: values of `Acquisition.pointwise`
  val_log_probs: jax.Array | None = None  # `[V, S, C]`: for the validation rows; None if the plan has none
  val_labels: jax.Array | None = None  # `[V]` int32: their labels, UNKNOWN where there is none
  head: Head | None = None  # of the fitted network; of an ensemble, the first member's, as `features`


class Needs(NamedTuple):
  """What an acquisition reads in addition to the masks. Only this is computed."""

  samples: int = 0  # least number of posterior samples; if 2 or more, they must be able to differ
  joint: bool = False  # reads joint predictions of several rows, which per-example dropout masks do not give
  features: bool = False  # reads `PoolView.features`
  embedding: bool = False  # reads `PoolView.embedding`
  labels: bool = False  # reads `PoolView.labels`
  targets: int = 0  # T: rows of `target_log_probs`
  validation: bool = False  # reads `PoolView.val_log_probs` and `val_labels` where the plan has validation rows
  head: bool = False  # reads `PoolView.head`; needs a network with a head

  @property
  def fields(self) -> tuple[str, ...]:
    """Names of the `PoolView` float arrays that are read and have one row per pool row."""
    read = {"log_probs": self.samples > 0, "features": self.features, "embedding": self.embedding}
    return tuple(name for name, wanted in read.items() if wanted)


ScoreFn = Callable[[PoolView], jax.Array]  # (view) -> `[N]`; a row's score depends only on that row and the targets
SelectFn = Callable[..., jax.Array]  # (key, view, *, num) -> `[num]` int32


class Acquisition(NamedTuple):
  """An acquisition function: chooses the rows to label next."""

  select: SelectFn  # (key, view, *, num) -> `[num]` int32 distinct positions of candidates in the view, best first;
  #   the key is for this call only. With `pool_subset` the view holds the drawn candidates, then the labeled rows if
  #   the acquisition reads features, embeddings or labels; N is the number of rows in the view
  score: ScoreFn | None = None  # (view) -> `[N]`: higher is labeled first; a row's score depends only on that row and
  #   the targets; None if single rows are not scored
  needs: Needs = Needs()
  pointwise: ScoreFn | None = None  # (view) -> `[N]`, as `score`: if given, `select` reads its values from
  #   `PoolView.scores`; they are computed chunk by chunk, so that the predictions of the pool are never stored
