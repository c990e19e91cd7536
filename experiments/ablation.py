"""Runs a whole ablation as one compiled program: all rounds, all seeds, many strategies.

python -m experiments.ablation --acq=random,entropy,margin,bald,power_bald,badge --seeds=50
python -m experiments.ablation --acq=random,entropy --seeds=5 --vmap_over="learning_rate=1e-3,3e-4"

Flags, result rows and figure are the same as in experiments.mnist; only the default of --driver differs (scan).
"""

from absl import app

from experiments import mnist
from experiments.config import flags


def main(argv) -> None:
  mnist.main(argv)


if __name__ == "__main__":
  flags.FLAGS.set_default("driver", "scan")
  app.run(main, flags_parser=flags.parse)
