"""Purity of the core: its imports, forbidden calls, and conventions for keys and sizes."""

import ast
import importlib
import inspect
from pathlib import Path
import pkgutil
import subprocess
import sys

import pytest

import al_jax

ROOT = Path(al_jax.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = ["al_jax", *(module.name for module in pkgutil.walk_packages(al_jax.__path__, "al_jax."))]

THIRD_PARTY = {"jax", "numpy", "flax", "optax", "chex"}
IMPURE = {"os", "sys", "io", "pathlib", "shutil", "tempfile", "glob", "time", "datetime", "logging", "random"}
IMPURE |= {"subprocess", "socket", "threading", "pickle", "json", "argparse", "absl", "builtins"}
HEAVY = ["tensorflow", "tensorflow_datasets", "orbax", "sklearn", "matplotlib", "experiments"]
SIZES = {"num", "size", "num_classes", "chunk_size", "batch_size", "train_steps", "epochs", "steps", "num_samples"}


def tree_of(file: Path) -> ast.Module:
  return ast.parse(file.read_text())


def imported_modules(tree: ast.Module) -> set[str]:
  """Top-level names of all imports anywhere in the file."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name.split(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, "imports are absolute"
      names.add(node.module.split(".")[0])
  return names


def test_import_is_light():
  program = "import sys, al_jax; print(*sorted({name.split('.')[0] for name in sys.modules}))"
  done = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT.parent, capture_output=True, text=True, timeout=120, check=True
  )
  loaded = set(done.stdout.split())
  assert "al_jax" in loaded and "jax" in loaded
  assert not loaded & set(HEAVY)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_only_what_the_core_may(file):
  names = imported_modules(tree_of(file))
  assert names <= THIRD_PARTY | {"al_jax"} | sys.stdlib_module_names
  assert not names & IMPURE


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_touches_no_file_no_screen_and_no_global_state(file):
  for node in ast.walk(tree_of(file)):
    if isinstance(node, ast.Call):
      called = ast.unparse(node.func)
      assert called not in {"print", "open", "input", "exec", "eval", "__import__"}, f"{called} at line {node.lineno}"
      assert not called.startswith(("jax.debug.", "np.random.", "numpy.random.", "jax.config."))
      assert called not in {"np.save", "np.load", "np.savez", "jnp.save", "jnp.load"}
      assert not called.endswith("random.PRNGKey"), "keys are typed"
    assert not isinstance(node, ast.Global | ast.Nonlocal)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_defines_every_name_once(file):
  names = [node.name for node in tree_of(file).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
  assert sorted(names) == sorted(set(names))


def public_functions() -> dict:
  """All public functions of the core's modules, by full name."""
  found = {}
  for name in MODULES:
    for attribute, value in vars(importlib.import_module(name)).items():
      if not attribute.startswith("_") and callable(value) and not inspect.isclass(value):
        value = inspect.unwrap(value)
        if inspect.isfunction(value) and value.__module__ == name:
          found[f"{name}.{attribute}"] = value
  return found


FUNCTIONS = public_functions()


def test_the_public_functions_are_found():
  for name in ("loop.run", "loop.init_state", "pool.masked_top_k", "training.fit", "acquisition._pointwise.random"):
    assert f"al_jax.{name}" in FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_keys_come_first_and_sizes_by_keyword(name):
  parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
  is_key = [parameter.name.split("_")[0] == "key" for parameter in parameters]
  assert is_key == sorted(is_key, reverse=True), "keys come first"
  for parameter in parameters:
    if parameter.name in SIZES:
      assert parameter.kind is parameter.KEYWORD_ONLY, f"{parameter.name} is a size: keyword-only"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_say_what_they_do(name):
  assert FUNCTIONS[name].__doc__, "a docstring"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_randomness_comes_in_through_an_argument(file):
  """A function that draws, or returns one that does, takes a key, a state or a noisy pool as an argument."""
  for node in tree_of(file).body:
    if not isinstance(node, ast.FunctionDef):
      continue
    calls = {ast.unparse(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
    calls -= {"jax.random.key_data"}  # draws nothing
    if any(call.startswith("jax.random.") or call == "role_key" for call in calls):
      functions = [inner for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef | ast.Lambda)]
      arguments = {argument.arg.split("_")[0] for function in functions for argument in function.args.args}
      held = {"data"} if "data.noise_key" in ast.unparse(node) else set()
      assert arguments & ({"key", "keys", "state"} | held), node.name
    assert "jax.random.key" not in calls, f"{node.name} makes a key of its own"
