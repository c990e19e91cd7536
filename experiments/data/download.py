"""Downloads a data set with tensorflow-datasets and prepares it as array_record, without TensorFlow if possible."""

import http.client
from pathlib import Path
import tarfile
import threading
import urllib.error
import urllib.parse
import urllib.request

from absl import logging
import numpy as np

from experiments.data import idx
from experiments.data import library
from experiments.data import prepared
from experiments.data.errors import DataError
from experiments.data.errors import one_line
from experiments.data.names import Name

WAYS_OUT = (
  "use --dataset=digits, or give --data_dir=FOLDER (a prepared tensorflow-datasets folder or, for mnist, fashion_mnist "
  "and kmnist, the four IDX files), or run once with a network connection"
)
PROBE_SECONDS = 4.0


def reachable(url: str) -> bool:
  """Whether the host of `url` answers within `PROBE_SECONDS`; uses the proxy settings."""
  answered = threading.Event()

  def probe():
    try:
      urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
      answered.set()
    except urllib.error.HTTPError:
      answered.set()
    except (OSError, ValueError, http.client.HTTPException):
      pass

  # A thread, because a socket's timeout does not cover the host name lookup, which may take minutes.
  thread = threading.Thread(target=probe, daemon=True)
  thread.start()
  thread.join(PROBE_SECONDS)
  return answered.is_set()


class _IdxWithoutTensorFlow:
  """Replaces the two steps of the MNIST builders that need TensorFlow: extracting the files and encoding the images."""

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


class _CifarWithoutTensorFlow:
  """Replaces the steps of the CIFAR builders that need TensorFlow; reads the binary files, which hold no pickles."""

  def _info(self):
    tfds, stock = library.tensorflow_datasets(), super()._info()
    kept = {
      key: feature for key, feature in stock.features.items() if key != "id"
    }  # `id` is text, which only TensorFlow encodes
    return tfds.core.DatasetInfo(
      builder=self,
      description=stock.description,
      features=tfds.features.FeaturesDict(kept),
      supervised_keys=stock.supervised_keys,
      homepage=stock.homepage,
      citation=stock.citation,
    )

  def _split_generators(self, dl_manager):
    cifar = self._cifar_info
    path = Path(dl_manager.download(cifar.url))
    with tarfile.open(path) as archive:
      read = lambda name: archive.extractfile(cifar.prefix + name).read()
      for key, name in zip(cifar.label_keys, cifar.label_files, strict=True):
        self.info.features[key].names = [line for line in read(name).decode().split("\n") if line]
      parts = {"train": cifar.train_files, "test": cifar.test_files}
      records = {part: b"".join(map(read, names)) for part, names in parts.items()}
    return {part: self._generate_examples(content) for part, content in records.items()}

  def _generate_examples(self, content):
    from PIL import Image

    keys = self._cifar_info.label_keys
    rows = np.frombuffer(content, np.uint8).reshape(-1, len(keys) + 3 * 32 * 32)
    images = rows[:, len(keys) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    # The keys are the stock builder's, so the shuffled order is, too.
    for i, (labels, image) in enumerate(zip(rows[:, : len(keys)].tolist(), images, strict=True)):
      yield i, {"image": Image.fromarray(image), **dict(zip(keys, labels, strict=True))}


# Data sets prepared without TensorFlow: builder class of tensorflow-datasets, and the mixin that replaces its steps.
_CLASSES = {
  "mnist": ("MNIST", _IdxWithoutTensorFlow),
  "fashion_mnist": ("FashionMNIST", _IdxWithoutTensorFlow),
  "kmnist": ("KMNIST", _IdxWithoutTensorFlow),
  "cifar10": ("Cifar10", _CifarWithoutTensorFlow),
  "cifar100": ("Cifar100", _CifarWithoutTensorFlow),
}


def _builder(name: Name, root: Path):
  """A builder that prepares `name` below `root`, and a URL that it downloads from (None if it declares none)."""
  tfds = library.tensorflow_datasets()

  if name.dataset in _CLASSES:
    stock, mixin = _CLASSES[name.dataset]
    base = getattr(tfds.image_classification, stock)
    with tfds.core.registered.skip_registration():
      cls = type(base.__name__, (mixin, base), {"name": name.dataset, "__module__": __name__})
    builder = cls(data_dir=root, version=name.version)
    return builder, base.URL if mixin is _IdxWithoutTensorFlow else builder._cifar_info.url
  if not prepared.has_tensorflow():
    raise DataError(
      f"{name} is not prepared in {root}, and preparing it needs TensorFlow, which is not installed: give "
      "--data_dir=FOLDER with a copy prepared as array_record, or install tensorflow."
    )
  builder = tfds.builder(str(name), data_dir=root)
  return builder, next(iter(builder.url_infos or ()), None)


def prepare(name: Name, root: Path) -> Path:
  """Downloads `name` and prepares it as array_record.

  Returns:
    The folder of the prepared data set, below `root`.

  Raises:
    DataError: the network is unreachable, TensorFlow is needed but not installed, or download or preparation fails.
  """
  try:
    builder, url = _builder(name, root)
  except DataError:
    raise
  except Exception as error:  # An unknown version or configuration.
    raise DataError(f"tensorflow-datasets cannot build {name} ({one_line(error)}).") from error
  if url and not reachable(url):
    host = urllib.parse.urlsplit(url).netloc
    raise DataError(f"{name} is not on this machine and {host} cannot be reached: {WAYS_OUT}.")
  logging.info("Downloading %s and preparing it in %s.", name, root)
  try:
    builder.download_and_prepare(file_format="array_record")
  except Exception as error:  # Network, disk and checksum errors have many types.
    raise DataError(f"Downloading and preparing {name} in {root} failed ({one_line(error)}): {WAYS_OUT}.") from error
  return Path(builder.data_dir)
