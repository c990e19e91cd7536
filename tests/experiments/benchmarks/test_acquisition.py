"""The benchmark of acquisitions: its cases, measurements on tiny pools, and flags."""

import io

import jax
import numpy as np
import pytest
import rich.console

from al_jax import acquisition
from experiments.benchmarks import acquisition as bench_acquisition
from experiments.benchmarks.acquisition import Selection
from experiments.benchmarks.flags import parse
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config import acquisitions

pytestmark = pytest.mark.usefixtures("fast_compilation")


def test_cases_differ_where_it_matters():
  cases = bench_acquisition.cases(["entropy", "bald", "kcenter", "batchbald"], [100], [10, 100], [5, 20])
  assert cases == [
    Selection("entropy", 100, 1, 5),
    Selection("bald", 100, 10, 5),
    Selection("bald", 100, 100, 5),
    Selection("kcenter", 100, 1, 5),
    Selection("kcenter", 100, 1, 20),
    Selection("batchbald", 100, 10, 5),
    Selection("batchbald", 100, 100, 5),
  ]
  everything = bench_acquisition.cases(bench_acquisition.NAMES, [100], [10], [5])
  assert {case.name for case in everything} >= set(acquisition.REGISTRY)


@pytest.mark.parametrize("name", ["bald", "epig", "badge", "typiclust", "alfamix"])
def test_made_views_hold_what_is_needed(name):
  made = acquisitions.of(name)
  case = Selection(name, 200, 3 if "posterior" in made.needs else 1, 5)
  view = bench_acquisition.synthetic_view(jax.random.key(0), case)
  assert view.labeled.sum() == 2 and (view.labeled ^ view.candidates).all()
  if view.log_probs is not None:
    assert view.log_probs.shape == (200, case.samples, 10)
    np.testing.assert_allclose(np.exp(np.asarray(view.log_probs)).sum(axis=-1), 1, rtol=1e-5)
  assert (view.features is not None) == made.needs.features
  assert (view.embedding is not None) == made.needs.embedding
  assert (view.head is not None) == made.needs.head and (view.labels is not None) == made.needs.labels
  assert made.needs.targets == (0 if view.target_log_probs is None else len(view.target_log_probs))


@pytest.mark.slow
def test_a_run_and_its_table(model, capsys, monkeypatch):
  monkeypatch.setattr(bench_acquisition, "CNN", type(model))  # compiles quickly
  sizes = {"names": ["entropy", "bald", "kmeans"], "sizes": [60], "samples": [2], "nums": [4]}
  measured = bench_acquisition.run(Display(1), **sizes, chunk_size=30, repeats=2)
  assert [(row["name"], row.get("library", "")[:12]) for row in measured] == [
    ("entropy", ""),
    ("bald", ""),
    ("kmeans", "scikit-learn"),
    ("kmeans", ""),
  ]
  for row in measured:
    assert row["seconds"] > 0
    if "library" not in row:
      assert row["temporary"] > 0 and row["of_one_pass"] > 0
  entropy, bald = measured[:2]
  assert entropy["of_one_pass"] == entropy["of_its_passes"] and bald["of_one_pass"] != bald["of_its_passes"]
  console = rich.console.Console(width=140, file=io.StringIO())
  console.print(bench_acquisition.table(measured))
  printed = console.file.getvalue()
  assert "kmeans by scikit-learn" in printed and "MiB" in printed and "of its passes" in printed
  assert "forward pass over 60 images" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("flags", "sentence"),
  [
    (["--acq=bold"], "unknown acquisition 'bold'"),
    (["--pool=ten"], "--pool=ten must be integers"),
    (["--samples=0"], "--samples=0 must be integers of at least 1"),
    (["--num=5,5"], "names a size twice"),
    (["--suite=acquisition", "--pool=100", "--num=60"], "exceeds half of the smallest pool"),
  ],
)
def test_mistakes(flags, sentence):
  with pytest.raises(UsageError, match=sentence):
    parse(["bench", *flags])
