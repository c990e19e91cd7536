"""Ids do not depend on reduced-precision matrix products; TF32 is emulated by rounding operands."""

import functools

import jax
from jax._src.lax import lax as internal
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import acquisition
from tests.core.test_bait import view_of
from tests.support import reference_bait

pytestmark = pytest.mark.usefixtures("fast_compilation")


@pytest.fixture
def short_products(monkeypatch):
  """Rounds the operands of products below HIGHEST precision to TF32's 10 bits; counts both kinds."""
  exact, counts = internal.dot_general, {"short": 0, "full": 0}

  @functools.wraps(exact)
  def rounded(lhs, rhs, *args, precision=None, **kwargs):
    asked = internal.canonicalize_precision(precision)
    if asked == (jax.lax.Precision.HIGHEST,) * 2:
      counts["full"] += 1
    else:
      counts["short"] += 1
      lhs, rhs = (jax.lax.reduce_precision(jnp.asarray(x), exponent_bits=8, mantissa_bits=10) for x in (lhs, rhs))
    return exact(lhs, rhs, *args, precision=precision, **kwargs)

  jax.clear_caches()
  monkeypatch.setattr(internal, "dot_general", rounded)
  yield counts
  monkeypatch.undo()
  jax.clear_caches()


def test_the_emulation_shortens(short_products):
  third = jnp.full((1, 1), 1 / 3)
  assert abs((third @ third)[0, 0] - 1 / 9) > 1e-5
  assert abs(jnp.matmul(third, third, precision="highest")[0, 0] - 1 / 9) < 1e-7
  assert short_products == {"short": 1, "full": 1}


@pytest.mark.parametrize("name", ["bait", "batchbald", "epig", "kcenter", "kmeans", "typiclust", "cluster_margin"])
def test_every_product_of_a_selection_is_in_full_precision(name, short_products):
  hyper = {"targets": 7} if name == "epig" else {"max_configs": 64} if name == "batchbald" else {}
  made = acquisition.make(name, **hyper)
  view = view_of(3)
  view = view._replace(embedding=view.features, target_log_probs=view.log_probs[:7])
  jax.make_jaxpr(lambda key: made.select(key, view, num=5))(jax.random.key(0))
  assert short_products["short"] == 0 and short_products["full"] > 0


@pytest.mark.slow
def test_bait_under_short_products_is_that_of_float64(short_products):
  for seed in range(4):
    view = view_of(seed, length=10.0)
    args = view.log_probs, view.features, view.labeled, view.candidates, 8
    made = acquisition.make("bait", regularization=1.0)
    ids = jax.jit(lambda key, view=view, made=made: made.select(key, view, num=8))(jax.random.key(0))
    assert np.asarray(ids).tolist() == reference_bait.bait(*args, regularization=1.0)[1]
