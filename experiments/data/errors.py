"""The one error of the data sources."""

import zipfile
import zlib


class DataError(ValueError):
  """A mistake in the name, the folder or the files of a data set: one sentence, with what was found and the choices."""


# What `numpy.load` and `zipfile` raise for bytes that are no archive, another kind of archive, or a broken one.
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def one_line(error: BaseException) -> str:
  """The kind and the text of another library's error on one line of at most 300 characters, to quote in a sentence."""
  return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: ")[:300]
