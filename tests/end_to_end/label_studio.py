"""Tries Label Studio itself: `python -m tests.end_to_end.label_studio [ENVIRONMENT]`; pytest does not collect it.

Installs Label Studio from PyPI into ENVIRONMENT (default: a temporary folder) unless it is there, starts it on loopback
with its files in a temporary folder, and works through its HTTP API as a person does in the browser: a project with our
labeling configuration, a local storage, our tasks; one image labeled, one skipped there; exports as JSON and JSON_MIN.
Both are imported here. Labels, annotators and image files have to be equal on both sides. Takes some minutes.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import http.cookiejar
import json
import os
from pathlib import Path
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any
import urllib.error
import urllib.parse
import urllib.request

from experiments.labeling import images
from experiments.labeling.exchange import run_export
from experiments.labeling.exchange import run_import
from tests.support import labeled_folders

NAMES = [*labeled_folders.ODD_NAMES, "p.png", "q.png", "r.png", "s.png", "t.png"]
DOG = 'do<g> "& 🐕'
USER = "eva@example.org"
START = 300  # seconds that the first start, which makes a data base, may take


class Client:
  """A person who is logged in, then a program with the person's token."""

  def __init__(self, address: str):
    self._address, self._access = address, None
    self._cookies = http.cookiejar.CookieJar()
    self._open = urllib.request.build_opener(
      urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
    ).open

  def bytes(self, method: str, path: str, body: Any = None, form: dict | None = None) -> bytes:
    headers = {"Content-Type": "application/json", "Referer": self._address + path}
    if form is not None:
      headers["Content-Type"] = "application/x-www-form-urlencoded"
    if self._access is not None:
      headers["Authorization"] = f"Bearer {self._access}"
    elif token := next((cookie.value for cookie in self._cookies if cookie.name == "csrftoken"), None):
      headers["X-CSRFToken"] = token
    content = urllib.parse.urlencode(form).encode() if form is not None else None
    content = json.dumps(body).encode() if body is not None else content
    request = urllib.request.Request(self._address + path, content, headers, method=method)
    try:
      with self._open(request, timeout=60) as answer:
        return answer.read()
    except urllib.error.HTTPError as error:
      raise RuntimeError(f"{method} {path}: {error.code} {error.read()[:2000].decode(errors='replace')}") from error

  def json(self, method: str, path: str, body: Any = None) -> Any:
    return json.loads(self.bytes(method, path, body))

  def log_in(self, password: str) -> None:
    """Logs in, makes a personal access token, and exchanges it for the short-lived one that requests carry."""
    self.bytes("GET", "/user/login/")
    self.bytes("POST", "/user/login/", form={"email": USER, "password": password})
    token = self.json("POST", "/api/token/", {})["token"]
    self._access = self.json("POST", "/api/token/refresh/", {"refresh": token})["access"]
    self._cookies.clear()
    assert self.json("GET", "/api/current-user/whoami")["email"] == USER


def installed(environment: Path) -> Path:
  """The program, installed if it is not there."""
  program = environment / "bin" / "label-studio"
  if not program.exists():
    print(f"installing label-studio into {environment}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run([environment / "bin" / "pip", "install", "--quiet", "label-studio"], check=True)
  return program


@contextlib.contextmanager
def started(program: Path, place: Path, root: Path) -> Iterator[Client]:
  """A server on loopback whose files are in `place`, and a client that is logged in."""
  with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
  address, password = f"http://127.0.0.1:{port}", secrets.token_urlsafe(16)
  settings = {
    "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
    "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root.parent),
    "LABEL_STUDIO_BASE_DATA_DIR": str(place),
    "HOME": str(place),
    "COLLECT_ANALYTICS": "False",
    "LATEST_VERSION_CHECK": "False",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
  }
  words = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port), "--data-dir", str(place)]
  words += ["--username", USER, "--password", password]
  other = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
  with open(place / "log.txt", "w") as log:
    process = subprocess.Popen([program, *words], env=other | settings, stdout=log, stderr=log, cwd=place)
    try:
      client, began = Client(address), time.monotonic()
      while True:
        try:
          client.bytes("GET", "/health")
          break
        except (OSError, RuntimeError) as error:
          if process.poll() is not None or time.monotonic() - began > START:
            raise RuntimeError((place / "log.txt").read_text()[-3000:]) from error
          time.sleep(1)
      client.log_in(password)
      yield client
    finally:
      process.terminate()
      process.wait()


def choice(label: str) -> dict:
  return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}


def main() -> None:
  with tempfile.TemporaryDirectory() as temporary:
    place = Path(temporary).resolve()
    program = installed(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else place / "environment")
    version = subprocess.run(
      [program.with_name("python"), "-c", "from importlib import metadata; print(metadata.version('label-studio'))"],
      check=True,
      capture_output=True,
      text=True,
    ).stdout.strip()
    print(f"Label Studio {version}", flush=True)
    root = place / "my photos"
    labeled_folders.write_images(root, NAMES)
    workdir, _ = labeled_folders.begin(root, classes=("cat", DOG))
    labeled_folders.answer(workdir, dict.fromkeys(labeled_folders.ODD_NAMES, DOG) | {"q.png": "skip"}, guess="cat")
    labeled_folders.answer(workdir, {"p.png": "cat"})
    labeled_folders.answer(workdir, {"p.png": DOG}, annotator="ben")
    print(run_export(f"label_studio:{place / 'tasks.json'}", workdir), flush=True)
    (place / "data").mkdir()
    with started(program, place / "data", root) as client:
      work(client, place, root, workdir)
  print("labels, annotators and images are equal on both sides")


def work(client: Client, place: Path, root: Path, workdir: Path) -> None:
  """Imports the tasks there, labels one and skips one, and imports the exports here."""
  tasks = json.loads((place / "tasks.json").read_text())
  settings = {"title": "photos", "label_config": (place / "tasks.xml").read_text()}
  project = client.json("POST", "/api/projects/", settings)["id"]
  client.json("POST", "/api/storages/localfiles", {"project": project, "path": str(root), "use_blob_urls": True})
  done = client.json("POST", f"/api/projects/{project}/import", tasks)
  assert (done["task_count"], done["annotation_count"], done["prediction_count"]) == (10, 8, 6), done
  there = client.json("GET", f"/api/tasks?project={project}&fields=all&page_size=100")["tasks"]
  there = {task["data"]["path"]: task for task in there}
  assert there.keys() == set(NAMES)
  for name, task in there.items():
    content = client.bytes("GET", task["data"]["image"])
    assert hashlib.sha256(content).hexdigest() == task["data"]["sha256"] == images.sha256_of(root, name), name
  new = {"result": [choice("cat")], "lead_time": 3.5}
  client.json("POST", f"/api/tasks/{there['r.png']['id']}/annotations/", new)
  client.json("POST", f"/api/tasks/{there['s.png']['id']}/annotations/", {"result": [], "was_cancelled": True})

  before = labeled_folders.labels(workdir)
  for kind in ("JSON", "JSON_MIN"):
    content = client.bytes("GET", f"/api/projects/{project}/export?exportType={kind}&download_all_tasks=true")
    (place / f"{kind}.json").write_bytes(content)
  # JSON_MIN has no skips, so it comes first; it gives the new label, and JSON the skip as well.
  print(run_import(f"label_studio:{place / 'JSON_MIN.json'}", workdir))
  assert labeled_folders.labels(workdir) == before | {"r.png": "cat"}
  print(run_import(f"label_studio:{place / 'JSON.json'}", workdir))
  assert labeled_folders.labels(workdir) == before | {"r.png": "cat", "s.png": "skip"}
  size = (workdir / "labels.jsonl").stat().st_size
  for kind in ("JSON", "JSON_MIN"):
    print(run_import(f"label_studio:{place / f'{kind}.json'}", workdir))
  assert (workdir / "labels.jsonl").stat().st_size == size
  known = labeled_folders.answers(workdir)
  numbers = {image.path: image.sha256 for image in images.saved(workdir).images}
  assert {name: event["label"] for name, event in known.by_annotator(numbers["p.png"]).items()} == {
    "anna": "cat",
    "ben": DOG,
  }

  # Of the labels that came from here, each is there with the same class.
  exported = json.loads((place / "JSON.json").read_text())
  theirs = {task["data"]["path"]: labels_of(task) for task in exported}
  ours = {name: sorted(e["label"] for e in known.by_annotator(numbers[name]).values() if e["label"]) for name in NAMES}
  assert theirs == ours, (theirs, ours)

  # A folder that knows none of these answers gets the same labels from the export.
  elsewhere = place / "other" / "photos"
  labeled_folders.write_images(elsewhere, NAMES)
  fresh, _ = labeled_folders.begin(elsewhere, classes=())
  print(run_import(f"label_studio:{place / 'JSON.json'}", fresh))
  assert labeled_folders.labels(fresh) == labeled_folders.labels(workdir)
  known = labeled_folders.answers(fresh)
  annotators = {name for sha256 in numbers.values() for name in known.by_annotator(sha256)}
  assert annotators == {"anna", "ben", "Label Studio user 1"}, annotators


def labels_of(task: dict) -> list[str]:
  return sorted(own["result"][0]["value"]["choices"][0] for own in task["annotations"] if own["result"])


if __name__ == "__main__":
  main()
