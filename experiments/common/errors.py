"""Mistakes of the person at the keyboard."""


class UsageError(ValueError):
  """A wrong flag, workdir or file: one sentence that names the offending value and the choices."""
