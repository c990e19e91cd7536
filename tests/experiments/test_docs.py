"""The README does what it says."""

from pathlib import Path
import re

from al_jax import acquisition
from experiments.config import acquisitions

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_library_example_runs_and_learns():
  (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
  assert len([line for line in example.splitlines() if line.strip()]) <= 24
  names = {}
  exec(compile(example, "README.md", "exec"), names)
  accuracy = names["info"].metrics.test_accuracy
  assert accuracy.shape == (names["plan"].rounds + 1,)
  assert accuracy[-1] > accuracy[0] and accuracy[-1] > 0.8
  assert int(names["state"].labeled.sum()) == names["plan"].max_labels


def test_the_table_of_acquisitions_is_the_registry():
  table = acquisitions.markdown_table()
  assert table in README
  names = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
  assert names == [*acquisition.REGISTRY, *(f"{wrapper}_" for wrapper in acquisition.WRAPPERS)]
