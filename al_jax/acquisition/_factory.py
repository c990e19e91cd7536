"""Common behavior of acquisition factories: keyword-only numeric hyper-parameters with defaults."""

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
  """The factory's hyper-parameters and their defaults."""
  parameters = inspect.signature(build).parameters.values()
  return {p.name: p.default for p in parameters if p.default is not p.empty}


def factory(build: Callable[_P, _T]) -> Callable[_P, _T]:
  """Decorates a factory to raise ValueError if an integer argument is not a whole number or `chunk_size` is below 1."""
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
