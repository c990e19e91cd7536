"""The import of tensorflow-datasets: late, because it takes a second that most loads need not pay."""

from experiments.data.errors import DataError


def tensorflow_datasets():
  """Returns the module `tensorflow_datasets`; DataError where it is not installed."""
  try:
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise DataError(
      f"This data set needs tensorflow-datasets, whose import fails ({error}): pip install tensorflow-datasets "
      "array_record importlib_resources, or use --dataset=digits."
    ) from error
  return tfds
