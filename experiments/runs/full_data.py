"""Full supervision: one training on the labels of the whole pool, the reference for active learning."""

import time

import jax

from al_jax import loop
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config.resolve import Config
from experiments.runs import build
from experiments.runs.interrupt import Interrupt
from experiments.runs.rows import metrics_row
from experiments.runs.workdir import Workdir


def run_study(config: Config, data, workdir: Workdir, display: Display, stop: Interrupt) -> None:
  """Trains on the whole pool once per seed."""
  trainer = build.full_data_trainer(config, data.num_classes)
  rows = {row["seed"]: row for row in workdir.full_data()}
  for seed in range(config.seed, config.seed + config.seeds):
    if seed not in rows:
      display.phase(f"full data, seed {seed}: training")
      start = time.perf_counter()
      _, fit, measured = jax.block_until_ready(loop.fit_full(jax.random.key(seed), data, trainer))
      if fit.first_bad_step >= 0:
        raise UsageError(
          f"seed {seed}: the loss on the full data was not finite at step {fit.first_bad_step}: try a smaller"
          " --learning_rate"
        )
      row = {"seed": seed, **metrics_row(measured)}
      rows[seed] = row | {"train_steps": int(fit.steps), "seconds_total": time.perf_counter() - start}
      workdir.write_full_data(list(rows.values()))
      display.line(
        f"full data        seed {seed}  {fit.steps} steps  {rows[seed]['seconds_total']:.1f} s"
        if row["test_accuracy"] is None
        else f"full data        seed {seed}  accuracy {row['test_accuracy']:.4f}  nll {row['test_nll']:.3f}"
        f"  ece {row['test_ece']:.3f}  {fit.steps} steps  {rows[seed]['seconds_total']:.1f} s"
      )
    display.advance()
    stop.check()
