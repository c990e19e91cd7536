"""TensorBoard scalars of rows."""

import struct

from experiments.runs import tensorboard


def test_rows_become_scalars(tmp_path):
  workdir = type("Workdir", (), {"path": tmp_path, "on_row": None})()
  row = {"acq": "power_bald(coldness=8)", "seed": 1, "round": 0, "num_labeled": 20, "test_accuracy": 0.5}
  row |= {"test_nll": 1.5, "test_ece": 0.25, "val_accuracy": None, "train_loss": 2.5, "train_steps": 3}
  with tensorboard.written(workdir, wanted=True):
    workdir.on_row(row | {"seconds_total": 4.0})
    workdir.on_row({"acq": "random", "seed": 0, "round": 0, "error": "the loss was not finite"})
  (file,) = (tmp_path / "tensorboard" / "power_bald-coldness=8-seed1").iterdir()
  from tensorboardX.proto.event_pb2 import Event

  content, found = file.read_bytes(), {}
  while content:  # records of a length, its checksum, the event and its checksum
    (length,) = struct.unpack("<Q", content[:8])
    event = Event.FromString(content[12 : 12 + length])
    found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
    content = content[16 + length :]
  assert found["test_accuracy"] == (20, 0.5) and found["train_loss"] == (20, 2.5) and "val_accuracy" not in found
