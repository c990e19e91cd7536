"""The initial set that a file gives, in place of a draw."""

import json
from pathlib import Path

from experiments.errors import UsageError


def read(path: str) -> tuple[int, ...]:
  """The ids in a file, the same for every seed: a JSON list, or numbers with white space or commas between them.

  Whether they are ids of the pool is for `al_jax.checks.check_initial` to say.

  Raises:
    UsageError: the file cannot be read, or holds something else, or nothing.
  """
  try:
    text = Path(path).read_text()
  except (OSError, UnicodeDecodeError) as error:
    raise UsageError(f"--init_file={path} cannot be read: {error}") from error
  try:
    found = json.loads(text)
  except ValueError:
    found = None
  words = found if isinstance(found, list) else text.replace(",", " ").split()
  for word in words:
    if not str(word).isdecimal():
      raise UsageError(f"--init_file={path}: {word!r} is no id; write a list of pool ids, the same for every seed")
  if not words:
    raise UsageError(f"--init_file={path} holds no ids")
  return tuple(int(word) for word in words)
