"""How a strategy is spelled: `bald`, `power_bald(coldness=8)`, `entropy(posterior=dropout)`. Knows no acquisition."""

import ast
import re
from typing import NamedTuple

from experiments.common.errors import UsageError

WRAPPERS = ("power", "softmax", "softrank")
Number = int | float


class Spelling(NamedTuple):
  """A strategy: an acquisition, its wrapper and hyper-parameters and, where it names one, its posterior."""

  wrapper: str | None
  base: str
  hyper: tuple[tuple[str, Number], ...] = ()
  posterior: str | None = None

  @property
  def name(self) -> str:
    """The acquisition with its wrapper, without hyper-parameters: `power_bald`."""
    return f"{self.wrapper}_{self.base}" if self.wrapper else self.base

  def __str__(self) -> str:
    inside = [f"{key}={value:g}" for key, value in self.hyper]
    inside += [f"posterior={self.posterior}"] if self.posterior else []
    return f"{self.name}({', '.join(inside)})" if inside else self.name


def parse(text: str) -> Spelling:
  """Reads `name`, `wrapper_name` or either with `(key=number, ..., posterior=kind)`.

  Raises:
    UsageError: it cannot be read.
  """
  match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
  if not match:
    raise UsageError(f"cannot read acquisition {text!r}: write it as in entropy or power_bald(coldness=8)")
  hyper, posterior = {}, None
  for item in filter(None, (part.strip() for part in (match[2] or "").split(","))):
    key, equals, value = (part.strip() for part in item.partition("="))
    if not equals:
      raise UsageError(f"{text!r}: {key} lacks its value, as in coldness=8")
    if key in hyper or (key == "posterior" and posterior):
      raise UsageError(f"{text!r} names {key} twice")
    if key == "posterior":
      posterior = value
    else:
      hyper[key] = _number(text, key, value)
  return named(match[1])._replace(hyper=tuple(hyper.items()), posterior=posterior)


def named(label: str) -> Spelling:
  """The acquisition and wrapper that the label of a line or row begins with; what follows is cut off.

  A study adds to a name, as in `bald(coldness=8)`, `bald [learning_rate=0.1]` and `batchbald, 5 a round`.
  """
  name = re.match(r"\w*", label)[0]
  wrapper, _, base = name.partition("_")
  return Spelling(wrapper, base) if wrapper in WRAPPERS and base else Spelling(None, name)


def split(text: str) -> list[str]:
  """The entries of a comma list, whose brackets may hold commas of their own."""
  return [part.strip() for part in re.split(r",(?![^()]*\))", text)]


def _number(text: str, key: str, value: str) -> Number:
  try:
    number = ast.literal_eval(value)
  except (SyntaxError, ValueError):
    number = None
  if isinstance(number, bool) or not isinstance(number, int | float):
    raise UsageError(f"{text!r}: {key} must be a number, as in {key}=1")
  return number
