"""Names of data sets: syntax, existence, and published checksums of their IDX files."""

import re
from typing import NamedTuple

from experiments.data import library
from experiments.data.errors import DataError

BUNDLED = (
  "digits",
  "threeclust",
  "divergingsin",
)  # each is a module of experiments.data, whose `load()` needs no folder and no network
IDX_NAMES = ("mnist", "fashion_mnist", "kmnist")
CHOICES = f"{', '.join(BUNDLED + IDX_NAMES)}, or any tensorflow-datasets image classification name"

# MD5 of the uncompressed IDX files. Sources: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits;
# H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST (2017).
PUBLISHED_MD5 = {
  "mnist": {
    "train-images": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels": "a25bea736e30d166cdddb491f175f624",
    "t10k-images": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels": "27ae3e4e09519cfbb04c329615203637",
  },
  "fashion_mnist": {
    "train-images": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels": "15d484375f8d13e6eb1aabb0c3f46965",
  },
}

_PATTERN = re.compile(r"(?P<dataset>[a-z0-9_]+)(/(?P<config>[\w.+-]*\w))?(:(?P<version>\d+\.\d+\.\d+))?", re.ASCII)


class Name(NamedTuple):
  """A name in the notation of tensorflow-datasets, `dataset[/config][:version]`."""

  dataset: str
  config: str | None
  version: str | None

  def __str__(self) -> str:
    config = f"/{self.config}" if self.config else ""
    return self.dataset + config + (f":{self.version}" if self.version else "")


def unknown(name: object) -> DataError:
  """The error for an unknown name."""
  return DataError(f"Unknown dataset {name!r}: choose {CHOICES}.")


def parse(name: str) -> Name:
  """Parses a name, without checking that such a data set exists.

  Raises:
    DataError: the text does not have the form of a name.
  """
  match = _PATTERN.fullmatch(name) if isinstance(name, str) else None
  if match is None:
    raise unknown(name)
  return Name(**match.groupdict())


def check_exists(name: Name) -> None:
  """Checks that tensorflow-datasets knows a name; uses no network.

  Raises:
    DataError: the data set does not exist.
  """
  if name.dataset in IDX_NAMES:
    if name.config:
      raise unknown(str(name))
    return
  tfds = library.tensorflow_datasets()  # A slow import, needed only for names that are not found on disk.

  if name.dataset not in tfds.list_builders(with_community_datasets=False):
    raise unknown(str(name))
