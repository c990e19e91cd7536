"""A labeled folder as the tasks of Label Studio, and the labels of its exports (JSON and JSON_MIN).

Formats: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export. Images are shown from the disk
("local storage"): their address is `/data/local-files/?d=PATH`, the path relative to the document root of the
installation, which has to be the folder that holds the labeled folder.
"""

from collections.abc import Iterator
import json
import os
from pathlib import Path
from typing import Any
from typing import NamedTuple
import urllib.parse
from xml.sax.saxutils import quoteattr

from experiments.common.errors import UsageError
from experiments.data.errors import one_line
from experiments.labeling.answers import LABEL
from experiments.labeling.answers import SKIP
from experiments.labeling.answers import UNUSABLE
from experiments.labeling.exchange.folder import Folder
from experiments.labeling.exchange.folder import counted
from experiments.labeling.exchange.folder import write_new
from experiments.labeling.exchange.incoming import Given
from experiments.labeling.exchange.incoming import refuse_unknown
from experiments.labeling.images import Image
from experiments.labeling.journal import Event

_VERSION = "al_jax"  # of the model that gave a prediction
_FROM, _TO = "label", "image"  # names in the labeling configuration
_ADDRESS = "/data/local-files/?d="
_IMAGES = ("image", "$undefined$")  # keys of the address; the second is what a synchronized local storage writes


class _Annotation(NamedTuple):
  """An annotation of Label Studio."""

  action: str  # LABEL or SKIP
  label: str | None
  user: str
  annotator: str | None  # whose answer it is; None if it may be one that was exported to Label Studio before
  seconds: float | None


def configuration(classes: list[str]) -> str:
  """The labeling configuration (XML): one choice per class."""
  choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
  return (
    f'<View>\n  <Image name="{_TO}" value="$image"/>\n'
    f'  <Choices name="{_FROM}" toName="{_TO}" choice="single" showInline="true">\n{choices}\n  </Choices>\n</View>\n'
  )


def write(folder: Folder, file: Path) -> str:
  """Writes the tasks, and beside them the labeling configuration; returns sentences for the terminal.

  Unusable images are left out. A task has every annotator's answer as an annotation, and the model's guess as a
  prediction if the image has an answer and is no audit image.

  Raises:
    UsageError: there are no classes, or a file exists or cannot be written.
  """
  if not folder.answers.classes:
    raise UsageError(f"{folder.root} has no classes: add some before you export them")
  config = file.with_suffix(".xml")
  if config.exists() or config == file:
    raise UsageError(f"{config} is for the labeling configuration: delete it, or give {file.name!r} another name")
  tasks, unusable = [], 0
  for image in folder.found.images:
    outcome = folder.answers.outcome(image.sha256)
    if outcome is not None and outcome.action == UNUSABLE:
      unusable += 1
    else:
      tasks.append(_task(folder, image))
  write_new(file, json.dumps(tasks, indent=1).encode())
  write_new(config, configuration(folder.answers.classes).encode())
  answered = sum(bool(task["annotations"]) for task in tasks)
  left_out = f"; {counted(unusable, 'unusable image')} left out" if unusable else ""
  return (
    f"Wrote {counted(len(tasks), 'task')}, {answered:,} of them with annotations, to {file}, and the labeling"
    f" configuration to {config}{left_out}. Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true"
    f" LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder.root.parent}, and give the project the local storage"
    f" {folder.root}."
  )


def _task(folder: Folder, image: Image) -> dict:
  path = os.fsencode(f"{folder.root.name}/{image.path}".lstrip("/"))
  data = {
    "image": _ADDRESS + urllib.parse.quote(path),
    "path": os.fsencode(image.path).decode("utf-8", "replace"),  # a database takes no other text
    "sha256": image.sha256,
  }
  own = [_annotation(event) for event in folder.answers.by_annotator(image.sha256).values()]
  outcome, predictions = folder.answers.outcome(image.sha256), []
  if outcome is not None and outcome.event.get("guess") is not None and not folder.is_audit(image):
    guess = {"result": [_choice(outcome.event["guess"])], "score": outcome.event["probability"]}
    predictions = [{"model_version": _VERSION, **guess}]
  annotations = [annotation for annotation in own if annotation is not None]
  return {"data": data, "annotations": annotations, "predictions": predictions}


def _annotation(event: Event) -> dict | None:
  """An answer as an annotation; None for "cannot be used", which another annotator contradicts."""
  if event["action"] == UNUSABLE:
    return None
  result = [_choice(event["label"]) | {"meta": {"annotator": event["annotator"]}}] if event["action"] == LABEL else []
  return {"result": result, "was_cancelled": event["action"] == SKIP, "lead_time": event.get("seconds")}


def _choice(label: str) -> dict:
  return {"from_name": _FROM, "to_name": _TO, "type": "choices", "value": {"choices": [label]}}


def read(folder: Folder, file: Path) -> list[Given]:
  """The answers in an export, JSON or JSON_MIN; submitted annotations without a choice say nothing.

  Images are matched by the hash that `write` puts into a task, otherwise by their path.

  Raises:
    UsageError: the file cannot be read, is no such export, names images that the folder lacks, or gives an image
      anything but one choice.
  """
  try:
    tasks = json.loads(file.read_bytes())
  except (OSError, ValueError, RecursionError) as error:
    raise UsageError(f"{file} cannot be read as JSON ({one_line(error)})") from error
  if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
    raise UsageError(f"{file} is no export of Label Studio: it needs a list of tasks (JSON or JSON_MIN)")
  given: dict[tuple[str, str], Given] = {}
  unknown: list[str] = []
  annotated = 0
  for place, task in enumerate(tasks):
    where = f"{file}: task {task.get('id', place)}"
    answers = list(_answers(where, task))
    annotated += bool(answers) or task.get("annotation_id") is not None
    if not answers:
      continue
    data = task.get("data", task)
    address = next((data[key] for key in _IMAGES if isinstance(data.get(key), str)), None)
    if address is None:
      raise UsageError(f"{where} has no image: name it $image in the labeling configuration, and export again")
    image = _image(folder, address, data.get("sha256"))
    if image is None:
      unknown += [address] * len(answers)
      continue
    for own in answers:
      annotator = own.annotator or _same(folder, image, own) or own.user
      # A person's later annotation of an image replaces the earlier one.
      given[image.sha256, annotator] = Given(where, image, own.action, own.label, annotator, own.seconds)
  refuse_unknown(folder, file, unknown, len(given) + len(unknown))
  if annotated and not given:
    raise UsageError(f"{file} has annotations but no choices named {_FROM}: rename them, or export as JSON")
  return list(given.values())


def _image(folder: Folder, address: str, sha256: Any) -> Image | None:
  """The image of a task; None if the folder has none, or several that the address may mean."""
  if isinstance(sha256, str):
    return folder.by_sha256.get(sha256)
  if (image := folder.by_path.get(address)) is not None:
    return image
  try:
    parts = urllib.parse.urlsplit(address)
    places = urllib.parse.parse_qs(parts.query, errors="surrogateescape").get("d")
    place = places[0] if places else urllib.parse.unquote(parts.path, errors="surrogateescape")
  except ValueError:  # brackets that are no part of an address
    return None
  found = folder.near(place)
  return found.pop() if len(found) == 1 else None


def _same(folder: Folder, image: Image, own: _Annotation) -> str | None:
  """An annotator who gave the same answer to an image: the annotation may be theirs, exported before."""
  answers = folder.answers.by_annotator(image.sha256).items()
  return next((name for name, event in answers if (event["action"], event["label"]) == (own.action, own.label)), None)


def _answers(where: str, task: dict) -> Iterator[_Annotation]:
  """The answers of a task, by the time of their creation."""
  if "data" not in task:  # JSON_MIN, which has no cancelled annotations
    label = task.get(_FROM, task.get("choice"))
    if "annotation_id" not in task or not isinstance(label, str | None):
      raise UsageError(f"{where} has no single choice named {_FROM}: export as JSON")
    if label is not None:
      yield _Annotation(LABEL, label, _user(task.get("annotator")), None, _seconds(task))
    return
  annotations = task.get("annotations", [])
  are_objects = isinstance(annotations, list) and all(isinstance(own, dict) for own in annotations)
  if not isinstance(task["data"], dict) or not are_objects:
    raise UsageError(f"{where} has no data or no list of annotations: export as JSON")
  for own in sorted(annotations, key=lambda own: str(own.get("created_at", ""))):
    user, seconds, results = _user(own.get("completed_by")), _seconds(own), own.get("result") or []
    if own.get("was_cancelled"):
      yield _Annotation(SKIP, None, user, None, seconds)
    elif results:
      choices = [(choice, result.get("meta")) for result in results for choice in _choices(result)]
      if len(choices) != 1:
        raise UsageError(f"{where} has {counted(len(choices), 'choice')} in one annotation: an image has one class")
      ((label, meta),) = choices
      written = meta.get("annotator") if isinstance(meta, dict) else None
      yield _Annotation(LABEL, label, user, written if isinstance(written, str) else user, seconds)


def _choices(result: Any) -> list[str]:
  value = result.get("value") if isinstance(result, dict) and result.get("type") == "choices" else None
  choices = value.get("choices") if isinstance(value, dict) else None
  return [choice for choice in choices if isinstance(choice, str)] if isinstance(choices, list) else []


def _user(user: Any) -> str:
  """The name of a user, of whom exports give the number, or an object with the address."""
  if isinstance(user, dict):
    user = user.get("email") or user.get("id")
  return user if isinstance(user, str) and user else f"Label Studio user {user or 'unknown'}"


def _seconds(own: dict) -> float | None:
  seconds = own.get("lead_time")
  return round(float(seconds), 3) if isinstance(seconds, int | float) and seconds >= 0 else None
