"""The spelling of strategies; syntax only.

`bald`, `power_bald(coldness=8)`, `entropy(posterior=dropout)`, and `typiclust@50:margin`: typiclust until 50 labels,
then margin.
"""

import ast
from collections.abc import Sequence
import re
from typing import NamedTuple

from experiments.common.errors import UsageError

WRAPPERS = ("power", "softmax", "softrank")
ORACLE = "greedy_oracle"  # no acquisition: it reads labels
ORACLE_REMARK = f"{ORACLE} reads the test labels and those of its candidates: it cheats by design, and is a reference."
Number = int | float


class Spelling(NamedTuple):
  """A strategy: an acquisition, its wrapper, hyper-parameters and posterior, the latter None if not given.

  A strategy that switches has all of these twice: those of the first part are its own, the second part is `second`.
  """

  wrapper: str | None
  base: str
  hyper: tuple[tuple[str, Number], ...] = ()
  posterior: str | None = None
  labels: int | None = None  # number of labels at which `second` takes over
  second: "Spelling | None" = None

  @property
  def parts(self) -> tuple["Spelling", ...]:
    """The strategies before and after a switch; without a switch, the strategy alone."""
    return (self,) if self.second is None else (self._replace(labels=None, second=None), self.second)

  def with_parts(self, parts: Sequence["Spelling"]) -> "Spelling":
    """The strategy with other parts, as many as `parts` has."""
    return parts[0]._replace(labels=self.labels, second=parts[1] if self.second else None)

  @property
  def name(self) -> str:
    """The acquisition with its wrapper but without hyper-parameters: `power_bald`, `typiclust@50:margin`."""
    own = f"{self.wrapper}_{self.base}" if self.wrapper else self.base
    return own if self.second is None else f"{own}@{self.labels}:{self.second.name}"

  def __str__(self) -> str:
    if self.second is not None:
      return f"{self.parts[0]}@{self.labels}:{self.second}"
    inside = [f"{key}={value:g}" for key, value in self.hyper]
    inside += [f"posterior={self.posterior}"] if self.posterior else []
    return f"{self.name}({', '.join(inside)})" if inside else self.name


def parse(text: str) -> Spelling:
  """Parses `name` or `wrapper_name`, optionally followed by `(key=number, ..., posterior=kind)`, or `FIRST@50:SECOND`.

  Raises:
    UsageError: the text cannot be parsed.
  """
  first, at, rest = text.partition("@")
  if not at:
    return _part(text)
  labels, colon, second = rest.partition(":")
  if not (colon and first.strip() and second.strip() and re.fullmatch(r"\s*[0-9]+\s*", labels)):
    raise UsageError(f"cannot parse acquisition {text!r}: write a switch at 50 labels like typiclust@50:margin")
  if "@" in second:
    raise UsageError(f"{text!r} switches twice: write one switch between two acquisitions, like typiclust@50:margin")
  return _part(first)._replace(labels=int(labels), second=_part(second))


def _part(text: str) -> Spelling:
  match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
  if not match:
    raise UsageError(f"cannot parse acquisition {text!r}: write it like entropy or power_bald(coldness=8)")
  hyper, posterior = {}, None
  for item in filter(None, (part.strip() for part in (match[2] or "").split(","))):
    key, equals, value = (part.strip() for part in item.partition("="))
    if not equals:
      raise UsageError(f"{text!r}: {key} has no value: write it like coldness=8")
    if key in hyper or (key == "posterior" and posterior):
      raise UsageError(f"{text!r} names {key} twice")
    if key == "posterior":
      posterior = value
    else:
      hyper[key] = _number(text, key, value)
  return _of_name(match[1])._replace(hyper=tuple(hyper.items()), posterior=posterior)


def named(label: str) -> Spelling:
  """The acquisition and wrapper at the start of the label of a curve or row; the rest is ignored.

  Labels extend a name, as in `bald(coldness=8)`, `bald [learning_rate=0.1]`, `batchbald, 5 a round` and
  `bald(coldness=8)@50:margin`.
  """
  first, labels, second = re.match(r"(\w*)(?:(?:\([^()]*\))?@(\d+):(\w+))?", label).groups()
  if second:
    return _of_name(first)._replace(labels=int(labels), second=_of_name(second))
  return _of_name(first)


def _of_name(name: str) -> Spelling:
  wrapper, _, base = name.partition("_")
  return Spelling(wrapper, base) if wrapper in WRAPPERS and base else Spelling(None, name)


def is_oracle(label: str) -> bool:
  """Whether a strategy, a row's `acq` or the label of a curve is the greedy oracle."""
  return re.match(r"\w*", label)[0] == ORACLE


def split(text: str) -> list[str]:
  """Splits a comma-separated list, except at commas in parentheses."""
  return [part.strip() for part in re.split(r",(?![^()]*\))", text)]


def _number(text: str, key: str, value: str) -> Number:
  try:
    number = ast.literal_eval(value)
  except (SyntaxError, ValueError):
    number = None
  if isinstance(number, bool) or not isinstance(number, int | float):
    raise UsageError(f"{text!r}: {key} must be a number, such as {key}=1")
  return number
