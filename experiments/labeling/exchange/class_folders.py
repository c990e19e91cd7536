"""A labeled folder as one folder per class, which `experiments.mnist --dataset=` reads."""

from collections.abc import Iterable
import os
from pathlib import Path
import shutil
import tempfile
import unicodedata

from experiments.common.errors import UsageError
from experiments.data import image_files
from experiments.data.image_folder import PARTS
from experiments.labeling import images
from experiments.labeling.exchange.folder import Folder
from experiments.labeling.exchange.folder import counted

_FORBIDDEN = set('/\\<>:"|?*')  # in names of folders, here or on Windows
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{name}{i}" for name in ("COM", "LPT") for i in range(1, 10))}


def write(folder: Folder, out: Path, *, copy: bool = False) -> str:
  """Writes `OUT/CLASS/PATH`, or `OUT/test/CLASS/PATH` for audit images and `OUT/train/CLASS/PATH` for the others.

  Exact copies of an image are written once, and images without a label not at all. Files that vanished or changed
  since they were last read are left out and counted.

  Args:
    folder: the labeled folder.
    out: a folder that does not exist or is empty.
    copy: whether to copy the files instead of linking them. The links are hard links, because the reader of class
      folders refuses symbolic links that lead out of the data set.

  Returns:
    A sentence for the terminal.

  Raises:
    UsageError: there are no labels, a class or file cannot have its name, or the place is taken or cannot be written.
  """
  outcomes = [(image, folder.answers.outcome(image.sha256)) for image in folder.found.images]
  labeled = [(image, outcome.label, folder.is_audit(image)) for image, outcome in outcomes if outcome and outcome.label]
  audits = sum(is_audit for _, _, is_audit in labeled)
  if not labeled:
    raise UsageError(f"no image in {folder.root} has a label: there is nothing to export")
  if audits == len(labeled):
    raise UsageError(f"all {counted(audits, 'labeled image')} in {folder.root} are for the audit: label others first")
  _refuse_names({label for _, label, _ in labeled}, split=audits > 0)
  _refuse_place(folder, out)
  plan = [(image, Path(*([("train", "test")[audit]] if audits else []), label)) for image, label, audit in labeled]
  temporary = None
  try:
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    temporary.chmod(0o755)
    is_written = [_place(folder, image, temporary / inside, copy) for image, inside in plan]
    written = sum(is_written)
    os.replace(temporary, out)
  except OSError as error:
    raise UsageError(f"{out} cannot be written: {error.strerror}") from error
  finally:
    if temporary is not None:
      shutil.rmtree(temporary, ignore_errors=True)
  text = f"Wrote {counted(written, 'image')} to {out}"
  tests = sum(done and audit for done, (_, _, audit) in zip(is_written, labeled, strict=True))
  text += f", of which {counted(tests, 'audit image')} in test" if audits else ""
  lost = len(labeled) - written
  text += f"; {counted(lost, 'labeled image')} left out, because the file vanished or changed" if lost else ""
  if absent := {label for _, label, audit in labeled if audit} - {label for _, label, audit in labeled if not audit}:
    text += f"; no image of class {', '.join(map(repr, sorted(absent)))} is in train, which experiments.mnist needs"
  return text + "."


def _refuse_names(names: Iterable[str], *, split: bool) -> None:
  """Raises UsageError for a class that cannot be a folder's name on all systems, or that readers take for no class."""
  taken: dict[str, str] = {}
  for name in sorted(names):
    reason = None
    if _FORBIDDEN & set(name) or not name.isprintable():
      reason = f"{''.join(sorted(_FORBIDDEN))} are not allowed in one"
    elif name.startswith((".", "__")):
      reason = "folders that start with . or __ are no classes"
    elif name.endswith((".", " ")):
      reason = "it ends in a dot or a space"
    elif name.split(".")[0].upper() in _DEVICES:
      reason = "Windows reserves it"
    elif not split and name.lower() in PARTS:
      reason = "it names a part of a data set"
    elif (other := taken.setdefault(unicodedata.normalize("NFC", name).casefold(), name)) != name:
      reason = f"{other!r} has the same on some systems"
    if reason:
      raise UsageError(f"class {name!r} cannot be the name of a folder ({reason}): export csv instead")


def _refuse_place(folder: Folder, out: Path) -> None:
  if out.resolve().is_relative_to(folder.root):
    raise UsageError(f"{out} is inside {folder.root}, whose images it would double: give a folder elsewhere")
  if not out.parent.is_dir():
    raise UsageError(f"{out.parent} is not a folder: create it, or give another place")
  if os.path.lexists(out) and not (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
    raise UsageError(f"{out} exists and is not an empty folder: delete it, or give another place")


def _place(folder: Folder, image: images.Image, out: Path, copy: bool) -> bool:
  """Links or copies an image below its class's folder; False if no file of its has the bytes that were labeled."""
  for path in (image.path, *image.copies):
    name = Path(path).name
    if name.startswith(".") or not name.lower().endswith(image_files.SUFFIXES):
      raise UsageError(f"{path!r} has a name that readers of folders take for no image: rename it, or export csv")
    source = (folder.root / path).resolve()
    try:
      if images.sha256_of(folder.root, path) != image.sha256:
        continue
    except OSError:
      continue
    target = out / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if copy:
      shutil.copyfile(source, target)
    else:
      try:
        os.link(source, target)
      except OSError as error:
        raise UsageError(f"{str(source)!r} cannot be linked ({error.strerror}): use --export=copies:DIR") from error
    return True
  return False
