"""The error of the data sources."""

import zipfile
import zlib


class DataError(ValueError):
  """A wrong name, folder or file of a data set; the message is one sentence with what was found and the choices."""


# What `numpy.load` and `zipfile` raise for a file that is not an archive, or is an unsupported or a damaged one.
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


def one_line(error: BaseException) -> str:
  """Type and text of another library's error on one line of at most 300 characters, for quoting in a message."""
  return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".: ")[:300]
