"""The lines that describe a study before it starts."""

from experiments.runs import describe
from tests.experiments.config.test_acquisitions import config


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
  assert line(full_data=True) == "adam, learning rate 0.0003, batch 32, 4000 steps on the whole pool"
