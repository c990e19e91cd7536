"""Writes torch's old file format by hand, to read it back and to break it."""

import pickle
import struct

import numpy as np


def named(module: str, name: str) -> bytes:
  """The opcode that looks up a name."""
  return f"c{module}\n{name}\n".encode()


def value(x) -> bytes:
  """The opcodes of plain data; `bytes` are opcodes already."""
  match x:
    case bytes():
      return x
    case bool():
      return b"\x88" if x else b"\x89"
    case None:
      return b"N"
    case int():
      return b"\x8a\x08" + struct.pack("<q", x)
    case str():
      return b"X" + struct.pack("<I", len(x.encode())) + x.encode()
    case tuple():
      return b"(" + b"".join(map(value, x)) + b"t"
    case list():
      return b"](" + b"".join(map(value, x)) + b"e"
    case dict():
      return b"}(" + b"".join(value(k) + value(v) for k, v in x.items()) + b"u"
  raise TypeError(x)


def called(function: bytes, *args) -> bytes:
  """The opcodes of a call."""
  return function + value(args) + b"R"


def storage(key: str, size: int, kind: str = "FloatStorage") -> bytes:
  """The opcodes of a reference to a storage."""
  return value(("storage", named("torch", kind), key, "cpu", size, None)) + b"Q"


def tensor(of: bytes, offset: int, shape: tuple, strides: tuple) -> bytes:
  """The opcodes of a tensor."""
  hooks = called(named("collections", "OrderedDict"))
  return called(named("torch._utils", "_rebuild_tensor_v2"), of, offset, shape, strides, False, hooks)


def stream(tensors: dict, storages: dict[str, np.ndarray]) -> bytes:
  """A whole file: tensors as opcodes by name, storages by key."""
  parts = [pickle.dumps(0x1950A86A20F9469CFC6C, 2)[2:-1]]
  parts += [
    value(1001),
    value({"protocol_version": 1001, "little_endian": True}),
    value(tensors),
    value(list(storages)),
  ]
  pickles = b"".join(b"\x80\x02" + part + b"." for part in parts)
  return pickles + b"".join(struct.pack("<q", len(x)) + x.tobytes() for x in storages.values())


def of_arrays(arrays: dict[str, np.ndarray]) -> bytes:
  """A file with these arrays, each in its own storage."""
  tensors, storages = {}, {}
  for i, (name, x) in enumerate(arrays.items()):
    kind = {"f": "FloatStorage", "i": "LongStorage"}[x.dtype.kind]
    strides = tuple(stride // x.itemsize for stride in np.ascontiguousarray(x).strides)
    tensors[name] = tensor(storage(str(i), x.size, kind), 0, x.shape, strides if x.ndim else ())
    storages[str(i)] = x.ravel()
  return stream(tensors, storages)
