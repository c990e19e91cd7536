"""SimCLR: the loss against float64 NumPy, and epochs that are deterministic, resumable and learn."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import inputs
from al_jax import network
from al_jax import simclr
from al_jax import warping
from al_jax.keys import Role
from al_jax.keys import role_key

pytestmark = pytest.mark.usefixtures("fast_compilation")


class Small(nn.Module):
  """One hidden layer, with batch norm if asked."""

  normed: bool = False

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.Dense(32)(x.reshape((x.shape[0], -1)))
    if self.normed:
      x = nn.BatchNorm(momentum=0.5, use_running_average=not train)(x)
    return nn.Dense(12)(nn.relu(x))


KEY = jax.random.key(7)
NETWORK = network.from_flax(Small())
VIEWS = warping.RandomWarp(scale=(0.8, 1.1), rotation=0.2, shear=0.1, shift=0.1)
PLAN = simclr.Plan(batch_size=16, hidden=16, projection=8, views=VIEWS, block_size=5)  # 5 stands for blocks of 8
PARTS = {"network": NETWORK, "optimizer": optax.adam(1e-2), "prepare": inputs.images(std=16)}


def first_epoch(data, plan, network=NETWORK):
  """State and losses after one epoch."""
  parts = PARTS | {"network": network, "plan": plan}
  state = simclr.init(KEY, data.inputs, **parts)
  return jax.jit(functools.partial(simclr.epoch, **parts))(KEY, state, data.inputs)


def by_numpy(first, second, temperature):
  """Algorithm 1 of the paper, pair by pair, in float64."""
  views = np.concatenate([first, second]).astype(np.float64)
  similar = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in views] for a in views]) / temperature
  size, losses = len(first), []
  for i in range(2 * size):
    others = np.delete(similar[i], i)
    top = others.max()
    losses.append(top + np.log(np.exp(others - top).sum()) - similar[i, (i + size) % (2 * size)])
  return np.mean(losses)


@pytest.mark.parametrize("temperature", [1e-3, 0.2, 10.0])
def test_nt_xent_equals_the_reference(temperature):
  rng = np.random.default_rng(0)
  first, second = (rng.normal(size=(7, 5)).astype(np.float32) * scale for scale in (1e-3, 1e3))
  found = simclr.nt_xent(first, second, temperature=temperature)
  np.testing.assert_allclose(found, by_numpy(first, second, temperature), rtol=2e-5)


def test_nt_xent_of_equal_and_of_zero_rows():
  alike = jnp.ones((4, 3))
  np.testing.assert_allclose(simclr.nt_xent(alike, alike, temperature=0.2), np.log(7), rtol=1e-6)
  loss, grad = jax.value_and_grad(functools.partial(simclr.nt_xent, temperature=0.2))(jnp.zeros((4, 3)), alike)
  assert np.isfinite(loss) and np.isfinite(grad).all()


def test_nt_xent_depends_on_angles_and_pairs_alone():
  rng = np.random.default_rng(1)
  first, second = rng.normal(size=(2, 6, 4)).astype(np.float32)
  loss = functools.partial(simclr.nt_xent, temperature=0.3)
  np.testing.assert_allclose(loss(first, second), loss(second * 3, first), rtol=1e-5)
  order = rng.permutation(6)
  np.testing.assert_allclose(loss(first, second), loss(first[order], second[order]), rtol=1e-5)
  assert loss(first, first) < loss(first, second)


@pytest.fixture(scope="module")
def trained(data):
  """`(epochs, state) -> (states, losses)`, from the first epoch unless a state is given."""
  program = jax.jit(functools.partial(simclr.epoch, plan=PLAN, **PARTS))
  start = simclr.init(KEY, data.inputs, plan=PLAN, **PARTS)

  def train(epochs, state=start):
    states, losses = [state], []
    for _ in range(epochs):
      state, loss = program(KEY, states[-1], data.inputs)
      states.append(state)
      losses.append(np.asarray(loss))
    return states, np.array(losses)

  return train


def test_continuing_gives_the_same_bits(trained):
  states, losses = trained(3)
  continued, rest = trained(2, jax.tree.map(np.array, states[1]))
  np.testing.assert_array_equal(losses[1:], rest)
  jax.tree.map(np.testing.assert_array_equal, states[3], continued[2])
  assert int(continued[2].epoch) == 3
  assert losses.shape == (3, 97 // 16) and len(np.unique(losses)) == losses.size


def test_the_loss_falls_below_chance(trained):
  _, losses = trained(30)
  assert losses[-5:].mean() < np.log(2 * PLAN.batch_size - 1) - 0.5


def test_blocks_give_the_losses_of_all_views_at_once(data, trained):
  _, losses = first_epoch(data, dataclasses.replace(PLAN, block_size=0))
  np.testing.assert_allclose(losses, trained(1)[1][0], rtol=1e-4)


def test_batch_statistics_are_those_of_all_views(data):
  """A batch is the whole pool here, so one step shows them."""
  whole = dataclasses.replace(PLAN, batch_size=97, views=warping.RandomWarp((1, 1), 0, 0, 0, 0))
  state, losses = first_epoch(data, whole, network.from_flax(Small(normed=True)))
  images = np.asarray(PARTS["prepare"](data.inputs)).reshape(97, -1)
  key = jax.random.split(role_key(KEY, Role.MODEL_INIT))[0]
  layer = network.from_flax(Small(normed=True)).init(key, jnp.zeros((1, 8, 8, 1)))["params"]["Dense_0"]
  expected = 0.5 * (images @ np.asarray(layer["kernel"])).mean(axis=0)
  np.testing.assert_allclose(state.variables["batch_stats"]["BatchNorm_0"]["mean"], expected, atol=1e-5)
  assert losses.shape == (1,)


def test_encode_gives_the_outputs_row_by_row(data, trained):
  variables = trained(1)[0][-1].variables
  parts = {"network": NETWORK, "prepare": PARTS["prepare"]}
  encoded = simclr.encode(variables, data.inputs, chunk_size=10, **parts)
  expected, _ = NETWORK.sample(None, variables, PARTS["prepare"](jnp.asarray(data.inputs)))
  np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-6)
  assert encoded.shape == (97, 12) and encoded.dtype == jnp.float32


@pytest.mark.parametrize(
  ("wrong", "message"),
  [
    ({"batch_size": 1}, "at least 2, not 1"),
    ({"temperature": 0.0}, "temperature must be positive, not 0.0"),
    ({"projection": 0}, "at least 1, not 256 and 0"),
    ({"block_size": -1}, "block_size must be at least 0, not -1"),
  ],
)
def test_wrong_plans_are_refused(wrong, message):
  with pytest.raises(ValueError, match=message):
    simclr.Plan(**wrong)


def test_pools_that_do_not_suit_are_refused(data):
  check = functools.partial(simclr.check, prepare=None, network=NETWORK, plan=PLAN)
  with pytest.raises(ValueError, match=r"the pool is an array of shape \[97, 64\]"):
    check(np.zeros((97, 64), np.float32))
  with pytest.raises(ValueError, match="the pool is a dict"):
    check({"image": np.zeros((97, 8, 8, 1))})
  with pytest.raises(ValueError, match="batch_size=16 is larger than the pool of 15 images"):
    check(data.inputs[:15])
