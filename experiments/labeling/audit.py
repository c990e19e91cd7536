"""The accuracy of a model on images that a person labeled for the audit, with intervals.

Labels that a strategy asked for are no test set. Audit images are: they come in the order of one random permutation of
all images (`position`), no model is trained on them, and no strategy chooses among them. A model that was right on
`right` of `answers` audit answers has, on images like those of the folder, an accuracy inside

- `fixed_time(right, answers)` with a probability of at least 95% if the number of answers was fixed before any of them
  was read. If a person looks after every answer and stops when the interval pleases, this no longer holds.
- `any_time(right, answers)` with a probability of at least 95% for all numbers of answers at once, so at whatever
  number a person looks or stops.

Both are guaranteed for one model that does not depend on the audit answers, and for answers that are independent draws
(images of a folder are drawn without replacement, which makes neither interval too narrow at a fixed number of
answers). Every retraining gives another model with another accuracy. For each of them alone, `any_time` holds at every
number of answers; that it holds for all of a session's models at once, or for the model at which a person stopped
because its lower end reached a target, follows from no theorem used here and is measured in
docs/labeling_estimates.md. Skipped and unusable images have no label: the accuracy is that on images that get one.
"""

from collections.abc import Callable
import hashlib
import math
from typing import NamedTuple

from scipy import optimize
from scipy import special
from scipy import stats

LEVEL = 0.95  # confidence level of an interval
MOST = 100_000  # answers up to which `answers_needed` searches


class Interval(NamedTuple):
  """A confidence interval of an accuracy; both ends are in 0..1."""

  low: float
  high: float


def position(seed: int, sha256: str) -> float:
  """The place of an image in the random permutation of all images: uniform in [0, 1), and smaller comes first.

  Depends on nothing but the seed and the hash of the image's content, so that neither other images nor a restart of
  the program move it.
  """
  digest = hashlib.sha256(f"{seed} {sha256}".encode()).digest()
  return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def fixed_time(right: float, answers: float, level: float = LEVEL) -> Interval:
  """The two-sided interval of Clopper and Pearson (1934), for a number of answers that was fixed beforehand.

  Its lower end alone is a one-sided bound of level `(1 + level) / 2`. Takes fractions of an answer, for planning.

  Raises:
    ValueError: as for `any_time`.
  """
  _check(right, answers, level)
  tail, wrong = (1 - level) / 2, answers - right
  low = float(stats.beta.ppf(tail, right, wrong + 1)) if right else 0.0
  high = float(stats.beta.isf(tail, right + 1, wrong)) if wrong else 1.0
  return Interval(low, high)


def any_time(right: float, answers: float, level: float = LEVEL) -> Interval:
  """A two-sided interval that holds for all numbers of answers at once: a confidence sequence.

  It has every accuracy p with `B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) / (p^k (1 - p)^(n - k)) < 1 / (1 - level)`; k of n
  answers are right and B is the beta function. The left side is the likelihood ratio of a mixture of all accuracies
  (with Jeffreys' prior; the estimator of Krichevsky and Trofimov) to p: if p is true, a martingale of mean 1, which
  ever exceeds `1 / (1 - level)` with a probability of at most `1 - level` (Ville 1939). See Robbins (1970, "Statistical
  methods related to the law of the iterated logarithm"), Howard, Ramdas, McAuliffe and Sekhon (2021, "Time-uniform,
  nonparametric, nonasymptotic confidence sequences") and Waudby-Smith and Ramdas (2024, "Estimating means of bounded
  random variables by betting").

  Takes fractions of an answer, for planning.

  Raises:
    ValueError: `right` is not in 0..answers, or `level` is not between 0 and 1.
  """
  _check(right, answers, level)
  wrong = answers - right
  if not answers:
    return Interval(0.0, 1.0)
  limit = math.log1p(-level) + float(special.betaln(right + 0.5, wrong + 0.5) - special.betaln(0.5, 0.5))
  share = right / answers
  if not wrong:
    return Interval(math.exp(limit / answers), 1.0)
  if not right:
    return Interval(0.0, -math.expm1(limit / answers))
  # The log-likelihood of p is concave with its maximum at `share`, where it is above `limit`: one root on each side.
  excess = lambda p: float(special.xlogy(right, p) + special.xlog1py(wrong, -p)) - limit
  low, high = (optimize.brentq(excess, *ends, xtol=1e-15) for ends in ((0.0, share), (share, 1.0)))
  return Interval(low, high)


def _check(right: float, answers: float, level: float) -> None:
  if not 0 <= right <= answers:
    raise ValueError(f"{right} right of {answers} answers: give at least 0 and at most {answers}")
  if not 0 < level < 1:
    raise ValueError(f"a confidence level of {level}: give a number between 0 and 1")


def answers_needed(
  target: float,
  share: float = 1.0,
  interval: Callable[[float, float, float], Interval] = any_time,
  level: float = LEVEL,
  *,
  most: int = MOST,
) -> int | None:
  """The least number of answers with which the lower end of an interval reaches `target` if `share` of them are right.

  With the default `share`, all are right, and no smaller number can suffice: for a target of 0.95, 116 answers by
  `any_time`; 72 by `fixed_time`, and 59 by its one-sided bound of level 0.95 (`level=0.9`).

  Returns:
    The number, answers already given included; None if `most` answers do not suffice, as when `share` is not above
    `target`.

  Raises:
    ValueError: `target` or `share` is not in 0..1.
  """
  for name, value in (("target", target), ("share of right answers", share)):
    if not 0 <= value <= 1:
      raise ValueError(f"a {name} of {value}: give a number from 0 to 1")
  reaches = lambda answers: interval(share * answers, answers, level).low >= target
  if not reaches(most):
    return None
  low, high = 0, most  # the lower end grows with the answers: bisection
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (low, middle) if reaches(middle) else (middle, high)
  return high
