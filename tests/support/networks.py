"""Small networks of every kind, with data for each."""

import dataclasses

from flax import nnx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from al_jax import from_flax
from al_jax import from_nnx
from al_jax import inputs
from al_jax import types
from al_jax.models import Transformer

LENGTH, TOKENS = 8, 20  # of a text: the token of its class, one of the first ten, occurs twice


class NormedConv(nn.Module):
  """A convolution, batch normalization and dropout."""

  frozen: bool = False  # whether training also uses the running statistics
  dropout_rate: float = 0.25

  @nn.compact
  def __call__(self, x, *, train=False):
    x = nn.BatchNorm(use_running_average=self.frozen or not train, momentum=0.8)(nn.Conv(4, (3, 3))(x))
    x = nn.Dropout(self.dropout_rate, deterministic=not train)(nn.relu(x).reshape((x.shape[0], -1)))
    return nn.Dense(10)(x)


class Recurrent(nn.Module):
  """An LSTM over the rows of an image, with dropout of its last state."""

  @nn.compact
  def __call__(self, x, *, train=False):
    states = nn.RNN(nn.LSTMCell(12))(x.reshape((x.shape[0], 8, 8)))
    return nn.Dense(10)(nn.Dropout(0.5, deterministic=not train)(states[:, -1]))


class TwoInputs(nn.Module):
  """A dict of an image and a table row as input."""

  @nn.compact
  def __call__(self, x, *, train=False):
    image = nn.Dense(8)(x["image"].reshape((x["image"].shape[0], -1)))
    both = nn.Dropout(0.5, deterministic=not train)(jnp.concatenate([image, x["table"]], axis=-1))
    return nn.Dense(10)(both)


class NnxMLP(nnx.Module):
  """The tiny MLP in nnx."""

  def __init__(self, rngs: nnx.Rngs):
    self.hidden, self.out = nnx.Linear(64, 16, rngs=rngs), nnx.Linear(16, 10, rngs=rngs)
    self.dropout = nnx.Dropout(0.25, rngs=rngs)

  def __call__(self, x):
    return self.out(self.dropout(nnx.relu(self.hidden(x.reshape((x.shape[0], -1))))))


class NnxNormed(nnx.Module):
  """An MLP with batch normalization and dropout in nnx."""

  def __init__(self, rngs: nnx.Rngs):
    self.hidden, self.out = nnx.Linear(64, 16, rngs=rngs), nnx.Linear(16, 10, rngs=rngs)
    self.norm, self.dropout = nnx.BatchNorm(16, momentum=0.8, rngs=rngs), nnx.Dropout(0.25, rngs=rngs)

  def __call__(self, x):
    x = self.norm(self.hidden(x.reshape((x.shape[0], -1))))
    return self.out(self.dropout(nnx.relu(x)))


def by_hand() -> types.Network:
  """A network of plain functions: dropout of the inputs and one dense layer."""

  def init(key, inputs):
    return {"params": {"kernel": jax.random.normal(key, (inputs[0].size, 10)) / 8}}

  def logits_of(variables, x):
    return x @ variables["params"]["kernel"]

  def dropped(key, x):
    return jnp.where(jax.random.bernoulli(key, 0.5, (1, x.shape[1])), 2 * x, 0)

  def apply(variables, inputs, *, key, weights):
    del weights  # rows do not affect each other
    return logits_of(variables, dropped(key, inputs.reshape((inputs.shape[0], -1)))), variables

  def sample(key, variables, inputs):
    x = inputs.reshape((inputs.shape[0], -1))
    return logits_of(variables, x if key is None else dropped(key, x)), x

  return types.Network(init, apply, sample, name="by hand")


NETWORKS = {
  "batch norm": from_flax(NormedConv()),
  "nnx": from_nnx(NnxMLP),
  "nnx batch norm": from_nnx(NnxNormed),
  "tokens": from_flax(Transformer(10, TOKENS, features=16, heads=2, blocks=1, dropout_rate=0.2)),
  "lstm": from_flax(Recurrent()),
  "functions": by_hand(),
  "dict": from_flax(TwoInputs()),
}


def batch_for(name: str, size: int, seed: int = 0) -> types.PyTree:
  """Random prepared inputs for the network."""
  rng = np.random.default_rng(seed)
  if name == "tokens":
    return jnp.array(rng.integers(0, TOKENS, (size, LENGTH)), jnp.int32)
  image = jnp.array(rng.normal(size=(size, 8, 8, 1)), jnp.float32)
  if name != "dict":
    return image
  return {"image": image, "table": jnp.array(rng.normal(size=(size, 5)), jnp.float32)}


def data_for(name: str, digits: types.Dataset) -> types.Dataset:
  """The digits as inputs of the network: images, sequences of rows, images with sums of rows, or texts."""

  def text(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    texts = rng.integers(10, TOKENS, (len(labels), LENGTH))
    places = rng.permuted(np.tile(np.arange(LENGTH), (len(labels), 1)), axis=1)[:, :2]
    texts[np.arange(len(labels))[:, None], places] = labels[:, None]
    return texts.astype(np.int32)

  def both(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": images, "table": images.astype(np.float32).sum((2, 3))[:, :5] / 64}

  given = lambda of, test, **changes: dataclasses.replace(digits, inputs=of, test_inputs=test, **changes)
  if name == "tokens":
    rng = np.random.default_rng(0)
    return given(text(digits.labels, rng), text(digits.test_labels, rng), prepare=inputs.as_they_are)
  if name == "lstm":
    return given(digits.inputs[..., 0], digits.test_inputs[..., 0])
  if name == "dict":
    scaled = inputs.by_name(image=inputs.images(std=16), table=inputs.as_they_are)
    return given(both(digits.inputs), both(digits.test_inputs), prepare=scaled)
  return digits
