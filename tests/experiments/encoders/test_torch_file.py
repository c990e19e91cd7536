"""The reader of torch's old files: it reads what PyTorch wrote, and refuses everything else in one sentence."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from experiments.data.errors import DataError
from experiments.encoders import torch_file
from tests.experiments.encoders import legacy

KEPT = json.loads((Path(__file__).parent / "old_torch_file.json").read_text())
CONTENT = base64.b64decode(KEPT["content"])
ZEROS = {"0": np.zeros(6, np.float32)}


def refused(content: bytes) -> str:
  with pytest.raises(DataError) as raised:
    torch_file.tensors(content, "FILE")
  message = str(raised.value)
  assert message.startswith("FILE is not usable: ") and message.endswith(".") and "\n" not in message
  return message


def test_reads_what_pytorch_wrote():
  """Two tensors share a storage, one of them in part, and one is transposed."""
  found = torch_file.tensors(CONTENT, "FILE")
  assert list(found) == ["a", "turned", "row", "steps"]
  for name, expected in KEPT["tensors"].items():
    dtype = np.int64 if name == "steps" else np.float32
    assert found[name].dtype == dtype and found[name].tolist() == expected


def test_reads_what_the_tests_write():
  arrays = {"x": np.arange(24, dtype=np.float32).reshape(2, 3, 4), "n": np.array([5, -6]), "s": np.array(7)}
  found = torch_file.tensors(legacy.of_arrays(arrays), "FILE")
  for name, expected in arrays.items():
    np.testing.assert_array_equal(found[name], expected, strict=True)


def test_every_truncation_is_refused():
  for size in range(len(CONTENT)):
    refused(CONTENT[:size])
  assert "bytes follow" in refused(CONTENT + b"\0")


def test_every_altered_byte_gives_tensors_or_one_sentence():
  """Numbers and names may change; nothing else happens."""
  for i in range(len(CONTENT)):
    for changed in (CONTENT[i] ^ 0x01, CONTENT[i] ^ 0x80, ord("R"), ord("c")):
      content = CONTENT[:i] + bytes([changed]) + CONTENT[i + 1 :]
      try:
        found = torch_file.tensors(content, "FILE")
      except DataError as error:
        assert str(error).startswith("FILE is not usable: ") and "\n" not in str(error)
      else:
        assert len(found) <= 4 and all(part.dtype in (np.float32, np.int64) for part in found.values())


@pytest.mark.parametrize(
  "name",
  ["posix.mkdir", "os.system", "builtins.eval", "torch.load", "collections.Counter", "torch._utils._rebuild_tensor"],
)
def test_other_names_are_refused_and_not_called(name, tmp_path):
  module, _, function = name.rpartition(".")
  call = legacy.called(legacy.named(module, function), str(tmp_path / "made"))
  assert f"it names {name}, which" in refused(legacy.stream({"a": call}, ZEROS))
  refused(b"\x80\x02" + call + b".")  # in place of the magic number
  assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
  ("tensors", "expected"),
  [
    ({"a": legacy.called(legacy.named("torch", "FloatStorage"), 3)}, "damaged"),  # a storage's class is not callable
    ({"a": legacy.tensor(legacy.storage("0", 6), 0, (2, 4), (4, 1))}, "not inside its storage"),
    ({"a": legacy.tensor(legacy.storage("0", 6), 5, (2,), (1,))}, "not inside its storage"),
    ({"a": legacy.tensor(legacy.storage("0", 6), 0, (1000, 1000), (0, 0))}, "not inside its storage"),
    ({"a": legacy.tensor(legacy.storage("0", 6), -1, (2,), (1,))}, "not a view of a storage"),
    ({"a": legacy.tensor(legacy.storage("0", 6), 0, (2, 3), (1,))}, "damaged"),
    ({"a": legacy.tensor(legacy.value("0"), 0, (2,), (1,))}, "not a view of a storage"),
    ({"a": legacy.tensor(legacy.storage("0", 7), 0, (2,), (1,))}, "another size"),
    ({"a": legacy.tensor(legacy.storage("1", 6), 0, (2,), (1,))}, "list of storages"),
    ({"a": legacy.tensor(legacy.storage("0", 6, "LongStorage"), 0, (2,), (1,))}, "ends early"),
    ({"a": 3}, "does not hold tensors by name"),
    ({3: legacy.tensor(legacy.storage("0", 6), 0, (2,), (1,))}, "does not hold tensors by name"),
    (
      {n: legacy.tensor(legacy.storage("0", 6, f"{n}Storage"), 0, (2,), (1,)) for n in ("Float", "Long")},
      "described twice",
    ),
  ],
)
def test_tensors_that_are_not_parts_of_the_storages_are_refused(tensors, expected):
  assert expected in refused(legacy.stream(tensors, ZEROS))


@pytest.mark.parametrize(
  ("opcodes", "name"),
  [
    (b"K\x01r\xff\xff\xff\x7f", "LONG_BINPUT"),  # would allocate 16 GiB
    (b"\x96" + b"\xff" * 7 + b"\0", "BYTEARRAY8"),
    (b"\x8c\x02os\x8c\x06system\x93", "SHORT_BINUNICODE"),
    (b"c__builtin__\nobject\n)\x81", "NEWOBJ"),
    (b"(I1\ncollections\nOrderedDict\n", "INT"),
  ],
)
def test_other_opcodes_are_refused(opcodes, name):
  refused(b"\x80\x02" + opcodes + b".")
  message = refused(legacy.stream({"a": opcodes}, ZEROS))
  assert f"it has the opcode {name}," in message or "damaged" in message


def test_a_pickle_cannot_change_the_reader():
  """BUILD sets attributes of what is on the stack."""
  for target in torch_file._NAMES:
    state = legacy.named(*target) + legacy.value((None, {"__defaults__": (1,), "__call__": 1, "dtype": "<f8"})) + b"b"
    before = dict(torch_file._NAMES)
    refused(legacy.stream({"a": state}, ZEROS))
    assert before == torch_file._NAMES
  test_reads_what_pytorch_wrote()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a newer file", b"\x80\x02K\x01.", b"\x00" * 100])
def test_other_files_are_refused(content):
  refused(content)
