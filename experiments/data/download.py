"""Downloading a data set through tensorflow-datasets and preparing it as array_record, without TensorFlow."""

import http.client
from pathlib import Path
import threading
import urllib.error
import urllib.parse
import urllib.request

from absl import logging

from experiments.data import idx
from experiments.data import library
from experiments.data import prepared
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.names import Name

WAYS_OUT = (
  "use --dataset=digits, or give --data_dir=FOLDER (a prepared tensorflow-datasets folder or, for mnist, fashion_mnist "
  "and kmnist, the four IDX files), or run once with a network"
)
PROBE_SECONDS = 4.0
_CLASSES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


def reachable(url: str) -> bool:
  """Whether the host of `url` answers at all, decided within `PROBE_SECONDS`; proxies are respected."""
  answered = threading.Event()

  def probe():
    try:
      urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
      answered.set()
    except urllib.error.HTTPError:
      answered.set()
    except (OSError, ValueError, http.client.HTTPException):
      pass

  # The time limit of a socket does not cover the look-up of the host name, which may take minutes: hence the thread.
  thread = threading.Thread(target=probe, daemon=True)
  thread.start()
  thread.join(PROBE_SECONDS)
  return answered.is_set()


class _WithoutTensorFlow:
  """Replaces the two steps of the MNIST builders that need TensorFlow: unpacking the files and encoding the images."""

  def _split_generators(self, dl_manager):
    urls = {stem: urllib.parse.urljoin(self.URL, f"{idx.file_name(stem)}.gz") for stem in idx.RANKS}
    paths = dl_manager.download(urls)
    return {
      "train": self._generate_examples(paths["train-images"], paths["train-labels"]),
      "test": self._generate_examples(paths["t10k-images"], paths["t10k-labels"]),
    }

  def _generate_examples(self, images_path, labels_path):
    from PIL import Image

    images = idx.read(Path(images_path), rank=3, compressed=True)
    labels = idx.read(Path(labels_path), rank=1, compressed=True)
    # The keys are the stock builder's, so the shuffled order is, too.
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
      yield i, {"image": Image.fromarray(image), "label": int(label)}


def _builder(name: Name, root: Path):
  """A builder that prepares `name` below `root`, and an address it downloads from (None where it declares none)."""
  tfds = library.tensorflow_datasets()

  if name.dataset in _CLASSES:
    base = getattr(tfds.image_classification, _CLASSES[name.dataset])
    with tfds.core.registered.skip_registration():
      cls = type(base.__name__, (_WithoutTensorFlow, base), {"name": name.dataset, "__module__": __name__})
    return cls(data_dir=root, version=name.version), base.URL
  if not prepared.has_tensorflow():
    raise DataError(
      f"{name} is not prepared in {root} and TensorFlow, which preparing it needs, is not installed: give "
      "--data_dir=FOLDER where tensorflow-datasets has prepared it as array_record, or install tensorflow."
    )
  builder = tfds.builder(str(name), data_dir=root)
  return builder, next(iter(builder.url_infos or ()), None)


def prepare(name: Name, root: Path) -> Path:
  """Downloads `name` and prepares it as array_record.

  Returns:
    The folder below `root` where the prepared data set is.

  Raises:
    DataError: no network, TensorFlow needed but not installed, or the download or preparation fails.
  """
  try:
    builder, url = _builder(name, root)
  except DataError:
    raise
  except Exception as error:  # A version or configuration that the library does not have.
    raise DataError(f"tensorflow-datasets cannot build {name} ({one_line(error)}).") from error
  if url and not reachable(url):
    host = urllib.parse.urlsplit(url).netloc
    raise DataError(f"{name} is not on this machine and {host} cannot be reached: {WAYS_OUT}.")
  logging.info("Downloading %s and preparing it in %s.", name, root)
  try:
    builder.download_and_prepare(file_format="array_record")
  except Exception as error:  # Network, disk and checksum errors come as many kinds.
    raise DataError(f"Downloading and preparing {name} in {root} failed ({one_line(error)}): {WAYS_OUT}.") from error
  return Path(builder.data_dir)
