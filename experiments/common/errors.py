"""The error for mistakes in a command."""


class UsageError(ValueError):
  """A wrong flag, workdir or file; the message is one sentence with the offending value and the choices."""
