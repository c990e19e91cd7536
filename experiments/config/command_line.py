"""The command line of experiments.mnist and experiments.ablation."""

import shlex
import sys

from experiments.common import flag_words
from experiments.common.errors import UsageError
from experiments.config import acquisitions
from experiments.config import presets
from experiments.config.flag_groups import GROUPS
from experiments.config.flags import FLAGS


def parse(argv: list[str]) -> list[str]:
  """The flags parser of `absl.app.run`, with grouped --help; refuses positional arguments and repeated flags.

  Exits with 0 after --help and --list_acquisitions, and with a one-sentence error (status 1) after a mistake.
  """
  if flag_words.ask_for_help(argv[1:]):
    print(help_text())
    sys.exit(0)
  try:
    rest = flag_words.read(FLAGS, argv, [name for group in GROUPS.values() for name in group])
  except UsageError as error:
    sys.exit(f"error: {error}")
  if FLAGS.list_acquisitions:
    print(acquisitions.listing())
    sys.exit(0)
  return rest


def help_text() -> str:
  """The main program's docstring, every flag by group with choices and default, and the presets."""
  lines = [(sys.modules["__main__"].__doc__ or "").strip(), *flag_words.described(FLAGS, GROUPS)]
  lines += ["", "Presets (flags on the command line override the preset):"]
  lines += [f"  {name:<19}{preset.summary}" for name, preset in presets.PRESETS.items()]
  return "\n".join(lines)


def resume_command(workdir: str) -> str:
  """The command line that resumes this study, whose results are in `workdir`."""
  kept = [name for names in GROUPS.values() for name in names if name not in ("resume", "overwrite", "workdir")]
  words = [FLAGS[name].serialize() for name in kept if FLAGS[name].present]
  spec = sys.modules["__main__"].__spec__
  program = ["-m", spec.name] if spec else sys.argv[:1]
  return shlex.join(["python", *program, *words, f"--workdir={workdir}", "--resume"])
