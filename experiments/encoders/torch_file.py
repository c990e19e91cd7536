"""Reads files that `torch.save` wrote before PyTorch 1.6, without PyTorch and without running anything from the file.

Such a file is a stream of pickles (a magic number, the protocol version, the sizes of C types, the tensors by name, the
keys of the storages), followed by the storages: each its number of elements as int64, then its little-endian elements.
A pickle can call any function that it names, so the reader here knows four names and the opcodes that such files use,
and refuses all others.
"""

import collections
import io
import math
import pickle
import pickletools
import re
import struct
from typing import Any
from typing import NamedTuple

import numpy as np

from experiments.data.errors import DataError

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class _Kind(NamedTuple):
  """A class of storages; not callable, so a pickle can name it but not call it."""

  dtype: str


class _Storage(NamedTuple):
  key: str
  kind: _Kind
  size: int


class _Tensor(NamedTuple):
  """A view of a storage."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]  # in elements


class Refused(Exception):
  """The file does not hold what this reader accepts; the message completes the sentence "... is not usable: "."""


class _RebuildTensor:
  """Stands for `torch._utils._rebuild_tensor_v2`; an object without attributes, which a pickle cannot change."""

  __slots__ = ()

  def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any) -> _Tensor:
    """A view; refuses elements that overlap or are outside of the storage."""
    counts = lambda numbers: isinstance(numbers, tuple) and all(type(n) is int and 0 <= n < 2**31 for n in numbers)
    if not isinstance(storage, _Storage) or not all(map(counts, ((offset,), shape, strides))):
      raise Refused("a tensor is not a view of a storage")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= storage.size or math.prod(shape) > storage.size - offset or 0 in shape:
      raise Refused("a tensor is not inside its storage")
    return _Tensor(storage, offset, shape, strides)


_NAMES = {
  ("collections", "OrderedDict"): collections.OrderedDict,
  ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
  ("torch", "FloatStorage"): _Kind("<f4"),
  ("torch", "LongStorage"): _Kind("<i8"),
}
_OPCODES = re.compile(
  "PROTO|STOP|MARK|NONE|NEWTRUE|NEWFALSE|BININT[12]?|LONG1|BINUNICODE|EMPTY_TUPLE|TUPLE[123]?|EMPTY_LIST|APPENDS?"
  "|EMPTY_DICT|SETITEMS?|(LONG_)?BINPUT|(LONG_)?BINGET|GLOBAL|BINPERSID|REDUCE|BUILD"
)


class _Unpickler(pickle.Unpickler):
  """Knows four names, and storages by their number of elements."""

  def find_class(self, module: str, name: str) -> Any:
    try:
      return _NAMES[module, name]
    except KeyError:
      raise Refused(f"it names {module}.{name}, which tensors do not need") from None

  def persistent_load(self, pid: Any) -> _Storage:
    match pid:
      case ("storage", _Kind() as kind, str() as key, str(), int() as size, None) if 0 <= size < 2**31:
        return _Storage(key, kind, size)
    raise Refused("a storage is not described as PyTorch describes it")


def _unpickle(stream: io.BytesIO) -> Any:
  start = stream.tell()
  try:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
      # The unpickler allocates its memo up to the largest number, which a few bytes could set to 2^32.
      if not _OPCODES.fullmatch(opcode.name) or (opcode.name.endswith("PUT") and argument > count):
        raise Refused(f"it has the opcode {opcode.name}, which tensors do not need")
    stream.seek(start)
    return _Unpickler(stream, encoding="utf-8").load()
  except Refused:
    raise
  except Exception as error:  # the bytes choose what the unpickler does, and so which error it raises
    raise Refused(f"its pickle is damaged ({type(error).__name__})") from error


def _elements(stream: io.BytesIO, storages: dict[str, _Storage], keys: Any) -> dict[str, np.ndarray]:
  if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
    raise Refused("its list of storages is not that of its tensors")
  found = {}
  for key in keys:
    storage = storages[key]
    dtype, head = np.dtype(storage.kind.dtype), stream.read(8)
    if len(head) < 8:
      raise Refused("it ends early")
    if struct.unpack("<q", head)[0] != storage.size:
      raise Refused(f"storage {key} has another size than its tensors")
    content = stream.read(storage.size * dtype.itemsize)
    if len(content) < storage.size * dtype.itemsize:
      raise Refused("it ends early")
    found[key] = np.frombuffer(content, dtype)
  if stream.read(1):
    raise Refused("bytes follow its last storage")
  return found


def tensors(content: bytes, name: str) -> dict[str, np.ndarray]:
  """The tensors by name, float32 and int64, of a file with this content.

  Raises:
    DataError: the content is not a dict of such tensors in the old format; `name` names the file in the message.
  """
  stream = io.BytesIO(content)
  try:
    if _unpickle(stream) != MAGIC or _unpickle(stream) != PROTOCOL:
      raise Refused("it does not begin as PyTorch's old format does")
    sizes = _unpickle(stream)
    if not isinstance(sizes, dict) or sizes.get("little_endian") is not True:
      raise Refused("it was not written on a little-endian machine")
    found = _unpickle(stream)
    if not isinstance(found, dict) or not all(
      isinstance(key, str) and isinstance(value, _Tensor) for key, value in found.items()
    ):
      raise Refused("it does not hold tensors by name")
    storages: dict[str, _Storage] = {}
    for tensor in found.values():
      if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
        raise Refused(f"storage {tensor.storage.key} is described twice, in two ways")
    elements = _elements(stream, storages, _unpickle(stream))
  except Refused as error:
    raise DataError(f"{name} is not usable: {error}.") from error
  return {name: _view(elements[tensor.storage.key], tensor) for name, tensor in found.items()}


def _view(elements: np.ndarray, tensor: _Tensor) -> np.ndarray:
  strides = [stride * elements.itemsize for stride in tensor.strides]
  return np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.shape, strides, writeable=False).copy()
