"""How many of the ids that a run buys stay the same where the run is computed in another way.

A run that buys one other image trains on another set from then on, and may buy anything: what a way of computing does
by itself shows in the first round, where training differs by the order of its sums at most; the later ones show what
becomes of it. A strategy that looks at no image buys the same ids in every way.
"""

import dataclasses
import statistics
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.table import Table

from al_jax import checks
from al_jax import from_flax
from al_jax import posterior as posteriors
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer
from al_jax.models.cnn import CNN
from al_jax.sweep import Runs
from al_jax.sweep import sweep
from experiments import data as data_sources
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config import acquisitions

NAMES = ["random", "entropy", "margin", "badge", "bald", "power_bald"]
INIT_LABELS, ACQ_SIZE, LEARNING_RATE = 20, 10, 1e-3
SAMPLES = 10  # of MC dropout, where a strategy compares samples


class Way(NamedTuple):
  """How runs are computed."""

  name: str
  pack: str  # of sweep.PACKS
  score_dtype: str  # of types.SCORE_DTYPES


REFERENCE = Way("map", "map", "float32")  # on CPU, each run as it is alone, bit for bit
OTHERS = (Way("vmap", "vmap", "float32"), Way("bfloat16", "map", "bfloat16"))


class Agreement(NamedTuple):
  """What the same runs have in common when they are computed in two ways: means over the runs."""

  initial: float  # share of the initial set's ids that are equal
  places: list[float]  # by round: share of the batch's places that hold the same id
  batches: list[float]  # by round: share of the batch's ids that the other batch holds too, wherever
  run: float  # share of all ids bought that the other run bought too, whenever
  accuracy: float  # largest difference of the test accuracies in any run and round


def _shared(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
  """The share of each set's ids that are in the other one: `[..., num]` twice -> `[...]`."""
  return (ours[..., :, None] == theirs[..., None, :]).any(axis=-1).mean(axis=-1)


def agreement(reference: Runs, other: Runs) -> Agreement:
  """Compares the same K runs, run by run."""
  ours, theirs = (runs.info.selected[:, :-1] for runs in (reference, other))  # the last round buys nothing
  whole = lambda ids: ids.reshape(len(ids), -1)
  accuracies = [runs.info.metrics.test_accuracy.astype(np.float64) for runs in (reference, other)]
  return Agreement(
    initial=float((reference.initial == other.initial).mean()),
    places=(ours == theirs).mean(axis=(0, 2)).tolist(),
    batches=_shared(ours, theirs).mean(axis=0).tolist(),
    run=float(_shared(whole(ours), whole(theirs)).mean()),
    accuracy=round(float(np.abs(accuracies[0] - accuracies[1]).max()), 6),  # float32 knows no more
  )


def make_learner(name: str, plan: types.Plan, way: Way) -> Learner:
  """The learner of a strategy on the default network."""
  made = acquisitions.of(name)
  posterior = posteriors.mc_dropout(SAMPLES) if made.needs.samples > 1 else posteriors.deterministic()
  plan = dataclasses.replace(plan, score_dtype=way.score_dtype)
  return Learner(Trainer(from_flax(CNN()), optax.adam(LEARNING_RATE), plan), made, posterior)


def run(display: Display, *, names: list[str], seeds: int, rounds: int, train_steps: int, chunk_size: int) -> dict:
  """Runs every strategy on scikit-learn's digits in every way.

  Returns:
    Raw numbers: the plan; and, of every strategy and way beside the reference, an `Agreement`.

  Raises:
    UsageError: the digits do not suffice for such runs.
    RuntimeError: the ways start from different initial sets.
  """
  data = jax.device_put(data_sources.load("digits"))
  train = types.TrainPlan(steps=train_steps)
  own = types.Plan(INIT_LABELS, ACQ_SIZE, rounds, train, chunk_size=chunk_size)
  try:
    checks.check(own, data)
  except ValueError as error:
    raise UsageError(error) from error
  keys = jax.vmap(jax.random.key)(jnp.arange(seeds, dtype=jnp.uint32))

  def compute(name: str, way: Way) -> Runs:
    display.phase(f"{name}, {seeds} runs by {way.name}")
    (runs,) = jax.device_get(sweep(keys, data, (make_learner(name, own, way),), pack=way.pack))
    display.advance()
    return runs

  out = []
  for name in names:
    reference = compute(name, REFERENCE)
    for way in OTHERS:
      found = agreement(reference, compute(name, way))
      if found.initial < 1:
        raise RuntimeError(
          f"{name} by {way.name} starts from other initial sets: {found.initial:.1%} of the ids are equal"
        )
      display.line(f"{name}, {way.name}: {found.batches[0]:.1%} of the first batch, {found.run:.1%} of the run")
      out.append({"acquisition": name, "way": way.name} | found._asdict())
  display.line("initial sets: 100% of the ids equal, by every strategy in every way")
  plan = {"dataset": "digits", "seeds": seeds, "learning_rate": LEARNING_RATE, "samples": SAMPLES}
  plan["train_steps"] = train_steps
  return {"plan": plan | dataclasses.asdict(own), "agreements": out}


def table(measured: list[dict]) -> Table:
  """What `run` measured, of the rounds the first and the mean."""
  out = Table(
    title=f"Share of the ids bought as by {REFERENCE.name} in {REFERENCE.score_dtype}:"
    " at the same place of a batch, in the same batch, in the same run"
  )
  shares = ("first round, place", "first round, batch", "all rounds, place", "all rounds, batch", "run")
  for column in ("acquisition", "by", *shares, "accuracy moves by"):
    out.add_column(column, justify="left" if column in ("acquisition", "by") else "right")
  for row in measured:
    places, batches = row["places"], row["batches"]
    values = (places[0], batches[0], statistics.fmean(places), statistics.fmean(batches), row["run"])
    cells = [f"{value:.1%}" for value in values]
    out.add_row(row["acquisition"], row["way"], *cells, f"{row['accuracy']:.3f} at most")
  return out
