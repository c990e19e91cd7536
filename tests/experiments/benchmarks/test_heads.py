"""The benchmark of heads on features: the sides, their processes, arithmetic and tables, on tiny sizes."""

import contextlib
import importlib.util
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import rich.console
from scipy.stats import entropy

from experiments import bench
from experiments.benchmarks import bandwidth
from experiments.benchmarks import heads
from experiments.benchmarks import heads_data
from experiments.benchmarks import heads_loop
from experiments.benchmarks import heads_ours
from experiments.benchmarks import heads_plan
from experiments.benchmarks import heads_sklearn
from experiments.benchmarks import heads_worker
from experiments.benchmarks import loop as bench_loop
from experiments.benchmarks.flags import parse
from experiments.benchmarks.heads_plan import Plan
from experiments.benchmarks.process import Process
from experiments.benchmarks.process import environment
from experiments.common.errors import UsageError

pytestmark = pytest.mark.usefixtures("fast_compilation")

TINY = ["--suite=heads", "--pool=300", "--test=200", "--rounds=2", "--epochs=20", "--seeds=3", "--repeats=2"]
PLAN = Plan(rounds=2, epochs=20, batch_size=16, chunk_size=64)


@pytest.fixture(scope="module")
def data():
  return heads_data.make(parse(["bench", *TINY]))


class StandIn:
  """A process that answers at once: every training of a run gains `gain`, and a request takes `seconds`."""

  idle_cpu, idle_wall = 0.0, 1.0

  def __init__(self, side, seconds):
    self.name, self.seconds, self.asked = heads_plan.SIDES[side], seconds, []

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def ask(self, request):
    self.asked.append(request)
    phases = {} if self.name == "JAX" else {"train": 0.63, "evaluate": 0.03, "acquire": 0.04}
    curves = [[0.5 + seed / 100, 0.6, 0.7 + seed / 100] for seed in request["seeds"]]
    accuracy = dict.fromkeys(request["strategies"], curves)
    return {"seconds": self.seconds, "accuracy": accuracy, "phases": phases, "peak_bytes": 2**28}


def cells(table):
  console = rich.console.Console(width=160, file=io.StringIO())
  console.print(table)
  lines = console.file.getvalue().splitlines()
  return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]


def test_loop_trains_evaluates_and_acquires():
  fits, acquired = [], iter([np.array([7, 8]), np.array([3, 9])])

  def fit(ids):
    fits.append(ids.tolist())
    return len(ids)

  def acquire(fitted, ids, strategy):
    assert (fitted, strategy) == (len(ids), "margin")
    return next(acquired)

  head = heads_loop.Head(fit, lambda fitted: fitted / 10, acquire)
  outcome = heads_loop.run_loop(head, np.array([1, 2]), "margin", 2)
  assert fits == [[1, 2], [1, 2, 7, 8], [1, 2, 7, 8, 3, 9]]
  assert outcome.accuracy == [0.2, 0.4, 0.6] and outcome.ids == fits[-1]
  assert list(outcome.seconds) == ["train", "evaluate", "acquire"] and min(outcome.seconds.values()) > 0


def test_rows_labeled_twice_are_refused(data):
  head = heads_loop.Head(lambda ids: None, lambda _: 0.0, lambda fitted, ids, strategy: ids[:10])
  with pytest.raises(RuntimeError, match="labeled 20 rows, not 40"):
    heads_worker.run_all(lambda plan, seed: head, data, PLAN, [0], ["entropy"])


def test_scores_of_scikit_learns_side():
  probs = np.random.default_rng(0).dirichlet(np.full(5, 0.3), 200).astype(np.float32)
  probs[0] = [1, 0, 0, 0, 0]
  ordered = np.sort(probs, axis=1)
  np.testing.assert_allclose(heads_sklearn.scores(probs, "entropy"), entropy(probs.astype(float), axis=1), atol=1e-5)
  np.testing.assert_array_equal(heads_sklearn.scores(probs, "margin"), ordered[:, -2] - ordered[:, -1])


@pytest.mark.parametrize("strategy", heads_plan.STRATEGIES)
def test_scikit_learns_side_takes_the_highest_scores(data, strategy):
  head, ids = heads_sklearn.sklearn_head(data), data.initial[0]
  fitted = head.fit(ids)
  scores = heads_sklearn.scores(fitted.predict_proba(data.features), strategy)
  rest = np.setdiff1d(np.arange(300), ids)
  assert set(head.acquire(fitted, ids, strategy)) == set(rest[np.argsort(-scores[rest])[:10]])
  assert head.accuracy(fitted) == fitted.score(data.test_features, data.test_labels) > 0.3


def test_a_worker_runs_every_strategy_on_every_seed(data):
  warm_up, measure = heads_worker.make_side("sklearn", data, PLAN, 1)
  assert len(warm_up([0, 1], ["margin"])["accuracy"]["margin"][0]) == 2
  out = measure([0, 2], ["entropy", "margin"])
  assert {name: np.shape(curves) for name, curves in out["accuracy"].items()} == {"entropy": (2, 3), "margin": (2, 3)}
  entropy_first, margin_first = (np.array(curves)[:, 0] for curves in out["accuracy"].values())
  np.testing.assert_array_equal(entropy_first, margin_first)  # the same initial sets
  assert min(out["phases"].values()) > 0 and heads_worker.peak_bytes() > 2**24


def test_jax_side_compiles_before_it_is_measured(data, monkeypatch):
  calls = []

  def ours(data, plan, seeds, strategies):
    calls.append((seeds, strategies))
    return lambda: {name: np.full((seeds, plan.rounds + 1), 0.5, np.float32) for name in strategies}

  monkeypatch.setattr(heads_ours, "ours", ours)
  compiled, measure = heads_worker.make_side("jax", data, PLAN, 1)
  compiled([0, 1], ["margin"])
  for _ in range(2):
    assert measure([0, 1], ["margin"]) == {"accuracy": {"margin": [[0.5] * 3] * 2}, "phases": {}}
  assert calls == [(2, ("margin",))]


def test_bandwidth_counts_bytes(monkeypatch):
  clock = iter(range(100))
  monkeypatch.setattr(bandwidth.time, "perf_counter", lambda: float(next(clock)))
  assert bandwidth.measure(threads=2, repeats=2, num_bytes=4096) == (4096, 2 * 4096)


def test_a_whole_benchmark_beside_stand_ins(monkeypatch, tmp_path, capsys):
  sides = {side: StandIn(side, seconds) for side, seconds in zip(heads_plan.SIDES, (0.6, 1.0, 2.0, 20.0), strict=True)}
  monkeypatch.setattr(heads, "start", lambda side, data, plan: sides[side])
  monkeypatch.setattr(heads, "sides_of", lambda config: config.sides)
  monkeypatch.setattr(bench_loop, "MATMUL_SIZES", (64,))
  monkeypatch.setattr(bandwidth, "BYTES", 4096)
  out = tmp_path / "out.json"
  bench.main(["bench", *TINY, f"--out={out}"])
  raw = json.loads(out.read_text())
  # JAX: 0.6 s for 3 seeds of 2 strategies. The others: one seed.
  assert raw["sides"]["JAX"]["seconds"] == pytest.approx([0.1, 0.1])
  assert raw["sides"]["PyTorch DataLoader"]["seconds"] == pytest.approx([10.0, 10.0])
  assert raw["sides"]["JAX"]["seeds"] == [[0, 1, 2]] * 2 and raw["sides"]["scikit-learn"]["seeds"] == [[0], [1]]
  assert [request["kind"] for request in sides["jax"].asked] == ["prepare", "measure", "measure"]
  assert raw["plan"]["init_labels"] == 20 and raw["shape"]["pool"] == [300, 128]
  text = capsys.readouterr().out
  for name, ratio in (("scikit-learn", 5), ("PyTorch tensors", 10), ("PyTorch DataLoader", 100)):
    assert re.search(rf"{name} .* {ratio}\.0 │", text)
  assert "GB/s (read and written)" in text and "GFLOP/s" in text and "JAX compiled" in text


def test_tables_of_made_numbers():
  def measured(seconds, seeds, phases):
    curves = [{"margin": [[0.5 + seed / 10, 0.8 + seed / 100] for seed in chosen]} for chosen in seeds]
    return heads.Measured(seconds, seeds, curves, phases, [2**30] * 2)

  loops = [{"train": 0.3, "evaluate": 0.06, "acquire": 0.1}] * 2
  made = {
    "jax": measured([0.1, 0.2], [[0, 1, 2]] * 2, [{}, {}]),
    "sklearn": measured([1.0, 1.0], [[0], [1]], loops),
  }
  assert cells(heads.time_table(made, 2)) == [
    ["JAX", "3", "0.150 s", "0.100 .. 0.200", "75.0 ms", "", "", "1,024 MiB"],
    ["scikit-learn", "1", "1.000 s", "1.000 .. 1.000", "500.0 ms", "7.5", "5.0 .. 10.0", "1,024 MiB"],
  ]
  assert cells(heads.phase_table(made, 2)) == [["scikit-learn", "100.0", "20.0", "50.0"]]
  assert cells(heads.accuracy_table(made)) == [
    ["margin", "JAX", "3", "60.00%", "81.00%", "", ""],
    ["margin", "scikit-learn", "2", "55.00%", "80.50%", "55.00%", "80.50%"],
  ]
  alone = {"sklearn": made["sklearn"]}
  assert cells(heads.time_table(alone, 2))[0][5:7] == ["", ""]
  assert cells(heads.accuracy_table(alone))[0][5:] == ["", ""]


def test_without_pytorch(monkeypatch):
  find_spec = importlib.util.find_spec
  without = lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
  monkeypatch.setattr(importlib.util, "find_spec", without)
  assert heads.sides_of(parse(["bench", "--suite=heads"])) == ["jax", "sklearn"]
  assert heads.sides_of(parse(["bench", "--suite=heads", "--sides=sklearn"])) == ["sklearn"]
  with pytest.raises(UsageError, match="--sides=sklearn,torch needs PyTorch, which is not installed"):
    heads.sides_of(parse(["bench", "--suite=heads", "--sides=sklearn,torch"]))


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--batch_size=32,64"], "--batch_size=32,64 gives several sizes, but --suite=heads takes one"),
    (["--pool=100,200"], "--pool=100,200 gives several sizes"),
    (["--acq=entropy,bald"], "--acq=entropy,bald: --suite=heads takes each of entropy, margin at most once"),
    (["--sides=jax,tensorflow"], "--sides=jax,tensorflow: .* jax, sklearn, torch, loader"),
    (["--sides=jax,jax"], "--sides=jax,jax"),
    (["--seeds=0"], "--seeds=0 leaves --suite=heads without a run"),
    (["--features=x.npy"], "--features=x.npy must name two files"),
    (["--features=x.npy,y.npy"], "--features needs --dataset"),
    (["--dataset=mnist"], "--dataset needs --features"),
    (["--suite=step", "--dataset=mnist"], "--suite is given 2 times"),
  ],
)
def test_mistakes(flags, sentence):
  with pytest.raises(UsageError, match=sentence):
    parse(["bench", "--suite=heads", *flags])


@pytest.mark.parametrize("flag", ["--features=x.npy,y.npy", "--dataset=mnist", "--epochs=3", "--sides=jax"])
def test_flags_of_heads_are_refused_elsewhere(flag):
  with pytest.raises(UsageError, match=r"applies to --suite=heads( and labeling)?, not to --suite=loop"):
    parse(["bench", "--suite=loop", flag])


@pytest.mark.slow
def test_a_side_is_a_process(data, tmp_path):
  heads_plan.save(data, tmp_path / "data.npz")
  with heads.start("sklearn", tmp_path / "data.npz", PLAN) as side:
    for kind, trainings in (("prepare", 2), ("measure", 3)):
      answer = side.ask({"kind": kind, "seeds": [1], "strategies": ["entropy"]})
      assert np.shape(answer["accuracy"]["entropy"]) == (1, trainings)
    _, measure = heads_worker.make_side("sklearn", data, PLAN, 1)
    assert answer["accuracy"] == measure([1], ["entropy"])["accuracy"]
    assert 2**24 < answer["peak_bytes"] < 2**29 and answer["seconds"] > 0


@pytest.mark.slow
def test_memory_of_the_other_sides_does_not_contain_jax():
  modules = "heads_worker, heads_sklearn, heads_torch"
  program = f"import sys; from experiments.benchmarks import {modules}; print('jax' in sys.modules)"
  done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True)
  assert done.stdout == "False\n"


@pytest.mark.slow
def test_errors_of_a_process(tmp_path):
  with contextlib.ExitStack() as stack:
    ended = stack.enter_context(Process("a side", "heads_worker", ["--side=none"]))
    with pytest.raises(UsageError, match="the process of a side ended with exit code 2"):
      ended.ask({})


if importlib.util.find_spec("torch") is not None:

  @pytest.mark.parametrize("side", ["torch", "loader"])
  def test_torch_learns_and_acquires(data, side, monkeypatch):
    import torch

    steps = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self, *rest: (steps.append(1), step(self, *rest)))
    _, measure = heads_worker.make_side(side, data, PLAN, 1)
    curves = measure([0, 1], ["entropy", "margin"])["accuracy"]
    # Batches of 16 of 20, 30 and 40 rows, in every epoch of every run.
    assert len(steps) == 4 * 20 * (2 + 2 + 3)
    assert np.mean([curve[-1] for rows in curves.values() for curve in rows]) > 0.4

  @pytest.mark.parametrize("strategy", heads_plan.STRATEGIES)
  def test_torch_scores_as_scikit_learns_side_does(data, strategy):
    import torch

    from experiments.benchmarks import heads_torch

    torch.set_num_threads(1)  # on a busy machine, several threads wait for each other
    for make in (heads_torch.tensor_head, heads_torch.loader_head):
      head, ids = make(data, PLAN, 0), data.initial[0]
      net = head.fit(ids)
      logits = data.features @ net.weight.detach().numpy().T + net.bias.detach().numpy()
      probs = np.exp(logits - logits.max(axis=1, keepdims=True))
      scores = heads_sklearn.scores(probs / probs.sum(axis=1, keepdims=True), strategy)
      rest = np.setdiff1d(np.arange(300), ids)
      assert set(head.acquire(net, ids, strategy)) == set(rest[np.argsort(-scores[rest])[:10]])
