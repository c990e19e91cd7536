"""Labels a folder of images: opens a page that asks for the images worth labeling, while a model learns.

python -m experiments.label --demo                                  scikit-learn's digits, written as files
python -m experiments.label FOLDER --classes=cat,dog,other          images at any depth; more classes on the page
python -m experiments.label FOLDER --export=csv:labels.csv          the labels of a folder
python -m experiments.label FOLDER --import=label_studio:tasks.json
"""

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path
import secrets
import socket
import sys
import webbrowser

from absl import logging

from experiments.common.errors import UsageError
from experiments.labeling import demo
from experiments.labeling import flags
from experiments.labeling import images
from experiments.labeling.journal import NAME
from experiments.labeling.journal import Journal
from experiments.labeling.journal import JournalError
from experiments.labeling.labeled import Labeled
from experiments.labeling.labeled import begun
from experiments.labeling.labeled import workdir_of
from experiments.labeling.learner import Learner
from experiments.labeling.learner import Schedule
from experiments.labeling.messages import Task
from experiments.labeling.server import Server
from experiments.labeling.server import Settings
from experiments.labeling.session import Session
from experiments.labeling.session import Settings as Shares

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main(argv: list[str]) -> None:
  try:
    command = flags.parse(argv, __doc__ or "")
    logging.set_verbosity(command.config.log_level)
    values = command.values
    source = demo.write() if command.source is None else Path(os.path.expanduser(command.source))
    root, paths = images.listed(source, None if values.root is None else Path(os.path.expanduser(values.root)))
    workdir = workdir_of(source, values.workdir)
    with _locked(workdir):
      if values.export or values["import"].value:
        from experiments.labeling import exchange

        for run, spec in ((exchange.run_import, values["import"].value), (exchange.run_export, values.export)):
          if spec:
            print(run(spec, workdir, root))
        return
      if len(paths) == 1:
        raise UsageError(f"{source} has one image: there is nothing to choose from")
      asyncio.run(_Program(command, root, paths, workdir).serve())
  except (UsageError, JournalError) as error:
    sys.exit(f"error: {error}")
  except KeyboardInterrupt:
    print("stopped: all answers are kept; continue with the same command", file=sys.stderr)


@contextlib.contextmanager
def _locked(workdir: Path):
  """Holds the workdir's lock, which the kernel releases when the process ends.

  Raises:
    UsageError: the folder cannot be written, or another process holds the lock.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = open(workdir / ".lock", "w")  # noqa: SIM115 (closed below)
  except OSError as error:
    raise UsageError(f"{workdir} cannot be written ({error.strerror}): give another --workdir") from error
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UsageError(f"another process is labeling this folder: it holds {workdir / '.lock'}") from error
    except OSError as error:
      raise UsageError(f"{workdir / '.lock'} cannot be locked ({error.strerror}): give another --workdir") from error
    yield


def _bound(host: str, port: int) -> socket.socket:
  try:
    bound = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128)
    # asyncio sets this for sockets that name TCP as their protocol alone. Without it, a reply of two writes waits 40 ms
    # for the receiver's acknowledgment of the first.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
  except (OSError, UnicodeError) as error:
    reason = getattr(error, "strerror", None) or error
    raise UsageError(f"--host={host} --port={port} cannot be served on ({reason}): give another, or omit it") from error


class _Program:
  """A server and its worker, from start to end."""

  def __init__(self, command: flags.Command, root: Path, paths: list[str], workdir: Path):
    values = command.values
    self._command, self._root, self._workdir = command, root, workdir
    self._socket = _bound(values.host, values.port)
    port = self._socket.getsockname()[1]
    loopback = values.host in _LOOPBACK
    host = f"[{values.host}]" if ":" in values.host else values.host
    wildcard = values.host in ("0.0.0.0", "::")
    names = ("127.0.0.1", "localhost", "[::1]") if loopback else () if wildcard else (host,)
    hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())  # browsers leave out 80
    settings = Settings(root.name, secrets.token_urlsafe(16), frozenset(hosts), values.target, values.audit)
    self.address = f"http://{host}:{port}/?token={settings.token}"
    self._server = Server(settings)
    size = None if command.image_size is None else list(command.image_size)
    task = Task(str(root), paths, str(workdir), command.words, size, command.features)
    config = command.config
    schedule = Schedule(config.init_labels, config.acq_size, repeats=config.model == "linear")
    self._learner = self._server.learner = Learner(task, schedule, self._opened, self._server.refresh)

  def _opened(self) -> Session:
    """The session, once the images are read."""
    values = self._command.values
    found = images.saved(self._workdir)
    if len(found.images) == 1:
      others = f"; {found.unreadable[0][0]!r} cannot be read" if found.unreadable else ""
      raise UsageError(f"{found.root} has one image, {found.images[0].path!r}: there is nothing to choose from{others}")
    journal = Journal(self._workdir / NAME)
    answers = begun(journal, found, self._command.config.seed, values.audit, self._command.classes)
    labeled = Labeled(found, answers, journal)
    if len(answers.classes) < 2:
      known = ", ".join(map(repr, answers.classes)) or "none"
      print(f"classes so far: {known}; a model needs two, and the page can add them", flush=True)
    session = Session(labeled, Shares(values.audit, values.overlap), len(journal.events))
    self._server.session = session
    for path, reason in found.unreadable[:5]:
      print(f"not readable: {path!r} ({reason})", flush=True)
    if len(found.unreadable) > 5:
      print(f"not readable: {len(found.unreadable) - 5:,} others", flush=True)
    return session

  async def serve(self) -> None:
    """Serves until the program is interrupted. Raises UsageError if nothing can be labeled."""
    import uvicorn

    @contextlib.asynccontextmanager
    async def lifespan(app):
      words = [sys.executable, "-m", "experiments.labeling.worker"]
      self._work = asyncio.create_task(self._learner.run(words))
      yield
      self._learner.stop()
      self._work.cancel()
      await asyncio.wait([self._work])

    config = uvicorn.Config(
      self._server.app(lifespan), log_level="warning", access_log=False, server_header=False, lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[self._socket]))
    while not server.started and not serving.done():
      await asyncio.sleep(0.01)
    print(self.address, flush=True)
    print(f"labels are written to {str(self._workdir / NAME)!r}; press Ctrl-C to stop", flush=True)
    if self._command.values.host not in _LOOPBACK:
      print("whoever can reach this address and has the token can see the images and label them", flush=True)
    if self._command.values.open and _has_screen():
      webbrowser.open(self.address)
    work, learner = self._work, self._learner
    while not serving.done():
      await asyncio.wait([serving], timeout=0.2)
      # After the first features, answers are taken even if the worker has ended.
      has_failed = learner.error is not None and learner.description is None
      if has_failed or (work.done() and work.exception() is not None):
        server.should_exit = True
    await serving
    if learner.error is not None and learner.description is None:
      raise UsageError(learner.error)
    await work  # raises the error of this program, if that is why it ends


def _has_screen() -> bool:
  """Whether a browser could open a window; without one, a text browser would take over the terminal."""
  return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
  main(sys.argv)
