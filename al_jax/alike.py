"""Parts that were made anew but are alike share one compiled program.

Alike are two that trace to equal jaxprs with equal constants on the same shapes. Where that cannot be told, each has a
separate program: to compile once more costs seconds, a wrong program a result.
"""

from collections.abc import Callable
from collections.abc import Hashable
import functools
import hashlib
import types as python_types
from typing import Any
from typing import Generic
from typing import TypeVar

import jax
from jax.extend import core
import jax.numpy as jnp
import numpy as np

from al_jax import types

# How derivatives are taken, which a program that nobody differentiates does not ask.
_DERIVATIVES = {"jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "out_trees"}
_DEEPEST = 12
_MOST = 256


def _of_array(array: Any) -> Hashable:
  array = np.asarray(array)
  return array.shape, str(array.dtype), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _of_value(value: Any) -> Hashable:
  """A parameter of an equation: equal for equal ones. Raises TypeError for what has no hash."""
  if isinstance(value, core.ClosedJaxpr):
    return _of_jaxpr(value.jaxpr), tuple(map(_of_constant, value.consts))
  if isinstance(value, core.Jaxpr):
    return _of_jaxpr(value)
  if isinstance(value, tuple | list):
    return type(value).__name__, tuple(map(_of_value, value))
  if isinstance(value, dict):
    return tuple((name, _of_value(value[name])) for name in sorted(value))
  if isinstance(value, np.ndarray | jax.Array):
    return _of_constant(value)
  hash(value)
  return type(value), value


def _of_constant(value: Any) -> Hashable:
  if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
    return str(value.dtype), _of_array(jax.random.key_data(value))
  return getattr(value, "weak_type", False), _of_array(value)


def _of_jaxpr(jaxpr: core.Jaxpr) -> Hashable:
  numbers: dict[Any, int] = {}

  def of_atom(atom: Any) -> Hashable:
    if isinstance(atom, core.Literal):
      return str(atom.aval), _of_constant(atom.val)
    return numbers[atom]

  def of_binder(var: Any) -> Hashable:
    numbers[var] = len(numbers)
    return str(var.aval), getattr(var.aval, "weak_type", False)

  head = tuple(map(of_binder, (*jaxpr.constvars, *jaxpr.invars)))
  lines = []
  for equation in jaxpr.eqns:
    read = tuple(map(of_atom, equation.invars))
    told = {name: value for name, value in equation.params.items() if name not in _DERIVATIVES}
    lines.append((equation.primitive, _of_value(told), read, tuple(map(of_binder, equation.outvars))))
  return head, tuple(lines), tuple(map(of_atom, jaxpr.outvars))


def form(function: Callable, *args: types.PyTree) -> Hashable:
  """What a function computes of arguments of these shapes, equal for two that compute the same.

  Raises:
    TypeError: that cannot be told.
  """
  closed, out = jax.make_jaxpr(function, return_shape=True)(*args)
  return _of_jaxpr(closed.jaxpr), tuple(map(_of_constant, closed.consts)), jax.tree.structure(out)


def outline(value: Any, depth: int = 0) -> Hashable:
  """What two parts that are alike have in common at first sight: the code of their functions, but for where it stands.

  Parts of different outlines are not compared any further, which spares their tracing.
  """
  if depth > _DEEPEST:
    return None
  deeper = functools.partial(outline, depth=depth + 1)
  if isinstance(value, functools.partial):
    return "partial", deeper(value.func), deeper(value.args), deeper(tuple(sorted(value.keywords.items())))
  if isinstance(value, python_types.CodeType):
    return value.co_code, value.co_names, tuple(map(deeper, value.co_consts))
  if isinstance(value, python_types.FunctionType):
    cells = []
    for cell in value.__closure__ or ():
      try:
        cells.append(deeper(cell.cell_contents))
      except ValueError:  # not filled yet
        cells.append(None)
    return deeper(value.__code__), tuple(cells), deeper(value.__defaults__)
  if isinstance(value, tuple):
    return _named(type(value)), tuple(map(deeper, value))
  if isinstance(value, bool | int | float | str | bytes | None):
    return value
  return _named(value if isinstance(value, type) else type(value))


def _named(kind: type) -> tuple[str, str]:
  """What a class and the same one, defined again, have in common."""
  return kind.__module__, kind.__qualname__


_T = TypeVar("_T", bound=Hashable)


class Table(Generic[_T]):
  """The first of all parts that are alike, by what they are alike on."""

  def __init__(self):
    self._known: dict[Hashable, _T] = {}
    self._firsts: dict[Hashable, list[list[Any]]] = {}  # by outline: `[part, its form or None]`

  def first(self, part: _T, on: Hashable, form_of: Callable[[_T], Hashable]) -> _T:
    """The part itself, or one that was given before and is alike on the same shapes.

    Args:
      part: hashable.
      on: the shapes.
      form_of: what a part computes on them, by `form`; worked out only for two of the same outline.
    """
    known = self._known.get((part, on))
    if known is not None:
      return known
    if len(self._known) > _MOST:
      self._known.clear()
      self._firsts.clear()
    found = self._among(self._firsts.setdefault((outline(part), on), []), part, form_of)
    self._known[part, on] = found
    return found

  def _among(self, firsts: list[list[Any]], part: _T, form_of: Callable[[_T], Hashable]) -> _T:
    own = None
    if firsts:
      try:
        own = form_of(part)
        for entry in firsts:
          if entry[1] is None:
            entry[1] = form_of(entry[0])
          if entry[1] == own:
            return entry[0]
      except TypeError:
        own = None
    firsts.append([part, own])
    return part
