"""Runs a whole ablation as one compiled program: all rounds, all seeds, many strategies.

python -m experiments.ablation --acq=random,entropy,margin,bald,power_bald,badge --seeds=50
python -m experiments.ablation --acq=random,entropy --seeds=5 --vmap_over="learning_rate=1e-3,3e-4"

Flags, result rows and figure are the same as in experiments.mnist; only the default of --driver differs (scan).
"""

from absl import app

from experiments import mnist
from experiments.config import command_line
from experiments.config.flags import FLAGS


def main(argv) -> None:
  mnist.main(argv)


if __name__ == "__main__":
  FLAGS.set_default("driver", "scan")
  app.run(main, flags_parser=command_line.parse)
