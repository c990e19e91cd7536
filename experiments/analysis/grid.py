"""Grids of hyper-parameters that one compiled program runs: `learning_rate=1e-3,3e-4;dropout_rate=0.25,0.5`."""

import itertools
import math

from experiments.common.errors import UsageError

Grid = tuple[tuple[str, tuple[float, ...]], ...]
Point = dict[str, float]

# name -> (whether a value is allowed, what is allowed)
_AXES = {
  "learning_rate": (lambda x: x > 0, "above 0"),
  "weight_decay": (lambda x: x >= 0, "0 or more"),
  "dropout_rate": (lambda x: 0 <= x < 1, "in [0, 1)"),
  "label_noise": (lambda x: 0 <= x < 1, "in [0, 1)"),
  "coldness": (lambda x: x > 0, "above 0"),
}


def parse(text: str | None) -> Grid:
  """Axes and their values; no axis for None.

  Raises:
    UsageError: it cannot be read, or names what cannot be varied inside a program.
  """
  if text is None:
    return ()
  axes: dict[str, tuple[float, ...]] = {}
  for part in text.split(";"):
    name, equals, values = (word.strip() for word in part.partition("="))
    if not equals or name not in _AXES:
      raise UsageError(
        f"--vmap_over={text}: {part.strip()!r} is not NAME=VALUE,VALUE with NAME one of {', '.join(_AXES)}"
      )
    if name in axes:
      raise UsageError(f"--vmap_over={text} names {name} twice")
    allowed, said = _AXES[name]
    for value in values.split(","):
      try:
        number = float(value)
      except ValueError:
        number = math.nan
      if not math.isfinite(number) or not allowed(number):
        raise UsageError(f"--vmap_over={text}: {name} must be a number {said}, not {value.strip()!r}")
      axes[name] = (*axes.get(name, ()), number)
    if len(set(axes[name])) < len(axes[name]):
      raise UsageError(f"--vmap_over={text} has a value of {name} twice")
  return tuple(axes.items())


def points(grid: Grid) -> list[Point]:
  """Every combination of the axes' values; a single empty point without axes."""
  names = [name for name, _ in grid]
  return [dict(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in grid))]


def spell(point: Point) -> str:
  """`learning_rate=0.001, dropout_rate=0.5`."""
  return ", ".join(f"{name}={value:g}" for name, value in point.items())
