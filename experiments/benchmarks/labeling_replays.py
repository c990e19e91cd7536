"""Replays of labeling sessions on features whose labels are known, as one compiled program.

A replay draws a folder of `pool` images from a data set. The first tenth, the reservoir, is for the audit. The strategy
labels the rest: `INITIAL` typical images, then batches by margin, retraining a linear head after each. The folder is a
random draw, so the order of its rows is a random permutation, as `labeling.audit.position` gives it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from al_jax import acquisition
from al_jax import from_flax
from al_jax import inputs
from al_jax import models
from al_jax import pool as pools
from al_jax import rounds as al_rounds
from al_jax import states
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer

INITIAL, ACQ_SIZE = 20, 10  # labels before the first training, and per round
RESERVOIR = 0.1  # share of the folder
STOP_SET = 2000  # images at most whose predictions are compared from model to model


class Replay(NamedTuple):
  """A session, or arrays of sessions with a leading axis: R models, A audit images, S images of the stop set."""

  right: np.ndarray  # `[R, A]` bool: whether a model is right on an audit image, in the order of the audit
  unlabeled: np.ndarray  # `[R]` float32: accuracy on the folder's images that the model was not trained on
  source: np.ndarray  # `[R]` float32: accuracy on the data set's images outside the folder
  predictions: np.ndarray  # `[R, S]` int8: predicted classes of the stop set, drawn from the whole folder


def labels_of(models: int) -> np.ndarray:
  """`[models]` ints: labels that each model of a replay was trained on."""
  return INITIAL + ACQ_SIZE * np.arange(models)


def replayed(classes: int, *, pool: int, rounds: int) -> Callable[[jax.Array, jax.Array, jax.Array], Replay]:
  """The compiled replays of a folder of `pool` images: (`[K]` seeds, features `[N, F]`, labels `[N]`) -> K replays."""
  plan = types.Plan(
    INITIAL, ACQ_SIZE, rounds, types.TrainPlan(full_batch=types.FullBatch()), init_balanced=False, chunk_size=10_000
  )
  learner = Learner(Trainer(from_flax(models.Linear(classes)), optax.identity(), plan), acquisition.margin())
  typical = acquisition.typiclust()
  reserved = round(RESERVOIR * pool)

  def one(seed: jax.Array, features: jax.Array, labels: jax.Array) -> Replay:
    key_folder, key_first, key_ties, key = jax.random.split(jax.random.key(seed), 4)
    order = jax.random.permutation(key_folder, labels.shape[0])
    folder = features[order[:pool]]
    center, scale = folder.mean(axis=0, keepdims=True), folder.std(axis=0, keepdims=True) + 1e-6
    x, y = (features[order] - center) / scale, labels[order]
    of_strategy = slice(reserved, pool)
    nothing = jnp.zeros((0, features.shape[1])), jnp.zeros(0, jnp.int32)
    data = types.Dataset(x[of_strategy], y[of_strategy], *nothing, classes, inputs.as_they_are)

    size = data.pool_size
    view = types.PoolView(
      jnp.zeros(size, bool),
      jnp.ones(size, bool),
      embedding=data.inputs,
      tie_break=jax.random.uniform(key_ties, (size,)),
    )
    first = typical.select(key_first, view, num=INITIAL)
    start = states.labeled_state(key, data, learner.trainer, pools.mask_of(first, size=size))

    def step(state: types.ALState, _: None) -> tuple[types.ALState, Replay]:
      trained, (state, _) = state.labeled, al_rounds.pure_round(state, data, learner)
      (layer,) = state.variables["params"].values()
      predicted = jnp.argmax(x @ layer["kernel"] + layer["bias"][None], axis=1)
      right = predicted == y
      weights = jnp.ones(pool).at[of_strategy].set(~trained)
      unlabeled = (weights * right[:pool]).sum() / weights.sum()
      measured = Replay(right[:reserved], unlabeled, right[pool:].mean(), predicted[:STOP_SET].astype(jnp.int8))
      return state, measured

    return lax.scan(step, start, length=rounds + 1)[1]

  program = lambda seeds, features, labels: lax.map(lambda seed: one(seed, features, labels), seeds)
  return jax.jit(program)
