"""What is refused of a data set, in one sentence with the value and where it stands: shapes, dtypes and values.

Values are looked at once per array, by one reduction on its device; within a trace they cannot be seen.
"""

import weakref

import jax
from jax.core import Tracer
import jax.numpy as jnp
import numpy as np

from al_jax import inputs
from al_jax import types

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


def _kind(array: types.PyTree) -> str:
  """`b`, `i`, `f` or `k` of keys; `?` of what is no array of numbers."""
  dtype = getattr(array, "dtype", None)
  if dtype is None or not hasattr(array, "shape"):
    return "?"
  for kind, generic in (("b", jnp.bool_), ("i", jnp.integer), ("f", jnp.floating), ("k", jax.dtypes.prng_key)):
    if jnp.issubdtype(dtype, generic):
      return kind
  return "?"


def _named_leaves(name: str, tree: types.PyTree) -> list[tuple[str, types.PyTree]]:
  """Every array with what to call it: `inputs`, or `inputs['image']`."""
  return [(name + jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _check_labels(name: str, labels: types.PyTree, classes: int) -> None:
  """Raises ValueError for labels that are not `[N]` integers."""
  kind = _kind(labels)
  if kind == "?":
    what = f"of dtype {labels.dtype}" if hasattr(labels, "dtype") else f"a {type(labels).__name__}"
    raise ValueError(
      f"{name} are {what}: give an array of class numbers, such as np.unique(labels, return_inverse=True)[1]"
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
      what = f"of dtype {leaf.dtype}" if hasattr(leaf, "dtype") else f"a {type(leaf).__name__}"
      raise ValueError(f"{where} is {what}: give an array of numbers")
    if not leaf.shape:
      raise ValueError(f"{where} is one number: give an array with a row each")
    row = leaf.shape[1:]
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
    if isinstance(prepare, inputs.Images):
      prepare.check(where, leaf)


def check_shapes(data: types.Dataset) -> None:
  """Raises ValueError, in one sentence, for arrays that do not belong together; reads no value."""
  try:
    hash(data.prepare)
  except TypeError:
    raise ValueError(
      f"prepare is a {type(data.prepare).__name__} without a hash: give a function, or a frozen dataclass"
    ) from None
  classes = data.num_classes
  if not isinstance(classes, int) or classes < 2:
    raise ValueError(f"num_classes must be a whole number of at least 2, not {classes}")
  for name, labels in (("labels", data.labels), ("test_labels", data.test_labels)):
    _check_labels(name, labels, classes)
  for name, tree in (("inputs", data.inputs), ("test_inputs", data.test_inputs)):
    _check_inputs(name, tree, data.prepare)
  size = data.labels.shape[0]
  if not size:
    raise ValueError("the pool is empty: inputs and labels have no rows")
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
    if _kind(embedding) != "f" or len(embedding.shape) != 2:
      shape, dtype = getattr(embedding, "shape", "none"), getattr(embedding, "dtype", type(embedding).__name__)
      raise ValueError(f"the embedding has shape {shape} of {dtype}: give [N, E] floats")
    if embedding.shape[0] != originals:
      raise ValueError(f"the embedding has {embedding.shape[0]} rows, and inputs have {originals}")
  for name in ("known", "available"):
    mask = getattr(data, name)
    if mask is not None and (_kind(mask) != "b" or mask.shape != (size,)):
      shape, dtype = getattr(mask, "shape", "none"), getattr(mask, "dtype", type(mask).__name__)
      raise ValueError(f"{name} has shape {shape} of {dtype}: give [{size}] bool")
  if data.noise:
    if not data.noise > 0:
      raise ValueError(f"noise is a standard deviation, not {data.noise}")
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
  """What `_of_rows` says, worked out once per array object."""
  known = _FACTS.get(id(array))
  if known is not None and known[0]() is array:
    return known[1]
  row, size = _of_rows(array)
  facts = int(row), float(size)
  if len(_FACTS) > 256:
    _FACTS.clear()
  _FACTS[id(array)] = weakref.ref(array), facts
  return facts


def _check_finite(name: str, array: jax.Array | np.ndarray) -> None:
  if _kind(array) != "f" or not array.size:
    return
  row, _ = _facts(array)
  if row >= 0:
    values = np.asarray(array[row], np.float32)
    value = values[~np.isfinite(values)][0]
    raise ValueError(f"row {row} of {name} holds {value}: every value must be finite")


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
  for name, tree in (("inputs", data.inputs), ("test_inputs", data.test_inputs), ("the embedding", data.embedding)):
    for where, leaf in _named_leaves(name, tree):
      _check_finite(where, leaf)
  whole = dict(_named_leaves("", data.test_inputs))
  for name, leaf in _named_leaves("", data.inputs):
    test = whole[name]
    if not test.size or not leaf.size or (_kind(leaf) != "f" and not isinstance(data.prepare, inputs.Images)):
      continue
    ours, theirs = _facts(leaf)[1], _facts(test)[1]
    if ours and theirs and max(ours / theirs, theirs / ours) > _MOST_APART:
      raise ValueError(
        f"inputs{name} and test_inputs{name} are on two scales: their mean absolute values are {ours:.4g} and"
        f" {theirs:.4g}"
      )
