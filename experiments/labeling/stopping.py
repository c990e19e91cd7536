"""Rules on when to stop labeling: stabilized predictions, and labels that the learning curve still asks for."""

from collections.abc import Sequence
import math
import statistics
from typing import NamedTuple

import numpy as np

STOP_SET = 2000  # images whose predictions successive models are compared on, or all if there are fewer
AGREEMENT, WINDOWS = 0.99, 3  # of the rule of stabilized predictions
RANGE = 0.8  # probability that the range of a forecast aims at
LEAST_MODELS = 4  # of a learning curve

# Prior of a learning curve's exponent, a log-normal distribution, on a grid. Its median and its width were chosen on
# replays: docs/labeling_estimates.md.
_EXPONENTS = np.exp(np.linspace(np.log(0.1), np.log(3.0), 40))
_LOG_PRIOR = -0.5 * (np.log(_EXPONENTS / 0.8) / 0.5) ** 2
_ERRORS = 1 / (1 + np.exp(np.linspace(7.0, -4.0, 221)))  # grid of the present error rate


def kappa(first: Sequence | np.ndarray, second: Sequence | np.ndarray) -> float:
  """Cohen's kappa of two labelings of the same images (Cohen 1960): the agreement in excess of chance, at most 1.

  1 if both give every image the same class: then all agreement is expected, and none is missing.

  Args:
    first, second: `[N]` classes, as numbers or names.

  Raises:
    ValueError: there are no images, or the lengths differ.
  """
  if len(first) != len(second) or not len(first):
    raise ValueError(f"kappa compares two labelings of the same images, not of {len(first)} and {len(second)}")
  classes, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
  one, two = np.split(codes, 2)
  agree = float((one == two).mean())
  shares = [np.bincount(part, minlength=len(classes)) / len(part) for part in (one, two)]
  chance = float(shares[0] @ shares[1])
  return 1.0 if agree == 1.0 else (agree - chance) / (1 - chance)


def stabilized(kappas: Sequence[float]) -> bool:
  """Whether predictions have stabilized (Bloodgood and Vijay-Shanker 2009).

  True once there are three kappas, hence four models, and the mean of the last three is at least 0.99. It may become
  False again. The rule knows neither labels nor accuracy, and nothing of the number of labels between two models: with
  smaller batches it fires earlier.

  Args:
    kappas: of each model's predictions on the stop set and its predecessor's, oldest first. The stop set is a fixed
      random sample of the images; it needs no labels.
  """
  return len(kappas) >= WINDOWS and mean_agreement(kappas) >= AGREEMENT


def mean_agreement(kappas: Sequence[float]) -> float:
  """The mean of the last `WINDOWS` kappas, or of all if there are fewer."""
  return statistics.fmean(kappas[-WINDOWS:])


class Forecast(NamedTuple):
  """Labels that a learning curve asks for until the target, audit answers not counted; infinite: beyond the pool."""

  low: float | None = None  # the range that aims at a probability of RANGE; None if there is a `reason`
  median: float | None = None
  high: float | None = None
  reason: str | None = None  # a sentence that says why the curve gives no range


def labels_more(right: np.ndarray, labels: Sequence[int] | np.ndarray, target: float, *, left: float) -> Forecast:
  """How many more labels the learning curve suggests until the accuracy is `target`, as a range.

  The curve is a power law, `error(n) = e (n / now)^-b`. An audit image that a model with n labels gets right, and the
  model before it did not, is an observation of where the curve passes it: the counts of these places are multinomial,
  with the fall of the curve between two models as probability (as for interval-censored survival times). That takes
  care of the fact that all models are measured on the same images. Errors that come and go are evened out by isotonic
  regression. The prior is Jeffreys' for the present error rate e, and log-normal around 0.8 for the exponent b; the
  range has the quantiles of the posterior, summed on a grid.

  Args:
    right: `[models, answers]` bool: whether each model is right on each audit answer.
    labels: `[models]` increasing numbers of labels that the models were trained on; the last is the present model's.
    target: accuracy in 0..1.
    left: labels that can still be given; a forecast beyond is infinite.

  Raises:
    ValueError: the shapes differ, or `labels` do not increase.
  """
  right, labels = np.asarray(right, float), np.asarray(labels, float)
  if right.ndim != 2 or labels.shape != right.shape[:1] or (np.diff(labels) <= 0).any():
    raise ValueError(f"right {right.shape} and labels {labels.shape}: give a row for each of an increasing sequence")
  models, answers = right.shape
  if models < LEAST_MODELS:
    return Forecast(reason=f"The learning curve has {models} models, and a range takes at least {LEAST_MODELS}.")
  if not answers:
    return Forecast(reason="There is no audit answer yet.")
  if right.all():
    return Forecast(reason=f"No model was wrong on any of the {answers} audit answers.")
  falls, present, first = _falls(1 - right.mean(axis=1))
  shape = (labels[None] / labels[-1]) ** -_EXPONENTS[:, None]  # `[B, models]`
  curve = np.minimum(_ERRORS[:, None, None] * shape, 1 - 1e-3)  # `[E, B, models]`
  steps = np.maximum(curve[..., :-1] - curve[..., 1:], 1e-12)
  log_likelihood = np.log(steps) @ falls + present * np.log(curve[..., -1]) + (1 - first) * np.log1p(-curve[..., 0])
  jeffreys = 0.5 * (np.log(_ERRORS) + np.log1p(-_ERRORS))  # the grid is uniform in the log-odds
  log_posterior = answers * log_likelihood + jeffreys[:, None] + _LOG_PRIOR
  weights = np.exp(log_posterior - log_posterior.max()).ravel()
  with np.errstate(divide="ignore", over="ignore"):
    wanted = labels[-1] * np.maximum(_ERRORS[:, None] / (1 - target), 1.0) ** (1 / _EXPONENTS)
  more = wanted.ravel() - labels[-1]
  order = np.argsort(more)
  reached = np.cumsum(weights[order])
  places = np.searchsorted(reached, reached[-1] * np.array([(1 - RANGE) / 2, 0.5, (1 + RANGE) / 2]))
  found = [float(value) for value in more[order[places]]]
  return Forecast(*(value if value <= left else math.inf for value in found))


def _falls(errors: np.ndarray) -> tuple[np.ndarray, float, float]:
  """The falls of a learning curve `[models]`, made non-increasing, between its models; its last and its first value."""
  blocks: list[tuple[float, int]] = []  # pool adjacent violators: mean and size
  for error in errors:
    blocks.append((float(error), 1))
    while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
      (mean, size), (last, more) = blocks[-2:]
      blocks[-2:] = [((mean * size + last * more) / (size + more), size + more)]
  curve = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
  return -np.diff(curve), float(curve[-1]), float(curve[0])
