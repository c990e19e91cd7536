"""The benchmark of whole runs: equal work on both sides, arithmetic and tables, on a tiny plan."""

from collections import Counter
import functools
import importlib.util
import json

import jax
import numpy as np
import pytest

from experiments import bench
from experiments.benchmarks import loop as bench_loop
from experiments.benchmarks import sides as bench_sides
from experiments.benchmarks import torch_loop
from experiments.benchmarks.flags import loop_plan
from experiments.benchmarks.flags import parse
from experiments.benchmarks.tables import paired_ratios
from experiments.benchmarks.torch_loop import Plan
from experiments.common.errors import UsageError
from tests.conftest import TinyMLP

pytestmark = pytest.mark.usefixtures("fast_compilation")

PLAN = Plan(rounds=2, train_steps=3, batch_size=8, pool=200, test=100)
WORK = {
  "trainings": 3,
  "steps": 9,
  "training images": 72,
  "evaluations": 3,
  "test images": 300,
  "scorings": 2,
  "pool images": 400,
  "labels": 20,
}
TINY = ["--rounds=2", "--train_steps=3", "--batch_size=8", "--pool=200", "--test=100", "--chunk_size=50"]
PHASES = [
  bench_loop.Phase("train", [3.0, 1.0, 2.0], 100),
  bench_loop.Phase("evaluate", [1.0], 50),
  bench_loop.Phase("score", [4.0], 400),
  bench_loop.Phase("select", [1.0], 0),
]
# Images by use, counted in the network.
SEEN = {"train": WORK["training images"], "infer": WORK["test images"] + WORK["pool images"]}
SEEN_BY_NETWORK = Counter()


class Counted(TinyMLP):
  """A tiny network that counts the images passing through it when the program runs."""

  def __call__(self, x, *, train=False):
    if not self.is_initializing():
      use, images = "train" if train else "infer", len(x)
      jax.debug.callback(lambda: SEEN_BY_NETWORK.update({use: images}))
    return super().__call__(x, train=train)


class StandIn:
  """A side that always reports the same seconds."""

  chunk_size, idle_cpu, idle_wall = 250, 0.0, 1.0

  def __init__(self, name, seconds):
    self.name, self.seconds, self.compile_seconds = name, seconds, {}

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def prepare(self, task):
    assert task.kind == "loop" or self.name == "JAX"

  def measure(self, task):
    return self.seconds


@pytest.fixture
def small(monkeypatch, model):
  """A network that compiles quickly, and small matrices."""
  monkeypatch.setattr(bench_loop, "CNN", type(model))
  monkeypatch.setattr(bench_loop, "MATMUL_SIZES", (64, 128))


def test_work_of_a_plan():
  assert PLAN.work() == WORK
  whole = Plan(rounds=10, train_steps=200, batch_size=64, pool=60_000, test=10_000).work()
  assert (whole["trainings"], whole["steps"], whole["test images"]) == (11, 2200, 110_000)
  assert (whole["scorings"], whole["pool images"], whole["labels"]) == (10, 600_000, 100)


def test_flops_by_hand():
  conv1, conv2, dense1, dense2 = 26 * 26 * 32 * 9, 24 * 24 * 64 * 9 * 32, 12 * 12 * 64 * 128, 128 * 10
  forward = 2 * (conv1 + conv2 + dense1 + dense2)
  assert forward == 23_984_896
  step = 3 * forward - 2 * conv1  # images need no gradient
  flops = {"train": 3 * 8 * step, "evaluate": 100 * forward, "score": 200 * forward, "select": 0}
  assert bench_loop.phase_flops(PLAN) == flops
  run = 72 * step + 700 * forward
  assert bench_loop.loop_task(PLAN) == ("loop", "loop", 1, 1, run)
  assert bench_loop.loop_task(PLAN, 8) == ("loop, each of 8 seeds", "loop", 8, 8, run)


def test_made_data_can_be_told_apart():
  made = torch_loop.synthetic_data(PLAN)
  assert made.images.shape == (200, 28, 28, 1) and made.test_images.shape == (100, 28, 28, 1)
  assert made.images.dtype == np.uint8 and made.images.max() > 200
  assert set(made.labels) == set(range(10))
  again = torch_loop.synthetic_data(PLAN)
  assert all((a == b).all() for a, b in zip(made, again, strict=True))
  means = np.stack([made.images[made.labels == c].mean(axis=0) for c in range(10)])
  nearest = ((made.test_images[:, None] - means) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)
  assert (nearest == made.test_labels).mean() > 0.99


@pytest.mark.slow
def test_jax_does_the_work_of_the_plan():
  side = bench_loop.JaxLoopSide(PLAN, 50, Counted())
  task = bench_loop.loop_task(PLAN, 2)
  side.prepare(task)
  assert side.compile_seconds[task.name] > 0
  assert not SEEN_BY_NETWORK  # no warm-up run
  assert side.measure(task) > 0
  jax.effects_barrier()
  assert {use: 2 * images for use, images in SEEN.items()} == SEEN_BY_NETWORK


def test_work_left_undone_is_refused():
  side = bench_loop.JaxLoopSide(PLAN._replace(rounds=3), 50)
  # A program with one acquisition less.
  side._compile = lambda task, sweep, *args: functools.partial(made_runs, rounds=2)
  side.prepare(bench_loop.loop_task(PLAN))
  with pytest.raises(RuntimeError, match="did 3 trainings, not 4"):
    side.measure(bench_loop.loop_task(PLAN))


def made_runs(keys, data, rounds):
  """Synthetic diagnostics of runs."""
  shape = len(keys), rounds + 1
  info = bench_loop.types.RoundInfo(
    num_labeled=np.zeros(shape),
    metrics=bench_loop.types.Metrics(*[np.zeros(shape)] * 5),
    fit=bench_loop.types.FitInfo(np.zeros(shape), np.full(shape, 3), np.full(shape, -1)),
    selected=np.where(np.arange(rounds + 1) < rounds, 1, -1)[None, :, None].repeat(10, -1),
    scores=np.where(np.arange(rounds + 1) < rounds, 1.0, np.nan)[None, :, None].repeat(10, -1),
  )
  return (bench_loop.Runs(np.zeros((len(keys), 20)), info),)


def test_ratios_are_medians_of_pairs():
  made = {"loop": {"JAX": [1.0, 2.0, 4.0], "A": [2.0, 6.0, 4.0], "B": [3.0, 2.0, 2.0]}, "matmul": {"JAX": [1.0]}}
  assert paired_ratios(made) == [("loop", "A", 2.0, 1.0, 3.0), ("loop", "B", 1.0, 0.5, 3.0)]


@pytest.mark.slow
def test_a_whole_benchmark_beside_stand_ins(small, monkeypatch, tmp_path, capsys):
  names = ["PyTorch plain, as installed", "PyTorch plain, malloc tuned", "PyTorch channels_last, malloc tuned"]
  sides = [StandIn(name, seconds) for name, seconds in zip(names, (3.0, 2.0, 1.0), strict=True)]
  monkeypatch.setattr(bench_sides, "torch_loop_sides", lambda plan: sides)
  out = tmp_path / "out.json"
  bench.main(["bench", "--suite=loop", "--repeats=2", "--seeds=0", f"--out={out}", *TINY])
  raw = json.loads(out.read_text())
  assert raw["work"] == WORK
  assert set(raw["compile_seconds"]) == {"matmul 64", "matmul 128", "loop"}
  assert list(raw["seconds"]["loop"]) == ["JAX", *names]
  ours = raw["seconds"]["loop"]["JAX"]
  assert len(ours) == 2
  for ratio, theirs in zip(raw["ratios"], (3.0, 2.0, 1.0), strict=True):
    assert (ratio["low"], ratio["high"]) == pytest.approx((theirs / max(ours), theirs / min(ours)))
    assert ratio["median"] == pytest.approx((theirs / ours[0] + theirs / ours[1]) / 2)
  assert [phase["name"] for phase in raw["phases"]] == ["train", "evaluate", "score", "select"]
  assert all(len(phase["seconds"]) == 2 and min(phase["seconds"]) > 0 for phase in raw["phases"])
  best = min(min(raw["seconds"][name]["JAX"]) / size**3 for name, size in (("matmul 64", 64), ("matmul 128", 128)))
  assert raw["peak_flops"] == pytest.approx(2 / best)
  text = capsys.readouterr().out
  for name, ratio in zip(names, raw["ratios"], strict=True):
    assert any(name in line and f"{ratio['median']:.2f}" in line for line in text.splitlines())
  assert f"loop, repeat 2 of 2: JAX {ours[1]:.2f} s; {names[0]} 3.00 s ({3 / ours[1]:.2f}); " in text
  assert "of a round" in text and "of the peak" in text and "matmul peak" in text
  assert "JAX compiled loop in" in text and "400 pool images" in text and "seeds" not in text


def test_without_pytorch(small, monkeypatch, capsys):
  find_spec = importlib.util.find_spec
  without = lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
  monkeypatch.setattr(importlib.util, "find_spec", without)
  # The test above measures JAX; this one checks only what is printed.
  monkeypatch.setattr(bench_loop, "JaxLoopSide", lambda plan, chunk_size: StandIn("JAX", 5.0))
  monkeypatch.setattr(bench_loop, "measure_phases", lambda side, repeats: PHASES)
  bench.main(["bench", "--suite=loop", "--repeats=2", "--seeds=4", *TINY])
  text = capsys.readouterr().out
  assert text.count("PyTorch is not installed: measuring JAX only.") == 1
  assert "PyTorch's time" not in text and "of a round" in text
  assert "loop, repeat 2 of 2: JAX 5.00 s\n" in text
  assert "loop, each of 4 seeds, repeat 1 of 1: JAX 1.25 s\n" in text


def test_shares_of_made_phases():
  rows = list(zip(*(column.cells for column in bench_loop.phase_table(PHASES, 200.0).columns), strict=True))
  assert rows[0] == ("train", "2.000 s", "1.000 .. 3.000", "25.0%", "0", "25%")
  assert rows[2][3:] == ("50.0%", "0", "50%") and rows[3][3:] == ("12.5%", "", "")
  assert bench_loop.total_seconds(PHASES, PLAN) == 3 * (2 + 1) + 2 * (4 + 1)


def test_the_plan_of_the_flags():
  assert loop_plan(parse(["bench", "--suite=loop"])) == Plan(10, 200, 64, 60_000, 10_000)
  assert loop_plan(parse(["bench", "--suite=loop", *TINY])) == PLAN


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--batch_size=32,64"], "--batch_size=32,64 gives several sizes"),
    (["--pool=100,200"], "--pool=100,200 gives several sizes"),
    (["--pool=100"], "needs 120 labels, but --pool=100 "),
    (["--seeds=-1"], "seeds"),
    (["--test=0"], "test"),
  ],
)
def test_mistakes(flags, sentence):
  with pytest.raises(UsageError, match=sentence):
    parse(["bench", "--suite=loop", *flags])


if importlib.util.find_spec("torch") is not None:

  @pytest.mark.parametrize("channels_last", [False, True])
  def test_torch_does_the_work_of_the_plan(channels_last, monkeypatch):
    seen = Counter()

    def counted_network():
      net = make_network()
      net.register_forward_hook(lambda net, args, _: seen.update({"train" if net.training else "infer": len(args[0])}))
      return net

    make_network = torch_loop.network
    monkeypatch.setattr(torch_loop, "network", counted_network)
    outcome = torch_loop.run_loop(PLAN, torch_loop.synthetic_data(PLAN), chunk=60, channels_last=channels_last)
    assert outcome.work == WORK
    assert seen == SEEN
    assert len(outcome.accuracy) == 3

  def test_torch_loop_learns():
    plan = Plan(rounds=0, train_steps=40, batch_size=16, pool=200, test=100, init_labels=60)
    outcome = torch_loop.run_loop(plan, torch_loop.synthetic_data(plan), chunk=100, channels_last=False)
    assert outcome.accuracy[-1] > 0.5

  def test_torch_runs_the_plan_in_a_process():
    with torch_loop.TorchLoopSide("channels_last", True, PLAN) as side:
      task = bench_loop.loop_task(PLAN)
      side.prepare(task)
      assert side.chunk_size in (250, 1000)
      assert side.measure(task) > 0
