"""Share of acquired ids that stay the same if a run is computed with another packing or precision.

A run that acquires one different image trains on a different set from then on, and its later acquisitions may all
differ. The first round shows the direct effect of a variant: training differs at most in the order of its sums. Later
rounds show how the difference grows. A strategy that reads no image acquires the same ids in every variant.
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
SAMPLES = 10  # of MC dropout, for strategies that compare samples


class Variant(NamedTuple):
  """How runs are computed."""

  name: str
  pack: str  # of sweep.PACKS
  score_dtype: str  # of types.SCORE_DTYPES


REFERENCE = Variant("map", "map", "float32")  # on CPU, each run equals the unpacked run bit for bit
OTHERS = (Variant("vmap", "vmap", "float32"), Variant("bfloat16", "map", "bfloat16"))


class Agreement(NamedTuple):
  """Agreement of the same runs computed in two variants: means over the runs."""

  initial: float  # share of the initial set's ids that are equal
  places: list[float]  # by round: share of the batch's places that hold the same id
  batches: list[float]  # by round: share of the batch's ids that are in the other batch
  run: float  # share of all acquired ids that the other run acquires in any round
  accuracy: float  # largest difference in test accuracy over all runs and rounds


def _shared(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
  """The share of ids that two sets have in common: `[..., num]` twice -> `[...]`."""
  return (ours[..., :, None] == theirs[..., None, :]).any(axis=-1).mean(axis=-1)


def agreement(reference: Runs, other: Runs) -> Agreement:
  """Compares the same K runs, run by run."""
  ours, theirs = (runs.info.selected[:, :-1] for runs in (reference, other))  # the last round acquires nothing
  whole = lambda ids: ids.reshape(len(ids), -1)
  accuracies = [runs.info.metrics.test_accuracy.astype(np.float64) for runs in (reference, other)]
  return Agreement(
    initial=float((reference.initial == other.initial).mean()),
    places=(ours == theirs).mean(axis=(0, 2)).tolist(),
    batches=_shared(ours, theirs).mean(axis=0).tolist(),
    run=float(_shared(whole(ours), whole(theirs)).mean()),
    accuracy=round(float(np.abs(accuracies[0] - accuracies[1]).max()), 6),  # float32 has no more digits
  )


def make_learner(name: str, plan: types.Plan, variant: Variant) -> Learner:
  """The learner of a strategy on the default network."""
  made = acquisitions.of(name)
  posterior = posteriors.mc_dropout(SAMPLES) if made.needs.samples > 1 else posteriors.deterministic()
  plan = dataclasses.replace(plan, score_dtype=variant.score_dtype)
  return Learner(Trainer(from_flax(CNN()), optax.adam(LEARNING_RATE), plan), made, posterior)


def run(display: Display, *, names: list[str], seeds: int, rounds: int, train_steps: int, chunk_size: int) -> dict:
  """Runs every strategy on scikit-learn's digits in every variant.

  Returns:
    Raw numbers: the plan, and an `Agreement` with the reference for every strategy and variant.

  Raises:
    UsageError: the runs need more labels than there are digits.
    RuntimeError: the variants start from different initial sets.
  """
  data = jax.device_put(data_sources.load("digits"))
  train = types.TrainPlan(steps=train_steps)
  own = types.Plan(INIT_LABELS, ACQ_SIZE, rounds, train, chunk_size=chunk_size)
  try:
    checks.check(own, data)
  except ValueError as error:
    raise UsageError(error) from error
  keys = jax.vmap(jax.random.key)(jnp.arange(seeds, dtype=jnp.uint32))

  def compute(name: str, variant: Variant) -> Runs:
    display.phase(f"{name}, {seeds} runs by {variant.name}")
    (runs,) = jax.device_get(sweep(keys, data, (make_learner(name, own, variant),), pack=variant.pack))
    display.advance()
    return runs

  out = []
  for name in names:
    reference = compute(name, REFERENCE)
    for variant in OTHERS:
      found = agreement(reference, compute(name, variant))
      if found.initial < 1:
        raise RuntimeError(
          f"{name} by {variant.name} starts from other initial sets: {found.initial:.1%} of the ids are equal"
        )
      display.line(
        f"{name}, {variant.name}: {found.batches[0]:.1%} of the first batch and {found.run:.1%} of the run agree"
      )
      out.append({"acquisition": name, "way": variant.name} | found._asdict())
  display.line("initial sets: 100% of the ids equal, for every strategy and variant")
  plan = {"dataset": "digits", "seeds": seeds, "learning_rate": LEARNING_RATE, "samples": SAMPLES}
  plan["train_steps"] = train_steps
  return {"plan": plan | dataclasses.asdict(own), "agreements": out}


def table(measured: list[dict]) -> Table:
  """Table of the measurements of `run`: the first round and the mean over rounds."""
  out = Table(
    title=f"Share of acquired ids that agree with {REFERENCE.name} in {REFERENCE.score_dtype}:"
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
