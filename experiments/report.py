"""One table and one figure over the workdirs of a study, for instance of the tasks of an array job.

python -m experiments.report runs/study/task* --out=runs/study
"""

import json
from pathlib import Path
import sys

from absl import app
from absl import flags

from experiments import progress
from experiments import summary
from experiments.errors import UsageError
from experiments.results import MAY_DIFFER
from experiments.results import load_json
from experiments.results import read_rows

_OUT = flags.DEFINE_string("out", None, "folder of the figure; by default the first workdir")


def gather(workdirs: list[Path]) -> tuple[list[dict], list[dict]]:
  """The rows of all workdirs, and those of full supervision.

  Raises:
    UsageError: a workdir has no results or damaged ones, they are not of one study, or two hold the same run.
  """
  rows, full_data, first, holders = [], [], None, {}
  for workdir in workdirs:
    if not (workdir / "results.jsonl").exists() or not (workdir / "config.json").exists():
      raise UsageError(f"{workdir} holds no results.jsonl with its config.json")
    config = load_json(workdir / "config.json")
    plan = {name: value for name, value in config["flags"].items() if name not in MAY_DIFFER | {"seed"}}
    plan["the data"] = config["data_sha256"]
    if first is None:
      first = plan
    for name in plan:
      if plan[name] != first.get(name):
        raise UsageError(f"{workdir} is of another study than {workdirs[0]}: {name} is {plan[name]}, not {first[name]}")
    own, _ = read_rows(workdir / "results.jsonl")
    for row in own:
      run = (row["acq"], row["seed"], json.dumps(row.get("hyper"), sort_keys=True))
      if holders.setdefault(run, workdir) != workdir:
        raise UsageError(f"{workdir} and {holders[run]} both hold {row['acq']}, seed {row['seed']}")
    rows += own
    full_data += load_json(workdir / "full_data.json") if (workdir / "full_data.json").exists() else []
  return rows, full_data


def main(argv: list[str]) -> None:
  workdirs = [Path(word) for word in argv[1:]]
  try:
    if not workdirs:
      raise UsageError("name one workdir or more")
    rows, full_data = gather(workdirs)
    if not summary.curves(rows):
      raise UsageError(f"no run of {', '.join(map(str, workdirs))} has a row to show")
    progress.console().print(summary.closing_table(rows, full_data))
    out = Path(_OUT.value or workdirs[0])
    try:
      out.mkdir(parents=True, exist_ok=True)
      summary.plot(rows, full_data, "accuracy over labels", out / "learning_curve.png")
    except OSError as error:
      raise UsageError(f"--out={out} cannot be written: {error.strerror}") from error
    print(f"learning curve in {out / 'learning_curve.png'}")
  except UsageError as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  app.run(main)
