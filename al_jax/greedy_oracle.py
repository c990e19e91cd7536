"""The greedy oracle: a reference for acquisitions, which cheats by design. It reads the labels of the test set."""

import functools

import jax
import jax.numpy as jnp

from al_jax import acquisition
from al_jax import evaluation
from al_jax import pool
from al_jax import rounds
from al_jax import splits
from al_jax import training
from al_jax import types
from al_jax import views
from al_jax.learner import Acquire
from al_jax.learner import Learner
from al_jax.learner import Trainer

__all__ = ("greedy_oracle",)


def greedy_oracle(trials: int = 20) -> Acquire:
  """Label by label, the candidate whose label improves the test accuracy most: `Learner(..., acquire=greedy_oracle())`.

  It cheats by design: it reads the labels of candidates before they are acquired, and those of the test set. No
  acquisition may do this. It estimates how much there is to gain; it is greedy, and so no strict upper bound.

  For each label, `trials` candidates are drawn. The model is trained with each of them in turn, as the next round will
  train it, and the one with the highest test accuracy is acquired. If none of them exceeds the accuracy without it, the
  candidate of the pool with the smallest margin is acquired. The score of a label is the change of test accuracy. With
  `acq_size=1` it is the change that the next round measures.

  Each label takes `trials + 1` trainings.

  Source: Werner et al. (2024), *A Cross-Domain Benchmark for Active Learning*, whose code takes the smallest margin
  among the trials.

  Raises:
    ValueError: `trials` is not a positive integer.
  """
  if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
    raise ValueError(f"trials must be an integer of at least 1, not {trials!r}")
  return _greedy_oracle(trials)


@functools.cache  # equal arguments give the same object, so that equal learners share their compiled programs
def _greedy_oracle(trials: int) -> Acquire:
  def acquire(
    key: jax.Array, state: types.ALState, data: types.Dataset, trainer: Trainer, *, num: int
  ) -> tuple[jax.Array, jax.Array]:
    if not data.test_size:
      raise ValueError("the greedy oracle selects by test accuracy, and these data have no test set: give test rows")
    plan = trainer.plan
    if plan.pool_subset is not None:
      raise ValueError("the greedy oracle draws candidates itself: leave out pool_subset")
    by_margin = Learner(trainer, acquisition.margin())
    ties, may_be_labeled = views.tie_breaks(state, data), splits.for_labeling(state.key, data, plan)

    def accuracy(chosen: jax.Array) -> jax.Array:
      """Test accuracy after a training with `chosen` `[num]`, in which -1 adds nothing, by the next round's draws."""
      fitted, _ = training.fit(rounds.label(state, chosen, plan), data, trainer)
      return evaluation.evaluate_round(fitted, data, trainer).test_accuracy

    def pick(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
      ids, scores, before = carry
      labeled = pool.reveal(state.labeled, ids)
      candidates = may_be_labeled & ~labeled
      drawn = pool.random_subset(jax.random.fold_in(key, i), candidates, num=min(trials, data.pool_size))
      fallback, _ = rounds.select(state._replace(labeled=labeled), data, by_margin, num=1)
      tried = jnp.append(drawn, fallback)
      after = jax.lax.map(lambda new: accuracy(ids.at[i].set(new)), tried)
      # Fewer candidates than trials: rows drawn in excess are no candidates.
      of_drawn = jnp.where(candidates[drawn], after[:-1], -jnp.inf)
      best = pool.masked_argmax(of_drawn, candidates[drawn], tie_break=ties[drawn])
      place = jnp.where(of_drawn[best] > before, best, trials)
      return ids.at[i].set(tried[place]), scores.at[i].set(after[place] - before), after[place]

    before = evaluation.evaluate_round(state, data, trainer).test_accuracy
    start = jnp.full(num, -1, jnp.int32), jnp.zeros(num, jnp.float32), before
    ids, scores, _ = jax.lax.fori_loop(0, num, pick, start)
    return ids, scores

  return acquire
