"""Kinds of strategies, by what they read."""

from al_jax import types

# One strategy per kind: an error in a driver or a packing, or a leak, affects all strategies of a kind.
KINDS = ("random", "margin", "bald", "epig", "kcenter", "badge", "cluster_margin", "uherding", "dropquery", "alfamix")


def kind_of(made: types.Acquisition) -> types.Needs:
  """The needs that define the kind: without `joint`, which concerns the posterior, and with at most one target."""
  return made.needs._replace(joint=False, targets=min(made.needs.targets, 1))
