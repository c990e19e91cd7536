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
  pca = PCA(min(most, size, len(sample)), random_state=0).fit(sample)
  out = np.concatenate([pca.transform(flat(rows[i : i + 4096])) for i in range(0, len(rows), 4096)])
  scale = np.sqrt(np.mean(np.sum(out * out, axis=1)) / 10)
  return (out / (scale if scale > 0 else 1.0)).astype(np.float32)


def _padded(count: int, least: int) -> int:
  """The first of `least`, twice `least` and so on that is at least `count`."""
  return least * 2 ** max(0, math.ceil(math.log2(max(count, 1) / least)))


@functools.lru_cache(maxsize=8)
def _learner(config: Config, num_classes: int, capacity: int) -> al_jax.Learner:
  rounds = -(-(capacity - config.init_labels) // config.acq_size)
  config = dataclasses.replace(config, rounds=max(rounds, 1), init="random")
  return build.learners(config, num_classes)[config.acq[0]]


class Model:
  """Trains on labels and chooses images. A result depends on the arguments alone, not on earlier calls."""

  def __init__(self, config: Config, features: np.ndarray, pixels: np.ndarray):
    """`features` `[N, F]` float32; `pixels` `[N, H, W, 1 or 3]` uint8, which networks other than a head are given."""
    self.config = config
    self.is_head = config.model == "linear"
    self._features, self._pixels = features, pixels
    self._key = jax.random.key(config.seed)

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
      UsageError: the learner cannot run on these images, or the training diverged.
    """
    size, held = len(self._features), np.array(list(labels), int)
    classes = np.array(list(labels.values()), np.int32)
    num_classes = _padded(int(classes.max()) + 1, _CLASSES)
    answers, available = np.full(size, types.UNKNOWN, np.int32), np.ones(size, bool)
    answers[list(skipped)] = types.SKIPPED
    answers[held] = classes
    available[list(barred)] = False
    available[held] = True
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
    learner = _learner(self.config, num_classes, _padded(len(held), _CAPACITY))
    present = np.bincount(classes, minlength=num_classes) > 0
    try:
      state = al_jax.start(self._key, data, learner)._replace(round=jnp.int32(round))
      if self.is_head:
        state = state._replace(variables=_restricted(state.variables, present))
      free = num and bool((available & (answers < 0)).any())
      question = al_jax.ask(state, data, learner, num=num if free else 1)
    except ValueError as error:
      raise UsageError(f"--model={self.config.model}, --acq={self.config.acq[0]}: {error}") from error
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
