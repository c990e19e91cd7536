"""What every program does with the words of its command line: help, and one sentence for a mistake."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping

from absl import flags

from experiments.common.errors import UsageError


def ask_for_help(words: Iterable[str]) -> bool:
  """Whether one of the words is `--help` or a variant of it."""
  return any(word.lstrip("-") in ("help", "h", "helpfull", "helpshort") for word in words if word.startswith("-"))


def read(
  values: flags.FlagValues,
  argv: list[str],
  names: Iterable[str] | None = None,
  unknown: Callable[[str], str | None] = lambda name: None,
  words: int = 0,
) -> list[str]:
  """Parses a command line of flags; returns its first word and those that are no flags.

  Args:
    values: the flags that are set.
    argv: the command line.
    names: flags that may be given once at most; None for all.
    unknown: the sentence for a flag that does not exist; None for the parser's.
    words: how many words may be no flags.

  Raises:
    UsageError: a wrong flag, too many words that are no flags, or a flag that is given twice.
  """
  try:
    rest = values(argv)
  except flags.UnrecognizedFlagError as error:
    raise UsageError(unknown(error.flagname) or error) from error
  except flags.Error as error:
    raise UsageError(error) from error
  if len(rest) > 1 + words:
    raise UsageError(f"unexpected argument {rest[1 + words]!r}: every setting is a flag, --name=value")
  for name in values if names is None else names:
    if values[name].present > 1:
      raise UsageError(f"--{name} is given {values[name].present} times: give it once")
  return rest


def described(values: flags.FlagValues, groups: Mapping[str, Iterable[str]]) -> list[str]:
  """The lines of a help text: under each heading its flags, with their texts and defaults."""
  lines = []
  for heading, names in groups.items():
    lines += ["", f"{heading}:"]
    for name in names:
      flag = values[name]
      shown = "" if flag.default in (None, []) else f" [{str(flag.default).lower() if flag.boolean else flag.default}]"
      lines.append(f"  --{name:<19}{flag.help}{shown}")
  return lines
