"""What every factory of an acquisition has in common: keyword-only hyper-parameters with defaults, numbers all."""

from collections.abc import Callable
import functools
import inspect
import operator
from typing import Any
from typing import ParamSpec
from typing import TypeVar

Number = int | float
_P = ParamSpec("_P")
_T = TypeVar("_T")


def defaults(build: Callable) -> dict[str, Number]:
  """The hyper-parameters that a factory takes, with their defaults."""
  parameters = inspect.signature(build).parameters.values()
  return {p.name: p.default for p in parameters if p.default is not p.empty}


def factory(build: Callable[_P, _T]) -> Callable[_P, _T]:
  """The same factory, which raises ValueError for what is not a whole number where one is needed, and empty chunks."""
  whole = {name for name, default in defaults(build).items() if isinstance(default, int)}

  @functools.wraps(build)
  def checked(*args: _P.args, **hyper: _P.kwargs) -> _T:
    for name in whole & hyper.keys():
      value: Any = hyper[name]
      try:
        operator.index(value)
      except TypeError:
        raise ValueError(f"{name} must be a whole number, not {value}") from None
      if name == "chunk_size" and value < 1:
        raise ValueError(f"chunk_size must be at least 1, not {value}")
    return build(*args, **hyper)

  return checked
