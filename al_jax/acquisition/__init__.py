"""Which images to label next: one registry, one file a family.

A registry value is a factory `(**hyper) -> Acquisition`, in the way of `optax.adam(learning_rate)`; a wrapper turns any
acquisition that scores each image into a stochastic one, and goes by its name before the other's: `power_bald`.
"""

import ast
from collections.abc import Callable
import inspect
import re
from typing import NamedTuple

from al_jax.acquisition import _badge as badge
from al_jax.acquisition import _bait as bait
from al_jax.acquisition import _batchbald as batchbald
from al_jax.acquisition import _cluster_margin as cluster_margin
from al_jax.acquisition import _diversity as diversity
from al_jax.acquisition import _epig as epig
from al_jax.acquisition import _low_budget as low_budget
from al_jax.acquisition import _pointwise as pointwise
from al_jax.acquisition import _stochastic as stochastic
from al_jax.acquisition._pointwise import from_score as from_score
from al_jax.acquisition._selection import from_select as from_select
from al_jax.types import Acquisition

REGISTRY: dict[str, Callable[..., Acquisition]] = {
  "random": pointwise.random,
  "least_confidence": pointwise.least_confidence,
  "margin": pointwise.margin,
  "entropy": pointwise.entropy,
  "variation_ratio": pointwise.variation_ratio,
  "mean_std": pointwise.mean_std,
  "bald": pointwise.bald,
  "vote_entropy": pointwise.vote_entropy,
  "consensus_kl": pointwise.consensus_kl,
  "batchbald": batchbald.batchbald,
  "epig": epig.epig,
  "kcenter": diversity.kcenter,
  "kmeans": diversity.kmeans,
  "badge": badge.badge,
  "bait": bait.bait,
  "cluster_margin": cluster_margin.cluster_margin,
  "typiclust": low_budget.typiclust,
  "probcover": low_budget.probcover,
}

WRAPPERS: dict[str, Callable[..., Acquisition]] = {
  "power": stochastic.power,
  "softmax": stochastic.softmax,
  "softrank": stochastic.softrank,
}

Number = int | float | None


def _split(name: str) -> tuple[str | None, str]:
  """The wrapper, if any, and the acquisition that a name stands for.

  Raises:
    ValueError: there is no acquisition of that name.
  """
  if name in REGISTRY:
    return None, name
  prefix, _, base = name.partition("_")
  if prefix in WRAPPERS and base in REGISTRY:
    if REGISTRY[base]().score is None:
      scored = ", ".join(n for n, factory in REGISTRY.items() if factory().score is not None)
      raise ValueError(f"{name!r}: {base} gives no image a score to draw by; {prefix}_ goes before {scored}")
    return prefix, base
  wrapped = " or ".join(f"{wrapper}_" for wrapper in WRAPPERS)
  raise ValueError(f"unknown acquisition {name!r}; choose from {', '.join(REGISTRY)}, or put {wrapped} before one")


def factory(name: str) -> Callable[..., Acquisition]:
  """The entry of `REGISTRY` or `WRAPPERS` of that name."""
  return WRAPPERS[name] if name in WRAPPERS else REGISTRY[name]


def defaults(factory: Callable) -> dict[str, Number]:
  """The hyper-parameters that a factory or a wrapper takes, with their defaults."""
  parameters = inspect.signature(factory).parameters.values()
  return {p.name: p.default for p in parameters if p.default is not p.empty}


def hyper_parameters(name: str) -> dict[str, Number]:
  """What a name's factory may be told, with the defaults: its wrapper's first. Raises ValueError as `make` does."""
  wrapper, base = _split(name)
  return (defaults(WRAPPERS[wrapper]) if wrapper else {}) | defaults(REGISTRY[base])


def make(name: str, **hyper: Number) -> Acquisition:
  """The acquisition of that name.

  Args:
    name: a key of `REGISTRY`, or one that gives scores with a key of `WRAPPERS` and `_` before it.
    **hyper: arguments of the factory, or of the wrapper.

  Raises:
    ValueError: there is no such acquisition, hyper-parameter or value; the message has the choices.
  """
  wrapper, base = _split(name)
  known = hyper_parameters(name)
  for key in hyper:
    if key not in known:
      raise ValueError(f"{name} has no hyper-parameter {key!r}; it takes {', '.join(known) or 'none'}")
    if isinstance(known[key], int) and not isinstance(hyper[key], int):
      raise ValueError(f"{key} must be a whole number, not {hyper[key]}")
  if hyper.get("chunk_size", 1) < 1:
    raise ValueError(f"chunk_size must be at least 1, not {hyper['chunk_size']}")
  own = defaults(WRAPPERS[wrapper]) if wrapper else {}
  made = REGISTRY[base](**{key: value for key, value in hyper.items() if key not in own})
  if wrapper is None:
    return made
  return WRAPPERS[wrapper](made, **{key: value for key, value in hyper.items() if key in own})


def parse(spelling: str) -> tuple[str, dict[str, Number]]:
  """Name and hyper-parameters of a spelling such as `bald` or `power_bald(coldness=8)`.

  Raises:
    ValueError: it cannot be read, or names what is not there.
  """
  match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", spelling)
  if not match:
    raise ValueError(f"cannot read acquisition {spelling!r}: write it as in entropy or power_bald(coldness=8)")
  name, inside = match.groups()
  known = hyper_parameters(name)
  hyper = {}
  for item in filter(None, (part.strip() for part in (inside or "").split(","))):
    key, equals, value = (part.strip() for part in item.partition("="))
    if key not in known:
      raise ValueError(f"{name} has no hyper-parameter {key!r}; it takes {', '.join(known) or 'none'}")
    try:
      hyper[key] = ast.literal_eval(value)
    except (SyntaxError, ValueError):
      hyper[key] = value
    if not equals or isinstance(hyper[key], bool) or not isinstance(hyper[key], int | float):
      raise ValueError(f"{spelling!r}: {key} must be a number, as in {key}={known[key] if known[key] else 1}")
  return name, hyper


def spell(name: str, hyper: dict[str, Number]) -> str:
  """The one spelling of a name with hyper-parameters: those that differ from the defaults, in the factory's order."""
  said = [
    f"{key}={hyper[key]:g}" for key, default in hyper_parameters(name).items() if hyper.get(key, default) != default
  ]
  return f"{name}({', '.join(said)})" if said else name


class Description(NamedTuple):
  """What the docstring of a factory or a wrapper says."""

  name: str
  summary: str  # one line
  formula: str
  source: str
  cost: str  # order of the operations of one selection, in N, S, C, F, num
  memory: str  # an expression: bytes of the compiled selection beside its arguments, in N, S, C, F, num, chunk
  needs: tuple[str, ...]
  file: str


def describe(name: str) -> Description:
  """What an entry of `REGISTRY` or `WRAPPERS` is, from its docstring.

  Raises:
    KeyError: there is no such entry, or its docstring lacks a section.
  """
  entry = factory(name)
  lines = inspect.getdoc(entry).splitlines()
  sections = dict(re.findall(r"^(Formula|Source|Cost|Memory): (.+)$", "\n".join(lines), re.MULTILINE))
  needs = () if name in WRAPPERS else tuple(sorted(entry().needs))
  if name not in WRAPPERS and entry().targets:
    needs += ("targets",)
  return Description(
    name=f"{name}_" if name in WRAPPERS else name,
    summary=lines[0],
    formula=sections["Formula"],
    source=sections["Source"],
    cost=sections["Cost"],
    memory=sections["Memory"],
    needs=needs,
    file=f"{entry.__module__.replace('.', '/')}.py",
  )
