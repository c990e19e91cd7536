"""Makes acquisitions from their command-line spelling, and describes them from their docstrings."""

from collections.abc import Callable
import inspect
import re
from typing import NamedTuple

import jax

from al_jax import acquisition
from al_jax import types
from al_jax.greedy_oracle import greedy_oracle
from al_jax.learner import Acquire
from experiments.common import spelling
from experiments.common.errors import UsageError
from experiments.common.spelling import ORACLE
from experiments.common.spelling import ORACLE_REMARK
from experiments.common.spelling import Number
from experiments.common.spelling import Spelling
from experiments.config.posteriors import POSTERIORS

# A wrapper's name is the prefix that it adds, such as `power_`.
_ENTRIES = acquisition.REGISTRY | {f"{name}_": entry for name, entry in acquisition.WRAPPERS.items()}
NAMES = tuple(_ENTRIES)
_TRIALS = {"trials": 20}


def parse(text: str) -> Spelling:
  """Parses the spelling of a strategy.

  Raises:
    UsageError: it cannot be parsed, or names an unknown acquisition, hyper-parameter or posterior.
  """
  found = spelling.parse(text)
  for part in found.parts:
    if part.posterior not in (None, *POSTERIORS):
      raise UsageError(f"{text!r}: unknown posterior {part.posterior!r}; choose from {', '.join(POSTERIORS)}")
  given = {part.posterior for part in found.parts} - {None}
  if len(given) > 1:
    raise UsageError(f"{text!r} names the posteriors {' and '.join(sorted(given))}: a switch reads one, so give one")
  make(found)
  return found


def canonical(strategy: Spelling) -> str:
  """The canonical spelling, used in rows and figures: only hyper-parameters that differ from the default, in order."""

  def only_differing(part: Spelling) -> Spelling:
    given, known = dict(part.hyper), hyper_parameters(part)
    differing = [(key, given[key]) for key, default in known.items() if given.get(key, default) != default]
    return part._replace(hyper=tuple(differing))

  return str(strategy.with_parts([only_differing(part) for part in strategy.parts]))


def posterior_of(strategy: Spelling) -> str | None:
  """The posterior in a strategy's brackets, those of either part; None if there is none."""
  return next((part.posterior for part in strategy.parts if part.posterior), None)


def hyper_parameters(strategy: Spelling) -> dict[str, Number]:
  """The hyper-parameters of a strategy without a switch, with their defaults, those of its wrapper first.

  Raises:
    UsageError: there is no such acquisition, or it cannot be wrapped.
  """
  if strategy.name == ORACLE:
    return dict(_TRIALS)
  base = acquisition.REGISTRY.get(strategy.base)
  if base is None:
    wrapped = " or ".join(f"{wrapper}_" for wrapper in acquisition.WRAPPERS)
    choices = ", ".join([*acquisition.REGISTRY, ORACLE])
    raise UsageError(f"unknown acquisition {strategy.name!r}; choose from {choices}, or put {wrapped} before one")
  if strategy.wrapper is None:
    return base.hyper_parameters
  if base.factory().score is None:
    scored = ", ".join(name for name, entry in acquisition.REGISTRY.items() if entry.factory().score is not None)
    raise UsageError(
      f"{strategy.name!r}: {strategy.base} does not score single images; put {strategy.wrapper}_ before one of {scored}"
    )
  return acquisition.WRAPPERS[strategy.wrapper].hyper_parameters | base.hyper_parameters


def make(strategy: Spelling, **hyper: Number | jax.Array) -> types.Acquisition:
  """Makes the acquisition of a strategy. Its own hyper-parameters override `hyper`, whose numbers may be traced.

  Values of `hyper` that a part of the strategy does not take are not used. The acquisition of the greedy oracle is the
  one that it falls back on.

  Raises:
    UsageError: an unknown acquisition or hyper-parameter (the message lists the choices), or an invalid value.
  """
  if strategy.second is not None and any(part.name == ORACLE for part in strategy.parts):
    raise UsageError(f"{str(strategy)!r}: {ORACLE} is no acquisition and cannot be a part of a switch")
  made = [_make_part(part, hyper) for part in strategy.parts]
  try:
    return made[0] if strategy.second is None else acquisition.switch(*made, labels=strategy.labels)
  except ValueError as error:
    raise UsageError(f"{str(strategy)!r}: {error}") from error


def _make_part(strategy: Spelling, hyper: dict[str, Number | jax.Array]) -> types.Acquisition:
  known, given = hyper_parameters(strategy), dict(strategy.hyper)
  for key in given:
    if key not in known:
      raise UsageError(f"{strategy.name} has no hyper-parameter {key!r}; it takes {', '.join(known) or 'none'}")
  given = {key: value for key, value in hyper.items() if key in known} | given
  if strategy.name == ORACLE:
    if strategy.posterior:
      raise UsageError(f"{strategy}: {ORACLE} reads no posterior samples: leave out posterior={strategy.posterior}")
    try:
      greedy_oracle(**given)
    except ValueError as error:
      raise UsageError(f"{strategy}: {error}") from error
    return acquisition.margin()
  wrapper = acquisition.WRAPPERS.get(strategy.wrapper)
  own = set(wrapper.hyper_parameters) if wrapper else set()
  try:
    made = acquisition.make(strategy.base, **{key: value for key, value in given.items() if key not in own})
    return wrapper.factory(made, **{key: given[key] for key in own & given.keys()}) if wrapper else made
  except ValueError as error:
    raise UsageError(error) from error


def instead(strategy: Spelling) -> Acquire | None:
  """What selects in place of the strategy's acquisition: `Learner.acquire`."""
  return greedy_oracle(**dict(strategy.hyper)) if strategy.name == ORACLE else None


def of(text: str) -> types.Acquisition:
  """Makes the acquisition that a text spells. Raises UsageError as `parse` does."""
  return make(parse(text))


def hyper_flags() -> dict[str, tuple[Number, list[str]]]:
  """Every hyper-parameter of the registry that is a flag, with its default and the acquisitions that take it."""
  found: dict[str, tuple[Number, list[str]]] = {}
  for name in sorted(NAMES, key=lambda name: not name.endswith("_")):  # wrappers first
    for key, default in _ENTRIES[name].hyper_parameters.items():
      if key != "chunk_size":  # affects memory and speed, not the result
        found.setdefault(key, (default, []))[1].append(name)
  return found


def with_flags(strategy: Spelling, typed: dict[str, Number]) -> Spelling:
  """The strategy with the hyper-parameters given as flags; those in its own parentheses take precedence.

  Raises:
    UsageError: an invalid value.
  """

  def with_own(part: Spelling) -> Spelling:
    known = hyper_parameters(part)
    hyper = {key: value for key, value in typed.items() if key in known} | dict(part.hyper)
    return part._replace(hyper=tuple(hyper.items()))

  out = strategy.with_parts([with_own(part) for part in strategy.parts])
  make(out)
  return out


class Description(NamedTuple):
  """Description of an acquisition or a wrapper, from its docstring and its registry entry."""

  name: str
  summary: str  # one line
  details: str  # paragraphs; may be empty
  formula: str
  source: str
  needs: tuple[str, ...]
  cost: str
  hyper: dict[str, Number]  # with the defaults


def describe(name: str) -> Description:
  """The description of one of `NAMES`.

  Raises:
    KeyError: the entry is unknown, or its docstring has no `Formula:` or `Source:`.
  """
  entry = _ENTRIES[name]
  summary, details, formula, source = _of_docstring(entry.factory)
  needs = ("scores",)
  if name in acquisition.REGISTRY:
    needs = format_needs(entry.factory().needs)
  hyper = {key: default for key, default in entry.hyper_parameters.items() if key != "chunk_size"}
  return Description(name, summary, details, formula, source, needs, entry.cost, hyper)


def _of_docstring(factory: Callable) -> tuple[str, str, str, str]:
  """Summary, paragraphs, formula and source in the docstring of a factory."""
  text = inspect.getdoc(factory) or ""
  summary, _, rest = text.partition("\n")
  found = dict(re.findall(r"^(Formula|Source): (.+)$", text, re.MULTILINE))
  return summary.rstrip("."), rest.partition("Formula:")[0].strip(), found["Formula"], found["Source"]


def format_needs(needs: types.Needs) -> tuple[str, ...]:
  """The inputs of an acquisition as text, such as `2 samples`."""
  samples = {0: (), 1: ("a prediction",)}.get(needs.samples, (f"{needs.samples} samples",))
  rest = [name for name in ("joint", "features", "head", "embedding", "labels", "targets") if getattr(needs, name)]
  return (*samples, *rest, *(("validation rows",) if needs.validation else ()))


def table() -> str:
  """The README's table of acquisitions and wrappers."""
  lines = ["| acquisition | labels first | source |", "|---|---|---|"]
  for entry in map(describe, NAMES):
    lines.append(f"| [`{entry.name}`](docs/acquisitions.md#{entry.name}) | {entry.summary} | {entry.source} |")
  return "\n".join(lines)


def sections() -> str:
  """The entries of docs/acquisitions.md."""
  out = []
  for entry in map(describe, NAMES):
    needs = ", ".join(entry.needs) or "nothing"
    facts = {"formula": f"`{entry.formula}`", "source": entry.source, "needs": needs, "cost": entry.cost}
    if entry.name in acquisition.REGISTRY:
      facts["can be wrapped"] = "yes" if acquisition.make(entry.name).score is not None else "no"
    if entry.hyper:
      facts["hyper-parameters"] = ", ".join(f"`{key}={default:g}`" for key, default in entry.hyper.items())
    lines = "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
    paragraphs = [f"### `{entry.name}`", f"{entry.summary}.", lines, entry.details]
    out.append("\n\n".join(filter(None, paragraphs)))
  return "\n\n".join(out)


def listing() -> str:
  """What `--list_acquisitions` prints: name, formula, needs and source of every entry."""
  lines = []
  for entry in map(describe, NAMES):
    hyper = ", ".join(f"{key}={default:g}" for key, default in entry.hyper.items())
    needs = "an acquisition that scores each image" if entry.needs == ("scores",) else ", ".join(entry.needs)
    lines += [
      f"{entry.name}({hyper})" if hyper else entry.name,
      f"  {entry.summary}",
      f"  formula  {entry.formula}",
      f"  needs    {needs or 'nothing'}",
      f"  source   {entry.source}",
    ]
  summary, _, formula, source = _of_docstring(acquisition.switch)
  lines += ["FIRST@LABELS:SECOND", f"  {summary}", f"  formula  {formula}"]
  lines += ["  needs    two of the above, as in typiclust@50:margin", f"  source   {source}"]
  summary, _, _ = (inspect.getdoc(greedy_oracle) or "").partition(":")
  lines += [f"{ORACLE}(trials={_TRIALS['trials']})", f"  {summary}", f"  {ORACLE_REMARK}"]
  return "\n".join(lines)


if __name__ == "__main__":
  print(table(), sections(), sep="\n\n")
