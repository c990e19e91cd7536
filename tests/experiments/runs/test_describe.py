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


def rows_of(size: int, shape: tuple[int, ...], classes: int = 10, **fields) -> Dataset:
  """Rows that take no memory."""
  zeros = lambda *shape: np.broadcast_to(np.float32(0), shape)
  labels = np.arange(size) % classes
  return Dataset(zeros(size, *shape), labels, zeros(1, *shape), labels[:1], classes, inputs.as_they_are, **fields)


def test_selections_that_take_longer_than_the_passes_are_remarked_on():
  images = lambda size: rows_of(size, (28, 28, 1))
  strategies = ("random", "entropy", "kcenter", "power_bald", "probcover", "bait")
  assert describe.selection_lines(config(acq=strategies), images(60_000)) == []
  assert describe.selection_lines(config(acq=("probcover",), full_data=True), images(400_000)) == []
  (line,) = describe.selection_lines(config(acq=strategies), images(400_000))
  # A pass of this network is 12.1e6 multiply-adds per image, and F is 128.
  assert line == (
    "probcover: selecting 10 of 400,000 images takes about 4.3 times a forward pass over them;"
    " with --pool_subset=92000 or less it takes no longer"
  )


def test_the_pool_subset_that_is_named_is_the_largest_that_fits():
  heads = {"model": "linear", "optimizer": "newton", "acq": ("margin", "probcover@50:margin")}
  data = rows_of(60_000, (128,))
  (line,) = describe.selection_lines(config(**heads), data)
  assert line.startswith("probcover@50:margin: selecting 10 of 60,000 images takes about")
  assert "times 0.3 s on two CPU cores; with --pool_subset=" in line
  subset = int(line.partition("--pool_subset=")[2].split()[0])
  assert 8_000 < subset < 16_000
  assert describe.selection_lines(config(**heads, pool_subset=subset), data) == []
  assert describe.selection_lines(config(**heads, pool_subset=subset + 1000), data)


def test_the_features_compared_are_the_embedding_where_there_is_one():
  heads = {"model": "linear", "optimizer": "newton", "acq": ("probcover",)}
  embedding = np.broadcast_to(np.float32(0), (20_000, 4))
  assert describe.selection_lines(config(**heads), rows_of(20_000, (512,)))
  assert describe.selection_lines(config(**heads), rows_of(20_000, (512,), embedding=embedding)) == []


def test_a_selection_that_no_subset_makes_cheap():
  heads = {"model": "linear", "optimizer": "newton", "acq": ("bait",)}
  (line,) = describe.selection_lines(config(**heads, acq_size=100), rows_of(20_000, (512,), classes=100))
  assert line.endswith("times 0.3 s on two CPU cores, and no --pool_subset makes it as cheap")


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
