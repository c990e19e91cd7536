"""Protocols that need files, such as frozen features, which the user keeps in a folder."""

from pathlib import Path

from experiments.common.errors import UsageError
from experiments.papers.base import Reproduction
from experiments.reproduction import plan


def checked(parts: dict[str, Reproduction], scale: str, folder: str | None, *, named: bool) -> dict[str, Reproduction]:
  """Checks the folder of files; without a folder, leaves out the protocols that need one, and prints which.

  Args:
    parts: the protocols to run, by name.
    scale: their scale.
    folder: the value of --files_dir.
    named: whether the user named the protocols.

  Returns:
    `parts`, or those of them that need no files.

  Raises:
    UsageError: a named protocol needs a folder, a file is missing, or no protocol needs the folder.
  """
  studies = {name: part.studies[scale] for name, part in parts.items()}
  needed = {name: own for name, of in studies.items() if (own := next(filter(None, map(plan.brings, of)), None))}
  if folder is None:
    for name, own in needed.items():
      if named:
        files = " and ".join(own.files("DIR"))
        raise UsageError(f"--only={name} needs --files_dir=DIR with {files}: get {own.source}")
    if needed:
      print(f"{' and '.join(needed)} are left out: give --files_dir to run them")
    return {name: part for name, part in parts.items() if name not in needed}
  if not needed:
    raise UsageError(f"--files_dir={folder} is read by no protocol of --only={','.join(parts)}: omit the flag")
  if "," in folder:
    raise UsageError(f"--files_dir={folder} has a comma, which separates files: rename the folder")
  for own in needed.values():
    for file in own.files(folder):
      if not Path(file).is_file():
        raise UsageError(f"{file} is missing: get {own.source}")
  return parts
