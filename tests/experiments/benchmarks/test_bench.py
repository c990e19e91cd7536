"""The benchmark: its arithmetic on synthetic numbers, and measurements of both sides on tiny sizes."""

import importlib.util
import io
import json
import math
import statistics

import jax
import jax.numpy as jnp
import pytest
import rich.console

from al_jax.models.cnn import CNN
from experiments import bench
from experiments.benchmarks import jax_side
from experiments.benchmarks import program
from experiments.benchmarks import sides as bench_sides
from experiments.benchmarks import tables
from experiments.benchmarks import torch_worker
from experiments.benchmarks.flags import parse
from experiments.benchmarks.jax_side import Task
from experiments.benchmarks.jax_side import layer_flops
from experiments.common.console import Display
from experiments.data import DataError
from experiments.runs import runtime

pytestmark = pytest.mark.usefixtures("fast_compilation")

PARAMETERS = 1_199_882
TUNED = "PyTorch channels_last, malloc tuned"
MADE = {
  "step, batch 32": {
    "JAX": [0.010, 0.030, 0.020],
    "PyTorch plain, as installed": [0.040, 0.045, 0.050],
    "PyTorch channels_last, as installed": [0.030, 0.030, 0.030],
    "PyTorch plain, malloc tuned": [0.025, 0.025, 0.025],
    TUNED: [0.015, 0.018, 0.016],
  },
  "run, digits": {"JAX": [20.0]},
}


@pytest.fixture
def no_torch(monkeypatch):
  find_spec = importlib.util.find_spec
  without = lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
  monkeypatch.setattr(importlib.util, "find_spec", without)


def rendered(table):
  console = rich.console.Console(width=140, file=io.StringIO())
  console.print(table)
  lines = console.file.getvalue().splitlines()
  return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]


def test_flops_of_the_default_network():
  # Convolutions: output positions times products per position (3 x 3 x 1 and 3 x 3 x 32 windows); then dense layers.
  conv1, conv2 = 26 * 26 * 32 * 9, 24 * 24 * 64 * 9 * 32
  dense1, dense2 = 12 * 12 * 64 * 128, 128 * 10
  assert layer_flops(CNN(), (28, 28, 1)) == [2 * conv1, 2 * conv2, 2 * dense1, 2 * dense2]


def test_flops_agree_with_the_compilers_count():
  params = jax.eval_shape(CNN().init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
  forward = jax.jit(CNN().apply).lower(params, jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32))
  # The compiler also counts biases, activations and pooling.
  assert 1 < forward.cost_analysis()["flops"] / sum(layer_flops(CNN(), (28, 28, 1))) < 1.02


def test_tasks_cost_what_their_images_cost():
  tasks = {task.name: task for task in bench_sides.make_tasks(parse(["bench", "--batch_size=32,64", "--images=1000"]))}
  assert list(tasks) == ["matmul 2048", "step, batch 32", "step, batch 64", "scoring 1,000"]
  assert tasks["matmul 2048"].flops == 2 * 2048**3
  assert tasks["step, batch 64"].flops == 2 * tasks["step, batch 32"].flops
  forward = tasks["scoring 1,000"].flops / 1000
  # The backward pass costs two forward passes, minus the gradient of the images, which is not needed.
  assert tasks["step, batch 32"].flops / 32 == 3 * forward - 2 * 26 * 26 * 32 * 9
  assert bench_sides.make_tasks(parse(["bench", "--suite=run"])) == []


def test_ratios_of_made_numbers():
  plain, tuned = tables.ratios(MADE)
  assert plain[:2] == ("step, batch 32", "PyTorch plain, as installed")
  assert tuned[:2] == ("step, batch 32", TUNED)
  assert plain[2:] == pytest.approx((0.045 / 0.020, 0.045 / 0.030, 0.040 / 0.010))
  assert tuned[2:] == pytest.approx((0.016 / 0.020, 0.018 / 0.030, 0.015 / 0.010))


def test_tables_of_made_numbers():
  matmul = Task("matmul 2048", "matmul", 2048, 4, 2_000_000_000)
  step = Task("step, batch 32", "step", 32, 30, 1_000_000_000)
  rows = rendered(tables.time_table({"matmul 2048": {"JAX": [0.010]}} | MADE, [matmul, step]))
  assert ["matmul 2048", "JAX", "10.00 ms", "10.00 .. 10.00", "200", "100%"] in rows
  assert ["step, batch 32", "JAX", "20.00 ms", "10.00 .. 30.00", "50", "25%"] in rows
  assert ["run, digits", "JAX", "20.00 s", "20.00 .. 20.00", "", ""] in rows
  assert ["step, batch 32", TUNED, "0.80", "0.60 .. 1.50"] in rendered(tables.ratio_table(MADE))


def test_every_side_works_in_turn():
  order = []

  class Side:
    def __init__(self, name):
      self.name = name

    def prepare(self, task):
      order.append(("prepare", task.name, self.name))

    def measure(self, task):
      order.append((task.name, self.name))
      return 6.0

  tasks = [Task("m", "matmul", 8, 2, 1), Task("s", "step", 8, 3, 1)]
  seconds = bench_sides.measure(tasks, [Side("JAX"), Side("other")], 2, Display(4))
  assert seconds == {"m": {"JAX": [3.0, 3.0]}, "s": {"JAX": [2.0, 2.0], "other": [2.0, 2.0]}}
  assert order[:3] == [("prepare", "m", "JAX"), ("prepare", "s", "JAX"), ("prepare", "s", "other")]
  first, second = [("m", "JAX"), ("s", "JAX"), ("s", "other")], [("m", "JAX"), ("s", "other"), ("s", "JAX")]
  assert order[3:] == first + second


def test_raw_numbers_are_json_whose_short_parts_are_lines():
  seconds = [0.125] * 16
  raw = {"machine": {"cpu": "x", "cores": 2}, "rows": [{"name": "a", "seconds": seconds}, {"name": "b"}]}
  text = tables.to_json(raw)
  assert json.loads(text) == raw
  assert text.splitlines() == [
    "{",
    ' "machine": {"cpu": "x", "cores": 2},',
    ' "rows": [',
    "  {",
    '   "name": "a",',
    f'   "seconds": {json.dumps(seconds)}',
    "  },",
    '  {"name": "b"}',
    " ]",
    "}",
  ]


def test_jax_alone(no_torch, model, monkeypatch, tmp_path, capsys):
  for module in (jax_side, bench_sides):
    monkeypatch.setattr(module, "CNN", type(model))  # compiles quickly
  monkeypatch.setattr(bench_sides, "matmul_task", lambda size: jax_side.matmul_task(64))
  monkeypatch.setattr(program, "measure_runs", lambda config, display: {"run, digits": {"JAX": [20.0]}})
  out = tmp_path / "out.json"
  sizes = ["--steps=2", "--batch_size=4", "--images=300"]
  bench.main(["bench", "--repeats=1", *sizes, f"--out={out}"])
  raw = json.loads(out.read_text())
  assert raw["command"] == f"python -m experiments.bench --repeats=1 {' '.join(sizes)} --out={out}"
  assert set(raw["compile_seconds"]) == {"matmul 64", "step, batch 4", "scoring 300"}
  assert set(raw["seconds"]) == {*raw["compile_seconds"], "run, digits"}
  assert all(list(by_side) == ["JAX"] for by_side in raw["seconds"].values())
  for value in [*raw["compile_seconds"].values(), *(by_side["JAX"][0] for by_side in raw["seconds"].values())]:
    assert math.isfinite(value)
    assert value > 0
  assert raw["ratios"] == []
  assert "PyTorch is not installed" in capsys.readouterr().out


def test_runs_are_left_out_where_there_is_no_data(monkeypatch, capsys):
  def load(name, data_dir, download):
    assert not download
    if name == "mnist":
      raise DataError("no such data")

  monkeypatch.setattr(program.data_sources, "load", load)
  monkeypatch.setattr(program, "run_once", lambda dataset, config: 3.0)
  assert program.measure_runs(parse(["bench"]), Display(2)) == {"run, digits": {"JAX": [3.0]}}
  assert "run of mnist: skipped. no such data" in capsys.readouterr().out
  with pytest.raises(DataError):
    program.measure_runs(parse(["bench", "--data_dir=x"]), Display(2))


def test_parameters_of_the_network():
  params = jax.eval_shape(CNN().init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS


if importlib.util.find_spec("torch") is not None:

  def test_torch_network_has_the_same_parameters():
    assert sum(parameter.numel() for parameter in torch_worker.network().parameters()) == PARAMETERS

  def test_torch_works_in_a_process_and_waits_quietly():
    step = Task("step", "step", 4, 2, 1)
    scoring = Task("scoring", "scoring", 30, 1, 1)
    with torch_worker.TorchSide("channels_last", tuned=True) as side:
      for task in (step, scoring):
        side.prepare(task)
        assert statistics.fmean([side.measure(task) for _ in range(2)]) > 0
      assert side.chunk_size in (250, 1000)
      # Threads spin for a moment after work before they sleep.
      assert 0 <= side.idle_cpu <= runtime.cores() * side.idle_wall + 0.5
