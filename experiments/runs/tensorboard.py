"""Rows as scalars for TensorBoard, a folder a run, over the number of labels."""

from collections.abc import Iterator
import contextlib

from experiments.analysis.curves import name_of
from experiments.analysis.records import run_name
from experiments.runs.workdir import Workdir

_NAMES = ("test_accuracy", "test_nll", "test_ece", "val_accuracy", "train_loss", "train_steps", "seconds_total")


@contextlib.contextmanager
def written(workdir: Workdir, wanted: bool) -> Iterator[None]:
  """Writes every row that is appended within to WORKDIR/tensorboard; a row that says an error has no scalars."""
  if not wanted:
    yield
    return
  from tensorboardX import SummaryWriter

  writers: dict[str, SummaryWriter] = {}

  def add(row: dict) -> None:
    if "error" in row:
      return
    run = run_name(name_of(row), row["seed"])
    writer = writers[run] = writers.get(run) or SummaryWriter(str(workdir.path / "tensorboard" / run))
    for name in _NAMES:
      if row[name] is not None:
        writer.add_scalar(name, row[name], row["num_labeled"])
    writer.flush()

  workdir.on_row = add
  try:
    yield
  finally:
    for writer in writers.values():
      writer.close()
