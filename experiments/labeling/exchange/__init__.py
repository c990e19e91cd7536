"""Labels out of a labeled folder and into it: CSV, class folders, and the JSON files of Label Studio."""

from collections.abc import Callable
import functools
from pathlib import Path

from experiments.common.errors import UsageError
from experiments.labeling import journal
from experiments.labeling.exchange import class_folders
from experiments.labeling.exchange import folder
from experiments.labeling.exchange import incoming
from experiments.labeling.exchange import label_studio
from experiments.labeling.exchange import tables

EXPORTS: dict[str, Callable[[folder.Folder, Path], str]] = {
  "csv": tables.write,
  "folders": class_folders.write,
  "copies": functools.partial(class_folders.write, copy=True),
  "label_studio": label_studio.write,
}
IMPORTS: dict[str, Callable[[folder.Folder, Path], list[incoming.Given]]] = {
  "csv": tables.read,
  "label_studio": label_studio.read,
}


def run_export(spec: str, workdir: Path, root: Path | None = None) -> str:
  """Writes the labels of a workdir; returns a sentence for the terminal.

  Args:
    spec: `csv:FILE`, `folders:DIR` (hard links), `copies:DIR` or `label_studio:FILE`.
    workdir: where the labels are.
    root: the folder that was labeled; default: that of the last start.

  Raises:
    UsageError: the specification is none of these, the place is taken or cannot be written, or there is nothing to
      export.
  """
  kind, place = _parsed(spec, "export", EXPORTS)
  return EXPORTS[kind](folder.read(workdir, root), place)


def run_import(spec: str, workdir: Path, root: Path | None = None) -> str:
  """Takes labels into the journal of a workdir, which the caller has locked; returns a sentence for the terminal.

  Args:
    spec: `csv:FILE` or `label_studio:FILE`.
    workdir: where the labels are.
    root: the folder that was labeled; default: that of the last start.

  Raises:
    UsageError: the specification is neither, or the file cannot be read or does not fit the folder; nothing is written.
  """
  kind, place = _parsed(spec, "import", IMPORTS)
  labeled = folder.read(workdir, root)
  given = IMPORTS[kind](labeled, place)
  done = incoming.take(labeled, given, journal.Journal(workdir / journal.NAME), kind)
  return f"{place}: {done}."


def _parsed(spec: str, flag: str, kinds: dict) -> tuple[str, Path]:
  kind, _, place = spec.partition(":")
  if kind not in kinds or not place:
    ways = [f"{name}:{'DIR' if name in ('folders', 'copies') else 'FILE'}" for name in kinds]
    raise UsageError(f"--{flag}={spec} must be one of {', '.join(ways)}")
  return kind, Path(place).expanduser()
