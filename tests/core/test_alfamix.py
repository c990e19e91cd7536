"""ALFA-Mix compared with its reference: the closed form, steps at which predictions change, candidates, edge cases."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import acquisition
from al_jax import pool
from al_jax import types
from al_jax.acquisition import _alfamix as alfamix
from tests.support import reference_head_votes as reference
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SIZE, FEATURES, CLASSES, NUM = 61, 6, 4, 5


def head_of(seed: int, scale: float = 1.0) -> types.Head:
  rng = np.random.default_rng(seed)
  kernel, bias = rng.normal(size=(FEATURES, CLASSES)), rng.normal(size=CLASSES)
  return types.Head(jnp.array(scale * kernel, jnp.float32), jnp.array(scale * bias, jnp.float32))


def ordinary(seed: int, num_labeled: int = 9, classes: int = CLASSES) -> types.PoolView:
  """Random non-negative rows, half of them zeros; some are labeled, three others hold NaN."""
  rng = np.random.default_rng(seed)
  special = rng.permutation(SIZE)
  labeled = np.isin(np.arange(SIZE), special[:num_labeled])
  out = np.isin(np.arange(SIZE), special[num_labeled : num_labeled + 3])
  features = np.where(out[:, None], np.nan, np.maximum(rng.normal(size=(SIZE, FEATURES)), 0))
  labels = np.where(labeled, rng.integers(0, classes, SIZE), types.UNKNOWN)
  view = types.PoolView(
    jnp.array(labeled),
    jnp.array(~labeled & ~out),
    features=jnp.array(features, jnp.float32),
    labels=jnp.array(labels, jnp.int32),
    head=head_of(seed, 3.0),
  )
  return ties_by_id(view)


def marked_by_reference(view: types.PoolView, alpha_cap: float, num: int) -> set[int]:
  of_classes = reference.anchors(view.features, view.labels, np.asarray(view.labeled))
  return reference.marked_by_steps(np.asarray(view.features), of_classes, view.candidates, view.head, alpha_cap, num)


@functools.cache
def selector(num: int, **hyper):
  """In several chunks, the last of which is not full."""
  return jax.jit(functools.partial(acquisition.alfamix(**hyper, chunk_size=16).select, num=num))


def chosen(view: types.PoolView, num: int = NUM, seed: int = 0, **hyper) -> list[int]:
  return selector(num, **hyper)(jax.random.key(seed), view).tolist()


def at_random(view: types.PoolView, num: int = NUM) -> list[int]:
  return pool.masked_top_k(jnp.zeros(SIZE), view.candidates, num=num, tie_break=view.tie_break).tolist()


def test_the_closed_form_of_the_reference_raises_the_loss_most():
  """To first order, among all weights that move the row as far, in a grid of directions."""
  rng = np.random.default_rng(0)
  head = rng.normal(size=(3, CLASSES)), rng.normal(size=CLASSES)
  grid = np.array([v for v in itertools.product(np.linspace(-1, 1, 15), repeat=3) if any(v)])
  grid /= np.linalg.norm(grid, axis=1, keepdims=True)
  for _ in range(20):
    row, anchor = rng.normal(size=(2, 3))
    alpha = reference.closed_form(row, anchor, head, 0.1)
    moved, gradient = alpha * (anchor - row), reference.loss_gradient(row, head)
    length = 0.1 * np.linalg.norm(anchor - row)
    assert np.linalg.norm(moved) == pytest.approx(length)
    others = grid * length / (anchor - row)  # weights per feature
    rises = (others * (anchor - row)) @ gradient
    assert moved @ gradient >= rises.max() > 0.95 * (moved @ gradient)
  loss = lambda row: np.log(np.exp(row @ head[0] + head[1]).sum()) - (row @ head[0] + head[1])[label]
  label = reference.prediction(row, head)
  slopes = [(loss(row + 1e-6 * e) - loss(row - 1e-6 * e)) / 2e-6 for e in np.eye(3)]
  np.testing.assert_allclose(slopes, gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_predictions_change_just_above_the_critical_step_and_not_below(scale):
  """With the larger scale, float32 probabilities are 1 and 0."""
  rng = np.random.default_rng(1)
  features = np.maximum(rng.normal(size=(60, FEATURES)), 0).astype(np.float32)
  anchors = np.maximum(rng.normal(size=(3, FEATURES)), 0).astype(np.float32)
  features[:3] = anchors  # at one anchor, but not at the others
  head, present = head_of(2, scale), np.array([True, True, False])
  find = jax.jit(alfamix.critical_steps)
  steps = np.asarray(find(jnp.array(features), head, jnp.array(anchors), jnp.array(present)))
  for row, step in zip(features, steps, strict=True):
    if np.isinf(step):
      assert not reference.changes(row, anchors[present], head, 1e3)
    else:
      assert not reference.changes(row, anchors[present], head, step * (1 - 1e-3))
      assert reference.changes(row, anchors[present], head, step * (1 + 1e-3))
  assert np.isfinite(steps).mean() > 0.9 and (steps > 0).all() and steps.max() > 10 * steps.min()
  at_anchors = find(jnp.array(anchors[:1]), head, jnp.array(anchors), jnp.array([True, False, False]))
  assert np.isinf(at_anchors).all()


def test_anchors_are_means_of_labeled_rows_per_class():
  view = ordinary(0)
  labels = np.asarray(view.labels)
  first = int(np.flatnonzero(view.labeled)[0])
  unknown = view.labels.at[first].set(types.UNKNOWN)
  anchors, present = alfamix.class_anchors(view.features, unknown, view.labeled, num_classes=CLASSES + 2)
  held = np.asarray(view.labeled) & (np.arange(SIZE) != first)
  assert np.flatnonzero(present).tolist() == np.unique(labels[held]).tolist()
  expected = reference.anchors(view.features, labels, held)
  np.testing.assert_allclose(anchors[present], expected, rtol=1e-5)
  assert np.isfinite(anchors).all()


@pytest.mark.slow
def test_the_batch_is_of_marked_images_or_all_of_them_and_random_others():
  sizes = []
  for seed in range(4):
    view = ordinary(seed)
    ids = chosen(view, seed=seed)
    assert len(set(ids)) == NUM and set(ids) <= marked_by_reference(view, 0.2, NUM)
    many, marked = chosen(view, 40, seed), marked_by_reference(view, 0.2, 40)
    sizes.append(len(marked))
    assert set(many[: len(marked)]) <= marked
    rest = np.asarray(view.candidates) & ~np.isin(np.arange(SIZE), list(marked))
    assert many[len(marked) :] == np.flatnonzero(rest)[: max(40 - len(marked), 0)].tolist()  # by `tie_break`
  assert min(sizes) < 40 < max(sizes)


@pytest.mark.parametrize("alpha_cap", [0.1, 0.3, 1.0])
def test_the_cap_grows_as_in_the_reference(alpha_cap):
  seen = set()
  for seed in range(2):
    view = ordinary(seed)
    anchors, present = alfamix.class_anchors(view.features, view.labels, view.labeled, num_classes=CLASSES)
    steps = alfamix.critical_steps(jnp.nan_to_num(view.features), view.head, anchors, present)
    mark = functools.partial(alfamix.mark, steps, view.candidates, alpha_cap=alpha_cap, num_features=FEATURES)
    first = int(mark(num=0).sum())
    for num in (0, first, 40):  # as many as are to be labeled are not enough
      marked = mark(num=num)
      assert set(np.flatnonzero(marked).tolist()) == marked_by_reference(view, alpha_cap, num)
      seen.add(int(marked.sum()))
  assert len(seen) > (1 if alpha_cap == 1 else 3)


def test_rows_may_be_in_any_order():
  """k-means draws its seeds by place, so that here all marked rows are acquired, and others."""
  view = ordinary(2)
  assert len(marked_by_reference(view, 0.2, 40)) < 40
  order = np.random.default_rng(0).permutation(SIZE)
  names = ("labeled", "candidates", "features", "labels", "tie_break")
  moved = view._replace(**{name: getattr(view, name)[order] for name in names})
  assert chosen(moved, 40) != chosen(view, 40)
  assert sorted(order[chosen(moved, 40)].tolist()) == sorted(chosen(view, 40))


def test_without_labels_or_with_a_broken_head_all_is_random():
  view = ordinary(0)
  view = view._replace(tie_break=jax.random.uniform(jax.random.key(3), (SIZE,)))
  kernel, bias = view.head
  assert chosen(view) != at_random(view)
  nothing = view._replace(labeled=jnp.zeros(SIZE, bool), labels=jnp.full(SIZE, types.UNKNOWN))
  assert chosen(nothing) == at_random(nothing)
  heads = {
    "NaN": types.Head(kernel.at[2, 1].set(jnp.nan), bias),
    "infinite": types.Head(kernel.at[2, 1].set(jnp.inf), bias),
    "bias": types.Head(kernel, bias.at[0].set(jnp.inf)),
    "zero": types.Head(jnp.zeros(kernel.shape), bias),
    "one class": types.Head(kernel, bias.at[0].set(1e6)),
  }
  expected = dict.fromkeys(heads, at_random(view))
  assert {name: chosen(view._replace(head=head)) for name, head in heads.items()} == expected


def test_one_labeled_class_and_one_labeled_image_are_enough():
  for num_labeled in (1, 6):
    view = ordinary(5, num_labeled, classes=1)
    ids = chosen(view)
    assert set(ids) <= marked_by_reference(view, 0.2, NUM) and len(set(ids)) == NUM


def test_labeled_rows_that_are_not_finite_are_no_anchors():
  view = ordinary(1)
  bad = int(np.flatnonzero(view.labeled)[2])
  spoiled = view._replace(features=view.features.at[bad, 0].set(jnp.nan))
  assert chosen(spoiled) == chosen(view._replace(labeled=view.labeled.at[bad].set(False)))


@pytest.mark.parametrize("alpha_cap", [0.0, -1.0, 1.5, math.nan])
def test_impossible_caps(alpha_cap):
  with pytest.raises(ValueError, match=f"alpha_cap must be above 0 and at most 1, not {alpha_cap}"):
    acquisition.alfamix(alpha_cap=alpha_cap)
