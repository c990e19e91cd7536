"""What a run with a strategy depends on: what the strategy is shown, and how it is told."""

from al_jax import types

# A strategy of each kind there is. What a driver, a packing or a leak may get wrong it gets wrong for the whole kind.
KINDS = ("random", "margin", "bald", "epig", "kcenter", "badge", "cluster_margin")


def kind_of(made: types.Acquisition) -> types.Needs:
  """What it needs of the view; that samples are joint is a demand on the posterior, and how many targets a size."""
  return made.needs._replace(joint=False, targets=min(made.needs.targets, 1))
