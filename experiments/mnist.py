"""Runs pool-based active learning: trains, evaluates and acquires labels, for every strategy and seed.

python -m experiments.mnist                                   MNIST, entropy, one seed
python -m experiments.mnist --acq=random,entropy --seeds=3    two strategies, three paired seeds
python -m experiments.mnist --dataset=digits                  scikit-learn's digits, no download
"""

import errno
import sys

from absl import app
from absl import logging
import jax

from experiments import data as data_sources
from experiments.analysis import grid
from experiments.analysis import summary
from experiments.common import places
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config import command_line
from experiments.config.resolve import path_options
from experiments.config.resolve import resolve
from experiments.data import features
from experiments.data import initial_sets
from experiments.data import splits
from experiments.runs import build
from experiments.runs import describe
from experiments.runs import full_data
from experiments.runs import pools
from experiments.runs import python_driver
from experiments.runs import runtime
from experiments.runs import scan_driver
from experiments.runs import tensorboard
from experiments.runs.interrupt import Interrupt
from experiments.runs.interrupt import Stopped
from experiments.runs.workdir import Workdir

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def main(_) -> None:
  try:
    config = resolve()
    logging.set_verbosity(config.log_level)
    packs = config.driver == "scan" and not config.full_data
    cpu_devices = build.cpu_devices(config) if packs else None
    runtime.configure(config.platform, cpu_devices, config.compilation_cache)
    runs = len(config.acq) * len(grid.points(config.vmap_over))
    total = config.seeds * (1 if config.full_data else runs * (config.rounds + 1))
    with Display(total) as display:
      display.phase(f"loading {config.dataset}")
      found = data_sources.read(config.dataset, config.data_dir, path_options(config), display.phase)
      loaded = splits.apply(config.split, found.data, config.dataset)
      found = found._replace(data=loaded)
      if config.features is not None:
        found = features.apply(config.features, found)
      data = found.data
      fingerprint, pool_ids = data_sources.fingerprint(data), pools.original_ids(config, data)
      data = pools.apply(config, data, found)
      title = places.title(config.dataset)
      if config.describe:
        display.line("\n".join(describe.data_lines(title, data, found)))
        return
      config = build.with_vocabulary(initial_sets.resolve(config, loaded, data), data)
      build.check(config, data)
      workdir = Workdir(config, fingerprint)
      display.line(f"{title}: {data.pool_size} rows in the pool, {data.test_size} in the test set")
      for remark in found.remarks:
        display.line(remark)
      if config.imbalance > 1:
        display.line(f"pool rows per class: {', '.join(map(str, pools.class_counts(data)))}")
      for line in [*describe.oracle_lines(config), *describe.posterior_lines(config, data.num_classes)]:
        display.line(line)
      for line in [describe.training_line(config), *describe.memory_lines(config, data)]:
        display.line(line)
      for line in describe.selection_lines(config, data):
        display.line(line)
      display.line(f"results in {workdir.path}")
      if workdir.remark:
        display.line(workdir.remark)
      if not (config.full_data and workdir.rows):  # --full_data adds to an existing study without changing its config
        if found.rows is not None:
          workdir.write_pool(data, pool_ids, found)
        workdir.write_config(config, fingerprint, pool_ids, pools.class_counts(data), found.class_names)
      data = jax.device_put(data)
      driver = {"python": python_driver, "scan": scan_driver}[config.driver]
      study = (full_data if config.full_data else driver).run_study
      with runtime.profiled(workdir.path / "profile", config.profile), tensorboard.written(workdir, config.tensorboard):
        stop = Interrupt()
        stop.run(lambda: study(config, data, workdir, display, stop))
    figure = workdir.path / "learning_curve.png"
    supervised = workdir.full_data()
    if summary.curves(workdir.rows):
      display.console.print(summary.closing_table(workdir.rows, supervised))
      summary.plot(workdir.rows, supervised, f"{title}: accuracy over labels", figure)
      display.line(f"learning curve in {figure}")
    for line in describe.convergence_lines(config, workdir.rows):
      display.line(line)
    display.line(f"results in {workdir.path}")
  except (UsageError, data_sources.DataError) as error:
    sys.exit(f"error: {error}")
  except OSError as error:
    if error.errno not in _NO_ROOM:
      raise
    sys.exit(f"error: {error.filename or 'a file'} cannot be written: {error.strerror}; all written rows are kept")
  except Stopped as stopped:
    print(f"stopped by {stopped.name}; resume with: {command_line.resume_command(workdir.path)}", file=sys.stderr)
    sys.exit(stopped.exit_code)
  except KeyboardInterrupt:
    print("\ninterrupted: all written rows are kept; continue with --resume and the same --workdir", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
  app.run(main, flags_parser=command_line.parse)
