"""The formulas of registry entries: temporary memory stays within its own, and operations grow with the sizes."""

import jax
import jax.numpy as jnp
import pytest

from al_jax import acquisition
from al_jax import types
from tests.support.wrapped import NAMES
from tests.support.wrapped import hyper_parameters
from tests.support.wrapped import make

CHUNK = 64


def shapes(made: types.Acquisition, N: int, S: int, C: int, F: int) -> types.PoolView:
  """A view of `ShapeDtypeStruct`s."""
  floats = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
  fields = {"log_probs": floats(N, S, C), "features": floats(N, F), "embedding": floats(N, F)}
  needed = {name: fields[name] for name in made.needs.fields}
  if made.needs.targets:
    needed["target_log_probs"] = floats(made.needs.targets, S, C)
  if made.needs.head:
    needed["head"] = types.Head(floats(F, C), floats(C))
  if made.needs.labels:
    needed["labels"] = jax.ShapeDtypeStruct((N,), jnp.int32)
  mask = jax.ShapeDtypeStruct((N,), bool)
  return types.PoolView(labeled=mask, candidates=mask, **needed)


@pytest.mark.slow
@pytest.mark.parametrize("size", [{"N": 4000, "S": 20, "C": 10, "F": 32}, {"N": 20_000, "S": 5, "C": 10, "F": 128}])
@pytest.mark.parametrize("name", NAMES)
def test_temporary_memory_is_within_the_formula(name, size):
  num = 10
  sized = {"chunk_size": CHUNK} if "chunk_size" in hyper_parameters(name) else {}
  made = make(name, **sized)
  key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
  compiled = jax.jit(made.select, static_argnames="num").lower(key, shapes(made, **size), num=num).compile()
  used = compiled.memory_analysis().temp_size_in_bytes

  wrapper, _, base = name.partition("_")
  hyper = hyper_parameters(name) | sized
  values = size | hyper | {"num": num, "chunk": CHUNK, "T": made.needs.targets}
  allowed = acquisition.REGISTRY[name if wrapper not in acquisition.WRAPPERS else base].memory(**values)
  allowed += acquisition.WRAPPERS[wrapper].memory(**values) if wrapper in acquisition.WRAPPERS else 0
  assert used <= allowed, f"{used} bytes, of {allowed} stated"
  # The formula must not be too loose either.
  assert allowed < 40 * max(used, 4 * size["N"]), f"{allowed} bytes stated, {used} used"


@pytest.mark.parametrize("name", [name for name, entry in acquisition.REGISTRY.items() if entry.operations])
def test_operations_grow_with_the_sizes(name):
  entry = acquisition.REGISTRY[name]
  sizes = {"N": 4000, "S": 20, "C": 10, "F": 32, "T": 50, "L": 100, "num": 10} | entry.hyper_parameters
  count = lambda **larger: entry.operations(**sizes | larger)
  assert 0 < count() < count(N=8000)
  assert all(count(**larger) >= count() for larger in ({"S": 40}, {"C": 20}, {"L": 200}, {"num": 20}))
  read = entry.factory().needs
  assert (count(F=64) > count()) == (read.features or read.embedding)
