"""Imports tensorflow-datasets lazily, because the import takes a second and most loads do not need it."""

from experiments.data.errors import DataError


def tensorflow_datasets():
  """Returns the module `tensorflow_datasets`; raises DataError if it cannot be imported."""
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise DataError(
      f"This data set needs tensorflow-datasets, whose import fails ({error}): run pip install tensorflow-datasets "
      "array_record importlib_resources, or use --dataset=digits."
    ) from error
  return tfds
