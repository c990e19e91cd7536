"""Strategies as the command line spells them: `bald`, `power_bald(coldness=8)`, `entropy(posterior=dropout)`.

A strategy is an acquisition, its hyper-parameters and, where that is not left to the flags, the posterior it looks at.
"""

import re
from typing import NamedTuple

from al_jax import acquisition
from al_jax import types
from experiments.common.errors import UsageError


class Strategy(NamedTuple):
  """One entry of --acq."""

  name: str
  hyper: tuple[tuple[str, acquisition.Number], ...]
  posterior: str | None  # a kind of types.POSTERIORS; None where the flags decide

  @property
  def spelling(self) -> str:
    """The one spelling, which rows and figures carry."""
    spelled = acquisition.spell(self.name, dict(self.hyper))
    if self.posterior is None:
      return spelled
    said = f"posterior={self.posterior}"
    return f"{spelled[:-1]}, {said})" if spelled.endswith(")") else f"{spelled}({said})"


def split(text: str) -> list[str]:
  """The entries of a comma list, whose brackets may hold commas of their own."""
  return [part.strip() for part in re.split(r",(?![^()]*\))", text)]


def parse(spelling: str) -> Strategy:
  """The strategy of a spelling.

  Raises:
    UsageError: it cannot be read, or names what is not there.
  """
  posterior = None
  match = re.fullmatch(r"(.*[(,])\s*posterior\s*=\s*(\w+)\s*(,.*)?(\))\s*", spelling)
  if match:
    before, posterior, after, _ = match.groups()
    if posterior not in types.POSTERIORS:
      raise UsageError(f"{spelling!r}: unknown posterior {posterior!r}; choose from {', '.join(types.POSTERIORS)}")
    spelling = f"{before.rstrip(',')}{after or ''})".replace("(,", "(")
  try:
    name, hyper = acquisition.parse(spelling)
    acquisition.make(name, **hyper)
  except ValueError as error:
    raise UsageError(error) from error
  return Strategy(name, tuple(hyper.items()), posterior)


def hyper_flags() -> dict[str, tuple[acquisition.Number, list[str]]]:
  """Every hyper-parameter of the registry with its default and who takes it: each is a flag of its own."""
  found: dict[str, tuple[acquisition.Number, list[str]]] = {}
  factories = {f"{name}_": factory for name, factory in acquisition.WRAPPERS.items()} | acquisition.REGISTRY
  for name, factory in factories.items():
    for key, default in acquisition.defaults(factory).items():
      if key != "chunk_size":  # how it is computed, not what
        found.setdefault(key, (default, []))[1].append(name)
  return found


def told(strategy: Strategy, typed: dict[str, acquisition.Number]) -> Strategy:
  """The strategy with the flags that were typed; what its brackets say wins."""
  known = acquisition.hyper_parameters(strategy.name)
  hyper = {key: value for key, value in typed.items() if key in known} | dict(strategy.hyper)
  try:
    acquisition.make(strategy.name, **hyper)
  except ValueError as error:
    raise UsageError(error) from error
  return strategy._replace(hyper=tuple(hyper.items()))


def markdown_table() -> str:
  """The README's table of acquisitions."""
  lines = ["| name | labels first | formula | source | needs | cost | file |", "|---|---|---|---|---|---|---|"]
  for name in [*acquisition.REGISTRY, *acquisition.WRAPPERS]:
    entry = acquisition.describe(name)
    needs = ", ".join(entry.needs) if name in acquisition.REGISTRY else "scores"
    formula = entry.formula.replace("|", "\\|")
    lines.append(
      f"| `{entry.name}` | {entry.summary.rstrip('.')} | {formula} | {entry.source} | {needs} | {entry.cost} |"
      f" `{entry.file}` |"
    )
  return "\n".join(lines)


def listing() -> str:
  """What `--list_acquisitions` prints: name, formula, needs and source of every entry."""
  lines = []
  for name in [*acquisition.REGISTRY, *acquisition.WRAPPERS]:
    entry = acquisition.describe(name)
    hyper = ", ".join(
      f"{k}={v:g}" for k, v in acquisition.defaults(acquisition.factory(name)).items() if k != "chunk_size"
    )
    needs = ", ".join(entry.needs) if name in acquisition.REGISTRY else "an acquisition that scores each image"
    lines += [
      f"{entry.name}{f'({hyper})' if hyper else ''}",
      f"  {entry.summary}",
      f"  formula  {entry.formula}",
      f"  needs    {needs or 'nothing'}",
      f"  source   {entry.source}",
    ]
  return "\n".join(lines)
