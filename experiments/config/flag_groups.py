"""Groups of flags under the headings of --help, and bounds of their values."""

from absl import flags

GROUPS: dict[str, list[str]] = {}


class Group:
  """A group of flags under one heading of --help; `group.<kind>(...)` calls `flags.DEFINE_<kind>(...)`."""

  def __init__(self, heading: str):
    self._names = GROUPS.setdefault(heading, [])

  def __getattr__(self, kind: str):
    def define(name: str, default, text: str, **kwargs) -> None:
      getattr(flags, f"DEFINE_{kind}")(name, default, help=text, **kwargs)
      self._names.append(name)

    return define


def at_least(low: float) -> dict:
  return {"lower_bound": low}


def share() -> dict:
  return {"lower_bound": 0.0, "upper_bound": 0.99}


SEED = {"lower_bound": 0, "upper_bound": 2**32 - 1}  # a seed s >= 2**32 gives the key of s mod 2**32
