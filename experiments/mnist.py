"""Pool-based active learning from the command line: how few labels reach how much accuracy?

python -m experiments.mnist                                   MNIST, entropy, one seed
python -m experiments.mnist --acq=random,entropy --seeds=3    two strategies, three paired seeds
python -m experiments.mnist --dataset=digits                  scikit-learn's digits, no download
"""

import errno
import sys
import time

from absl import app
from absl import logging
import jax

from al_jax import checks
from al_jax import loop
from experiments import data as data_sources
from experiments.analysis import grid
from experiments.analysis import summary
from experiments.analysis.records import run_name
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config import flags
from experiments.config.resolve import Config
from experiments.config.resolve import resolve
from experiments.data import initial_sets
from experiments.data import splits
from experiments.runs import build
from experiments.runs import contact_sheets
from experiments.runs import pools
from experiments.runs import python_driver
from experiments.runs import runtime
from experiments.runs import scan_driver
from experiments.runs import tensorboard
from experiments.runs.checkpoints import Checkpoints
from experiments.runs.interrupt import Interrupt
from experiments.runs.interrupt import Stopped
from experiments.runs.workdir import Workdir

_PHASES = {"fit": "training", "evaluate": "evaluating", "acquire": "scoring the pool"}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def run_rounds(config: Config, data, workdir: Workdir, display: Display, stop: Interrupt) -> None:
  """Runs every acquisition on every seed, round by round, writing a checkpoint and the row after each."""
  learners = build.learners(config, data.num_classes)
  width = max(16, *map(len, learners))
  for seed in range(config.seed, config.seed + config.seeds):
    for acq, learner in learners.items():
      done = workdir.done(acq, seed)
      display.advance(len(done))
      if workdir.ended(acq, seed, {}, config.rounds):
        continue
      before = done[-1]["test_accuracy"] if done else None
      display.run(f"{acq}, seed {seed}", config.rounds + 1, len(done))

      def on_phase(r: int, name: str, label: str = f"{acq}, seed {seed}") -> None:
        display.phase(f"{label}, round {r}/{config.rounds}: {_PHASES[name]}")

      on_round = (
        contact_sheets.writer(workdir.path / "inspect", data, learner) if config.inspect else python_driver.NOTHING
      )
      with Checkpoints(workdir.path / "checkpoints" / run_name(acq, seed)) as checkpoints:
        for row in python_driver.run_python(acq, seed, data, learner, done, on_phase, on_round, checkpoints):
          workdir.append(row)
          display.advance()
          display.line(summary.round_line(row, before, config.rounds, width))
          before = row.get("test_accuracy")
          stop.check()


def run_full_data(config: Config, data, workdir: Workdir, display: Display, stop: Interrupt) -> None:
  """Trains on the whole pool for every seed: the reference line."""
  learner = build.full_data_learner(config, data.num_classes)
  rows = {row["seed"]: row for row in workdir.full_data()}
  for seed in range(config.seed, config.seed + config.seeds):
    if seed not in rows:
      display.phase(f"full data, seed {seed}: training")
      start = time.perf_counter()
      _, fit, measured = jax.block_until_ready(loop.fit_full(jax.random.key(seed), data, learner))
      if fit.first_bad_step >= 0:
        raise UsageError(f"seed {seed}: the loss on the full data was not finite at step {fit.first_bad_step}")
      row = {"seed": seed, **python_driver.metrics_row(measured)}
      rows[seed] = row | {"train_steps": int(fit.steps), "seconds_total": time.perf_counter() - start}
      workdir.write_full_data(list(rows.values()))
      display.line(
        f"full data        seed {seed}  accuracy {row['test_accuracy']:.4f}  nll {row['test_nll']:.3f}"
        f"  ece {row['test_ece']:.3f}  {fit.steps} steps  {rows[seed]['seconds_total']:.1f} s"
      )
    display.advance()
    stop.check()


def check(config: Config, data) -> None:
  """Raises UsageError for a study that cannot be carried out on this data, before anything compiles or is written."""
  plan, name = build.protocol(config), f"--init_file={config.init_file}" if config.init_file else None
  key = jax.random.key(config.seed)
  try:
    checks.check_initial(plan, data)
    name = None
    if config.full_data:
      learner = build.full_data_learner(config, data.num_classes)
      checks.check_learner(learner, data)
      checks.check_key(key, learner, data)
      return
    checks.check(plan, data)
    if config.driver == "scan":
      checks.check_packing(key, scan_driver.packing(config))
    for point in grid.points(config.vmap_over):
      for name, learner in build.learners(config, data.num_classes, point).items():  # noqa: B007 (read where one is refused)
        checks.check_learner(learner, data)
        checks.check_key(key, learner, data)
  except ValueError as error:
    raise UsageError(f"{name}: {error}" if name else error) from error


def posterior_lines(config: Config, num_classes: int) -> list[str]:
  """What the strategies look at, where that is not the network as it is."""
  if config.full_data:
    return []
  samples = {"dropout": "samples of MC dropout", "ensemble": "networks of an ensemble"}
  by_posterior: dict[str, list[str]] = {}
  for name, learner in build.learners(config, num_classes).items():
    if learner.posterior.kind != "deterministic" and learner.acquisition.needs & {"samples", "posterior"}:
      text = f"{learner.posterior.samples} {samples[learner.posterior.kind]}"
      by_posterior.setdefault(text, []).append(name)
  return [f"{', '.join(names)}: on {text}" for text, names in by_posterior.items()]


def training_line(config: Config) -> str:
  """How networks are trained, with the values of a grid."""
  varied = dict(config.vmap_over)
  values = lambda name: varied.get(name, (getattr(config, name),))
  said = lambda name: f"{name.replace('_', ' ')} {' or '.join(f'{value:g}' for value in values(name))}"
  parts = [config.optimizer, said("learning_rate")]
  parts += [said("momentum")] if config.optimizer == "sgd" else []
  if any(values("weight_decay")):
    over = " over the number of labels" if config.decay_over_labels else ""
    parts.append(said("weight_decay") + over + (f" on {config.decay_layers}" if config.decay_layers else ""))
  steps = config.full_train_steps if config.full_data else config.train_steps
  draws = f" of {config.epoch_draws} draws or more" if config.epoch_draws else ""
  length = f"{config.epochs} epochs{draws}" if config.epochs else f"{steps} steps"
  parts += [f"batch {config.batch_size}", f"{'at most ' * (config.early_stop is not None)}{length}"]
  return ", ".join(parts) + (" on the whole pool" if config.full_data else " a round: the same for every strategy")


def main(_) -> None:
  try:
    config = resolve()
    logging.set_verbosity(config.log_level)
    packs = config.driver == "scan" and not config.full_data
    cpu_devices = (config.cpu_devices or min(8, runtime.cores())) if packs else None
    runtime.configure(config.platform, cpu_devices, config.compilation_cache)
    runs = len(config.acq) * len(grid.points(config.vmap_over))
    total = config.seeds * (1 if config.full_data else runs * (config.rounds + 1))
    with Display(total) as display:
      display.phase(f"loading {config.dataset}")
      data = data_sources.load(config.dataset, config.data_dir)
      data = loaded = splits.apply(config.split, data, config.dataset)
      fingerprint, pool_ids = data_sources.fingerprint(data), pools.original_ids(config, data)
      data = pools.apply(config, data)
      config = initial_sets.resolve(config, loaded, data)
      check(config, data)
      workdir = Workdir(config, fingerprint)
      display.line(f"{config.dataset}: a pool of {data.pool_size}, {len(data.test_images)} to test on")
      if config.imbalance > 1:
        display.line(f"images of each class: {', '.join(map(str, pools.class_counts(data)))}")
      for line in posterior_lines(config, data.num_classes):
        display.line(line)
      display.line(training_line(config))
      display.line(f"results in {workdir.path}")
      if workdir.remark:
        display.line(workdir.remark)
      if not (config.full_data and workdir.rows):  # the reference line joins a study whose config it leaves
        workdir.write_config(config, fingerprint, pool_ids, pools.class_counts(data))
      data = jax.device_put(data)
      study = {"python": run_rounds, "scan": scan_driver.run_study}[config.driver]
      if config.full_data:
        study = run_full_data
      with runtime.profiled(workdir.path / "profile", config.profile), tensorboard.written(workdir, config.tensorboard):
        stop = Interrupt()
        stop.run(lambda: study(config, data, workdir, display, stop))
    figure = workdir.path / "learning_curve.png"
    full_data = workdir.full_data()
    if summary.curves(workdir.rows):
      display.console.print(summary.closing_table(workdir.rows, full_data))
      summary.plot(workdir.rows, full_data, f"{config.dataset}: accuracy over labels", figure)
      display.line(f"learning curve in {figure}")
    display.line(f"results in {workdir.path}")
  except (UsageError, data_sources.DataError) as error:
    sys.exit(f"error: {error}")
  except OSError as error:
    if error.errno not in _NO_ROOM:
      raise
    sys.exit(f"error: {error.filename or 'a file'} cannot be written: {error.strerror}; every row written is kept")
  except Stopped as stopped:
    print(f"stopped by {stopped.name}; to go on: {flags.resume_command(workdir.path)}", file=sys.stderr)
    sys.exit(stopped.exit_code)
  except KeyboardInterrupt:
    print("\ninterrupted: every row written is kept; go on with --resume and the same --workdir", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
  app.run(main, flags_parser=flags.parse)
