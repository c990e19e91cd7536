"""The cheap forms of BAIT compared with explicit matrices, with exact BAIT, and their invariances."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import types
from al_jax.acquisition import _bait
from al_jax.acquisition import _bait_cheap as module
from al_jax.acquisition import bait
from al_jax.acquisition import bait_binary
from al_jax.acquisition import bait_expectation
from tests.core.test_bait import CLASSES
from tests.core.test_bait import FEATURES
from tests.core.test_bait import SIZE
from tests.core.test_bait import probs_of
from tests.core.test_bait import view_of
from tests.support import reference_bait

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

NUM = 4
INFORMATION = {
  bait_expectation: functools.partial(reference_bait.expectation_information, classes=2),
  bait_binary: reference_bait.binary_information,
}
FORMS = pytest.mark.parametrize("factory", INFORMATION)


@functools.cache
def selector(factory, num: int, **hyper):
  return jax.jit(functools.partial(factory(**hyper).select, num=num))


def select(factory, view: types.PoolView, num: int = NUM, **hyper) -> list[int]:
  return selector(factory, num, **hyper)(jax.random.key(0), view).tolist()


def fields(view: types.PoolView) -> tuple:
  return view.log_probs, view.features, view.labeled, view.candidates


def expected(factory, view: types.PoolView, num: int = NUM, **hyper) -> tuple[list[int], list[int]]:
  """The reference's forward picks and final batch."""
  return reference_bait.bait(*fields(view), num, information=INFORMATION[factory], **hyper)


def min_regularization(factory, view: types.PoolView) -> float:
  """The least regularization: a share of the largest trace of a row's information."""
  traces = [np.trace(INFORMATION[factory](p, h)) for p, h in zip(probs_of(view), view.features, strict=True)]
  return (1e-2 if factory is bait_binary else 1e-3) * np.max(
    np.array(traces)[np.asarray(view.labeled | view.candidates)]
  )


@FORMS
def test_batches_equal_the_reference(factory):
  pruned = 0
  for seed in range(8):
    view = view_of(seed, labeled=0 if seed % 3 == 0 else 6)
    picked, kept = expected(factory, view)
    assert select(factory, view) == kept
    pruned += kept != picked[:NUM]
  assert pruned > 0  # the images removed are not always the last ones


@FORMS
def test_every_pick_gains_most(factory):
  """With `oversample=1` every added image leaves the smallest objective of all candidates, in float64."""
  for seed in range(4):
    view = view_of(seed)
    regularization = max(0.01, min_regularization(factory, view))
    target, matrix, each = reference_bait.problem(*fields(view), NUM, regularization, INFORMATION[factory])
    left = np.flatnonzero(view.candidates).tolist()
    for new in select(factory, view, oversample=1.0, regularization=0.01):
      values = {i: reference_bait.objective(target, matrix + each[i]) for i in left}
      assert values[new] <= min(values.values()) * (1 + 1e-5)
      matrix = matrix + each[new]
      left.remove(new)


@pytest.mark.slow
@FORMS
def test_close_to_the_best_of_all_batches(factory):
  for seed in range(4):
    view = view_of(seed)
    target, matrix, each = reference_bait.problem(*fields(view), NUM, 1.0, INFORMATION[factory])
    value = lambda batch, t=target, m=matrix, e=each: reference_bait.objective(t, m + e[list(batch)].sum(axis=0))
    every = [value(batch) for batch in itertools.combinations(np.flatnonzero(view.candidates), NUM)]
    assert value(select(factory, view)) <= 1.01 * min(every)


@FORMS
def test_at_the_least_regularization_batches_are_as_good_as_float64_s(factory):
  """Twelve images give M full rank in the binary form, and long features leave it no regularization."""
  for seed in range(4):
    view = view_of(seed, size=60, length=100.0, labeled=0 if seed % 2 else 6)
    regularization = min_regularization(factory, view)
    target, matrix, each = reference_bait.problem(*fields(view), 12, regularization, INFORMATION[factory])
    value = lambda batch, t=target, m=matrix, e=each: reference_bait.objective(t, m + e[list(batch)].sum(axis=0))
    best = expected(factory, view, 12, regularization=regularization)[1]
    assert value(select(factory, view, 12, regularization=1e-9)) <= value(best) * (1 + 1e-4)


@pytest.mark.slow
def test_the_expectation_over_all_classes_is_exact_bait():
  for seed in range(4):
    view = view_of(seed)
    assert select(bait_expectation, view, top_classes=CLASSES) == select(bait, view)
  assert select(bait_expectation, view, top_classes=CLASSES + 3) == select(bait, view)


@pytest.mark.slow
def test_on_two_classes_the_binary_form_is_exact_bait_with_twice_the_regularization():
  for seed in range(4):
    view = view_of(seed)
    view = view._replace(log_probs=jax.nn.log_softmax(view.log_probs[..., :2]))
    assert select(bait_binary, view) == select(bait, view, regularization=2.0)


@pytest.mark.slow
@FORMS
def test_gains_and_updates_equal_exact_bait_s(factory):
  method = module.BINARY if factory is bait_binary else module.of_top_classes(3)
  view = view_of(1)
  roots = method.roots(probs_of(view))
  rng = np.random.default_rng(0)
  size = roots.shape[2] * FEATURES
  half = jnp.array(rng.normal(size=(2, size, size)), jnp.float32)
  forms = _bait.Forms(*(_bait.quadratic_forms(x @ x.T, _bait.Rows(roots, view.features)) for x in half))
  last = lambda tree: jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), tree)
  np.testing.assert_allclose(method.gains(last(forms)), _bait.gains(forms), rtol=1e-3, atol=1e-5)
  directions = jnp.array(rng.normal(size=(size, 2 * roots.shape[1])), jnp.float32)
  for sign in (-1, 1):
    theirs = _bait.update_forms(_bait.Rows(roots, view.features), forms, directions, sign=sign)
    ours = method.update_forms(_bait.Rows(last(roots), view.features), last(forms), directions, sign=sign)
    for got, want in zip(ours, last(theirs), strict=True):
      np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


@FORMS
def test_sure_predictions_keep_their_digits(factory):
  # In float32, 1 - p would have a relative error of 1e-3 here.
  rest = np.array([1e-5, 2e-5, 3e-6])
  probs = np.array([1 - rest.sum(), *rest])
  method = module.BINARY if factory is bait_binary else module.of_top_classes(2)
  got = method.moments(jnp.array(probs[None], jnp.float32))[0]
  want = INFORMATION[factory](probs, np.ones(1))
  size = np.sqrt(np.diag(want))  # the classes outside the two differ by many orders of magnitude
  np.testing.assert_allclose(got / np.outer(size, size), want / np.outer(size, size), atol=1e-5)
  assert not np.asarray(method.roots(jnp.eye(CLASSES))).any()  # certain


@FORMS
def test_neither_order_nor_chunks_nor_rows_outside_matter(factory):
  view = view_of(4)
  batch = select(factory, view)
  assert select(factory, view, chunk_size=7) == batch
  order = np.random.default_rng(0).permutation(SIZE)
  shuffled = jax.tree.map(lambda leaf: leaf[order], view)
  assert order[select(factory, shuffled)].tolist() == batch
  outside = ~np.asarray(view.labeled | view.candidates)
  spoilt = view._replace(features=jnp.where(outside[:, None], jnp.nan, view.features))
  assert select(factory, spoilt) == batch


@FORMS
def test_a_row_that_is_not_finite_comes_last(factory):
  view = view_of(6)
  bad = np.flatnonzero(view.candidates)[2]
  spoilt = view._replace(log_probs=view.log_probs.at[bad].set(jnp.nan))
  without = view._replace(candidates=view.candidates.at[bad].set(False))
  assert select(factory, spoilt) == select(factory, without)
  few = spoilt._replace(candidates=jnp.isin(jnp.arange(SIZE), jnp.flatnonzero(spoilt.candidates)[:NUM]))
  assert select(factory, few)[-1] == bad


@FORMS
def test_certain_predictions_and_copies(factory, debug_nans):
  view = view_of(5)
  certain = jnp.where(jnp.eye(CLASSES, dtype=bool)[jnp.arange(SIZE) % CLASSES], 0.0, -jnp.inf)[:, None]
  sure = view._replace(log_probs=jnp.repeat(certain, view.log_probs.shape[1], axis=1).astype(jnp.float32))
  assert select(factory, sure) == np.flatnonzero(view.candidates)[:NUM].tolist()
  # Four kinds of images in different directions: a batch of four has one of each.
  kinds = jnp.arange(SIZE) % 4
  copies = view._replace(
    labeled=jnp.zeros(SIZE, bool),
    candidates=jnp.ones(SIZE, bool),
    log_probs=jnp.full(view.log_probs.shape, -np.log(CLASSES), jnp.float32),
    features=5.0 * jnp.eye(FEATURES)[kinds],
  )
  assert sorted(np.asarray(kinds)[select(factory, copies)]) == [0, 1, 2, 3]


@FORMS
def test_one_candidate(factory):
  view = view_of(3)
  only = np.flatnonzero(view.candidates)[5]
  assert select(factory, view._replace(candidates=jnp.arange(SIZE) == only), 1) == [only]


def test_hyper_parameters():
  with pytest.raises(ValueError, match="top_classes must be at least 1, not 0"):
    bait_expectation(top_classes=0)
  for factory in INFORMATION:
    with pytest.raises(ValueError, match="regularization must be positive, not 0"):
      factory(regularization=0)
    with pytest.raises(ValueError, match=r"oversample must be at least 1, not 0\.5"):
      factory(oversample=0.5)
