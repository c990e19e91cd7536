"""Computes features of every row of a data set, and writes them to a file for --features and --embedding.

python -m experiments.features --dataset=digits --method=pca --out=digits.npy
python -m experiments.features --dataset=PATH --method=pretrained --out=photos.npy    ImageNet features, CPU or GPU
"""

import hashlib
import importlib
import sys
import time

from absl import logging
import numpy as np

from experiments import data as data_sources
from experiments.common import places
from experiments.common.console import Display
from experiments.common.errors import UsageError
from experiments.config.resolve import path_options
from experiments.data import splits
from experiments.encoders import files
from experiments.encoders import flags
from experiments.encoders.base import Task
from experiments.runs import pools
from experiments.runs import runtime


def main(argv: list[str]) -> None:
  try:
    values, config = flags.parse(argv, __doc__ or "")
    out = flags.output(values)
    logging.set_verbosity(config.log_level)
    runtime.configure(config.platform, None, config.compilation_cache)
    began = time.perf_counter()
    with Display(1) as display:
      display.phase(f"loading {config.dataset}")
      found = data_sources.read(config.dataset, config.data_dir, path_options(config), display.phase)
      data = splits.apply(config.split, found.data, config.dataset)
      fingerprint, fit_ids = data_sources.fingerprint(data), pools.original_ids(config, data)
      data = pools.scaled(config, data)
      display.line(f"{places.title(config.dataset)}: {data.pool_size} training rows, {data.test_size} in the test set")
      for remark in found.remarks:
        display.line(remark)
      identity = {
        "method": values.method,
        "settings": flags.settings(values),
        "data_sha256": fingerprint,
        "scaling": repr(data.prepare),
        "pool_sha256": None if fit_ids is None else hashlib.sha256(fit_ids.astype("<i8").tobytes()).hexdigest(),
        **files.machine(),
      }
      task = Task(data, fit_ids, flags.settings(values), identity, out.with_suffix(".part"), values.overwrite, display)
      method = flags.METHODS[values.method]
      encoder = importlib.import_module(f"experiments.encoders.{method.module}")
      encoded = encoder.encode(task)
      rows, places_of_rows = files.in_order(encoded, found)
      facts = {
        **identity,
        **encoded.facts,
        "dataset": config.dataset,
        "command": ["python", "-m", "experiments.features", *argv[1:]],
        "seconds": round(time.perf_counter() - began, 1),
        **places_of_rows,
      }
      files.write(out, rows, np.dtype(values.dtype), facts, task.part if method.resumes else None)
      display.line(f"{rows.shape[0]:,} rows of {rows.shape[1]:,} features in {out}, described in {out.stem}.json")
  except (UsageError, data_sources.DataError) as error:
    sys.exit(f"error: {error}")
  except KeyboardInterrupt:
    print("\ninterrupted: finished parts are kept; continue with the same command", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
  main(sys.argv)
