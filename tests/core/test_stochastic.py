"""Distributions of stochastic batches, in large pools and at several values of coldness."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import acquisition
from al_jax import types
from al_jax.acquisition import _stochastic as stochastic

fast = pytest.mark.usefixtures("fast_compilation")  # not for tests with many draws


def scored_by(scores) -> types.Acquisition:
  """An acquisition that returns these scores for any view."""
  return types.Acquisition(lambda key, view, *, num: None, lambda view: jnp.asarray(scores, jnp.float32))


def drawn(made: types.Acquisition, size: int, *, num: int, count: int, kind: str = "threefry2x32") -> np.ndarray:
  """`[count, num]` ids by independent keys; all rows are candidates. Keys of kind `rbg` are faster."""
  view = types.PoolView(jnp.zeros(size, bool), jnp.ones(size, bool))
  select = jax.jit(lambda key: made.select(key, view, num=num))
  return np.asarray(jax.lax.map(select, jax.random.split(jax.random.key(0, impl=kind), count)))


@fast
@pytest.mark.parametrize(
  ("wrapper", "weights"),
  [
    ("power", lambda scores, beta: scores**beta),
    ("softmax", lambda scores, beta: np.exp(beta * scores)),
    ("softrank", lambda scores, beta: (1.0 + np.argsort(np.argsort(-scores))) ** -beta),
  ],
)
@pytest.mark.parametrize("coldness", [0.5, 2.0])
def test_first_and_second_draws_have_their_distribution(wrapper, weights, coldness):
  scores, count = np.array([0.1, 0.9, 0.4, 0.05, 0.7]), 20_000
  made = acquisition.WRAPPERS[wrapper].factory(scored_by(scores), coldness=coldness)
  ids = drawn(made, 5, num=2, count=count)
  p = weights(scores, coldness) / weights(scores, coldness).sum()
  pairs = p[:, None] * p[None] / (1 - p[:, None])
  np.fill_diagonal(pairs, 0)
  seen = np.zeros((5, 5))
  np.add.at(seen, (ids[:, 0], ids[:, 1]), 1)
  standard_error = np.sqrt(count * pairs * (1 - pairs)) + 1e-9
  assert (np.abs(seen - count * pairs) < 4.5 * standard_error).all()


@pytest.mark.slow
def test_the_many_of_little_weight_are_drawn_as_often_in_a_pool_of_hundreds_of_thousands():
  """All but ten images share 1% of the weight; 23-bit noise, at most 15.9, would draw them 0.18% of the time.

  Tests one wrapper, because all wrappers draw their noise in the same place.
  """
  size, num_heavy, share, count = 240_000, 10, 0.01, 1500
  scores = np.full(size, share / (size - num_heavy))
  scores[:num_heavy] = (1 - share) / num_heavy
  ids = drawn(acquisition.power(scored_by(scores)), size, num=1, count=count, kind="rbg")
  seen = (ids >= num_heavy).mean()
  assert abs(seen - share) < 3 * np.sqrt(share * (1 - share) / count)


@fast
@pytest.mark.parametrize("coldness", [0.1, 1.0, 8.0])
def test_images_of_score_zero_come_after_all_others_in_random_order(coldness):
  scores = np.zeros(40)
  scores[::2] = np.geomspace(1e-30, 1.0, 20)
  made = stochastic.power(scored_by(scores), coldness=coldness)
  ids = drawn(made, 40, num=40, count=50)
  assert (ids[:, :20] % 2 == 0).all() and (ids[:, 20:] % 2 == 1).all()
  assert len({tuple(row) for row in ids[:, 20:].tolist()}) == 50


@fast
def test_what_is_not_a_number_comes_behind_what_is_nothing():
  scores = np.array([0.0, np.nan, 0.5, np.nan, 0.0, np.inf])
  for name in acquisition.WRAPPERS:
    ids = drawn(acquisition.WRAPPERS[name].factory(scored_by(scores)), 6, num=6, count=20)
    assert all(set(row[-2:]) == {1, 3} for row in ids.tolist())


@fast
def test_ties_of_rank_are_broken_by_the_draw():
  view = types.PoolView(jnp.zeros(4, bool), jnp.ones(4, bool), tie_break=jnp.array([0.1, 0.9, 0.5, 0.3]))
  made = stochastic.softrank(scored_by(np.ones(4)), coldness=60.0)  # almost always the order of ranks
  draw = functools.partial(made.select, view=view, num=4)
  assert all(draw(jax.random.key(seed)).tolist() == [1, 2, 3, 0] for seed in range(5))
