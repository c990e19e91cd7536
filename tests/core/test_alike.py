"""Equivalent learners share a compiled program; different ones never do."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import al_jax
from al_jax import alike
from al_jax import programs
from tests.conftest import TinyMLP

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(0)
PLAN = al_jax.Plan(10, 7, 2, al_jax.TrainPlan(batch_size=8, steps=5), init_balanced=False, chunk_size=30)


def made_anew(*, rate=1e-2, shift=0.0, classes=10, scale=None, plan=PLAN) -> al_jax.Learner:
  """Defined anew on every call, as in a notebook cell."""

  class Net(nn.Module):
    hidden: list  # unhashable

    @nn.compact
    def __call__(self, x, *, train=False):
      x = nn.relu(nn.Dense(self.hidden[0])(x.reshape((x.shape[0], -1))))
      x = nn.Dropout(0.25, deterministic=not train)(x)
      return nn.Dense(classes)(x if scale is None else x * jnp.reshape(scale, (1, -1)))

  def doubt(log_probs):
    return shift - jnp.max(log_probs.mean(0))

  trainer = al_jax.Trainer(al_jax.from_flax(Net([16])), optax.adam(rate), plan)
  return al_jax.Learner(trainer, al_jax.acquisition.from_score(doubt))


@pytest.mark.slow
def test_alike_learners_compile_once(data, compilations):
  first = al_jax.run(KEY, data, made_anew())
  state = al_jax.init_state(KEY, data, made_anew())
  al_jax.round_fn(state, data, made_anew())
  with compilations() as events:
    again = al_jax.run(KEY, data, made_anew())
    al_jax.round_fn(al_jax.init_state(KEY, data, made_anew()), data, made_anew())
  assert not events
  np.testing.assert_array_equal(first[1].selected, again[1].selected)
  assert made_anew() != made_anew()


@pytest.mark.parametrize(
  "changes",
  [
    {"rate": 2e-2},
    {"shift": 1.0},
    {"scale": np.float32(2)},
    {"scale": np.arange(16, dtype=np.float32)},
    {"plan": dataclasses.replace(PLAN, train=al_jax.TrainPlan(batch_size=8, steps=6))},
  ],
  ids=str,
)
def test_what_differs_in_a_number_is_another(changes, data):
  programs.shared(KEY, data, made_anew())
  other = made_anew(**changes)
  trainer, learner = programs.shared(KEY, data, other)
  assert learner == other and (trainer == other.trainer or "shift" in changes)
  assert learner != programs.shared(KEY, data, made_anew())[1]
  assert programs.shared(KEY, data, made_anew(**changes)) == (trainer, learner)


@pytest.mark.parametrize(
  "changes", [{"pool_subset": 40}, {"rounds": 3}, {"val_last": 0.2}, {"score_dtype": "bfloat16"}], ids=str
)
def test_what_differs_in_the_plan_is_another_whatever_it_bears_on(changes, data):
  first, other = made_anew(), made_anew(plan=dataclasses.replace(PLAN, **changes))
  assert programs.shared(KEY, data, first)[1].plan == PLAN
  trainer, learner = programs.shared(KEY, data, other)
  assert trainer.plan == learner.plan == other.plan


def test_networks_that_differ_in_how_they_sample_alone_are_others(data):
  def made(rate):
    network = al_jax.from_flax(TinyMLP())
    dropped = al_jax.from_flax(TinyMLP(dropout_rate=rate))
    own = network._replace(sample=lambda key, *args: (network if key is None else dropped).sample(key, *args))
    trainer = al_jax.Trainer(own, optax.adam(1e-2), PLAN)
    return al_jax.Learner(trainer, al_jax.acquisition.bald(), al_jax.posterior.mc_dropout(3))

  (one, first), (same, again), (other, second) = (programs.shared(KEY, data, made(r)) for r in (0.5, 0.5, 0.25))
  assert one == same == other and first == again != second


def test_constants_are_compared_by_value(data):
  scales = [np.full(16, value, np.float32) for value in (2, 2, 3)]
  same, again, other = (programs.shared(KEY, data, made_anew(scale=scale))[1] for scale in scales)
  assert same == again != other


def test_what_cannot_be_told_is_compiled(data):
  def counted(seen):
    def doubt(log_probs):
      jax.debug.callback(seen.append, log_probs.sum())
      return -jnp.max(log_probs.mean(0))

    return al_jax.acquisition.from_score(doubt)

  one, two = (made_anew()._replace(acquisition=counted([])) for _ in range(2))
  assert programs.shared(KEY, data, one)[1] != programs.shared(KEY, data, two)[1]


def test_forms():
  f = lambda c: lambda x: jnp.sin(x) * c
  x = jnp.ones(3)
  assert alike.form(f(2.0), x) == alike.form(f(2.0), x) != alike.form(f(3.0), x)
  assert alike.form(f(2.0), x) != alike.form(f(2.0), jnp.ones(4))
  assert alike.form(jax.jit(f(2.0)), x) == alike.form(jax.jit(f(2.0)), x)
  grad = lambda c: jax.grad(lambda x: jax.nn.relu(c * x).sum())
  assert alike.form(grad(2.0), x) == alike.form(grad(2.0), x) != alike.form(grad(3.0), x)
  loop_of = lambda n: lambda x: jax.lax.fori_loop(0, n, lambda i, x: x + i, x)
  assert alike.form(loop_of(2), x) != alike.form(loop_of(3), x)
  draw = lambda rate: lambda key: jax.random.bernoulli(key, rate, (3,))
  assert alike.form(draw(0.5), KEY) == alike.form(draw(0.5), KEY) != alike.form(draw(0.25), KEY)


def test_outlines_part_what_is_written_differently():
  one, two = (lambda x: x + 1), (lambda x: x - 1)
  made = [(lambda c: lambda x: one(x) + c)(1), (lambda c: lambda x: one(x) + c)(1), (lambda c: lambda x: two(x) + c)(1)]
  assert alike.outline(made[0]) == alike.outline(made[1])
  assert alike.outline(one) != alike.outline(two)


def test_the_drivers_learners_are_not_traced_twice(data, make_learner, monkeypatch):
  traced = []
  form = alike.form
  monkeypatch.setattr(alike, "form", lambda *args: traced.append(args) or form(*args))
  for table in ("_TRAINERS", "_LEARNERS"):  # without the entries of other tests
    monkeypatch.setattr(programs, table, alike.Table())
  for name in ("random", "kcenter", "badge"):
    programs.shared(KEY, data, make_learner(name, network=al_jax.from_flax(TinyMLP(hidden=11))))
  assert not traced


def test_within_a_trace_a_learner_is_itself(data, make_learner):
  learner = make_learner("margin")
  found = []
  jax.eval_shape(lambda key: found.append(programs.shared(key, data, learner)) or key, KEY)
  assert found == [(learner.trainer, learner)]
