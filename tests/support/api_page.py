"""docs/api.md: every public name of al_jax with its signature and its docstring.

`python -m tests.support.api_page` writes the page.
"""

import ast
import inspect
import re
import sys
import textwrap
from types import ModuleType
from typing import Any
from typing import NamedTuple

import al_jax
from al_jax import acquisition
from al_jax import greedy_oracle
from al_jax import models
from al_jax import simclr
from al_jax import types
from al_jax import warping
from al_jax.types import Needs
from tests.support.programs import ROOT

PAGE = ROOT / "docs" / "api.md"
_INTRO = """# API reference

Every public name of `al_jax`, with its signature and its docstring. [The library](library.md) shows how the parts work
together, [inputs](inputs.md) which inputs are accepted and refused, [acquisitions](acquisitions.md) what the
acquisitions have in common.

`python -m tests.support.api_page` writes this page from the code.
"""
_WIDTH = 88  # columns of a signature on one line
_SECTION = re.compile(r"(Args|Returns|Raises):")


class Section(NamedTuple):
  """A heading of the page, and the objects under it by qualified name."""

  heading: str
  text: str
  objects: dict[str, Any]


def public_names(module: ModuleType) -> dict[str, Any]:
  """A module's `__all__` or, in a package that re-exports, what its `__init__` imports; without modules."""
  names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
  found = {name: getattr(module, name) for name in names}
  return {name: value for name, value in found.items() if not inspect.ismodule(value)}


def sections() -> list[Section]:
  """The page's sections: the names of al_jax by what they are for, then its modules."""
  names = public_names(al_jax)
  groups = {
    "Data": ("Dataset", "UNKNOWN", "UNUSABLE", "SKIPPED"),
    "Networks": ("Network", "from_flax", "from_nnx"),
    "What is run": ("Plan", "TrainPlan", "EarlyStop", "FullBatch", "Trainer", "Learner"),
    "Runs": ("run", "sweep", "fit_full", "init_state", "round_fn"),
    "Labels from outside": ("start", "ask", "tell", "Question"),
    "States and results": ("ALState", "RoundInfo", "Metrics", "FitInfo", "Runs"),
    "Parts of a strategy": ("Acquisition", "Needs", "PoolView", "Head", "Posterior", "Outputs"),
  }
  out = [Section(heading, "", {f"al_jax.{name}": names.pop(name) for name in own}) for heading, own in groups.items()]
  if names:
    raise AssertionError(f"public names without a section: {', '.join(names)}")
  parts = (
    al_jax.acquisition,
    al_jax.posterior,
    al_jax.inputs,
    al_jax.optimizers,
    al_jax.metrics,
    models,
    greedy_oracle,
    warping,
    simclr,
  )
  for module in parts:
    text = (inspect.getdoc(module) or "").strip()
    own = {f"{module.__name__}.{name}": value for name, value in public_names(module).items()}
    out.append(Section(f"`{module.__name__}`", text, own))
  return out


def page() -> str:
  """The whole page."""
  shapes = (inspect.getdoc(types) or "").partition("\n\n")[2]
  out = [_INTRO.strip(), shapes]
  for section in sections():
    out += [f"## {section.heading}", *filter(None, [section.text])]
    for name, value in section.objects.items():
      out += [f"### `{name}`", *_described(name, value)]
  return "\n\n".join(out) + "\n"


def _needs(name: str, factory: Any) -> list[str]:
  """What an acquisition of the registry needs, but for the defaults."""
  entry = acquisition.REGISTRY.get(name.rpartition(".")[2])
  if entry is None or entry.factory is not factory:
    return []
  fields = zip(Needs._fields, factory().needs, Needs(), strict=True)
  needs = [f"{field}={value}" for field, value, default in fields if value != default]
  return [f"Needs: `{', '.join(needs)}`" if needs else "Needs: nothing"]


def _described(name: str, value: Any) -> list[str]:
  if inspect.isclass(value):
    return [*filter(None, [_constructor(value), _prose(inspect.getdoc(value) or "")]), *_members(value)]
  if callable(value):
    return [_signature(value), _prose(inspect.getdoc(value) or ""), *_needs(name, value)]
  if isinstance(value, dict):
    return [f"{_comment_of_constant(name)} Its keys are {', '.join(f'`{key}`' for key in value)}."]
  return [f"`{name.rpartition('.')[2]} = {value!r}`: {_comment_of_constant(name)}."]


def _source(value: Any) -> ast.ClassDef | ast.FunctionDef:
  node = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(value)))).body[0]
  assert isinstance(node, ast.ClassDef | ast.FunctionDef)
  return node


def _text(node: ast.AST) -> str:
  """An annotation or a default as users write it: without the names of the library's own modules."""
  return re.sub(r"\b(types|posterior|learner|np\.typing)\.(?=[A-Za-z])", "", ast.unparse(node))


def _signature(function: Any) -> str:
  node = _source(function)
  returns = f" -> {_text(node.returns)}" if node.returns is not None else ""
  return _call(node.name, node.args, returns)


def _call(name: str, arguments: ast.arguments, returns: str) -> str:
  parts = [_text(arg) for arg in arguments.args]
  for place, default in enumerate(arguments.defaults, len(parts) - len(arguments.defaults)):
    parts[place] += f" = {_text(default)}"
  parts += [f"*{_text(arguments.vararg)}"] if arguments.vararg else ["*"] if arguments.kwonlyargs else []
  for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
    parts.append(_text(arg) + (f" = {_text(default)}" if default else ""))
  parts += [f"**{_text(arguments.kwarg)}"] if arguments.kwarg else []
  return _block(name, parts, returns)


def _block(name: str, parts: list[str], returns: str = "") -> str:
  """A call as `ruff format` leaves it, which formats the pages too."""
  whole = f"{name}({', '.join(parts)}){returns}"
  if len(whole) > _WIDTH:
    whole = f"{name}(\n" + "".join(f"  {part},\n" for part in parts) + f"){returns}"
  return f"```python\n{whole.replace(chr(39), chr(34))}\n```"


def _constructor(kind: type) -> str:
  """The call that makes an object of a class; its arguments are the fields."""
  fields = [node for node in _source(kind).body if isinstance(node, ast.AnnAssign)]
  parts = [_text(node.target) + (f"={default}" if (default := _default(node)) else "") for node in fields]
  return _block(kind.__name__, parts)


def _default(node: ast.AnnAssign) -> str:
  text = _text(node.value) if node.value is not None else ""
  static = re.fullmatch(r"_static\((.*)\)", text)
  return static[1] if static else text


def _members(kind: type) -> list[str]:
  """The fields with their types and comments, and the public properties and methods."""
  lines, code = [], inspect.getsource(kind).splitlines()
  for node in _source(kind).body:
    if isinstance(node, ast.AnnAssign):
      comment = _comment(code, node)
      lines.append(f"- `{_text(node.target)}: {_text(node.annotation)}`" + (f": {comment}" if comment else ""))
    elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
      call = node.name if node.decorator_list else f"{node.name}({_text(node.args)})".replace("(self, ", "(")
      lines.append(f"- `{call}`: {' '.join((ast.get_docstring(node) or '').split())}")
  return ["\n".join(lines)] if lines else []


def _comment(code: list[str], node: ast.AnnAssign) -> str:
  """The comments on the lines of a field, and on the lines after it that begin with `#  `."""
  found = [line.partition("# ")[2] for line in code[node.lineno - 1 : node.end_lineno] if "# " in line]
  for line in code[node.end_lineno :]:
    if not line.lstrip().startswith("#  "):
      break
    found.append(line.lstrip("# "))
  return re.sub(r"^noqa: \w+ \((.*)\)$", r"\1", " ".join(part.strip() for part in found))


def _comment_of_constant(name: str) -> str:
  """The comment above a constant, or behind it, in the module that defines it."""
  pattern = re.compile(rf"((?:^# .*\n)*)^{name.rpartition('.')[2]}(?:: .*?)? = .*?(?:  # (.+))?$", re.MULTILINE)
  for module in [module for key, module in sys.modules.items() if key.startswith("al_jax")]:
    found = pattern.search(inspect.getsource(module))
    if found and (found[1] or found[2]):
      return found[2] or " ".join(line.lstrip("# ") for line in found[1].splitlines())
  raise AssertionError(f"{name} has no comment")


def _prose(doc: str) -> str:
  """A docstring as Markdown: paragraphs as they are, arguments and errors as lists."""
  out, name = [], None
  for line in doc.splitlines():
    heading = _SECTION.fullmatch(line)
    if heading:
      name = heading[1]
      out += [f"**{name}**", ""]
    elif name and line and not line.startswith("  "):
      name = None
      out.append(line)
    elif name and line.startswith("  ") and not line.startswith("    ") and name != "Returns":
      argument, colon, rest = line.strip().partition(":")
      out.append(f"- `{argument}`:{rest}" if colon else f"  {line.strip()}")
    elif name and line:
      out.append(f"{'' if name == 'Returns' else '  '}{line.strip()}")
    else:
      out.append(line)
  return re.sub(r"^(Formula): (.+)$", r"\1: `\2`\n", "\n".join(out), flags=re.MULTILINE).strip()


if __name__ == "__main__":
  PAGE.write_text(page())
