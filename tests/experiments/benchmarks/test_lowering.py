"""The benchmark of lowerings, on a small pool."""

import jax
import pytest

from experiments.benchmarks import lowering as bench_lowering
from experiments.common.console import Display

pytestmark = pytest.mark.usefixtures("fast_compilation")


def test_every_use_is_measured_with_every_lowering(monkeypatch):
  """Uses a stand-in for the programs; the test below runs them."""
  asked = []

  def program(case, lowering, steps, chunk_size):
    asked.append((case, lowering, steps, chunk_size))
    return jax.numpy.square, (2.0,), case.networks

  monkeypatch.setattr(bench_lowering, "_program", program)
  with Display(1) as display:
    measured = bench_lowering.run(display, batch_sizes=[2], pool=6, steps=1, chunk_size=3, repeats=2)
  kinds = [(row["use"], row["networks"], row["images"]) for row in measured]
  both = [(use, networks, n) for use, n in (("training", 2), ("scoring", 6)) for networks in (1, 4)]
  assert kinds == [*both, ("sampling", 1, 6)]
  cases = [bench_lowering.Case(*kind) for kind in kinds]
  assert asked == [(case, lowering, 1, 3) for case in cases for lowering in bench_lowering.LOWERINGS]
  for row in measured:
    assert list(row["seconds"]) == list(bench_lowering.LOWERINGS)
    assert all(len(values) == 2 and min(values) > 0 for values in row["seconds"].values())
  table = bench_lowering.table(measured)
  assert table.row_count == 5 and len(table.columns) == 3 + len(bench_lowering.LOWERINGS)


@pytest.mark.slow
@pytest.mark.parametrize(
  "case", [("training", 1, 2), ("training", 4, 2), ("scoring", 1, 6), ("scoring", 4, 6), ("sampling", 1, 3)], ids=str
)
def test_lowerings_compute_the_same_scores(case):
  case = bench_lowering.Case(*case)
  scores = []
  for lowering in bench_lowering.LOWERINGS:
    compiled, arguments, units = bench_lowering._program(case, lowering, steps=1, chunk_size=3)
    scores.append(compiled(*arguments))
    assert units == case.networks  # one step or one scoring of each network
  for other in scores[1:]:
    assert jax.numpy.allclose(other, scores[0], rtol=1e-4, atol=1e-4)
