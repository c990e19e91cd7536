"""The benchmark of networks: it lists all image networks, and measures one."""

import pytest

from al_jax.models import NETWORKS
from al_jax.models import TOKENS
from experiments.benchmarks import networks as bench_networks
from experiments.common.console import Display

pytestmark = pytest.mark.usefixtures("fast_compilation")


@pytest.mark.slow
def test_a_step_of_every_network_is_measured(monkeypatch):
  assert {name for name, _, _ in bench_networks.CASES} == set(NETWORKS) - set(TOKENS)
  monkeypatch.setattr(bench_networks, "CASES", [("mlp", {"dropout_rate": 0.5}, (4, 4, 3))])
  with Display(1) as display:
    measured = bench_networks.run(display, batch_sizes=[2], steps=1, repeats=2)
  (row,) = measured
  assert row["network"] == "mlp dropout_rate=0.5"
  assert len(row["seconds"]) == 2 and min(row["seconds"]) > 0 and row["compiling"] > 0
  assert bench_networks.table(measured).row_count == 1
