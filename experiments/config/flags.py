"""Every shared flag, grouped, with their --help."""

import shlex
import sys

from absl import flags

from al_jax import inputs
from al_jax import models
from al_jax import types
from al_jax.sweep import PACKS
from experiments.common.errors import UsageError
from experiments.config import acquisitions
from experiments.config import presets
from experiments.config.optimizers import OPTIMIZERS
from experiments.config.posteriors import POSTERIORS
from experiments.data import initial_sets

FLAGS = flags.FLAGS
GROUPS: dict[str, list[str]] = {}


class _Group:
  """A heading of --help; its methods define flags as `flags.DEFINE_<kind>` does."""

  def __init__(self, heading: str):
    self._names = GROUPS.setdefault(heading, [])

  def __getattr__(self, kind: str):
    def define(name: str, default, text: str, **kwargs) -> None:
      getattr(flags, f"DEFINE_{kind}")(name, default, help=text, **kwargs)
      self._names.append(name)

    return define


def _at_least(low: float) -> dict:
  return {"lower_bound": low}


def _share() -> dict:
  return {"lower_bound": 0.0, "upper_bound": 0.99}


_SEED = {"lower_bound": 0, "upper_bound": 2**32 - 1}  # from 2**32 on, keys begin again with that of 0

_study = _Group("What to compare")
_study.string("acq", "entropy", "acquisitions, a comma list; --list_acquisitions says which and what they do")
_study.integer("seeds", 1, "number of seeds", **_at_least(1))
_study.integer("seed", 0, "first seed", **_SEED)
_study.string("preset", None, f"named protocol, one of: {', '.join(presets.PRESETS)}")
_study.boolean("full_data", False, "train once on the whole pool instead: the reference line")

_data = _Group("Data")
_data.string(
  "dataset",
  "mnist",
  "digits, mnist, fashion_mnist, kmnist, a tensorflow-datasets name; or the path of a folder with a folder of images"
  " for each class, or of a file: .npz, .npy, .csv, .parquet",
)
_data.string("data_dir", None, "folder with a prepared tensorflow-datasets copy or the four IDX files")
_data.enum(
  "split", "standard", "train and test as published, or as the blog split MNIST", enum_values=["standard", "blog"]
)
_data.string("image_size", None, "of a folder whose images differ: 64, or 64x48, height first")
_data.string(
  "scale",
  None,
  "of numbers in a file: standard, minmax or none, fitted on the pool, or a divisor; by default standard for tables,"
  " none for arrays",
)
_data.string("label_column", None, "column of a table that holds the classes")
_data.list("ignore_columns", [], "columns of a table that are left out, a comma list")
_data.enum(
  "missing",
  "median",
  "values that a table lacks: the pool's median or most frequent value, or refused",
  enum_values=["median", "error"],
)
_data.float(
  "test_size", 0.2, "share of each class split off to test on, where the data bring no test set; 0 for none", **_share()
)
_data.string("test_rows", None, "rows to test on instead, A:B, from A on and before B")
_data.integer("test_seed", 0, "decides which rows --test_size splits off, for every seed alike", **_SEED)
_data.enum(
  "unlabeled",
  "refuse",
  "rows without a label, or of -1 beside whole numbers: refused, or kept in the pool and not asked for",
  enum_values=["refuse", "keep"],
)
_data.float("input_mean", 0.0, "subtracted from the pixels, which run from 0 to 1, before they enter the network")
_data.float("input_std", 1.0, "what they are divided by after that", lower_bound=1e-6)
_data.integer("val_size", 0, "pool images set aside for validation", **_at_least(0))
_data.integer("pool_size", None, "training images in the pool, drawn at random; all by default", **_at_least(1))
_data.integer("pool_copies", 1, "copies of every image of the pool", **_at_least(1))
_data.float(
  "pool_noise", 0.0, "standard deviation of Gaussian noise on each pool image, a copy its own", **_at_least(0)
)
_data.float(
  "imbalance",
  1.0,
  "images of the most frequent class over those of the rarest: a long-tailed pool; 1 leaves it as it is",
  **_at_least(1.0),
)
_data.integer(
  "pool_seed", 0, "decides the draws of --pool_size and --imbalance and the noise, for every seed alike", **_SEED
)
_data.string(
  "embedding", None, ".npy file of [training images, E] features for what compares images; of a path, of all its rows"
)
_data.float("val_last", 0.0, "share of the labeled rows, the last acquired, held out for validation")
_data.float("full_val_last", 0.0, "the same under --full_data: the share of the pool's last rows")

_labels = _Group("Labels")
_labels.integer(
  "init_labels", 20, "labels before the first training; with --init_file, by default its length", **_at_least(1)
)
_labels.enum(
  "init",
  "balanced",
  "initial labels: equally many of each true class, at random, those of --init_file, the 20 images of MNIST from which"
  " every run of the BatchBALD paper starts, or chosen by a strategy that needs no labels, the same for every seed",
  enum_values=["balanced", "random", "file", "batchbald", *initial_sets.CHOOSERS],
)
_labels.string(
  "init_file", None, "file with a list of ids, of the pool as the flags above make it: what every seed starts from"
)
_labels.integer("acq_size", 10, "labels bought in a round", **_at_least(1))
_labels.integer("rounds", 10, "acquisitions; the run trains once more than that", **_at_least(0))
_labels.float("label_noise", 0.0, "probability that the oracle answers with another class, drawn by id", **_share())
_labels.integer("pool_subset", None, "candidates looked at in a round, drawn anew each time; all by default")

_posterior = _Group("Posterior")
_posterior.enum(
  "posterior",
  None,
  "what acquisitions see; by default the network as it is, or MC dropout for those that compare samples;"
  " of one alone: entropy(posterior=dropout)",
  enum_values=list(POSTERIORS),
)
_posterior.integer("mc_samples", 20, "samples of MC dropout, or of a Laplace posterior", **_at_least(1))
_posterior.integer("ensemble_size", 5, "networks of an ensemble", **_at_least(1))
_posterior.enum(
  "dropout_masks",
  "consistent",
  "MC dropout's masks: of a sample the same for all images, or each image its own",
  enum_values=["consistent", "per_example"],
)
_posterior.enum("eval_posterior", "deterministic", "what test metrics are measured on", enum_values=list(POSTERIORS))

_hyper = _Group("Acquisitions' own (written with one: power_bald(coldness=8); as a flag, told to all that take it)")
HYPER = acquisitions.hyper_flags()
for _name, (_default, _takers) in HYPER.items():
  _kind = "float" if isinstance(_default, float) else "integer"
  getattr(_hyper, _kind)(_name, None, f"of {', '.join(_takers)} [{_default:g}]")

_training = _Group("Model and training")
_training.enum("model", "cnn", "network", enum_values=list(models.NETWORKS))
_training.integer(
  "vocabulary", None, "tokens that a transformer tells apart; by default one more than the largest", **_at_least(1)
)
_training.enum("norm", None, "normalisation, of networks that have a choice", enum_values=["group", "batch"])
_training.float("dropout_rate", None, "share of activations dropped; by default the network's own", **_share())
_training.enum("optimizer", "adam", "optax optimizer", enum_values=list(OPTIMIZERS))
_training.float("learning_rate", 3e-4, "step size of the optimiser", **_at_least(0.0))
_training.float("momentum", 0.9, "momentum of sgd", lower_bound=0.0, upper_bound=1.0)
_training.boolean("nesterov", False, "Nesterov's momentum in sgd")
_training.enum(
  "schedule",
  "constant",
  "of the step size in a round: constant, or falling to 0",
  enum_values=["constant", "cosine"],
)
_training.float("weight_decay", 0.0, "L2 penalty, added to the gradient; adamw decays the weights", **_at_least(0.0))
_training.string(
  "decay_layers", None, "layers whose kernels alone decay, a comma list of Flax names (Dense_0); by default all decays"
)
_training.boolean("decay_over_labels", False, "weight decay divided by the number of labels, as a prior weighs")
_training.integer("batch_size", 32, "images a step", **_at_least(1))
_training.integer("train_steps", 200, "optimiser steps a round", **_at_least(1))
_training.integer("epochs", None, "passes a round, in place of --train_steps", **_at_least(1))
_training.integer("first_epochs", None, "passes of round 0, where these are others", **_at_least(1))
_training.integer(
  "epoch_draws", 0, "images that an epoch has at least, going over the labeled ones again", **_at_least(0)
)
_training.integer(
  "full_train_steps",
  4000,
  "optimiser steps of --full_data where --epochs is not set",
  **_at_least(1),
)
_training.integer(
  "early_stop",
  None,
  "stop after so many looks at the --val_size set without a better one; keeps the best",
  **_at_least(1),
)
_training.integer("eval_every", 50, "steps between two looks; with --epochs, every epoch is looked at", **_at_least(1))
_training.integer(
  "early_stop_samples", 1, "samples of MC dropout whose mean a look takes; 1 looks with dropout off", **_at_least(1)
)
_training.enum(
  "early_stop_metric",
  "accuracy",
  "what a look asks for: a higher accuracy, or a lower negative log-likelihood",
  enum_values=list(types.STOP_METRICS),
)
_training.enum(
  "early_stop_keep", "best", "weights kept: of the best check, or the last ones", enum_values=list(types.KEPT)
)
_training.float("label_smoothing", 0.0, "share of a label that is spread over all classes alike", **_share())
_training.boolean("warm_start", False, "go on from the last round's weights, not from new ones")
_training.boolean("keep_optimizer", False, "with --warm_start, go on with the last round's optimizer state too")
_training.string(
  "augment", None, f"of training batches, a comma list in order: {', '.join(inputs.AUGMENTATIONS)}; by default none"
)
_training.integer(
  "chunk_size", types.Plan.chunk_size, "images in one forward pass outside training; more on a GPU", **_at_least(1)
)
_training.enum(
  "precision", "float32", "arithmetic of the passes that acquisitions look at", enum_values=list(types.SCORE_DTYPES)
)

_program = _Group("One program (--driver=scan, and experiments.ablation)")
_program.enum(
  "pack", None, "seeds one after another or all at once; by default map on CPU, vmap elsewhere", enum_values=list(PACKS)
)
_program.integer(
  "seeds_per_program",
  None,
  "seeds in one call of the program; by default 1 a device with map, and with vmap as many as fit the memory",
  **_at_least(1),
)
_program.integer(
  "cpu_devices",
  None,
  "devices that the processor counts as, each at seeds of its own; by default one a core, at most 8",
  **_at_least(1),
)
_program.string("vmap_over", None, "a grid, one program for all of it: learning_rate=1e-3,3e-4;dropout_rate=0.25,0.5")

_running = _Group("Running")
_running.boolean("describe", False, "print what would be used of the data, and end")
_running.boolean("inspect", False, "draw the images acquired in each round, with label, prediction and score")
_running.enum("driver", "python", "round by round, or all rounds as one program", enum_values=["python", "scan"])
_running.enum("platform", None, "device; by default JAX's choice", enum_values=["cpu", "gpu", "cuda", "rocm", "tpu"])
_running.string(
  "compilation_cache", "auto", "folder of compiled programs: auto for one in the user's cache folder, none for no cache"
)
_running.boolean("profile", False, "write a trace for XProf or Perfetto to WORKDIR/profile; for runs of few rounds")
_running.boolean("tensorboard", False, "write the rows' numbers for TensorBoard to WORKDIR/tensorboard, too")
_running.enum(
  "log_level",
  "warning",
  "what is told beside the results, on stderr",
  enum_values=["debug", "info", "warning", "error"],
)
_running.string("workdir", None, "folder of results; by default a fresh runs/<dataset>-<date>-<time>")
_running.boolean("resume", False, "add what is missing to the results in --workdir")
_running.boolean("overwrite", False, "delete the results in --workdir first")
_running.boolean("list_acquisitions", False, "print every acquisition: formula, needs, source")


def parse(argv: list[str]) -> list[str]:
  """The flags parser of `absl.app.run`: grouped --help; a stray word or a flag given twice is refused.

  Exits 0 after --help and --list_acquisitions and 1 after a mistake, with one sentence.
  """
  if any(word in ("--help", "-help", "--helpfull", "--helpshort", "-h") for word in argv[1:]):
    print(help_text())
    sys.exit(0)
  try:
    rest = FLAGS(argv)
    if len(rest) > 1:
      raise UsageError(f"stray word {rest[1]!r} on the command line: every setting is a flag, --name=value")
    twice = [name for group in GROUPS.values() for name in group if FLAGS[name].present > 1]
    if twice:
      raise UsageError(f"--{twice[0]} is given {FLAGS[twice[0]].present} times: give it once")
  except (flags.Error, UsageError) as error:
    sys.exit(f"error: {error}")
  if FLAGS.list_acquisitions:
    print(acquisitions.listing())
    sys.exit(0)
  return rest


def help_text() -> str:
  """The main program's docstring and every flag by group, with default and choices."""
  lines = [(sys.modules["__main__"].__doc__ or "").strip()]
  for group, names in GROUPS.items():
    lines += ["", f"{group}:"]
    for name in names:
      flag = FLAGS[name]
      default = (
        "" if flag.default in (None, []) else f" [{str(flag.default).lower() if flag.boolean else flag.default}]"
      )
      lines.append(f"  --{name:<19}{flag.help}{default}")
  lines += ["", "Presets (a typed flag wins over the preset):"]
  for name, preset in presets.PRESETS.items():
    lines.append(f"  {name:<19}{preset.summary}")
  return "\n".join(lines)


def resume_command(workdir: str) -> str:
  """The command line that goes on where this one stopped, with its results in `workdir`."""
  kept = [name for names in GROUPS.values() for name in names if name not in ("resume", "overwrite", "workdir")]
  words = [FLAGS[name].serialize() for name in kept if FLAGS[name].present]
  spec = sys.modules["__main__"].__spec__
  program = ["-m", spec.name] if spec else sys.argv[:1]
  return shlex.join(["python", *program, *words, f"--workdir={workdir}", "--resume"])
