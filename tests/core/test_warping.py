"""Affine warps against scipy, and the random warp's ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from al_jax import warping

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(5)
SHAPE = (6, 9, 12, 2)  # neither square nor grey
STILL = {"scale": (1.0, 1.0), "aspect": 0.0, "rotation": 0.0, "shear": 0.0, "shift": 0.0}


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).random(SHAPE).astype(np.float32)


def by_scipy(images, matrices, shifts):
  """The same warp in float64, image by image and channel by channel."""
  out = np.zeros(images.shape)
  center = (np.array(images.shape[1:3]) - 1) / 2
  for i, (matrix, shift) in enumerate(zip(matrices.astype(float), shifts.astype(float), strict=True)):
    for c in range(images.shape[-1]):
      out[i, ..., c] = scipy.ndimage.affine_transform(
        images[i, ..., c].astype(float), matrix, center - matrix @ center + shift, order=1, mode="grid-constant"
      )
  return out


def test_warp_equals_scipy(images):
  rng = np.random.default_rng(1)
  matrices = (np.eye(2) + rng.normal(0, 0.5, (len(images), 2, 2))).astype(np.float32)
  shifts = rng.normal(0, 4, (len(images), 2)).astype(np.float32)
  shifts[0] = 1e6  # far outside: only zeros
  warped = jax.jit(warping.warp)(images, matrices, shifts)
  np.testing.assert_allclose(warped, by_scipy(images, matrices, shifts), atol=2e-5)
  assert not np.asarray(warped[0]).any() and np.asarray(warped[1:]).any()


def test_a_shift_by_whole_pixels_moves_the_image(images):
  still = np.broadcast_to(np.eye(2, dtype=np.float32), (len(images), 2, 2))
  shifts = np.broadcast_to(np.array([2, -3], np.float32), (len(images), 2))
  expected = np.zeros_like(images)
  expected[:, :-2, 3:] = images[:, 2:, :-3]
  np.testing.assert_allclose(warping.warp(images, still, shifts), expected, atol=1e-6)


def test_a_quarter_turn_is_exact():
  square = np.random.default_rng(2).random((1, 7, 7, 1)).astype(np.float32)
  quarter = warping._matrices(*(jnp.float32([value]) for value in (1, 1, np.pi / 2, 0)))
  turned = warping.warp(square, quarter, jnp.zeros((1, 2)))
  np.testing.assert_allclose(turned[0], np.rot90(square[0], -1), atol=1e-5)


def test_no_strength_changes_nothing(images):
  np.testing.assert_array_equal(warping.RandomWarp(**STILL)(KEY, images), images)


def drawn(monkeypatch, **strength):
  """Matrices and shifts of 4,000 images of 10 x 20."""
  seen = []
  monkeypatch.setattr(warping, "warp", lambda images, *drawn: seen.append(drawn) or images)
  warping.RandomWarp(**STILL | strength)(KEY, jnp.zeros((4000, 10, 20, 1)))
  return map(np.asarray, seen[0])


@pytest.mark.parametrize(
  ("strength", "low", "high"),
  [
    ({"scale": (0.5, 1.5)}, [[0.5, 0], [0, 0.5]], [[1.5, 0], [0, 1.5]]),
    ({"shear": 0.4}, [[1, 0], [-0.4, 1]], [[1, 0], [0.4, 1]]),
    ({"rotation": 0.3}, [[0.9553, -0.2955], [-0.2955, 0.9553]], [[1, 0.2955], [0.2955, 1]]),
  ],
)
def test_strengths_bound_the_matrices(monkeypatch, strength, low, high):
  matrices, shifts = drawn(monkeypatch, **strength)
  np.testing.assert_allclose(matrices.min(axis=0), low, atol=2e-3)
  np.testing.assert_allclose(matrices.max(axis=0), high, atol=2e-3)
  assert not shifts.any()
  if "rotation" in strength:
    np.testing.assert_allclose(matrices @ matrices.swapaxes(1, 2), np.broadcast_to(np.eye(2), (4000, 2, 2)), atol=1e-5)


def test_shift_and_aspect_are_shares_of_the_sides(monkeypatch):
  matrices, shifts = drawn(monkeypatch, shift=0.2, aspect=0.21)
  np.testing.assert_allclose(np.abs(shifts).max(axis=0), [2, 4], rtol=5e-3)
  heights, widths = matrices[:, 0, 0], matrices[:, 1, 1]
  np.testing.assert_allclose(heights * widths, 1, rtol=1e-5)
  np.testing.assert_allclose([heights.min() ** 2, heights.max() ** 2], [0.79, 1.21], atol=2e-3)


def test_each_image_has_its_own_view_and_a_key_gives_the_same(images):
  same = np.broadcast_to(images[:1], images.shape)
  views = np.asarray(warping.RandomWarp()(KEY, same))
  assert len({view.tobytes() for view in views}) == len(views)
  np.testing.assert_array_equal(views, warping.RandomWarp()(KEY, same))


def test_erasing_sets_rectangles_to_zero():
  erase = warping.RandomWarp(**STILL, erase_probability=0.3, erase_side=(0.25, 0.5))
  erased = np.asarray(erase(KEY, jnp.ones((1000, 20, 40, 1))))[..., 0] == 0
  assert erased.any(axis=(1, 2)).mean() == pytest.approx(0.3, abs=4 * (0.21 / 1000) ** 0.5)
  rows, columns = erased.any(axis=2), erased.any(axis=1)
  np.testing.assert_array_equal(erased, rows[:, :, None] & columns[:, None, :])
  assert rows.sum(axis=1).max() == 10 and columns.sum(axis=1).max() == 20


@pytest.mark.parametrize(
  ("wrong", "message"),
  [
    ({"scale": (1.2, 0.6)}, "low before high"),
    ({"scale": (0.0, 1.0)}, "positive"),
    ({"aspect": 1.0}, "below 1"),
    ({"rotation": float("nan")}, "finite, not nan"),
    ({"erase_probability": 1.5}, "within 0..1, not 1.5"),
  ],
)
def test_wrong_strengths_are_refused(wrong, message):
  with pytest.raises(ValueError, match=message):
    warping.RandomWarp(**wrong)


def test_rows_that_are_not_images_are_refused():
  with pytest.raises(ValueError, match="not images"):
    warping.RandomWarp()(KEY, jnp.zeros((3, 4)))
