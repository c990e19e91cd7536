"""The folder of the compilation cache."""

import pytest

from experiments.common.errors import UsageError
from experiments.runs import runtime


def test_a_folder_of_programs_is_this_users_alone(tmp_path):
  shared = tmp_path / "shared"
  shared.mkdir()
  shared.chmod(0o777)
  with pytest.raises(UsageError, match="others may write to it"):
    runtime.make_private(shared)
  own = tmp_path / "own"
  runtime.make_private(own)
  assert own.stat().st_mode & 0o777 == 0o700
