"""Grids of hyper-parameters for one compiled program: `learning_rate=1e-3,3e-4;dropout_rate=0.25,0.5`."""

import itertools
import math

from experiments.common.errors import UsageError

Grid = tuple[tuple[str, tuple[float, ...]], ...]
Point = dict[str, float]

# name -> (predicate of allowed values, its description)
_AXES = {
  "learning_rate": (lambda x: x > 0, "above 0"),
  "weight_decay": (lambda x: x >= 0, "0 or more"),
  "dropout_rate": (lambda x: 0 <= x < 1, "in [0, 1)"),
  "label_noise": (lambda x: 0 <= x < 1, "in [0, 1)"),
  "coldness": (lambda x: x > 0, "above 0"),
}


def parse(text: str | None) -> Grid:
  """Parses the axes and their values; None has no axes.

  Raises:
    UsageError: the text cannot be read, or names a flag that cannot vary within a program.
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
      raise UsageError(f"--vmap_over={text} names {name} twice: name it once")
    allowed, condition = _AXES[name]
    for value in values.split(","):
      try:
        number = float(value)
      except ValueError:
        number = math.nan
      if not math.isfinite(number) or not allowed(number):
        raise UsageError(f"--vmap_over={text}: {name} must be a number {condition}, not {value.strip()!r}")
      axes[name] = (*axes.get(name, ()), number)
    if len(set(axes[name])) < len(axes[name]):
      raise UsageError(f"--vmap_over={text} has a value of {name} twice: give each value once")
  return tuple(axes.items())


def points(grid: Grid) -> list[Point]:
  """All combinations of the axes' values; without axes, one empty point."""
  names = [name for name, _ in grid]
  return [dict(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in grid))]


def spell(point: Point) -> str:
  """Formats a point, as in `learning_rate=0.001, dropout_rate=0.5`."""
  return ", ".join(f"{name}={value:g}" for name, value in point.items())
