"""Seconds and memory of each acquisition compared with the forward passes it needs, on synthetic pools."""

from collections.abc import Callable
import contextlib
import functools
import importlib.util
import io
import itertools
import statistics
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from al_jax import acquisition
from al_jax import from_flax
from al_jax import inputs
from al_jax import posterior as posteriors
from al_jax import types
from al_jax.models.cnn import CNN
from experiments.benchmarks.jax_side import IMAGE
from experiments.common.console import Display
from experiments.config import acquisitions

CLASSES, FEATURES = 10, 128
NAMES = [*acquisition.REGISTRY, *(f"{wrapper}_bald" for wrapper in acquisition.WRAPPERS)]


class Selection(NamedTuple):
  """One selection to measure."""

  name: str
  size: int  # pool images
  samples: int  # posterior samples; 1 if the acquisition does not compare samples
  num: int  # images selected


class Measured(NamedTuple):
  """Cost of a selection, or of the forward passes before it."""

  seconds: float  # median of the repeats, without compilation
  temporary: int  # bytes of temporaries of the compiled program, without arguments and results


def cases(names: list[str], sizes: list[int], samples: list[int], nums: list[int]) -> list[Selection]:
  """All combinations that differ in cost.

  `samples` vary only for acquisitions that compare samples, `nums` only for those that select a batch from features.
  """
  out = []
  for size, name in itertools.product(sizes, names):
    made = acquisitions.of(name)
    for s in samples if made.needs.samples > 1 else [1]:
      # Scores are computed once, however many images are selected; BatchBALD's cost is proportional to their number.
      several = made.score is None and (made.needs.features or made.needs.embedding)
      out += [Selection(name, size, s, num) for num in (nums if several else nums[:1])]
  return out


@functools.partial(jax.jit, static_argnames=("case",))
def synthetic_view(key: jax.Array, case: Selection) -> types.PoolView:
  """A view as of a fitted network: confident on most images, uncertain on some; a hundredth of the pool is labeled."""
  made = acquisitions.of(case.name)
  keys = jax.random.split(key, 5)
  doubt = jax.random.uniform(keys[0], (case.size, 1, 1))
  logits = 8 * doubt * jax.random.normal(keys[1], (case.size, 1, CLASSES))
  logits += 2 * jax.random.normal(keys[2], (case.size, case.samples, CLASSES)) * doubt
  features = jax.nn.relu(jax.random.normal(keys[3], (case.size, FEATURES)))
  fields = {"log_probs": jax.nn.log_softmax(logits), "features": features, "embedding": features}
  labeled = jnp.arange(case.size) % 100 == 0
  wanted = {"log_probs": made.needs.samples, "features": made.needs.features, "embedding": made.needs.embedding}
  needed = {name: value for name, value in fields.items() if wanted[name]}
  if made.needs.labels:
    needed["labels"] = jnp.where(labeled, jax.random.randint(keys[4], (case.size,), 0, CLASSES), types.UNKNOWN)
  if made.needs.head:
    kernel = 0.3 * jax.random.normal(jax.random.fold_in(keys[4], 1), (FEATURES, CLASSES))
    needed["head"] = types.Head(kernel, jnp.zeros(CLASSES))
  if made.needs.targets:
    needed["target_log_probs"] = fields["log_probs"][: made.needs.targets]
  return types.PoolView(labeled=labeled, candidates=~labeled, **needed)


def _measure(compiled, repeats: int, *args) -> Measured:
  seconds = []
  for _ in range(repeats + 1):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*args))
    seconds.append(time.perf_counter() - start)
    if seconds[-1] > 20:  # one measurement is enough
      break
  kept = seconds[1:] or seconds
  return Measured(statistics.median(kept), compiled.memory_analysis().temp_size_in_bytes)


def measure_selection(case: Selection, repeats: int) -> Measured:
  """Measures one compiled selection on a synthetic pool."""
  made = acquisitions.of(case.name)
  key, view = jax.random.key(1), synthetic_view(jax.random.key(0), case)
  compiled = jax.jit(functools.partial(made.select, num=case.num)).lower(key, view).compile()
  return _measure(compiled, repeats, key, view)


def measure_passes(size: int, samples: int, chunk_size: int, repeats: int) -> Measured:
  """Measures forward passes of the default network over the whole pool: one, or `samples` of MC dropout."""
  network = from_flax(CNN())
  images = jax.random.randint(jax.random.key(0), (size, *IMAGE), 0, 256, jnp.uint8)
  data = types.Dataset(
    images, jnp.zeros(size, jnp.int32), images[:1], jnp.zeros(1, jnp.int32), CLASSES, inputs.images(std=255)
  )
  variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, *IMAGE)))
  posterior = posteriors.mc_dropout(samples) if samples > 1 else posteriors.deterministic()

  def score(variables, data):
    images_of, ids = functools.partial(inputs.of_pool, data), jnp.arange(size)
    key = jax.random.key(2)
    return posterior.predict(key, network, variables, images_of, ids, chunk_size=chunk_size, features=False).log_probs

  return _measure(jax.jit(score).lower(variables, data).compile(), repeats, variables, data)


class Baseline(NamedTuple):
  """The same selection by another library."""

  case: Selection
  library: str
  call: Callable[[types.PoolView], object]


def baselines(wanted: list[Selection]) -> list[Baseline]:
  """The selections that batchbald_redux (if installed) and scikit-learn can compute."""
  found = []
  for case in wanted:
    if case.name == "batchbald" and case.size * case.samples <= 100_000 and importlib.util.find_spec("batchbald_redux"):
      found.append(Baseline(case, "batchbald_redux, 10,000 configurations", functools.partial(_redux, num=case.num)))
    if case.name == "kmeans":
      found.append(Baseline(case, "scikit-learn KMeans, as many iterations", functools.partial(_kmeans, num=case.num)))
  return found


def _redux(view: types.PoolView, num: int):
  from batchbald_redux import batchbald
  import torch

  log_probs = torch.from_numpy(np.array(view.log_probs[view.candidates]))
  with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
    return batchbald.get_batchbald_batch(log_probs, num, 10_000, dtype=torch.double)


def _kmeans(view: types.PoolView, num: int):
  from sklearn.cluster import KMeans

  iterations = acquisition.REGISTRY["kmeans"].hyper_parameters["iterations"]
  rows = np.array(view.embedding[view.candidates])
  return KMeans(num, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd", random_state=0).fit(rows)


def measure_baseline(baseline: Baseline) -> float:
  """Seconds of one call of another library."""
  view = jax.block_until_ready(synthetic_view(jax.random.key(0), baseline.case))
  start = time.perf_counter()
  baseline.call(view)
  return time.perf_counter() - start


def run(
  display: Display,
  *,
  names: list[str],
  sizes: list[int],
  samples: list[int],
  nums: list[int],
  chunk_size: int,
  repeats: int,
) -> list[dict]:
  """Measures every case, its forward passes and its baselines; one dict per measurement, in the order of the table."""
  wanted = cases(names, sizes, samples, nums)
  passes = {}
  for size, s in sorted({(case.size, s) for case in wanted for s in (1, case.samples)}):
    display.phase(f"forward passes: {size:,} images, {s} samples")
    passes[size, s] = measure_passes(size, s, chunk_size, 1)
    display.line(f"forward pass over {size:,} images, {s:>3} samples: {passes[size, s].seconds:.2f} s")
  out = []
  for case in wanted:
    what = f"{case.name}, {case.size:,} images, {case.samples} samples, {case.num} selected"
    display.phase(what)
    measured = measure_selection(case, repeats)
    display.line(f"{what}: {measured.seconds:.3f} s")
    for baseline in baselines([case]):
      display.phase(f"{what}, by {baseline.library}")
      out.append(case._asdict() | {"library": baseline.library, "seconds": measure_baseline(baseline)})
      display.line(f"{what}, by {baseline.library}: {out[-1]['seconds']:.3f} s")
    out.append(
      case._asdict()
      | measured._asdict()
      | {"of_one_pass": measured.seconds / passes[case.size, 1].seconds}
      | {"of_its_passes": measured.seconds / passes[case.size, case.samples].seconds}
    )
  return out


def table(measured: list[dict]) -> Table:
  """Table of the measurements of `run`."""
  out = Table(
    title="Cost of one compiled selection, relative to one forward pass over the pool and to all passes that it needs"
  )
  for column in ("acquisition", "pool", "samples", "selected", "seconds", "of one pass", "of its passes", "memory"):
    out.add_column(column, justify="left" if column == "acquisition" else "right")
  for row in measured:
    cells = [f"{row['size']:,}", str(row["samples"]), str(row["num"]), f"{row['seconds']:.3f}"]
    if "library" in row:
      out.add_row(f"  {row['name']} by {row['library']}", *cells, "", "", "")
    else:
      share = [f"{row['of_one_pass']:.1%}", f"{row['of_its_passes']:.1%}"]
      out.add_row(row["name"], *cells, *share, f"{row['temporary'] / 2**20:.1f} MiB")
  return out
