"""LCMD compared with explicit gradients, and its invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import types
from al_jax.acquisition import _badge
from al_jax.acquisition import _lcmd as module
from al_jax.acquisition import lcmd
from tests.core.test_bait import CLASSES
from tests.core.test_bait import SIZE
from tests.core.test_bait import view_of
from tests.support import reference_lcmd

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]


@functools.cache
def selector(num: int, **hyper):
  return jax.jit(functools.partial(lcmd(**hyper).select, num=num))


def select(view: types.PoolView, num: int = 8, **hyper) -> list[int]:
  return selector(num, **hyper)(jax.random.key(0), view).tolist()


def expected(view: types.PoolView, num: int = 8) -> list[int]:
  return reference_lcmd.lcmd(view.log_probs, view.features, view.labeled, view.candidates, num)


@pytest.mark.parametrize("labeled", [0, 1, 6])
@pytest.mark.parametrize("length", [0.1, 100.0])
def test_batches_equal_the_reference(labeled, length):
  for seed in range(4):
    view = view_of(seed, length=length, labeled=labeled)
    assert select(view) == expected(view)


def test_it_is_not_the_farthest_image_of_all():
  """Many images near one center outweigh a single one that is farther from another."""
  x = np.array([0.0, 10.0, 13.0, *np.linspace(1.0, 2.0, 10)])  # two labeled, a far image, a crowd
  certain = np.array([[0.6, 0.4]]).repeat(len(x), axis=0)
  view = types.PoolView(
    labeled=jnp.arange(len(x)) < 2,
    candidates=jnp.arange(len(x)) >= 2,
    log_probs=jnp.log(jnp.array(certain, jnp.float32))[:, None],
    features=jnp.array(x, jnp.float32)[:, None],
    tie_break=jnp.linspace(0.9, 0.1, len(x)),
  )
  assert (x[3:] ** 2).sum() > 9.0  # squared distances, up to a common factor
  assert select(view, 2) == [12, 2]


def test_nearest_labeled_images_are_those_of_the_gradients():
  rng = np.random.default_rng(0)
  size = 200
  a, h = rng.normal(size=(size, CLASSES)), rng.normal(size=(size, 5)) + 2
  labeled = np.arange(size) % 2 == 0  # a block of 64 and a part of another one
  rows = _badge.outer(jnp.array(a, jnp.float32), jnp.array(h, jnp.float32), bias=0.25)
  find = jax.jit(functools.partial(module.nearest_labeled, bias=0.25, chunk_size=64))
  nearest, distances = find(rows, jnp.array(labeled))
  explicit = (a[:, :, None] * np.column_stack([h, np.full(size, 0.5)])[:, None]).reshape(size, -1)
  pairs = ((explicit[:, None] - explicit[None]) ** 2).sum(axis=2)
  pairs[:, ~labeled] = np.inf
  np.testing.assert_array_equal(nearest, pairs.argmin(axis=1))
  np.testing.assert_allclose(distances, pairs.min(axis=1), rtol=1e-4)
  assert not np.asarray(distances)[labeled].any()


def test_neither_order_nor_chunks_nor_rows_outside_matter():
  view = view_of(4)
  batch = select(view)
  assert select(view, chunk_size=7) == batch
  order = np.random.default_rng(0).permutation(SIZE)
  assert order[select(jax.tree.map(lambda leaf: leaf[order], view))].tolist() == batch
  outside = ~np.asarray(view.labeled | view.candidates)
  assert select(view._replace(features=jnp.where(outside[:, None], jnp.nan, view.features))) == batch
  assert select(view._replace(log_probs=view.log_probs[..., jnp.array([2, 0, 3, 1])])) == batch


def test_copies_come_last():
  view = jax.tree.map(lambda leaf: leaf[jnp.arange(SIZE) // 2], view_of(2, labeled=0))
  view = view._replace(candidates=jnp.ones(SIZE, bool), tie_break=view_of(2).tie_break)
  kinds = -(-SIZE // 2)
  assert len({i // 2 for i in select(view, kinds)}) == kinds
  # Copies of labeled images are at distance 0.
  view = view._replace(labeled=jnp.arange(SIZE) % 6 == 0, candidates=jnp.arange(SIZE) % 6 > 0)
  assert not {i for i in select(view) if i % 6 == 1}


def test_certain_predictions_and_a_row_that_is_not_finite(debug_nans):
  view = view_of(5)
  certain = jnp.where(jnp.eye(CLASSES, dtype=bool)[jnp.arange(SIZE) % CLASSES], 0.0, -jnp.inf)[:, None]
  sure = view._replace(log_probs=jnp.repeat(certain, view.log_probs.shape[1], axis=1).astype(jnp.float32))
  assert select(sure) == np.flatnonzero(view.candidates)[:8].tolist()
  long = view._replace(features=view.features * 1e17)
  assert len(set(select(long))) == 8


def test_a_row_that_is_not_finite_comes_last():
  view = view_of(6)
  bad = int(np.flatnonzero(view.candidates)[2])
  spoilt = view._replace(features=view.features.at[bad].set(jnp.nan))
  have = int(view.candidates.sum())
  assert select(spoilt) == select(view._replace(candidates=view.candidates.at[bad].set(False)))
  assert select(spoilt, have)[-1] == bad


def test_one_candidate():
  view = view_of(3)
  only = np.flatnonzero(view.candidates)[5]
  assert select(view._replace(candidates=jnp.arange(SIZE) == only), 1) == [only]


def test_chunks():
  with pytest.raises(ValueError, match="chunk_size must be at least 1, not 0"):
    lcmd(chunk_size=0)
