"""Writes rows as TensorBoard scalars: one folder per run, with the number of labels as the step."""

from collections.abc import Iterator
import contextlib

from experiments.analysis.curves import name_of
from experiments.analysis.records import run_name
from experiments.runs.workdir import Workdir

_NAMES = ("test_accuracy", "test_nll", "test_ece", "val_accuracy", "train_loss", "train_steps", "seconds_total")


@contextlib.contextmanager
def written(workdir: Workdir, wanted: bool) -> Iterator[None]:
  """Context manager that writes every row appended in it to WORKDIR/tensorboard; rows with an error are skipped."""
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
