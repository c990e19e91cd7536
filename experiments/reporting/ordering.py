"""The report's ordering of the strategies by area, and how often resampled seeds give the same one."""

from collections.abc import Sequence
import itertools
import math

import numpy as np

from experiments.reporting import figures
from experiments.reporting import significance
from experiments.reporting.blocks import Block
from experiments.reporting.blocks import Heading
from experiments.reporting.blocks import Table
from experiments.reporting.blocks import Text
from experiments.reporting.wording import Drawings
from experiments.reporting.wording import images
from experiments.reporting.wording import number
from experiments.reporting.wording import numbered
from experiments.reporting.wording import seeds_needed

FEWEST = 5  # seeds: a standard deviation from fewer is too uncertain to plan with, and resamples repeat each other
_RESAMPLES = 10_000
_FEW = 20  # seeds below which the bootstrap's missing factor S / (S - 1) is stated


def resampled_means(values: np.ndarray, resamples: int = _RESAMPLES) -> np.ndarray:
  """Means of `[S, K]` values over resampled seeds -> `[resamples, K]`.

  A resample draws S of the S seeds with replacement, the same for all K strategies. The generator is fixed.
  """
  seeds = len(values)
  counts = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
  return counts @ values / seeds


def above(means: np.ndarray) -> np.ndarray:
  """`[K, K]` share of the resampled `[R, K]` means in which strategy i has the larger mean than j; ties count half."""
  leads = (means[:, i, None] - means for i in range(means.shape[1]))
  share = lambda lead: ((lead > significance.EQUAL) + 0.5 * (np.abs(lead) <= significance.EQUAL)).mean(axis=0)
  return np.array([share(lead) for lead in leads])


def in_order(means: np.ndarray) -> float:
  """Share of the resampled `[R, K]` means that fall strictly from the first strategy to the last."""
  return float((-np.diff(means, axis=1) > significance.EQUAL).all(axis=1).mean())


def percent(share: float) -> str:
  """`87%`; 0% and 100% are exact, and what would round to them is `under 1%` or `over 99%`."""
  if 0 < share < 0.005:
    return "under 1%"
  if 0.995 <= share < 1:
    return "over 99%"
  return f"{100 * share:.0f}%"


def section(areas: dict[str, np.ndarray], pairs: Sequence[significance.Pair]) -> tuple[list[Block], Drawings]:
  """The ordering with the confidence and the needed seeds of each neighboring pair, and the confidence of every pair.

  Args:
    areas: `[S]` areas by strategy over the same S matched seeds, by decreasing mean; two strategies or more.
    pairs: `significance.pairs` of the areas.
  """
  heading = Heading(3, "Ordering and its confidence")
  names, values = list(areas), np.transpose(list(areas.values()))
  seeds = len(values)
  if seeds < FEWEST:
    return [
      heading,
      Text(
        f"The confidence of the ordering and the number of seeds that it needs are computed from {FEWEST} matched seeds"
        f" on; this study has {seeds}, from which the standard deviation of a difference is too uncertain."
      ),
    ], {}
  means = resampled_means(values)
  shares = above(means)
  between = [percent(shares[i, i + 1]) for i in range(len(names) - 1)]
  line = names[0] + "".join(f" > {name} ({share})" for name, share in zip(names[1:], between, strict=True))
  by_names = {(pair.first, pair.second): pair for pair in pairs}
  rows = [
    [
      f"{first} above {second}",
      number(by_names[first, second].difference, 4),
      share,
      seeds_needed(by_names[first, second].seeds_needed),
      str(seeds),
    ]
    for (first, second), share in zip(itertools.pairwise(names), between, strict=True)
  ]
  few = (
    f" With {seeds} seeds the resampled means vary {100 * (1 - math.sqrt(1 - 1 / seeds)):.0f}% too little, so that the"
    " confidence is somewhat too high."
    if seeds < _FEW
    else ""
  )
  shown = 100 * shares
  np.fill_diagonal(shown, np.nan)
  drawn = {
    "ordering": figures.heat_map(shown, *numbered(names), x="column is below", y="row is above", top=100.0, digits=0)
  }
  caption = (
    "How often the row's strategy stands above the column's, in percent of the resamples, rounded. 50 means"
    f" no order. {_RESAMPLES:,} resamples of the {seeds} matched seeds, the same seeds for all strategies."
  )
  return [
    heading,
    Text(f"{line}."),
    Text(
      "Strategies by decreasing mean area under the curve. In parentheses: the share of resamples in which the strategy"
      f" before the sign has a larger mean area than the one after it. Each of the {_RESAMPLES:,} resamples draws"
      f" {seeds} of the {seeds} matched seeds with replacement, the same seeds for all strategies, and averages the"
      " areas over them; equal means count half. The whole ordering, strictly as written, comes out in"
      f" {percent(in_order(means))} of the resamples. Only seeds are resampled (initial sets, initial weights and"
      f" random draws): the confidence holds for these data and these settings.{few}"
    ),
    Table(["neighbors", "difference", "confidence", "seeds needed", "seeds run"], rows),
    Text(
      "Difference: of the mean areas. Confidence: as in parentheses above. Seeds needed: as in the table of every pair."
    ),
    *images(drawn, {"ordering": caption}),
  ], drawn
