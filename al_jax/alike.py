"""Finds equivalent functions, so that they share one compiled program.

Two functions are equivalent if they trace to equal jaxprs with equal constants on the same shapes. If this cannot be
decided, each gets its own program: an extra compilation costs seconds, a wrong program costs a result.
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

# Parameters for derivatives, which do not matter for a program that is not differentiated.
_DERIVATIVES = {"jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "out_trees"}
_MAX_DEPTH = 12
_MAX_ENTRIES = 256


def _hash_array(array: Any) -> Hashable:
  array = np.asarray(array)
  return array.shape, str(array.dtype), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _value_form(value: Any) -> Hashable:
  """A hashable value of an equation's parameter, equal for equal parameters. Raises TypeError for unhashable ones."""
  if isinstance(value, core.ClosedJaxpr):
    return _jaxpr_form(value.jaxpr), tuple(map(_constant_form, value.consts))
  if isinstance(value, core.Jaxpr):
    return _jaxpr_form(value)
  if isinstance(value, tuple | list):
    return type(value).__name__, tuple(map(_value_form, value))
  if isinstance(value, dict):
    return tuple((name, _value_form(value[name])) for name in sorted(value))
  if isinstance(value, np.ndarray | jax.Array):
    return _constant_form(value)
  hash(value)
  return type(value), value


def _constant_form(value: Any) -> Hashable:
  if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
    return str(value.dtype), _hash_array(jax.random.key_data(value))
  return getattr(value, "weak_type", False), _hash_array(value)


def _jaxpr_form(jaxpr: core.Jaxpr) -> Hashable:
  numbers: dict[Any, int] = {}

  def of_atom(atom: Any) -> Hashable:
    if isinstance(atom, core.Literal):
      return str(atom.aval), _constant_form(atom.val)
    return numbers[atom]

  def of_binder(var: Any) -> Hashable:
    numbers[var] = len(numbers)
    return str(var.aval), getattr(var.aval, "weak_type", False)

  head = tuple(map(of_binder, (*jaxpr.constvars, *jaxpr.invars)))
  lines = []
  for equation in jaxpr.eqns:
    read = tuple(map(of_atom, equation.invars))
    params = {name: value for name, value in equation.params.items() if name not in _DERIVATIVES}
    lines.append((equation.primitive, _value_form(params), read, tuple(map(of_binder, equation.outvars))))
  return head, tuple(lines), tuple(map(of_atom, jaxpr.outvars))


def form(function: Callable, *args: types.PyTree) -> Hashable:
  """A hashable form of what a function computes on arguments of these shapes; equal forms compute the same.

  Raises:
    TypeError: the function has a parameter that cannot be hashed.
  """
  closed, out = jax.make_jaxpr(function, return_shape=True)(*args)
  return _jaxpr_form(closed.jaxpr), tuple(map(_constant_form, closed.consts)), jax.tree.structure(out)


def outline(value: Any, depth: int = 0) -> Hashable:
  """A cheap hashable summary: the bytecode of the functions, without file names and line numbers.

  Parts with different outlines are treated as different without being traced.
  """
  if depth > _MAX_DEPTH:
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
      except ValueError:  # the cell is empty
        cells.append(None)
    return deeper(value.__code__), tuple(cells), deeper(value.__defaults__)
  if isinstance(value, tuple):
    return _class_name(type(value)), tuple(map(deeper, value))
  if isinstance(value, bool | int | float | str | bytes | None):
    return value
  return _class_name(value if isinstance(value, type) else type(value))


def _class_name(kind: type) -> tuple[str, str]:
  """Module and name of a class, equal for a class that is defined again."""
  return kind.__module__, kind.__qualname__


_T = TypeVar("_T", bound=Hashable)


class Table(Generic[_T]):
  """Maps each part to the first equivalent one."""

  def __init__(self):
    self._known: dict[Hashable, _T] = {}
    self._firsts: dict[Hashable, list[list[Any]]] = {}  # by outline: `[part, form or None]`

  def first(self, part: _T, on: Hashable, form_of: Callable[[_T], Hashable]) -> _T:
    """The first part given so far that is equivalent on the same shapes, else the part itself.

    Args:
      part: a hashable part.
      on: the shapes.
      form_of: computes the `form` of a part on these shapes; called only if outlines are equal.
    """
    known = self._known.get((part, on))
    if known is not None:
      return known
    if len(self._known) > _MAX_ENTRIES:
      self._known.clear()
      self._firsts.clear()
    found = self._find(self._firsts.setdefault((outline(part), on), []), part, form_of)
    self._known[part, on] = found
    return found

  def _find(self, firsts: list[list[Any]], part: _T, form_of: Callable[[_T], Hashable]) -> _T:
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
