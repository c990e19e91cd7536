"""Checks the shapes, dtypes and values of a data set. Each error names the array, and the row of a wrong value.

Values are read by one reduction on the array's device, once per array unless it may change. Traced values cannot be
checked.
"""

import weakref

import jax
from jax.core import Tracer
import jax.numpy as jnp
import numpy as np

from al_jax import inputs
from al_jax import types
from al_jax.plan_checks import describe
from al_jax.plan_checks import require_hashable
from al_jax.plan_checks import require_integer

# Largest ratio between mean absolute values of pool and test inputs; 0..255 and 0..1 are 255 apart.
_MAX_SCALE_RATIO = 16


def describe_inputs(tree: types.PyTree) -> str:
  """Describes inputs for messages: `inputs of 28 x 28 x 1 (uint8)`."""
  of = lambda leaf: f"{' x '.join(map(str, leaf.shape[1:])) or 'one number'} ({leaf.dtype})"
  return f"inputs of {', '.join(map(of, jax.tree.leaves(tree)))}"


def is_traced(tree: types.PyTree) -> bool:
  """Whether any array of a tree is traced or abstract, so that its values cannot be read."""
  seen = (np.ndarray, jax.Array)
  return any(isinstance(leaf, Tracer) or not isinstance(leaf, seen) for leaf in jax.tree.leaves(tree))


# Masked arrays are NumPy arrays too, but their mask would be ignored, so `_kind` excludes them.
_ARRAYS = (np.ndarray, jax.Array, jax.ShapeDtypeStruct)


def _kind(array: types.PyTree) -> str:
  """`b` (bool), `i` (integer), `f` (float), `k` (key), or `?` if it is not an array of numbers."""
  if not isinstance(array, _ARRAYS) or isinstance(array, np.ma.MaskedArray):
    return "?"
  for kind, generic in (("b", jnp.bool_), ("i", jnp.integer), ("f", jnp.floating), ("k", jax.dtypes.prng_key)):
    if jnp.issubdtype(array.dtype, generic):
      # JAX takes neither extended precision nor a foreign byte order.
      return "?" if kind != "k" and (array.dtype.itemsize > 8 or not array.dtype.isnative) else kind
  return "?"


def _describe_array(array: types.PyTree) -> str:
  """Describes an argument that is not an array of numbers, for messages."""
  if not isinstance(array, _ARRAYS) or isinstance(array, np.ma.MaskedArray):
    return f"a {type(array).__name__}"
  native = array.dtype.isnative if isinstance(array, np.ndarray) else True
  return f"of dtype {array.dtype}" + ("" if native else ", in the byte order of another machine")


def _named_leaves(name: str, tree: types.PyTree) -> list[tuple[str, types.PyTree]]:
  """Every array with its name: `inputs`, or `inputs['image']`."""
  return [(name + jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _check_labels(name: str, labels: types.PyTree, classes: int) -> None:
  """Raises ValueError if labels are not `[N]` integers."""
  kind = _kind(labels)
  if kind == "?":
    raise ValueError(
      f"{name} are {_describe_array(labels)}: give an array of integer classes, such as"
      " np.unique(labels, return_inverse=True)[1]"
    )
  if len(labels.shape) != 1:
    way = "labels.reshape(-1)" if labels.shape[-1:] == (1,) else "labels.argmax(-1) if they are one-hot"
    raise ValueError(f"{name} have shape {labels.shape}: give [N] classes, such as {way}")
  if kind != "i":
    raise ValueError(f"{name} are {labels.dtype}: give integers 0 to {classes - 1}, labels.astype('int32')")


def _check_inputs(name: str, tree: types.PyTree, prepare: object) -> None:
  """Raises ValueError if inputs are not arrays of numbers, or need a `prepare` function and have none."""
  leaves = _named_leaves(name, tree)
  if not leaves:
    raise ValueError(f"{name} contain no array: give at least one")
  for where, leaf in leaves:
    kind = _kind(leaf)
    if kind not in "bif":
      raise ValueError(f"{where} is {_describe_array(leaf)}: give an array of numbers")
    if not leaf.shape:
      raise ValueError(f"{where} is a single number: give an array with one row per example")
    row = leaf.shape[1:]
    if 0 in row:
      raise ValueError(f"{where} has rows of shape {row}, which are empty: give at least one number per row")
    if len(row) == 3 and row[0] in (1, 3) and row[1] == row[2] > 4:
      raise ValueError(
        f"{where} has rows of shape {row}, which are images with channels first: give channels last,"
        " np.moveaxis(images, 1, -1)"
      )
    if kind != "f" and prepare is None:
      raise ValueError(
        f"{where} is {leaf.dtype}, and integers and bools need Dataset(prepare=...):"
        " al_jax.inputs.images(std=255) for images of bytes, al_jax.inputs.as_they_are for tokens and tables"
      )
  if isinstance(prepare, inputs.Images | inputs.ByName):
    prepare.check(name, tree)


def check_single_key(key: types.PyTree, name: str) -> None:
  """Raises ValueError if `key` is not a single typed key."""
  if _kind(key) != "k":
    raise ValueError(f"{name} is not a typed key: give jax.random.key(seed)")
  if key.shape:
    raise ValueError(f"{name} is an array of keys of shape {key.shape}: give one key, or use al_jax.sweep for several")


def check_shapes(data: types.Dataset) -> None:
  """Raises ValueError if the arrays and fields of a data set do not fit together. Reads no values."""
  if not isinstance(data, types.Dataset):
    raise ValueError(f"data must be a Dataset, not {describe(data)}: call run(key, data, learner)")
  if data.prepare is not None and (not callable(data.prepare) or isinstance(data.prepare, type)):
    raise ValueError(f"prepare is {describe(data.prepare)}: give a function, such as al_jax.inputs.images(std=255)")
  require_hashable("prepare", data.prepare)
  classes = data.num_classes
  if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 2:
    raise ValueError(f"num_classes must be an integer of at least 2, not {classes!r}")
  for name, labels in (("labels", data.labels), ("test_labels", data.test_labels)):
    _check_labels(name, labels, classes)
  for name, tree in (("inputs", data.inputs), ("test_inputs", data.test_inputs)):
    _check_inputs(name, tree, data.prepare)
  size = data.labels.shape[0]
  if not size:
    raise ValueError("the pool is empty: give inputs and labels with at least one row")
  require_integer("copies", data.copies)
  if data.copies < 1 or size % data.copies:
    raise ValueError(
      f"{size} labels cannot be split into copies={data.copies} of equal size: give copies times as many labels"
    )
  originals = data.num_originals
  for name, leaf in _named_leaves("inputs", data.inputs):
    if leaf.shape[0] != originals:
      given = f"there are {size} labels" + (
        f" of {originals} rows with {data.copies} copies" if data.copies > 1 else ""
      )
      raise ValueError(f"{name} has {leaf.shape[0]} rows, but {given}: give one row per label, or set copies")
  for name, leaf in _named_leaves("test_inputs", data.test_inputs):
    if leaf.shape[0] != data.test_size:
      raise ValueError(f"{name} has {leaf.shape[0]} rows, but there are {data.test_size} test_labels")
  pool, test = (dict(_named_leaves("", tree)) for tree in (data.inputs, data.test_inputs))
  if pool.keys() != test.keys():
    raise ValueError(f"inputs have the arrays {sorted(pool)}, but test_inputs have {sorted(test)}: give the same ones")
  for name in pool:
    ours, theirs = (f"{leaf.shape[1:]} {leaf.dtype}" for leaf in (pool[name], test[name]))
    if ours != theirs:
      raise ValueError(
        f"rows of inputs{name} have shape and dtype {ours}, but rows of test_inputs{name} {theirs}: make them equal"
      )
  embedding = data.embedding
  if embedding is not None:
    if _kind(embedding) != "f" or len(embedding.shape) != 2 or not embedding.shape[1]:
      shape, dtype = getattr(embedding, "shape", "none"), getattr(embedding, "dtype", type(embedding).__name__)
      raise ValueError(f"the embedding has shape {shape} and dtype {dtype}: give [O, E] floats")
    if embedding.shape[0] != originals:
      raise ValueError(f"the embedding has {embedding.shape[0]} rows, but inputs have {originals}")
  for name in ("known", "available"):
    mask = getattr(data, name)
    if mask is not None and (_kind(mask) != "b" or mask.shape != (size,)):
      shape, dtype = getattr(mask, "shape", "none"), getattr(mask, "dtype", type(mask).__name__)
      raise ValueError(f"{name} has shape {shape} and dtype {dtype}: give [{size}] bool")
  if data.noise_key is not None:
    check_single_key(data.noise_key, "noise_key")
  if data.noise != 0:
    if not isinstance(data.noise, int | float | np.number) or not 0 < data.noise < float("inf"):
      raise ValueError(f"noise must be a positive, finite standard deviation, or 0, not {data.noise!r}")
    if data.noise_key is None:
      raise ValueError(f"noise={data.noise} needs a noise_key: give jax.random.key(seed)")
    if len(pool) != 1 or jax.tree.structure(data.inputs) != jax.tree.structure(0):
      raise ValueError("noise needs inputs that are a single array of floats, not a tree of arrays: leave it out")


@jax.jit
def _scan_array(array: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The first row with a non-finite value, or -1, and the mean absolute value."""
  size = jnp.mean(jnp.abs(array), dtype=jnp.float32)
  if not jnp.issubdtype(array.dtype, jnp.floating):
    return jnp.int32(-1), size
  bad = ~jnp.isfinite(array).reshape((array.shape[0], -1)).all(axis=1)
  return jnp.where(bad.any(), bad.argmax(), -1), size


_SCANS: dict[int, tuple[weakref.ref, tuple[int, float]]] = {}


def _cached_scan(array: jax.Array | np.ndarray) -> tuple[int, float]:
  """`_scan_array`, cached per array; writeable NumPy arrays are not cached, because they may have changed."""
  known = None if isinstance(array, np.ndarray) and array.flags.writeable else _SCANS.get(id(array))
  if known is not None and known[0]() is array:
    return known[1]
  with np.errstate(over="ignore"):  # doubles beyond the float32 range become infinite and are refused
    row, size = _scan_array(array)
  facts = int(row), float(size)
  if len(_SCANS) > 256:
    _SCANS.clear()
  _SCANS[id(array)] = weakref.ref(array), facts
  return facts


def _check_32_bits(name: str, array: np.ndarray) -> None:
  """Raises ValueError if 64-bit integers do not fit in 32 bits, which compiled programs use."""
  limits = np.iinfo(np.int32 if array.dtype == np.int64 else np.uint32)
  if array.min() >= limits.min and array.max() <= limits.max:
    return
  row = int(((array < limits.min) | (array > limits.max)).reshape((array.shape[0], -1)).any(axis=1).argmax())
  value = next(value for value in np.ravel(array[row]).tolist() if not limits.min <= value <= limits.max)
  raise ValueError(f"row {row} of {name} contains {value}, which does not fit in 32 bits")


def _mean_absolute(name: str, array: jax.Array | np.ndarray, *, is_scaled: bool) -> float:
  """Mean absolute value of floats and of scaled integers, else 0. Raises ValueError for an invalid value."""
  if not array.size:
    return 0.0
  if isinstance(array, np.ndarray) and array.dtype in (np.int64, np.uint64):
    _check_32_bits(name, array)
  if _kind(array) != "f" and not is_scaled:
    return 0.0
  row, size = _cached_scan(array)
  if row >= 0:
    values = np.asarray(array[row])
    with np.errstate(over="ignore"):
      value = values[~np.isfinite(values.astype(np.float32))][0]
    raise ValueError(f"row {row} of {name} contains {value}: all values must be finite")
  return size


def _check_classes(name: str, labels: np.ndarray, rows: np.ndarray, classes: int) -> None:
  """Raises ValueError if a label in `rows` `[N]` bool is not a class."""
  wrong = rows & ((labels < 0) | (labels >= classes))
  if not wrong.any():
    return
  row = int(wrong.argmax())
  hint = f"the {classes} classes are 0 to {classes - 1}"
  given = labels[rows]
  if given.min() == 1 and given.max() == classes:
    hint += ": these labels start at 1, so subtract 1"
  elif labels[row] < 0:
    hint += ": mark rows without a label with Dataset(known=...)"
  raise ValueError(f"row {row} of {name} is {labels[row]}, but {hint}")


def check_values(data: types.Dataset, *, all_known: bool) -> None:
  """Raises ValueError if a value would make a run go wrong. Does nothing if values are traced.

  Args:
    data: a data set that has passed `check_shapes`.
    all_known: whether every available row must have a label.
  """
  if jnp.result_type(float) == jnp.float64:
    raise ValueError("runs use 32-bit numbers, and random draws differ in 64 bits: turn jax_enable_x64 off")
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
        f"row {int(unknown.argmax())} is available but its label is not known: a run needs all labels, al_jax.ask does"
        " not"
      )
    classes = np.unique(labels[available])
    if len(classes) < 2:
      raise ValueError(
        f"all available rows have class {classes[0]}: give two or more classes"
        if len(classes)
        else "no row is available: set at least init_labels rows of available"
      )
  is_scaled = isinstance(data.prepare, inputs.Images)
  sizes = {}
  for name, tree in (("inputs", data.inputs), ("test_inputs", data.test_inputs), ("the embedding", data.embedding)):
    for where, leaf in _named_leaves(name, tree):
      sizes[where] = _mean_absolute(where, leaf, is_scaled=is_scaled)
  for where, ours in [(where, size) for where, size in sizes.items() if where.startswith("inputs")]:
    theirs = sizes["test_" + where]
    if ours and theirs and max(ours / theirs, theirs / ours) > _MAX_SCALE_RATIO:
      raise ValueError(
        f"{where} and test_{where} have different scales: their mean absolute values are {ours:.4g} and {theirs:.4g}"
      )
