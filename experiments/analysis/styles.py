"""The line style of each strategy: the same in every figure, and distinct in grayscale."""

from typing import Any
from typing import NamedTuple

from experiments.common.spelling import is_oracle
from experiments.common.spelling import named

RANDOM = "random"
_LETTERS = 10  # longest class name that is printed in full
# All acquisitions except random, which is black: Okabe & Ito's palette without yellow, which is too pale on white, then
# Paul Tol's muted palette.
COLORS = {
  "least_confidence": "#0072B2",
  "margin": "#E69F00",
  "entropy": "#009E73",
  "variation_ratio": "#D55E00",
  "mean_std": "#CC79A7",
  "bald": "#56B4E9",
  "vote_entropy": "#7F7F7F",
  "consensus_kl": "#332288",
  "batchbald": "#882255",
  "epig": "#117733",
  "kcenter": "#AA4499",
  "kmeans": "#44AA99",
  "badge": "#999933",
  "bait": "#661100",
  "cluster_margin": "#B8860B",
  "typiclust": "#6A3D9A",
  "probcover": "#1B4F72",
  "maxherding": "#B03A2E",
  "uherding": "#0E6655",
  "dropquery": "#7E5109",
  "alfamix": "#2874A6",
  "bait_expectation": "#A04000",
  "bait_binary": "#B9770E",
  "lcmd": "#5B2C6F",
}
# Dash, and factor on the acquisition's color: a wrapped strategy is darker.
WRAPPERS = {"power": ("--", 0.65), "softmax": ("-.", 0.4), "softrank": ((0, (5, 1, 1, 1, 1, 1)), 0.2)}
# A strategy that switches has the marker of its first part and the color of its second.
_SWITCH = (0, (6, 1.5, 1, 1.5, 1, 1.5))
_OTHER = "#444444"
_MARKERS = "Ds^vpXP*"
_DASHES = ("-", (0, (10, 2)), (0, (8, 2, 2, 2)))


class Style(NamedTuple):
  """Color, marker and dash of a line."""

  color: str
  marker: str
  dash: Any


def style(name: str) -> Style:
  """A strategy's style: color and marker by acquisition, dash and shade by wrapper; random is black."""
  spelling = named(name)
  if spelling.second is not None:
    first, second = (style(part.name) for part in spelling.parts)
    return Style(second.color, first.marker, _SWITCH)
  wrapper, base, *_ = spelling
  if base == RANDOM:
    return Style("#000000", "o", ":")
  if is_oracle(name):
    return Style("#7F7F7F", "P", ":")
  place = list(COLORS).index(base) if base in COLORS else len(COLORS)
  dash, shade = WRAPPERS[wrapper] if wrapper else (_DASHES[place // len(_MARKERS)], 1)
  color = "#" + "".join(f"{round(shade * channel):02X}" for channel in bytes.fromhex(COLORS.get(base, _OTHER)[1:]))
  return Style(color, _MARKERS[place % len(_MARKERS)], dash)


def lines(names: list[str]) -> dict[str, dict[str, Any]]:
  """Keyword arguments of `axes.plot` for each strategy.

  Strategies that differ only in hyper-parameters share a style; later ones have hollow markers, then larger ones.
  """
  seen: dict[Style, int] = {}
  out = {}
  for name in names:
    drawn = style(name)
    count = seen[drawn] = seen.get(drawn, -1) + 1
    out[name] = {
      "color": drawn.color,
      "marker": drawn.marker,
      "linestyle": drawn.dash,
      "linewidth": 1.3,
      "markersize": 4 + 2 * (count // 2),
      "markerfacecolor": "white" if count % 2 else drawn.color,
    }
  return out


def every(points: int) -> int:
  """`markevery` of a line: a marker on each of its points, or on about twenty of many."""
  return max(1, points // 20)


def short(name: str) -> str:
  """A class name on one line, truncated if it is long."""
  name = " ".join(name.split())
  return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
