"""Splits: the blog's split is scikit-learn's split of the concatenated data."""

import numpy as np

from al_jax import splits as al_splits
from al_jax import types
from experiments import data as data_sources
from experiments.data import idx_order
from experiments.data import splits


def test_the_blog_split_is_scikit_learns_of_the_concatenation(monkeypatch):
  from sklearn.model_selection import train_test_split

  digits = data_sources.load("digits")
  monkeypatch.setattr(idx_order, "to_idx_order", lambda it, name: it)
  out = splits.apply("blog", digits, "mnist")
  everything = np.concatenate([digits.inputs, digits.test_inputs])
  train, test = train_test_split(everything, test_size=0.33, random_state=42)
  np.testing.assert_array_equal(out.inputs, train)
  np.testing.assert_array_equal(out.test_inputs, test)
  assert len(out.labels) == len(train) and len(out.test_labels) == len(test)


def test_the_blogs_rows_trained_on_and_steps():
  held, kept = 18_760, 15_946  # floor(18,760 * 0.85); 499 batches of 32 and one of 2... ten epochs: 4,990 steps
  plan = types.Plan(held, 100, 200, types.TrainPlan(batch_size=32, epochs=10), val_last=0.15)
  assert al_splits.num_trained(held, plan) == kept and -(-kept // 32) * 10 == 4990
  assert -(-al_splits.num_trained(held + 116 * 100, plan) // 32) * 10 == 8070
