"""The model that learns while images are labeled: the next images to ask for, and a guess for every image."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import al_jax
from al_jax import acquisition
from al_jax import evaluation
from al_jax import inputs
from al_jax import types
from experiments.common.errors import UsageError
from experiments.config.resolve import Config
from experiments.runs import build

_CLASSES = 10  # class counts are padded to 10, 20, 40 and so on, so that a new class compiles nothing
_CAPACITY = 512  # likewise the number of labels
_COMPONENTS, _FITTED_ON = 64, 10_000  # principal components, and the most rows that they are fitted on
_NEVER = -1e9  # bias of a padding class, whose probability is exactly 0

_predict = jax.jit(evaluation.predict_pool, static_argnames="learner")


class Fitted(NamedTuple):
  """The result of one training."""

  ids: np.ndarray  # `[K]` int: images to ask for next, best first
  scores: np.ndarray | None  # `[K]` floats; NaN without a score; None before the first model
  guesses: np.ndarray | None  # `[N]` int32 classes
  probabilities: np.ndarray | None  # `[N]` float32, of the guesses


def components(rows: np.ndarray, most: int = _COMPONENTS) -> np.ndarray:
  """Principal components `[N, F]` float32 of rows `[N, ...]` of numbers, with a mean squared norm of 10.

  They are fitted on at most 10,000 rows, evenly spaced. With a fixed norm, the penalty `--l2` means the same for
  pixels and for the features of an encoder.
  """
  from sklearn.decomposition import PCA  # importing it takes a second

  size = math.prod(rows.shape[1:])
  flat = lambda part: np.asarray(part, np.float32).reshape(len(part), size)
  sample = flat(rows[:: -(-len(rows) // _FITTED_ON)])
  with np.errstate(divide="ignore", invalid="ignore"):  # the shares of variance of images that are all equal
    pca = PCA(min(most, size, len(sample)), random_state=0).fit(sample)
  out = np.concatenate([pca.transform(flat(rows[i : i + 4096])) for i in range(0, len(rows), 4096)])
  scale = np.sqrt(np.mean(np.sum(out * out, axis=1)) / 10)
  return (out / (scale if scale > 0 else 1.0)).astype(np.float32)


def _padded(count: int, least: int) -> int:
  """The first of `least`, twice `least` and so on that is at least `count`."""
  return least * 2 ** max(0, math.ceil(math.log2(max(count, 1) / least)))


@functools.lru_cache(maxsize=8)
def _learner(config: Config, num_classes: int, capacity: int) -> al_jax.Learner:
  """The learner, whose plan ends with `capacity` labels; what its rounds would be is not used."""
  acq_size = min(config.acq_size, capacity)
  rounds = max(capacity - config.init_labels, 0) // acq_size
  plan = {"init_labels": capacity - rounds * acq_size, "acq_size": acq_size, "rounds": rounds, "init": "random"}
  config = dataclasses.replace(config, **plan)
  return build.learners(config, num_classes)[config.acq[0]]


class Model:
  """Trains on labels and chooses images. A result depends on the arguments alone, not on earlier calls."""

  def __init__(self, config: Config, features: np.ndarray, pixels: np.ndarray):
    """
    Args:
      config: the flags of the model and the acquisition.
      features: `[N, F]` float32.
      pixels: `[N, H, W, 1 or 3]` uint8, which networks other than a head are given.

    Raises:
      UsageError: the model or the acquisition cannot run on these images.
    """
    self.config = config
    self.is_head = config.model == "linear"
    self._features, self._pixels = features, pixels
    self._key = jax.random.key(config.seed)
    answers = np.full(len(features), types.UNKNOWN, np.int32)
    answers[0] = 0
    # What raises here would otherwise raise after many labels.
    self._start(answers, np.ones(len(features), bool), _CLASSES, 1)

  def _start(
    self, answers: np.ndarray, available: np.ndarray, num_classes: int, labels: int
  ) -> tuple[types.ALState, types.Dataset, al_jax.Learner]:
    """State, data and learner for classes `[N]`, of which `labels` are known. Raises UsageError as `__init__`."""
    rows = self._features if self.is_head else self._pixels
    data = types.Dataset(
      rows,
      answers,
      rows[:0],
      np.zeros(0, np.int32),
      num_classes,
      inputs.as_they_are if self.is_head else inputs.images(std=255),
      embedding=None if self.is_head else self._features,
      known=answers >= 0,
      available=available,
    )
    try:
      learner = _learner(self.config, num_classes, min(_padded(labels, _CAPACITY), len(answers)))
      return al_jax.start(self._key, data, learner), data, learner
    except ValueError as error:
      raise UsageError(f"--model={self.config.model}, --acq={self.config.acq[0]}: {error}") from error

  def typical(self, labeled: Sequence[int], barred: Sequence[int], num: int) -> Fitted:
    """The most typical images of clusters, which need no model: TypiClust.

    Args:
      labeled: images with a label.
      barred: images that may not be asked for.
      num: number of images; fewer are returned if fewer are left.
    """
    size = len(self._features)
    has_label, candidates = np.zeros(size, bool), np.ones(size, bool)
    has_label[list(labeled)] = True
    candidates[[*labeled, *barred]] = False
    num = min(num, int(candidates.sum()))
    if not num:
      return Fitted(np.zeros(0, int), None, None, None)
    ids = _typical(self._key, self._features, has_label, candidates, num=num)
    return Fitted(np.asarray(ids), None, None, None)

  def fit(
    self, labels: Mapping[int, int], barred: Sequence[int], skipped: Sequence[int], round: int, num: int
  ) -> Fitted:
    """Trains on `labels` and selects.

    Args:
      labels: classes by image, of at least two classes.
      barred: images that may neither be asked for nor trained on.
      skipped: images that are asked for again when no others are left.
      round: sets the random draws.
      num: number of images to select; 0: none, and the guesses alone are computed.

    Raises:
      UsageError: the training diverged.
    """
    size, kept_out = len(self._features), set(barred)
    labels = {image: c for image, c in labels.items() if image not in kept_out}
    held, classes = np.array(list(labels), int), np.array(list(labels.values()), np.int32)
    num_classes = _padded(int(classes.max()) + 1, _CLASSES)
    answers, available = np.full(size, types.UNKNOWN, np.int32), np.ones(size, bool)
    answers[list(skipped)] = types.SKIPPED
    answers[held] = classes
    available[list(barred)] = False
    present = np.bincount(classes, minlength=num_classes) > 0
    state, data, learner = self._start(answers, available, num_classes, len(held))
    state = state._replace(round=jnp.int32(round))
    if self.is_head:
      state = state._replace(variables=_restricted(state.variables, present))
    free = num and bool((available & (answers < 0)).any())
    question = al_jax.ask(state, data, learner, num=num if free else 1)
    assert question.fit is not None
    if int(question.fit.first_bad_step) >= 0:
      raise UsageError(
        f"the training on {len(held)} labels diverged at step {int(question.fit.first_bad_step)}: lower --learning_rate"
      )
    log_probs = np.array(_predict(question.state, data, jnp.arange(size), learner=learner))
    log_probs[:, ~present] = -np.inf
    total = np.logaddexp.reduce(log_probs, axis=1)
    guesses = log_probs.argmax(axis=1).astype(np.int32)
    probabilities = np.exp(log_probs[np.arange(size), guesses] - total).astype(np.float32)
    if not free:
      return Fitted(np.zeros(0, int), np.zeros(0), guesses, probabilities)
    return Fitted(question.ids, question.scores, guesses, probabilities)


@functools.partial(jax.jit, static_argnames="num")
def _typical(key: jax.Array, features: jax.Array, labeled: jax.Array, candidates: jax.Array, *, num: int) -> jax.Array:
  ties, draws = jax.random.split(jax.random.fold_in(key, labeled.sum()))
  view = types.PoolView(labeled, candidates, embedding=features, tie_break=jax.random.uniform(ties, labeled.shape))
  return acquisition.typiclust().select(draws, view, num=num)


def _restricted(variables: types.PyTree, present: np.ndarray) -> types.PyTree:
  """A head's variables at 0, with the classes outside `present` `[C]` at probability 0.

  There the gradient of their parameters is 0 as well, so that the fitted head is that of the present classes alone.
  """
  ((name, layer),) = variables["params"].items()
  kernel, bias = jnp.zeros_like(layer["kernel"]), jnp.zeros_like(layer["bias"])
  bias = jnp.where(present, bias, _NEVER)
  return variables | {"params": {name: {"kernel": kernel, "bias": bias}}}
