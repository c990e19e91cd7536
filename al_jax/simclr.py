"""Self-supervised pretraining by SimCLR: an encoder learns from unlabeled images, and an epoch is one program.

Call `init` once, then `epoch` once per epoch, then `encode`. The representation is the network's output, before the
projection head.

Source: Chen, Kornblith, Norouzi & Hinton (2020), A Simple Framework for Contrastive Learning of Visual Representations.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from al_jax import chunks
from al_jax import inputs
from al_jax import network as networks
from al_jax import types
from al_jax import warping
from al_jax.keys import Role
from al_jax.keys import role_key

__all__ = ("Head", "Plan", "State", "check", "encode", "epoch", "init", "nt_xent")

_TINY = 1e-12  # added to squared norms, so that a zero vector has a gradient


@dataclasses.dataclass(frozen=True)
class Plan:
  """Settings of a pretraining. They are static.

  Attributes:
    batch_size: images per step; each gives two views, and the last rows of a shuffled epoch that fill no batch are
      left out of it.
    temperature: of the loss.
    hidden: width of the projection head's hidden layer.
    projection: width of the projection head's output.
    views: the random view of a batch, called as `views(key, images)`.
    block_size: least number of views per forward and backward pass of the network, whose results are joined before the
      loss; the number taken is the next divisor of 2 `batch_size`. Small blocks stay in a CPU's cache. 0 takes all
      views at once, as suits accelerators. Networks with batch statistics always take all views at once.

  Raises:
    ValueError: a number is out of range.
  """

  batch_size: int = 256
  temperature: float = 0.2
  hidden: int = 256
  projection: int = 64
  views: Callable[[jax.Array, jax.Array], jax.Array] = dataclasses.field(default_factory=warping.RandomWarp)
  block_size: int = 32

  def __post_init__(self):
    if self.batch_size < 2:
      raise ValueError(f"batch_size must be at least 2, not {self.batch_size}: other images are the negatives")
    if not 0 < self.temperature < float("inf"):
      raise ValueError(f"temperature must be positive, not {self.temperature}")
    if self.hidden < 1 or self.projection < 1:
      raise ValueError(f"hidden and projection must be at least 1, not {self.hidden} and {self.projection}")
    if self.block_size < 0:
      raise ValueError(f"block_size must be at least 0, not {self.block_size}")


class Head(nn.Module):
  """The projection head: Dense, ReLU, Dense. `[B, F]` -> `[B, projection]`; section 2.1 of the paper."""

  hidden: int
  projection: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    return nn.Dense(self.projection)(nn.relu(nn.Dense(self.hidden)(x)))


class State(NamedTuple):
  """A pretraining between two epochs."""

  variables: types.PyTree  # of the network
  head: types.PyTree  # parameters of the projection head
  opt_state: types.PyTree
  epoch: jax.Array  # `[]` int32: epochs completed


def nt_xent(first: jax.Array, second: jax.Array, *, temperature: float) -> jax.Array:
  """Normalized temperature-scaled cross-entropy: each view must find the other view of its image among all others.

  Formula: mean over the 2 B views i of -log(exp(s_ij / t) / sum_{k != i} exp(s_ik / t)), with j the other view of the
  same image and s the cosine similarity.
  Source: Chen et al. (2020), equation 1 and algorithm 1.

  Args:
    first: `[B, P]` projections of one view of each image.
    second: `[B, P]` projections of the other view.
    temperature: t, positive.

  Returns:
    `[]` nats, float32.
  """
  size = first.shape[0]
  views = jnp.concatenate([first, second]).astype(jnp.float32)
  views = views * jax.lax.rsqrt(jnp.sum(views**2, axis=-1, keepdims=True) + _TINY)
  similar = jnp.matmul(views, views.T, precision="highest") / temperature
  partner = jnp.sum(views[:size] * views[size:], axis=-1) / temperature
  others = jnp.where(jnp.eye(2 * size, dtype=bool), -jnp.inf, similar)
  return jnp.mean(jax.nn.logsumexp(others, axis=-1)) - jnp.mean(partner)


def check(images: types.PyTree, prepare: Callable | None, network: types.Network, plan: Plan) -> None:
  """Checks that a pool can be pretrained on. Computes nothing.

  Raises:
    ValueError: the rows are not images, there are fewer of them than `batch_size`, or the network does not take
      them.
  """
  shape = getattr(images, "shape", ())
  if len(shape) != 4:
    what = f"an array of shape {list(shape)}" if shape else f"a {type(images).__name__}"
    raise ValueError(f"SimCLR is for images [N, H, W, C], and the pool is {what}: its views warp images")
  if shape[0] < plan.batch_size:
    raise ValueError(f"batch_size={plan.batch_size} is larger than the pool of {shape[0]} images: choose at most that")

  def view(key: jax.Array, batch: jax.Array) -> jax.Array:
    return plan.views(key, (prepare or inputs.as_they_are)(batch))

  key, two = jax.eval_shape(jax.random.key, 0), jax.ShapeDtypeStruct((2, *shape[1:]), images.dtype)
  example = jax.eval_shape(view, key, two)
  try:
    variables = networks.abstract(network, example)
  except ValueError as error:  # such as those of networks that need larger images
    sides = " x ".join(map(str, shape[1:]))
    raise ValueError(f"{network.name} does not take images of {sides} ({error}): choose another network") from error
  outputs, _ = jax.eval_shape(functools.partial(network.sample, None), variables, example)
  if outputs.ndim != 2:
    raise ValueError(f"{network.name} returns {list(outputs.shape)} for 2 images, but a representation is a row each")


def init(
  key: jax.Array,
  images: jax.Array,
  *,
  network: types.Network,
  optimizer: optax.GradientTransformation,
  plan: Plan,
  prepare: Callable[[types.PyTree], types.PyTree] | None = None,
) -> State:
  """A pretraining before its first epoch.

  Args:
    key: the base key of the whole pretraining, also given to `epoch`; it is not consumed.
    images: `[N, H, W, C]` stored images; only the first is read, for its shape.
    network: the encoder; its outputs are the representation.
    optimizer: trains the encoder and the projection head.
    plan: the settings.
    prepare: maps stored images to network inputs; None: floats become float32.
  """
  key_network, key_head = jax.random.split(role_key(key, Role.MODEL_INIT))
  example = (prepare or inputs.as_they_are)(jnp.asarray(images)[:1])
  variables = network.init(key_network, example)
  outputs = network.sample(None, variables, example)[0]
  head = Head(plan.hidden, plan.projection).init(key_head, outputs)["params"]
  return State(variables, head, optimizer.init((variables["params"], head)), jnp.int32(0))


def _outputs(
  key: jax.Array, variables: types.PyTree, views: jax.Array, network: types.Network, block_size: int
) -> tuple[jax.Array, types.PyTree]:
  """Training pass: `[V, ...]` views -> `[V, F]` representations and the network's new variables."""
  count = views.shape[0]
  if not block_size or block_size >= count or set(variables) != {"params"}:
    return network.apply(variables, views, key=key, weights=None)
  size = next(size for size in range(block_size, count + 1) if count % size == 0)
  together = next(number for number in (2, 1) if count // size % number == 0)
  blocks = views.reshape(-1, together, size, *views.shape[1:])

  def one(number: jax.Array, block: jax.Array) -> jax.Array:
    return network.apply(variables, block, key=jax.random.fold_in(key, number), weights=None)[0]

  def group(numbered: tuple[jax.Array, jax.Array]) -> jax.Array:
    number, blocks = numbered
    # Not under vmap: XLA runs independent parts of a CPU program at the same time, and some products use one core.
    return jnp.stack([one(number * together + i, blocks[i]) for i in range(together)])

  outputs = jax.lax.map(group, (jnp.arange(blocks.shape[0]), blocks))
  return outputs.reshape(count, -1), variables


def epoch(
  key: jax.Array,
  state: State,
  images: jax.Array,
  *,
  network: types.Network,
  optimizer: optax.GradientTransformation,
  plan: Plan,
  prepare: Callable[[types.PyTree], types.PyTree] | None = None,
) -> tuple[State, jax.Array]:
  """Trains for one pass over the shuffled images, except the last `N % batch_size` of them.

  Every draw comes from `key`, the number of the epoch and that of the step: continuing from a stored state gives the
  same bits as not having stopped.

  Args:
    key: the base key, the same in all epochs; it is not consumed.
    state: the state after the previous epoch.
    images: `[N, H, W, C]` stored images; N is at least `batch_size`.
    network: as in `init`.
    optimizer: as in `init`.
    plan: as in `init`.
    prepare: as in `init`.

  Returns:
    The state after the epoch, and the `[N // batch_size]` losses before each step, in nats.
  """
  images, steps = jnp.asarray(images), images.shape[0] // plan.batch_size
  of = lambda role: role_key(key, role, state.epoch)
  shuffled = jax.random.permutation(of(Role.MINIBATCH), images.shape[0])
  batches = shuffled[: steps * plan.batch_size].reshape(steps, plan.batch_size)
  head = Head(plan.hidden, plan.projection)

  def loss_fn(params: types.PyTree, variables: types.PyTree, key: jax.Array, views: jax.Array):
    outputs, new = _outputs(key, variables | {"params": params[0]}, views, network, plan.block_size)
    projected = head.apply({"params": params[1]}, outputs.astype(jnp.float32))
    first, second = jnp.split(jnp.asarray(projected), 2)
    return nt_xent(first, second, temperature=plan.temperature), new

  def step(carry: State, numbered: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
    number, ids = numbered
    batch = (prepare or inputs.as_they_are)(images[ids])
    key_first, key_second = jax.random.split(jax.random.fold_in(of(Role.AUGMENT), number))
    views = jnp.concatenate([plan.views(key_first, batch), plan.views(key_second, batch)])
    params = (carry.variables["params"], carry.head)
    key_dropout = jax.random.fold_in(of(Role.DROPOUT), number)
    (loss, new), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, carry.variables, key_dropout, views)
    updates, opt_state = optimizer.update(grads, carry.opt_state, params)
    trained: types.PyTree = optax.apply_updates(params, updates)
    return State(new | {"params": trained[0]}, trained[1], opt_state, carry.epoch), loss

  state, losses = jax.lax.scan(step, state, (jnp.arange(steps), batches))
  return state._replace(epoch=state.epoch + 1), losses


def encode(
  variables: types.PyTree,
  images: jax.Array,
  *,
  network: types.Network,
  prepare: Callable[[types.PyTree], types.PyTree] | None = None,
  chunk_size: int = types.Plan.chunk_size,
) -> jax.Array:
  """Representations of stored images, without views and without dropout: `[N, H, W, C]` -> `[N, F]` float32."""

  def one(chunk: jax.Array) -> jax.Array:
    return network.sample(None, variables, (prepare or inputs.as_they_are)(chunk))[0].astype(jnp.float32)

  return chunks.map_chunks(one, jnp.asarray(images), chunk_size=chunk_size)
