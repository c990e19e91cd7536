"""The lines that describe a study before it starts."""

import numpy as np

from al_jax import inputs
from al_jax.types import Dataset
from experiments.runs import describe
from tests.experiments.config.test_acquisitions import config


def test_heads_that_did_not_converge_are_counted():
  rows = [{"train_steps": steps} for steps in (7, 100, 100)] + [{"error": "the loss was not finite"}]
  heads = config(model="linear", optimizer="newton")
  assert describe.convergence_lines(heads, rows) == [
    "2 of 4 trainings ended at 100 Newton steps without converging: give a larger --l2"
  ]
  assert not describe.convergence_lines(heads, rows[:1]) and not describe.convergence_lines(config(), rows)


def test_the_line_on_training():
  line = lambda **changes: describe.training_line(config(**changes))
  assert line() == "adam, learning rate 0.0003, batch 32, 200 steps per round, the same for every strategy"
  assert line(weight_decay=5e-4, early_stop=3) == (
    "adam, learning rate 0.0003, weight decay 0.0005, batch 32, at most 200 steps per round, the same for every"
    " strategy"
  )
  assert line(weight_decay=7.0, decay_layers="Dense_0", decay_over_labels=True) == (
    "adam, learning rate 0.0003, weight decay 7 divided by the number of labels on Dense_0, batch 32, 200 steps per"
    " round, the same for every strategy"
  )
  grid = (("learning_rate", (1e-3, 3e-4)), ("weight_decay", (0.0, 0.1)))
  assert line(vmap_over=grid, epochs=7, train_steps=None, optimizer="adadelta") == (
    "adadelta, learning rate 0.001 or 0.0003, weight decay 0 or 0.1, batch 32, 7 epochs per round, the same for every"
    " strategy"
  )
  heads = {"model": "linear", "optimizer": "newton", "l2": 0.5}
  assert line(**heads) == (
    "logistic regression with an L2 penalty of 0.5, to convergence per round, the same for every strategy"
  )
  assert line(**heads, full_data=True).endswith("to convergence on the whole pool")
  assert line(full_data=True) == "adam, learning rate 0.0003, batch 32, 4000 steps on the whole pool"


def test_the_posterior_of_a_linear_head_is_laplace():
  asked = config(model="linear", optimizer="newton", acq=("entropy", "bald"))
  assert describe.posterior_lines(asked, 3) == ["bald: scored on 20 samples of laplace"]


def test_many_features_are_remarked_on():
  heads = {"model": "linear", "optimizer": "newton"}
  rows = lambda features: np.zeros((6, features), np.float32)
  data = lambda features: Dataset(
    rows(features), np.arange(6) % 3, rows(features), np.arange(6) % 3, 3, inputs.as_they_are
  )
  assert describe.memory_lines(config(**heads), data(4096)) == []
  assert describe.memory_lines(config(), data(5000)) == []
  (line,) = describe.memory_lines(config(**heads), data(9_999))
  assert line == (
    "9,999 features: the matrices of newton and Laplace take 2.2 GiB, and a Laplace posterior 10 TFLOP per round"
  )
