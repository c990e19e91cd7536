"""Invalid and unusual inputs of the library, and their results: `python -m tests.support.door_cases`.

Prints the table of docs/inputs.md. Each case is a call on the same small pool of digits. It either raises a
one-sentence error, or returns a value that shows the result to be correct.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
from typing import NamedTuple

from flax import nnx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import al_jax
from al_jax import types
from tests.support.learners import changed

KEY = jax.random.key(0)
DEPENDENT = jax.random.key(0, impl="unsafe_rbg")
POOL, TEST = 97, 43


class Net(nn.Module):
  """One hidden layer, whose size is the first entry of `hidden`."""

  classes: int = 10
  hidden: Any = (16,)
  drops: bool = True

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.relu(nn.Dense(self.hidden[0])(x.reshape((x.shape[0], -1))))
    x = nn.Dropout(0.25, deterministic=not (train and self.drops))(x)
    return nn.Dense(self.classes)(x)


class Bare(nn.Module):
  """A network without a dense layer."""

  @nn.compact
  def __call__(self, x, *, train=False):
    return x.reshape((x.shape[0], -1))[:, :10] + self.param("shift", nn.initializers.zeros, (1, 10))


class Counting(nn.Module):
  """A network with state other than its parameters."""

  @nn.compact
  def __call__(self, x, *, train=False):
    count = self.variable("counts", "seen", lambda: jnp.zeros(()))
    if train:
      count.value = count.value + x.sum()
    return nn.Dense(10)(x.reshape((x.shape[0], -1)))


class Tokens(nn.Module):
  """Token ids `[B, T]`, embedded and averaged."""

  @nn.compact
  def __call__(self, x, *, train=False):
    return nn.Dense(10)(nn.Embed(1000, 8)(x).mean(axis=1))


class Both(nn.Module):
  """Takes a dict of an image and a sum."""

  @nn.compact
  def __call__(self, x, *, train=False):
    image = x["image"].reshape((x["image"].shape[0], -1))
    return nn.Dense(10)(jnp.concatenate([image, x["sum"]], axis=-1))


class Squeezed(nn.Module):
  """Returns logits without the class axis."""

  @nn.compact
  def __call__(self, x, *, train=False):
    return nn.Dense(1)(x.reshape((x.shape[0], -1)))[:, 0]


class Raises(nn.Module):
  """Raises an error of several lines."""

  @nn.compact
  def __call__(self, x, *, train=False):
    raise RuntimeError("the second layer is missing\nand more about it")


def digits() -> types.Dataset:
  """A pool of 97 digits of 8 x 8 bytes, and 43 test digits."""
  images, labels = load_digits(return_X_y=True)
  images = images.astype(np.uint8).reshape(-1, 8, 8, 1)[: POOL + TEST]
  labels = labels.astype(np.int32)[: POOL + TEST]
  scale = al_jax.inputs.images(std=16)
  return types.Dataset(images[:POOL], labels[:POOL], images[POOL:], labels[POOL:], 10, scale)


DATA = digits()
FLOATS = dataclasses.replace(
  DATA, inputs=np.float32(DATA.inputs) / 16, test_inputs=np.float32(DATA.test_inputs) / 16, prepare=None
)
NETWORK, ADAM = al_jax.from_flax(Net()), optax.adam(1e-2)
PLAN = al_jax.Plan(10, 7, 1, al_jax.TrainPlan(batch_size=8, steps=6), init_balanced=False, chunk_size=30)
LEARNER = al_jax.Learner(al_jax.Trainer(NETWORK, ADAM, PLAN), al_jax.acquisition.margin())


def run(data: types.Dataset = DATA, learner: Any = None, key: Any = KEY, **changes) -> types.RoundInfo:
  """The diagnostics of a run."""
  if changes:
    learner = changed(LEARNER, **changes)
  return al_jax.run(key, data, LEARNER if learner is None else learner)[1]


def of(data: types.Dataset = DATA, learner: Any = None, **fields) -> types.RoundInfo:
  """The diagnostics of a run on the data set with changed fields."""
  return run(dataclasses.replace(data, **fields), learner)


def put(array: Any, place: Any, value: Any) -> np.ndarray:
  """A copy of the array with `value` at `place`."""
  out = np.array(array)
  out[place] = value
  return out


class Case(NamedTuple):
  """An input and its expected result."""

  given: str
  call: Callable[[], Any]
  right: str | None = None  # the result, if the input is not refused
  proves: Callable[[Any], bool] | None = None  # checks the returned value for this result
  compiles: int = 2  # most compilations of a refused call: reductions that read values, and preceding calls


def same_ids(info: types.RoundInfo) -> bool:
  """Whether the ids equal those of the plain pool."""
  return info.selected[0].tolist() == run().selected[0].tolist()


def acquisition_of(select: Callable, **needs) -> types.RoundInfo:
  """A run with a custom acquisition."""
  return run(acquisition=al_jax.Acquisition(select, needs=al_jax.Needs(**needs)))


def network_of(module: nn.Module, **changes) -> types.RoundInfo:
  """A run with a network."""
  return run(network=al_jax.from_flax(module), **changes)


def tree_of(data: types.Dataset) -> types.Dataset:
  """The data set with inputs that are a dict of two arrays."""
  both = lambda images: {"image": np.float32(images) / 16, "sum": np.float32(images).sum((1, 2, 3))[:, None] / 500}
  return dataclasses.replace(data, inputs=both(data.inputs), test_inputs=both(data.test_inputs), prepare=None)


class Series:
  """Array-like but not an array, like a pandas Series."""

  def __init__(self, values: np.ndarray):
    self.values, self.shape, self.dtype = values, values.shape, values.dtype

  def __array__(self, dtype=None, copy=None):
    return self.values


class UnhashableAugment(list):
  """An unhashable augmentation."""

  def __call__(self, key, batch):
    return batch


class Unhashable(list):
  """An unhashable `prepare`."""

  def __call__(self, batch):
    return batch / 16


def score_vector() -> types.RoundInfo:
  """A run with an acquisition that scores a row with several numbers."""
  return run(acquisition=al_jax.acquisition.from_score(lambda log_probs: log_probs.mean(0)))


def tell_answer(answer: Any) -> None:
  """Calls `tell` with an answer for id 3."""
  unlabeled = dataclasses.replace(DATA, labels=np.full(POOL, -1), known=np.zeros(POOL, bool))
  state = al_jax.start(KEY, unlabeled, LEARNER)
  al_jax.tell(state, unlabeled, LEARNER, [3], answer)


def stale(what: str) -> None:
  """Calls `ask` with the state, or the data, from before `tell`."""
  unlabeled = dataclasses.replace(DATA, labels=np.full(POOL, -1), known=np.zeros(POOL, bool))
  state = al_jax.start(KEY, unlabeled, LEARNER)
  newer, data = al_jax.tell(state, unlabeled, LEARNER, [3, 5], [1, 2])
  al_jax.ask(*((state, data) if what == "state" else (newer, unlabeled)), LEARNER)


def with_nan() -> types.Dataset:
  """The float data set with one NaN."""
  return dataclasses.replace(FLOATS, inputs=put(FLOATS.inputs, (12, 3, 3, 0), NAN))


def written_to() -> types.RoundInfo:
  """A run on a NumPy array that is changed after it was checked."""
  data = dataclasses.replace(FLOATS, inputs=FLOATS.inputs.copy())
  al_jax.door.check_values(data, all_known=True)
  data.inputs[30] = NAN
  return run(data)


def doubles(value: float) -> dict[str, np.ndarray]:
  """Inputs in double precision, with `value` in row 6."""
  return {"inputs": put(np.float64(FLOATS.inputs), (6, 0, 0, 0), value), "test_inputs": np.float64(FLOATS.test_inputs)}


def wide_tokens() -> types.Dataset:
  """Token ids of 64 bits, one of them too large for 32 bits."""
  return dataclasses.replace(
    TOKENS, inputs=put(np.int64(TOKENS.inputs), (3, 2), 2**40), test_inputs=np.int64(TOKENS.test_inputs)
  )


def in_two_ways(**images) -> types.Dataset:
  """A dict data set in which one array is images."""
  scaled = al_jax.inputs.images(std=16, **images)
  return dataclasses.replace(tree_of(DATA), prepare=al_jax.inputs.by_name(image=scaled, sum=al_jax.inputs.as_they_are))


def half() -> types.Dataset:
  """The data set with the first half of the pool."""
  return dataclasses.replace(DATA, inputs=DATA.inputs[:48], labels=DATA.labels[:48])


def variables_of(dtype: Any) -> types.PyTree:
  """Variables of the network's shapes in another dtype."""
  variables = al_jax.network.abstract(NETWORK, jax.eval_shape(al_jax.inputs.example, DATA))
  return jax.tree.map(lambda leaf: np.ones(leaf.shape, dtype), variables)


def asked(select: Callable) -> al_jax.Question:
  """A question with a custom `select`; rows 0 to 9 are labeled."""
  learner = changed(LEARNER, acquisition=al_jax.Acquisition(select))
  return al_jax.ask(al_jax.start(KEY, STARTED, learner), STARTED, learner)


def scored_by(score: Callable) -> types.RoundInfo:
  """A run with a custom score."""
  return run(acquisition=al_jax.acquisition.from_score(score))


def scored(dtype: str, inputs: np.ndarray | None = None) -> np.ndarray:
  """Log-probabilities of token ids by an untrained network with this `score_dtype`."""
  data = TOKENS if inputs is None else dataclasses.replace(TOKENS, inputs=inputs)
  learner = changed(OF_TOKENS, score_dtype=dtype)
  # Without `pointwise`, the view holds the predictions of the whole pool.
  whole = learner._replace(acquisition=learner.acquisition._replace(pointwise=None))
  return np.asarray(al_jax.views.pool_view(al_jax.init_state(KEY, TOKENS, learner), data, whole)[0].log_probs)


def whole_logits(key: Any, variables: Any, x: Any) -> tuple:
  """A `sample` that returns integers as logits."""
  return jnp.zeros((x.shape[0], 10), jnp.int32), None


def without_state(variables: Any, x: Any, *, key: Any, weights: Any) -> tuple:
  """An `apply` that returns only the parameters."""
  return al_jax.from_flax(Counting()).apply(variables, x, key=key, weights=weights)[0], {"params": variables["params"]}


def features_3d(key: Any, variables: Any, x: Any) -> tuple:
  """A `sample` with one axis too many in its features."""
  return NETWORK.sample(key, variables, x)[0], jnp.ones((x.shape[0], 4, 2))


def in_64_bits() -> types.RoundInfo:
  """A run with double precision enabled."""
  with jax.enable_x64(True):
    return run()


ids = np.arange(POOL)
one_hot = np.eye(10, dtype=np.int32)[DATA.labels]
NAN = float("nan")
token_ids = np.arange(POOL * 5, dtype=np.int32).reshape(POOL, 5) % 1000
TOKENS = dataclasses.replace(
  DATA, inputs=token_ids, test_inputs=token_ids[:TEST] + 300, prepare=al_jax.inputs.as_they_are
)
STARTED = dataclasses.replace(DATA, known=ids < 10)
OF_TOKENS = changed(LEARNER, network=al_jax.from_flax(Tokens()))
OF_BOTH = changed(LEARNER, network=al_jax.from_flax(Both()))
WARM = changed(LEARNER, warm_start=True)
SCALED, IMAGE = al_jax.inputs.images(std=255), al_jax.inputs.by_name(image=al_jax.inputs.as_they_are)
EPIG = al_jax.acquisition.epig(targets=50)
FULL = al_jax.FullBatch()
HEAD = {"network": al_jax.from_flax(al_jax.models.Linear()), "steps": None, "full_batch": FULL}
head = lambda **changes: run(**HEAD | changes)
bound = lambda factory: al_jax.Learner(al_jax.Trainer(NETWORK, ADAM, PLAN), factory)

CASES = [
  # Labels.
  Case("a label -1 among known ones", lambda: of(labels=put(DATA.labels, 5, -1))),
  Case("labels from 1 to C", lambda: of(labels=DATA.labels + 1)),
  Case("bytes as labels, 255 for unlabeled", lambda: of(labels=put(DATA.labels, 5, -1).astype(np.uint8))),
  Case("float labels", lambda: of(labels=np.float32(DATA.labels))),
  Case("labels with NaN", lambda: of(labels=put(np.float32(DATA.labels), 2, NAN))),
  Case("boolean labels", lambda: of(labels=DATA.labels > 4)),
  Case("strings as labels", lambda: of(labels=DATA.labels.astype(str))),
  Case("an object array of labels", lambda: of(labels=DATA.labels.astype(object))),
  Case("one-hot labels", lambda: of(labels=one_hot)),
  Case("labels of shape [N, 1]", lambda: of(labels=DATA.labels[:, None])),
  Case("labels=None", lambda: of(labels=None)),
  Case("labels of pandas", lambda: of(labels=Series(DATA.labels))),
  Case("labels under NumPy's mask", lambda: of(labels=np.ma.masked_array(DATA.labels, ids == 3))),
  Case("labels in another machine's byte order", lambda: of(labels=DATA.labels.astype(">i4"))),
  Case("a test label out of range", lambda: of(test_labels=put(DATA.test_labels, 7, 10))),
  Case("float test labels", lambda: of(test_labels=np.float32(DATA.test_labels))),
  Case("fewer labels than inputs", lambda: of(labels=DATA.labels[:-1])),
  Case("more labels than inputs", lambda: of(labels=np.append(DATA.labels, 0))),
  Case("fewer test labels than test inputs", lambda: of(test_labels=DATA.test_labels[:-1])),
  Case("one class", lambda: of(labels=np.zeros_like(DATA.labels))),
  Case("num_classes=1", lambda: of(num_classes=1)),
  Case("num_classes=10.0", lambda: of(num_classes=10.0)),
  Case("num_classes below a label", lambda: of(num_classes=9)),
  Case("lists of labels", lambda: of(labels=DATA.labels.tolist()), "the same ids", same_ids),
  Case(
    "labels of int8, uint8, int64 or uint64",
    lambda: [of(labels=DATA.labels.astype(dtype)) for dtype in ("int8", "uint8", "int64", "uint64")],
    "the same ids",
    lambda infos: all(map(same_ids, infos)),
  ),
  Case("num_classes as a NumPy integer", lambda: of(num_classes=DATA.labels.max() + 1), "the same ids", same_ids),
  Case(
    "num_classes above every label",
    lambda: run(dataclasses.replace(DATA, num_classes=12), changed(LEARNER, network=al_jax.from_flax(Net(classes=12)))),
    "a run",
    lambda info: bool(np.isfinite(info.metrics.test_nll).all()),
  ),
  Case(
    "no row of one class in the pool",
    lambda: of(labels=np.where(DATA.labels == 3, 4, DATA.labels)),
    "a run",
    lambda info: bool(np.isfinite(info.metrics.test_nll).all()),
  ),
  # Masks.
  Case("known of another length", lambda: of(known=np.ones(POOL - 1, bool))),
  Case("known that is no bool", lambda: of(known=np.ones(POOL, np.int32))),
  Case("available of another shape", lambda: of(available=np.ones((POOL, 1), bool))),
  Case("an available row whose label is not known, in run", lambda: of(known=ids != 17)),
  Case(
    "the same in sweep",
    lambda: al_jax.sweep(KEY[None], dataclasses.replace(DATA, known=ids != 17), (LEARNER,), pack="map"),
  ),
  Case(
    "the same in fit_full",
    lambda: al_jax.fit_full(KEY, dataclasses.replace(DATA, known=ids != 17), LEARNER.trainer),
  ),
  Case("more labels than available rows", lambda: of(available=ids < 12)),
  Case("nothing available", lambda: of(available=ids < 0)),
  Case(
    "more targets than available rows",
    lambda: of(
      available=ids < 20, learner=changed(LEARNER, acquisition=EPIG, posterior=al_jax.posterior.mc_dropout(3))
    ),
  ),
  Case(
    "val_size above the number of originals with all copies available",
    lambda: of(
      learner=changed(LEARNER, val_size=9),
      inputs=DATA.inputs[:48],
      labels=np.tile(DATA.labels[:48], 2),
      copies=2,
      available=np.arange(96) < 56,
    ),
  ),
  Case(
    "an initial id that is not available",
    lambda: run(
      dataclasses.replace(DATA, available=ids != 4), changed(LEARNER, initial_ids=tuple(range(10)), val_size=0)
    ),
  ),
  Case(
    "the same for learners made by a function of a point, in sweep",
    lambda: al_jax.sweep(
      KEY[None],
      dataclasses.replace(DATA, available=ids != 4),
      lambda rate: (changed(LEARNER, initial_ids=tuple(range(10)), optimizer=optax.sgd(rate)),),
      pack="map",
      points=jnp.ones(1),
    ),
  ),
  Case("an initial id beyond the pool", lambda: run(initial_ids=(*range(9), POOL))),
  Case("an initial id that is no whole number", lambda: run(initial_ids=(*range(9), 9.5))),
  Case("a list or an array of initial ids", lambda: run(initial_ids=np.arange(10))),
  Case("known as a list", lambda: of(known=[True] * POOL), "the same ids", same_ids),
  Case(
    "a label that is not known, of a row that is not available",
    lambda: of(known=ids != 90, available=ids != 90, labels=put(DATA.labels, 90, -1)),
    "a run that never reads it",
    lambda info: not (info.selected == 90).any(),
  ),
  # Inputs.
  Case("bytes without a way to prepare them", lambda: of(prepare=None)),
  Case("integers of 16 bits without a scale", lambda: of(inputs=np.uint16(DATA.inputs), prepare=None)),
  Case("booleans without a scale", lambda: of(inputs=DATA.inputs > 8, test_inputs=DATA.test_inputs > 8, prepare=None)),
  Case(
    "integers of 64 bits without a scale",
    lambda: of(inputs=np.int64(DATA.inputs), test_inputs=np.int64(DATA.test_inputs), prepare=None),
  ),
  Case("complex inputs", lambda: of(FLOATS, inputs=FLOATS.inputs + 0j)),
  Case("strings as inputs", lambda: of(FLOATS, inputs=FLOATS.inputs.astype(str))),
  Case("an object of pandas", lambda: of(FLOATS, inputs=Series(FLOATS.inputs))),
  Case("inputs under NumPy's mask", lambda: of(FLOATS, inputs=np.ma.masked_array(FLOATS.inputs, FLOATS.inputs > 0.9))),
  Case("inputs in another machine's byte order", lambda: of(FLOATS, inputs=FLOATS.inputs.astype(">f4"))),
  Case("floats of extended precision", lambda: of(FLOATS, inputs=FLOATS.inputs.astype(np.longdouble))),
  Case("rows without a number", lambda: of(FLOATS, inputs=FLOATS.inputs[:, :0])),
  Case("file names as a list", lambda: of(FLOATS, inputs=[f"{i}.png" for i in range(POOL)])),
  Case("a ragged list of inputs", lambda: of(FLOATS, inputs=[[0.0] * (3 + i % 2) for i in range(POOL)])),
  Case("a dict of lists", lambda: of(FLOATS, inputs={"x": FLOATS.inputs.tolist()})),
  Case("no array at all", lambda: of(FLOATS, inputs={})),
  Case("one number", lambda: of(FLOATS, inputs=np.array(3.0, np.float32))),
  Case("an empty pool", lambda: of(inputs=DATA.inputs[:0], labels=DATA.labels[:0])),
  Case("images with channels first", lambda: of(FLOATS, inputs=FLOATS.inputs.transpose(0, 3, 1, 2))),
  Case("NaN in one image", lambda: of(FLOATS, inputs=put(FLOATS.inputs, (12, 3, 3, 0), NAN))),
  Case("NaN in one image, in fit_full", lambda: al_jax.fit_full(KEY, with_nan(), LEARNER.trainer)),
  Case("an image that becomes NaN between two runs", written_to),
  Case("a double beyond the range of float32", lambda: of(FLOATS, **doubles(1e300))),
  Case("a token that does not fit in 32 bits", lambda: run(wide_tokens(), OF_TOKENS)),
  Case("infinity in one test image", lambda: of(FLOATS, test_inputs=put(FLOATS.test_inputs, (4, 0, 0, 0), np.inf))),
  Case(
    "NaN in one array of a dict",
    lambda: of(
      tree_of(DATA),
      learner=changed(LEARNER, network=al_jax.from_flax(Both())),
      inputs=tree_of(DATA).inputs | {"sum": put(tree_of(DATA).inputs["sum"], (8, 0), NAN)},
    ),
  ),
  Case("infinity in an embedding", lambda: of(embedding=put(np.ones((POOL, 3), np.float32), (3, 1), -np.inf))),
  Case("an embedding of other rows", lambda: of(embedding=np.ones((POOL - 2, 3), np.float32))),
  Case("an embedding of integers", lambda: of(embedding=np.ones((POOL, 3), np.int32))),
  Case("an embedding of one number a row", lambda: of(embedding=np.ones(POOL, np.float32))),
  Case("pool and test of different dtypes", lambda: of(FLOATS, test_inputs=np.float64(FLOATS.test_inputs))),
  Case("pool and test of different shapes", lambda: of(FLOATS, test_inputs=FLOATS.test_inputs[:, :7])),
  Case("pool a dict, test an array", lambda: of(tree_of(DATA), test_inputs=FLOATS.test_inputs)),
  Case("pool in 0..255, test in 0..1", lambda: of(FLOATS, inputs=255 * FLOATS.inputs)),
  Case("std=0", lambda: al_jax.inputs.images(std=0)),
  Case("an infinite std", lambda: al_jax.inputs.images(std=np.inf)),
  Case("a mean of NaN", lambda: al_jax.inputs.images(std=255, mean=NAN)),
  Case("std as a word", lambda: al_jax.inputs.images(std="bytes")),
  Case("two means for the images of a dict", lambda: run(in_two_ways(mean=(0, 1)), OF_BOTH)),
  Case("images(std=255) for a dict", lambda: run(dataclasses.replace(tree_of(DATA), prepare=SCALED), OF_BOTH)),
  Case("by_name without one of the arrays", lambda: run(dataclasses.replace(tree_of(DATA), prepare=IMAGE), OF_BOTH)),
  Case("a number as prepare", lambda: of(prepare=255)),
  Case("two means for one channel", lambda: of(prepare=al_jax.inputs.images(mean=(0, 1), std=16))),
  Case("prepare without a hash", lambda: of(prepare=Unhashable())),
  Case("prepare that doubles the rows", lambda: of(prepare=lambda x: jnp.concatenate([x, x]) / 16)),
  Case("prepare for another tree", lambda: of(prepare=al_jax.inputs.by_name(image=al_jax.inputs.as_they_are))),
  Case(
    "prepare that makes NaN",
    lambda: of(prepare=lambda x: x / 16 + jnp.nan),
    "`info.fit.first_bad_step` holds the step",
    lambda info: bool((info.fit.first_bad_step == 0).all()),
  ),
  Case("noise below 0", lambda: of(noise=-0.1, noise_key=KEY)),
  Case("infinite noise", lambda: of(noise=np.inf, noise_key=KEY)),
  Case("noise without a key", lambda: of(noise=0.1)),
  Case("a number as noise_key", lambda: of(noise=0.1, noise_key=0)),
  Case("noise on tokens", lambda: run(dataclasses.replace(TOKENS, noise=0.1, noise_key=KEY), OF_TOKENS)),
  Case("noise on a dict of inputs", lambda: run(dataclasses.replace(tree_of(DATA), noise=0.1, noise_key=KEY))),
  Case("copies that do not divide the labels", lambda: of(copies=2)),
  Case("copies=1.5", lambda: of(copies=1.5)),
  Case("a pool and labels as a pair", lambda: al_jax.run(KEY, (DATA.inputs, DATA.labels), LEARNER)),
  Case(
    "float16 arrays",
    lambda: of(FLOATS, inputs=np.float16(FLOATS.inputs), test_inputs=np.float16(FLOATS.test_inputs)),
    "floats: the same ids where they are exact",
    same_ids,
  ),
  Case(
    "float64 arrays",
    lambda: of(FLOATS, inputs=np.float64(FLOATS.inputs), test_inputs=np.float64(FLOATS.test_inputs)),
    "the same ids",
    same_ids,
  ),
  Case(
    "read-only arrays in Fortran order", lambda: of(inputs=np.asfortranarray(DATA.inputs)), "the same ids", same_ids
  ),
  Case(
    "arrays of JAX",
    lambda: run(jax.tree.map(jnp.asarray, DATA)),
    "the same ids",
    same_ids,
  ),
  Case("lists of images", lambda: of(FLOATS, inputs=list(FLOATS.inputs)), "the same ids", same_ids),
  Case(
    "an image several times in the pool",
    lambda: of(inputs=put(DATA.inputs, slice(50, 97), DATA.inputs[3]), labels=put(DATA.labels, slice(50, 97), 3)),
    "a run: each is a separate row",
    lambda info: len(set(info.selected[0].tolist())) == 7,
  ),
  Case(
    "an empty test set",
    lambda: of(test_inputs=DATA.test_inputs[:0], test_labels=DATA.test_labels[:0]),
    "the same ids; test metrics are NaN",
    lambda info: same_ids(info) and bool(np.isnan(info.metrics.test_accuracy).all()),
  ),
  Case(
    "token ids scored in bfloat16",
    lambda: (scored("float32"), scored("bfloat16"), scored("float32", np.array(jnp.bfloat16(token_ids), np.int32))),
    "ids keep their digits",
    lambda seen: np.abs(seen[0] - seen[1]).max() < 0.03 < 0.1 < np.abs(seen[0] - seen[2]).max(),
  ),
  Case("jax_enable_x64", in_64_bits),
  # Keys.
  Case("a key of jax.random.PRNGKey", lambda: run(key=jax.random.key_data(KEY))),
  Case("a number as key", lambda: run(key=0)),
  Case("several keys", lambda: run(key=jax.random.split(KEY))),
  Case("one key for a sweep", lambda: al_jax.sweep(KEY, DATA, (LEARNER,), pack="map")),
  Case("a list of keys for a sweep", lambda: al_jax.sweep([KEY], DATA, (LEARNER,), pack="map")),
  Case(
    "points that are not as many as keys",
    lambda: al_jax.sweep(KEY[None], DATA, lambda rate: (LEARNER,), pack="map", points=jnp.ones(3)),
  ),
  Case("a learner alone for a sweep", lambda: al_jax.sweep(KEY[None], DATA, LEARNER, pack="map")),
  Case("a trainer for a sweep", lambda: al_jax.sweep(KEY[None], DATA, (LEARNER.trainer,), pack="map")),
  Case(
    "a function of a point that makes a trainer",
    lambda: al_jax.sweep(KEY[None], DATA, lambda rate: LEARNER.trainer, pack="map", points=jnp.ones(1)),
  ),
  Case(
    "a function of a point that makes a learner, not a tuple",
    lambda: al_jax.sweep(KEY[None], DATA, lambda rate: LEARNER, pack="map", points=jnp.ones(1)),
  ),
  Case("a function of a point that makes nothing", lambda: al_jax.sweep(KEY[None], DATA, lambda _: (), pack="map")),
  Case("a key of unsafe_rbg", lambda: run(key=DEPENDENT)),
  # Networks.
  Case("5 outputs for 10 classes", lambda: network_of(Net(classes=5))),
  Case("logits without an axis of classes", lambda: network_of(Squeezed())),
  Case("logits [B, 1, C]", lambda: run(network=NETWORK._replace(sample=lambda *args: (jnp.zeros((2, 1, 10)), None)))),
  Case("logits that are whole numbers", lambda: run(network=NETWORK._replace(sample=whole_logits))),
  Case("a network that raises", lambda: network_of(Raises())),
  Case("a Flax module in place of a Network", lambda: run(network=Net())),
  Case("a module's class", lambda: al_jax.from_flax(Net)),
  Case("an nnx module given to from_flax", lambda: al_jax.from_flax(nnx.Linear(2, 2, rngs=nnx.Rngs(0))), compiles=12),
  Case("an nnx module given to from_nnx", lambda: al_jax.from_nnx(nnx.Linear(2, 2, rngs=nnx.Rngs(0))), compiles=12),
  Case(
    "init that returns parameters alone",
    lambda: run(network=NETWORK._replace(init=lambda key, x: {"kernel": jnp.zeros((64, 10))})),
  ),
  Case(
    "apply that returns logits alone",
    lambda: run(network=NETWORK._replace(apply=lambda variables, x, *, key, weights: jnp.zeros((x.shape[0], 10)))),
  ),
  Case(
    "sample that returns logits alone",
    lambda: run(network=NETWORK._replace(sample=lambda key, variables, x: jnp.zeros((x.shape[0], 10)))),
  ),
  Case("apply that loses its state", lambda: run(network=al_jax.from_flax(Counting())._replace(apply=without_state))),
  Case(
    "features that are no rows",
    lambda: run(network=NETWORK._replace(sample=features_3d), acquisition=al_jax.acquisition.kcenter()),
  ),
  Case(
    "a network for other inputs", lambda: run(TOKENS, changed(LEARNER, network=al_jax.from_flax(al_jax.models.CNN())))
  ),
  Case(
    "a network with state other than batch norm's, trained with epochs",
    lambda: network_of(Counting(), steps=None, epochs=2),
  ),
  Case("no dense layer where features are read", lambda: network_of(Bare(), acquisition=al_jax.acquisition.badge())),
  Case(
    "no dropout where samples must disagree",
    lambda: network_of(
      Net(drops=False), acquisition=al_jax.acquisition.bald(), posterior=al_jax.posterior.mc_dropout(3)
    ),
  ),
  Case("one sample where samples are compared", lambda: run(acquisition=al_jax.acquisition.bald())),
  Case(
    "per-example masks where samples are joint",
    lambda: run(acquisition=al_jax.acquisition.batchbald(), posterior=al_jax.posterior.mc_dropout(3, per_example=True)),
  ),
  Case("an ensemble's posterior of one network", lambda: run(posterior=al_jax.posterior.ensemble(3))),
  Case("an ensemble evaluated of one network", lambda: run(eval_posterior=al_jax.posterior.ensemble(3))),
  Case("Laplace without a head", lambda: run(posterior=al_jax.posterior.laplace(3))),
  Case(
    "Laplace with the head of another name",
    lambda: run(network=al_jax.from_flax(Net(), head="Dense_7"), posterior=al_jax.posterior.laplace(3)),
  ),
  Case("alfamix without a head", lambda: run(acquisition=al_jax.acquisition.alfamix())),
  Case("a list as a module's field", lambda: network_of(Net(hidden=[16])), "the same ids", same_ids),
  # Parts.
  Case("an acquisition factory that is not called", lambda: run(learner=bound(al_jax.acquisition.bald))),
  Case("a score that is no number", score_vector),
  Case("select of too few ids", lambda: acquisition_of(lambda key, view, *, num: jnp.arange(num - 1))),
  Case("a score of several numbers for each row", lambda: scored_by(lambda log_probs: log_probs[0, :1])),
  Case(
    "a score of NaN",
    lambda: scored_by(lambda log_probs: jnp.nan),
    "NaN counts as the lowest, and `info.scores` shows it",
    lambda info: bool(np.isnan(info.scores[0]).all()) and len(set(info.selected[0].tolist())) == 7,
  ),
  Case(
    "a select that reads what its needs do not name",
    lambda: acquisition_of(lambda key, view, *, num: jax.lax.top_k(view.log_probs[:, 0, 0], num)[1]),
  ),
  Case("select of a pair", lambda: acquisition_of(lambda key, view, *, num: (jnp.arange(num), None))),
  Case(
    "an id that is no candidate, chosen in ask",
    lambda: asked(lambda key, view, *, num: 5 + jnp.arange(num)),
    compiles=12,
  ),
  Case("an id that is chosen twice, in ask", lambda: asked(lambda key, view, *, num: jnp.full(num, 20)), compiles=12),
  Case(
    "ids beyond the pool, chosen in run",
    lambda: acquisition_of(lambda key, view, *, num: 95 + jnp.arange(num)),
    "`info.selected` is -1 there, and `info.num_labeled` smaller",
    lambda info: info.selected[0].tolist()[2:] == [-1] * 5 and int(info.num_labeled[1]) < 17,
  ),
  Case("select of floats", lambda: acquisition_of(lambda key, view, *, num: jnp.arange(1.0 * num))),
  Case("needs as words", lambda: run(acquisition=al_jax.Acquisition(LEARNER.acquisition.select, needs={"samples"}))),
  Case("a number as optimizer", lambda: run(optimizer=1e-3)),
  Case("an optimizer factory that is not called", lambda: run(optimizer=optax.adam)),
  Case("a learning rate that is a word", lambda: run(optimizer=optax.adam("1e-3"))),
  Case("a dict as plan", lambda: run(learner=LEARNER._replace(trainer=LEARNER.trainer._replace(plan={"rounds": 1})))),
  Case("a plan that trains by a number", lambda: run(train=200)),
  Case("rounds=2.5", lambda: run(rounds=2.5)),
  Case("chunk_size=None", lambda: run(chunk_size=None)),
  Case('init_balanced="no"', lambda: run(init_balanced="no")),
  Case("val_last in percent", lambda: run(val_last=20)),
  Case("a number as early_stop", lambda: run(early_stop=3, val_size=5)),
  Case("a patience of 2.5", lambda: run(early_stop=al_jax.EarlyStop(2.5, 3), val_size=5)),
  Case("pool_subset below acq_size", lambda: run(pool_subset=3)),
  Case("a score_dtype that is not known", lambda: run(score_dtype="float16")),
  Case("steps and epochs", lambda: run(epochs=3)),
  Case(
    "a batch larger than the pool",
    lambda: run(batch_size=500),
    "a run: draws are with replacement",
    lambda info: bool((info.fit.steps == 6).all()),
  ),
  Case("full_batch and steps", lambda: run(full_batch=FULL)),
  Case("full_batch=True", lambda: run(steps=None, full_batch=True)),
  Case("full_batch of another network than a dense layer", lambda: run(steps=None, full_batch=FULL)),
  Case("full_batch with l2=0", lambda: head(full_batch=al_jax.FullBatch(l2=0))),
  Case("full_batch with early_stop", lambda: head(early_stop=al_jax.EarlyStop(2, 3), val_size=5)),
  Case("full_batch with augment", lambda: head(augment=al_jax.inputs.Flip())),
  Case("MC dropout of a linear head", lambda: head(posterior=al_jax.posterior.mc_dropout(3))),
  Case("a linear head on tokens", lambda: run(TOKENS, changed(LEARNER, network=HEAD["network"]))),
  Case(
    "features whose squares overflow, with full_batch",
    lambda: run(dataclasses.replace(DATA, prepare=lambda x: x * 1e20), changed(LEARNER, **HEAD)),
    "`info.fit.first_bad_step` is 0",
    lambda info: bool((info.fit.first_bad_step == 0).all()),
  ),
  Case("more labels than the pool has", lambda: run(rounds=20)),
  Case("early stopping without a validation set", lambda: run(early_stop=al_jax.EarlyStop(2, 3))),
  Case("keep_optimizer without warm_start", lambda: run(keep_optimizer=True)),
  Case("a trainer in place of a learner", lambda: run(learner=LEARNER.trainer)),
  Case("a name as posterior", lambda: run(posterior="dropout")),
  Case("a posterior factory that is not called", lambda: run(posterior=al_jax.posterior.mc_dropout)),
  Case("mc_dropout(0)", lambda: al_jax.posterior.mc_dropout(0)),
  Case("laplace with bias_precision=0", lambda: al_jax.posterior.laplace(3, bias_precision=0)),
  Case("label_noise=1", lambda: run(label_noise=1.0)),
  Case("label_noise as an array", lambda: run(label_noise=jnp.float32(0.1))),
  Case("members=0", lambda: run(members=0)),
  Case("members=2.5", lambda: run(members=2.5)),
  Case("a name as augment", lambda: run(augment="flip")),
  Case("augment that changes the dtype", lambda: run(augment=lambda key, x: x.astype(jnp.float16))),
  Case("augment without a hash", lambda: run(augment=UnhashableAugment())),
  Case("augment that changes a shape", lambda: run(augment=lambda key, x: x[:, 1:])),
  Case(
    "variables of another network",
    lambda: al_jax.init_state(KEY, DATA, changed(LEARNER, warm_start=True), {"params": {"kernel": jnp.zeros(3)}}),
    compiles=12,
  ),
  Case(
    "variables of another dtype", lambda: al_jax.init_state(KEY, DATA, WARM, variables_of(jnp.bfloat16)), compiles=12
  ),
  Case(
    "variables of NaN",
    lambda: al_jax.round_fn(
      al_jax.init_state(KEY, DATA, WARM, jax.tree.map(lambda x: x * NAN, variables_of(jnp.float32))), DATA, WARM
    )[1],
    "`info.fit.first_bad_step` is 0",
    lambda info: int(info.fit.first_bad_step) == 0,
  ),
  Case("variables without a warm start", lambda: al_jax.init_state(KEY, DATA, LEARNER, {"params": {}}), compiles=12),
  Case(
    "a state of another pool",
    lambda: al_jax.round_fn(al_jax.init_state(KEY, DATA, LEARNER), half(), LEARNER),
    compiles=12,
  ),
  Case("a trainer for a round", lambda: al_jax.round_fn(None, DATA, LEARNER.trainer)),
  Case("a learner for fit_full", lambda: al_jax.fit_full(KEY, DATA, LEARNER)),
  Case(
    "ask for 2.5 ids", lambda: al_jax.ask(al_jax.start(KEY, STARTED, LEARNER), STARTED, LEARNER, num=2.5), compiles=12
  ),
  Case(
    "ask for more ids than are left",
    lambda: al_jax.ask(al_jax.start(KEY, STARTED, LEARNER), STARTED, LEARNER, num=500).ids,
    "those that are left",
    lambda ids: sorted(ids.tolist()) == list(range(10, POOL)),
  ),
  Case(
    "an answer for id 20.7",
    lambda: al_jax.tell(al_jax.start(KEY, STARTED, LEARNER), STARTED, LEARNER, [20.7], [1]),
    compiles=12,
  ),
  Case("ask with the data from before tell", lambda: stale("data"), compiles=60),
  Case("ask with the state from before tell", lambda: stale("state"), compiles=60),
  Case("a wrapper around a name", lambda: al_jax.acquisition.power("margin")),
  Case("a wrapper around a factory that is not called", lambda: al_jax.acquisition.power(al_jax.acquisition.bald)),
  Case("an answer that is no class", lambda: tell_answer([10]), compiles=12),
  Case("an answer of another type", lambda: tell_answer(["three"]), compiles=12),
  Case(
    "a learning rate of NaN",
    lambda: run(optimizer=optax.adam(NAN)),
    "`info.fit.first_bad_step` holds the step",
    lambda info: bool((info.fit.first_bad_step >= 0).all()),
  ),
]


def result_of(case: Case) -> str:
  """The result of a case: its error message, or its expected result."""
  if case.right is not None:
    return case.right
  try:
    case.call()
  except ValueError as error:
    return str(error)
  raise AssertionError(f"{case.given}: not refused")


def row(case: Case, sentence: str) -> str:
  """A row of the table."""
  out = f"{sentence}" if case.right else f"refused: {sentence}"
  return f"| {case.given} | {out.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
  print("| given | what comes out |", "|---|---|", *(row(case, result_of(case)) for case in CASES), sep="\n")
