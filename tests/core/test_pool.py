"""Mask operations: properties on synthetic pools, and distributions of draws."""

import functools
import re

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import pool
from tests.support import reference

pytestmark = pytest.mark.usefixtures("fast_compilation")

top_k = jax.jit(pool.masked_top_k, static_argnames="num")
random_subset = jax.jit(pool.random_subset, static_argnames="num")
balanced_subset = jax.jit(pool.balanced_subset, static_argnames=("num", "num_classes"))
labeled_ids = jax.jit(pool.labeled_ids, static_argnames="size")
reveal = jax.jit(pool.reveal)

SIZES = st.sampled_from([1, 2, 7, 16])  # few, because each one compiles
SPECIAL = st.sampled_from([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, np.finfo(np.float32).max, np.finfo(np.float32).min])
FLOATS = st.floats(width=32, allow_subnormal=False) | SPECIAL
SEEDS = st.integers(0, 2**31 - 1)


@st.composite
def masks_and_num(draw, size=SIZES):
  """A candidate mask and a number of ids to take, from one to all candidates."""
  size = draw(size)
  num = draw(st.sampled_from([n for n in (1, 5, 7) if n <= size]))
  places = draw(st.sets(st.integers(0, size - 1), min_size=num))
  return np.isin(np.arange(size), list(places)), num


@given(masks_and_num(), st.data())
def test_masked_top_k(mask_num, more):
  mask, num = mask_num
  scores = more.draw(hnp.arrays(np.float32, mask.size, elements=FLOATS))
  ids = top_k(scores, mask, num=num)
  assert ids.dtype == jnp.int32 and ids.shape == (num,)
  assert ids.tolist() == reference.masked_top_k(scores, mask, num)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf, 0.0, np.finfo(np.float32).min])
def test_masked_top_k_returns_candidates_whatever_the_scores(value):
  # Labeled rows score plus infinity, candidates the worst possible values.
  mask = np.arange(9) % 2 == 1
  scores = np.where(mask, value, np.inf).astype(np.float32)
  assert top_k(scores, mask, num=4).tolist() == [1, 3, 5, 7]


def test_masked_top_k_counts_both_zeros_as_one():
  scores = np.array([-0.0, 0.0, -0.0, 0.0], np.float32)
  assert top_k(scores, np.ones(4, bool), num=4).tolist() == [0, 1, 2, 3]


def test_masked_top_k_refuses_mixed_up_arguments():
  with pytest.raises(AssertionError):
    pool.masked_top_k(jnp.zeros(3), jnp.ones(4, bool), num=1)
  with pytest.raises(AssertionError):
    pool.masked_top_k(jnp.zeros(3), jnp.ones(3), num=1)
  with pytest.raises(AssertionError):
    pool.masked_top_k(jnp.zeros((3, 1)), jnp.ones((3, 1), bool), num=1)


@given(masks_and_num(), SEEDS)
def test_random_subset_is_distinct_candidates(mask_num, seed):
  mask, num = mask_num
  ids = np.asarray(random_subset(jax.random.key(seed), mask, num=num))
  assert ids.dtype == np.int32 and len(set(ids.tolist())) == num
  assert mask[ids].all()


def draws(function, count: int) -> np.ndarray:
  """`[count, num]` ids of independent keys."""
  return np.asarray(jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(0), count)))


def worst_z(counts, probability: float, count: int) -> float:
  """The largest deviation of the counts from a binomial mean, in standard errors."""
  return np.abs(counts - count * probability).max() / np.sqrt(count * probability * (1 - probability))


def test_random_subset_is_uniform():
  mask = np.array([1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1], bool)  # 8 candidates, 3 drawn
  ids = draws(functools.partial(pool.random_subset, candidates=mask, num=3), 4000)
  counts = np.bincount(ids.ravel(), minlength=mask.size)
  # Eight counts here and 24 below: chance exceeds 4.5 standard errors for about one seed in 4,000.
  assert worst_z(counts[mask], 3 / 8, 4000) < 4.5
  for place in range(3):  # the order is random as well
    assert worst_z(np.bincount(ids[:, place], minlength=mask.size)[mask], 1 / 8, 4000) < 4.5


@given(masks_and_num(st.just(16)), SEEDS, st.data())
def test_balanced_subset_counts(mask_num, seed, more):
  mask, num = mask_num
  num_classes = 4
  # Classes may be missing or too small for their share.
  labels = more.draw(hnp.arrays(np.int32, mask.size, elements=st.integers(0, num_classes - 1)))
  ids = np.asarray(balanced_subset(jax.random.key(seed), labels, mask, num=num, num_classes=num_classes))
  assert ids.dtype == np.int32 and ids.shape == (num,)
  assert len(set(ids.tolist())) == num and mask[ids].all()

  available = np.bincount(labels[mask], minlength=num_classes)
  got = np.bincount(labels[ids], minlength=num_classes)
  certain, extras = reference.balanced_counts(available.tolist(), num)
  above = got - certain
  assert set(above.tolist()) <= {0, 1} and above.sum() == extras and (got <= available).all()


def test_balanced_counts_of_the_reference():
  assert reference.balanced_counts([5, 5, 5], 7) == ([2, 2, 2], 1)
  assert reference.balanced_counts([1, 9, 0], 7) == ([1, 6, 0], 0)
  assert reference.balanced_counts([2, 2], 4) == ([2, 2], 0)


def test_balanced_subset_of_ample_classes_is_even():
  labels, mask = np.arange(60, dtype=np.int32) % 5, np.arange(60) >= 10
  for num, expected in [(15, {3}), (13, {2, 3})]:
    ids = np.asarray(balanced_subset(jax.random.key(num), labels, mask, num=num, num_classes=5))
    assert set(np.bincount(labels[ids], minlength=5).tolist()) == expected


def test_balanced_subset_makes_up_for_missing_and_small_classes():
  labels = np.repeat(np.arange(4, dtype=np.int32), [10, 1, 0, 10])
  ids = np.asarray(balanced_subset(jax.random.key(0), labels, np.ones(21, bool), num=13, num_classes=4))
  assert np.bincount(labels[ids], minlength=4).tolist() == [6, 1, 0, 6]


def test_balanced_subset_is_uniform_within_classes_and_over_classes():
  labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0], np.int32)
  mask = np.arange(16) < 15  # classes of 4, 5 and 6
  draw = functools.partial(pool.balanced_subset, labels=labels, candidates=mask, num=7, num_classes=3)
  ids = draws(draw, 4000)
  counts = np.bincount(ids.ravel(), minlength=16)
  assert counts[15] == 0
  for c, size in enumerate([4, 5, 6]):  # 7 of 3 classes: 2 of each and one more of a random class
    members = mask & (labels == c)
    # An id's count is one of 4,000 draws, with probability (2 + 1/3) / size.
    assert worst_z(counts[members], (2 + 1 / 3) / size, 4000) < 4.5
  extras = np.array([((labels[ids] == c).sum(axis=1) == 3).sum() for c in range(3)])
  assert worst_z(extras, 1 / 3, 4000) < 4.5


@given(SIZES, st.data())
def test_reveal_and_mask_of(size, more):
  labeled = more.draw(hnp.arrays(bool, size))
  ids = np.array(more.draw(st.lists(st.integers(-1, size - 1), min_size=3, max_size=3)), np.int32)
  after = np.asarray(reveal(labeled, ids))
  asked = {int(i) for i in ids if i >= 0}
  assert set(np.flatnonzero(after).tolist()) == set(np.flatnonzero(labeled).tolist()) | asked
  if asked:
    only = jnp.array(sorted(asked))
    assert set(np.flatnonzero(pool.mask_of(only, size=size)).tolist()) == asked


def test_reveal_of_nothing():
  labeled = jnp.array([True, False, False])
  assert pool.reveal(labeled, jnp.full(2, -1)).tolist() == [True, False, False]


@given(SIZES, st.sampled_from([0, 5]), st.data())
def test_labeled_ids(size, spare, more):
  labeled = more.draw(hnp.arrays(bool, size))
  ids = labeled_ids(labeled, size=size + spare)
  true = np.flatnonzero(labeled).tolist()
  assert ids.dtype == jnp.int32
  assert ids.tolist() == true + [0] * (size + spare - len(true))


@pytest.mark.parametrize("exact", [2**24, 100], ids=["by top_k", "by nonzero"])
def test_labeled_ids_of_a_large_pool(exact, monkeypatch):
  """With few labels of many rows, `top_k` gives what `nonzero` gives."""
  monkeypatch.setattr(pool, "_EXACT_IN_FLOAT32", exact)
  rows, size = 640, 40
  find = jax.jit(functools.partial(pool.labeled_ids, size=size))
  text = find.lower(jnp.zeros(rows, bool)).as_text()
  assert ("top_k" in text) == (exact > rows)
  for places in ([], [0], [639], [0, 1, 639], range(40), range(0, 640, 16), [5, 7, 300]):
    labeled = np.isin(np.arange(rows), list(places))
    ids = find(labeled)
    assert ids.dtype == jnp.int32 and ids.tolist() == [*places, *[0] * (size - len(places))]


@pytest.mark.parametrize("ties", [False, True])
def test_no_selection_sorts_the_pool(ties):
  """Not even if only one of the ids is read."""
  num = 4
  part = lambda scores, mask, tie: pool.masked_top_k(scores, mask, num=num, tie_break=tie if ties else None)[:1]
  args = jnp.zeros(1000), jnp.ones(1000, bool), jnp.zeros(1000)
  text = jax.jit(part).lower(*args).compile().as_text()
  sorts = [line for line in text.splitlines() if " sort(" in line]
  assert not any("1000]" in line for line in sorts)
  kept = re.findall(r"\(f32\[(\d+)\]\S*, s32\[\1\]\S*\) custom-call\(.*TopK", text)
  assert kept == [str(num)] * (1 + ties)
