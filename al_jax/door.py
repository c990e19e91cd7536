"""What is refused of a data set, in one sentence with the value and where it stands: shapes, dtypes and values.

Values are read once per array, by one reduction on its device; within a trace they cannot be seen.
"""

import weakref

import jax
from jax.core import Tracer
import jax.numpy as jnp
import numpy as np

from al_jax import inputs
from al_jax import types
from al_jax.plan_checks import hashed
from al_jax.plan_checks import said
from al_jax.plan_checks import whole

# Mean absolute values of pool and test further apart than this are two scales: 0..255 and 0..1, say.
_MOST_APART = 16


def described(tree: types.PyTree) -> str:
  """Inputs, for people: `inputs of 28 x 28 x 1 (uint8)`."""
  of = lambda leaf: f"{' x '.join(map(str, leaf.shape[1:])) or 'one number'} ({leaf.dtype})"
  return f"inputs of {', '.join(map(of, jax.tree.leaves(tree)))}"


def is_traced(tree: types.PyTree) -> bool:
  """Whether any array of a tree is traced or abstract, so that its values cannot be seen."""
  seen = (np.ndarray, jax.Array)
  return any(isinstance(leaf, Tracer) or not isinstance(leaf, seen) for leaf in jax.tree.leaves(tree))


# Of NumPy's own kinds of array, masks would be forgotten.
_ARRAYS = (np.ndarray, jax.Array, jax.ShapeDtypeStruct)


def _kind(array: types.PyTree) -> str:
  """`b`, `i`, `f` or `k` of keys; `?` of what is no array of numbers."""
  if not isinstance(array, _ARRAYS) or isinstance(array, np.ma.MaskedArray):
    return "?"
  for kind, generic in (("b", jnp.bool_), ("i", jnp.integer), ("f", jnp.floating), ("k", jax.dtypes.prng_key)):
    if jnp.issubdtype(array.dtype, generic):
      # What no program takes: extended precision, and the other byte order.
      return "?" if kind != "k" and (array.dtype.itemsize > 8 or not array.dtype.isnative) else kind
  return "?"


def _what(array: types.PyTree) -> str:
  """What is no array of numbers, for people."""
  if not isinstance(array, _ARRAYS) or isinstance(array, np.ma.MaskedArray):
    return f"a {type(array).__name__}"
  native = array.dtype.isnative if isinstance(array, np.ndarray) else True
  return f"of dtype {array.dtype}" + ("" if native else ", in the byte order of another machine")


def _named_leaves(name: str, tree: types.PyTree) -> list[tuple[str, types.PyTree]]:
  """Every array with what to call it: `inputs`, or `inputs['image']`."""
  return [(name + jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _check_labels(name: str, labels: types.PyTree, classes: int) -> None:
  """Raises ValueError for labels that are not `[N]` integers."""
  kind = _kind(labels)
  if kind == "?":
    raise ValueError(
      f"{name} are {_what(labels)}: give an array of class numbers, such as np.unique(labels, return_inverse=True)[1]"
    )
  if len(labels.shape) != 1:
    way = "labels.reshape(-1)" if labels.shape[-1:] == (1,) else "labels.argmax(-1), where they are one-hot"
    raise ValueError(f"{name} have shape {labels.shape}: give [N] class numbers, {way}")
  if kind != "i":
    raise ValueError(f"{name} are {labels.dtype}: give whole class numbers 0 to {classes - 1}, labels.astype('int32')")


def _check_inputs(name: str, tree: types.PyTree, prepare: object) -> None:
  """Raises ValueError for inputs that are no arrays of numbers, or that nobody said how to prepare."""
  leaves = _named_leaves(name, tree)
  if not leaves:
    raise ValueError(f"{name} hold no array")
  for where, leaf in leaves:
    kind = _kind(leaf)
    if kind not in "bif":
      raise ValueError(f"{where} is {_what(leaf)}: give an array of numbers")
    if not leaf.shape:
      raise ValueError(f"{where} is one number: give an array with a row each")
    row = leaf.shape[1:]
    if 0 in row:
      raise ValueError(f"{where} has rows of shape {row}, which hold no number")
    if len(row) == 3 and row[0] in (1, 3) and row[1] == row[2] > 4:
      raise ValueError(
        f"{where} has rows of shape {row}, which are images with the channels first: give them with channels last,"
        " np.moveaxis(images, 1, -1)"
      )
    if kind != "f" and prepare is None:
      raise ValueError(
        f"{where} is {leaf.dtype}, and nothing says how it enters the network: give Dataset(prepare=...),"
        " al_jax.inputs.images(std=255) for images of bytes, al_jax.inputs.as_they_are for tokens and tables"
      )
  if isinstance(prepare, inputs.Images | inputs.ByName):
    prepare.check(name, tree)


def check_typed(key: types.PyTree, name: str) -> None:
  """Raises ValueError, in one sentence, for what is not one typed key."""
  if _kind(key) != "k":
    raise ValueError(f"{name} is no typed key: jax.random.key(seed) makes one")
  if key.shape:
    raise ValueError(f"{name} is an array of keys, {key.shape}: give one; al_jax.sweep takes one a run")


def check_shapes(data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for arrays that do not belong together; reads no value."""
  if not isinstance(data, types.Dataset):
    raise ValueError(f"a Dataset is due, not {said(data)}: run(key, data, learner)")
  if data.prepare is not None and (not callable(data.prepare) or isinstance(data.prepare, type)):
    raise ValueError(f"prepare is {said(data.prepare)}: give a function of a batch, al_jax.inputs.images(std=255), say")
  hashed("prepare", data.prepare)
  classes = data.num_classes
  if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 2:
    raise ValueError(f"num_classes must be a whole number of at least 2, not {classes!r}")
  for name, labels in (("labels", data.labels), ("test_labels", data.test_labels)):
    _check_labels(name, labels, classes)
  for name, tree in (("inputs", data.inputs), ("test_inputs", data.test_inputs)):
    _check_inputs(name, tree, data.prepare)
  size = data.labels.shape[0]
  if not size:
    raise ValueError("the pool is empty: inputs and labels have no rows")
  whole("copies", data.copies)
  if data.copies < 1 or size % data.copies:
    raise ValueError(f"{size} labels are no whole number of copies={data.copies}")
  originals = data.num_originals
  of_copies = f" of {data.copies} copies" if data.copies > 1 else ""
  for name, leaf in _named_leaves("inputs", data.inputs):
    if leaf.shape[0] != originals:
      raise ValueError(f"{name} has {leaf.shape[0]} rows, and there are {size} labels{of_copies}")
  for name, leaf in _named_leaves("test_inputs", data.test_inputs):
    if leaf.shape[0] != data.test_size:
      raise ValueError(f"{name} has {leaf.shape[0]} rows, and there are {data.test_size} test_labels")
  pool, test = (dict(_named_leaves("", tree)) for tree in (data.inputs, data.test_inputs))
  if pool.keys() != test.keys():
    raise ValueError(f"inputs are arrays {sorted(pool)} and test_inputs {sorted(test)}: give the same ones")
  for name in pool:
    ours, theirs = (f"{leaf.shape[1:]} {leaf.dtype}" for leaf in (pool[name], test[name]))
    if ours != theirs:
      raise ValueError(f"rows of inputs{name} are {ours} and of test_inputs{name} {theirs}: give both alike")
  embedding = data.embedding
  if embedding is not None:
    if _kind(embedding) != "f" or len(embedding.shape) != 2 or not embedding.shape[1]:
      shape, dtype = getattr(embedding, "shape", "none"), getattr(embedding, "dtype", type(embedding).__name__)
      raise ValueError(f"the embedding has shape {shape} of {dtype}: give [N, E] floats")
    if embedding.shape[0] != originals:
      raise ValueError(f"the embedding has {embedding.shape[0]} rows, and inputs have {originals}")
  for name in ("known", "available"):
    mask = getattr(data, name)
    if mask is not None and (_kind(mask) != "b" or mask.shape != (size,)):
      shape, dtype = getattr(mask, "shape", "none"), getattr(mask, "dtype", type(mask).__name__)
      raise ValueError(f"{name} has shape {shape} of {dtype}: give [{size}] bool")
  if data.noise_key is not None:
    check_typed(data.noise_key, "noise_key")
  if data.noise != 0:
    if not isinstance(data.noise, int | float | np.number) or not 0 < data.noise < float("inf"):
      raise ValueError(f"noise is a standard deviation, not {data.noise!r}")
    if data.noise_key is None:
      raise ValueError(f"a pool with noise {data.noise} needs a noise_key")
    if len(pool) != 1 or jax.tree.structure(data.inputs) != jax.tree.structure(0):
      raise ValueError("noise is for inputs that are one array of floats, not for a tree of them")


@jax.jit
def _of_rows(array: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The first row that holds what is not finite, or -1, and the mean absolute value."""
  size = jnp.mean(jnp.abs(array), dtype=jnp.float32)
  if not jnp.issubdtype(array.dtype, jnp.floating):
    return jnp.int32(-1), size
  bad = ~jnp.isfinite(array).reshape((array.shape[0], -1)).all(axis=1)
  return jnp.where(bad.any(), bad.argmax(), -1), size


_FACTS: dict[int, tuple[weakref.ref, tuple[int, float]]] = {}


def _facts(array: jax.Array | np.ndarray) -> tuple[int, float]:
  """What `_of_rows` says: once per array, and anew for one of NumPy's that may have been written to."""
  known = None if isinstance(array, np.ndarray) and array.flags.writeable else _FACTS.get(id(array))
  if known is not None and known[0]() is array:
    return known[1]
  with np.errstate(over="ignore"):  # doubles beyond floats are infinite, and refused
    row, size = _of_rows(array)
  facts = int(row), float(size)
  if len(_FACTS) > 256:
    _FACTS.clear()
  _FACTS[id(array)] = weakref.ref(array), facts
  return facts


def _check_digits(name: str, array: np.ndarray) -> None:
  """Raises ValueError for 64-bit integers that do not fit in 32 bits, which is what programs hold."""
  limits = np.iinfo(np.int32 if array.dtype == np.int64 else np.uint32)
  if array.min() >= limits.min and array.max() <= limits.max:
    return
  row = int(((array < limits.min) | (array > limits.max)).reshape((array.shape[0], -1)).any(axis=1).argmax())
  value = next(value for value in np.ravel(array[row]).tolist() if not limits.min <= value <= limits.max)
  raise ValueError(f"row {row} of {name} holds {value}, which does not fit in 32 bits")


def _size(name: str, array: jax.Array | np.ndarray, *, is_scaled: bool) -> float:
  """The mean absolute value of floats, and of integers that are scaled; else 0. Raises ValueError for a wrong value."""
  if not array.size:
    return 0.0
  if isinstance(array, np.ndarray) and array.dtype in (np.int64, np.uint64):
    _check_digits(name, array)
  if _kind(array) != "f" and not is_scaled:
    return 0.0
  row, size = _facts(array)
  if row >= 0:
    values = np.asarray(array[row])
    with np.errstate(over="ignore"):
      value = values[~np.isfinite(values.astype(np.float32))][0]
    raise ValueError(f"row {row} of {name} holds {value}: every value must be finite")
  return size


def _check_classes(name: str, labels: np.ndarray, rows: np.ndarray, classes: int) -> None:
  """Raises ValueError for a label among `rows` `[N]` bool that is no class."""
  wrong = rows & ((labels < 0) | (labels >= classes))
  if not wrong.any():
    return
  row = int(wrong.argmax())
  hint = f"the {classes} classes are 0 to {classes - 1}"
  given = labels[rows]
  if given.min() == 1 and given.max() == classes:
    hint += ": these run from 1, so subtract 1"
  elif labels[row] < 0:
    hint += "; of rows without a label, Dataset(known=...) says so"
  raise ValueError(f"row {row} of {name} is {labels[row]}, and {hint}")


def check_values(data: types.Dataset, *, all_known: bool) -> None:
  """Raises ValueError, in one sentence, for values by which a run would go wrong; nothing where they are traced.

  Args:
    data: whose shapes are checked.
    all_known: whether every available row must have a label.
  """
  if jnp.result_type(float) == jnp.float64:
    raise ValueError("runs are computed in 32 bits, and their draws differ in 64: switch jax_enable_x64 off")
  if is_traced((data.inputs, data.labels, data.test_inputs, data.test_labels, data.known, data.available)):
    return
  labels, size = np.asarray(data.labels), data.pool_size
  known = np.ones(size, bool) if data.known is None else np.asarray(data.known)
  available = np.ones(size, bool) if data.available is None else np.asarray(data.available)
  _check_classes("labels", labels, known & (available if all_known else True), data.num_classes)
  _check_classes("test_labels", np.asarray(data.test_labels), np.ones(data.test_size, bool), data.num_classes)
  if all_known:
    unknown = available & ~known
    if unknown.any():
      raise ValueError(
        f"row {int(unknown.argmax())} is available and its label is not known: al_jax.ask acquires such rows, a run"
        " has to know them"
      )
    classes = np.unique(labels[available])
    if len(classes) < 2:
      raise ValueError(f"every available row is of class {classes[0] if len(classes) else 'none'}: give two or more")
  is_scaled = isinstance(data.prepare, inputs.Images)
  sizes = {}
  for name, tree in (("inputs", data.inputs), ("test_inputs", data.test_inputs), ("the embedding", data.embedding)):
    for where, leaf in _named_leaves(name, tree):
      sizes[where] = _size(where, leaf, is_scaled=is_scaled)
  for where, ours in [(where, size) for where, size in sizes.items() if where.startswith("inputs")]:
    theirs = sizes["test_" + where]
    if ours and theirs and max(ours / theirs, theirs / ours) > _MOST_APART:
      raise ValueError(
        f"{where} and test_{where} are on two scales: their mean absolute values are {ours:.4g} and {theirs:.4g}"
      )
