"""The flags of experiments.mnist and experiments.ablation, in groups, with their help texts."""

from absl import flags

from al_jax import inputs
from al_jax import models
from al_jax import types
from al_jax.models.layers import KERNEL_INITS
from al_jax.sweep import PACKS
from experiments.config import acquisitions
from experiments.config import presets
from experiments.config.flag_groups import SEED
from experiments.config.flag_groups import Group
from experiments.config.flag_groups import at_least
from experiments.config.flag_groups import share
from experiments.config.optimizers import NEWTON
from experiments.config.optimizers import OPTIMIZERS
from experiments.config.posteriors import POSTERIORS
from experiments.data import initial_sets
from experiments.data import names as data_names

FLAGS = flags.FLAGS
LINEAR_CHUNK = 2000  # rows of features; scoring is fastest on two cores from 1,000 to 4,000

_study = Group("What to compare")
_study.string("acq", "entropy", "comma-separated acquisition functions; --list_acquisitions describes them")
_study.integer("seeds", 1, "number of seeds; every strategy runs once per seed", **at_least(1))
_study.integer("seed", 0, "first seed; the others count up from it", **SEED)
_study.string("preset", None, f"named protocol, one of: {', '.join(presets.PRESETS)}")
_study.boolean(
  "full_data",
  False,
  "train once per seed on the whole pool instead of acquiring labels: the full-supervision reference",
)

_data = Group("Data")
_data.string(
  "dataset",
  "mnist",
  f"data set name ({', '.join(data_names.BUNDLED + data_names.IDX_NAMES)} or another tensorflow-datasets name), or a"
  " path: a folder with one subfolder of images per class, or a .npz, .npy, .csv or .parquet file",
)
_data.string(
  "data_dir",
  None,
  "folder with a prepared tensorflow-datasets copy or the four IDX files of --dataset (default: $TFDS_DATA_DIR, then"
  " ~/tensorflow_datasets, then a download)",
)
_data.enum(
  "split",
  "standard",
  "train/test split: the published one, or the one of the blog in --preset=blog",
  enum_values=["standard", "blog"],
)
_data.string(
  "image_size",
  None,
  "size to which the images of a folder are scaled and cropped: 64, or 64x48 (height x width); needed if sizes differ",
)
_data.string(
  "scale",
  None,
  "scaling of --features or of the numbers in a file: standard or minmax (fitted on the pool), none, or a divisor such"
  " as 65535 (default: standard for features, tables and rows of floats, 255 for uint8 arrays, none for other arrays)",
)
_data.string("label_column", None, "table column that holds the classes")
_data.list("ignore_columns", [], "comma-separated table columns to leave out")
_data.enum(
  "missing",
  "median",
  "missing values of a table: fill them with the pool's median (text: most frequent value), or report an error",
  enum_values=["median", "error"],
)
_data.float(
  "test_size",
  0.2,
  "fraction of each class held out as the test set, if the data have none; 0 for no test set",
  **share(),
)
_data.string("test_rows", None, "range of rows A:B (B excluded) to use as the test set, instead of --test_size")
_data.integer("test_seed", 0, "seed of the --test_size split, independent of --seed", **SEED)
_data.enum(
  "unlabeled",
  "refuse",
  "rows without a label (or with label -1, among integer labels): refuse them, or keep them in the pool, never queried",
  enum_values=["refuse", "keep"],
)
_data.float("input_mean", 0.0, "mean subtracted from the pixels, on the 0-to-1 scale")
_data.float(
  "input_std", 1.0, "standard deviation by which the centered pixels are divided, on the 0-to-1 scale", lower_bound=1e-6
)
_data.integer("val_size", 0, "number of pool images (with all their copies) held out for validation", **at_least(0))
_data.integer(
  "pool_size",
  None,
  "number of training images in the pool, drawn at random (default: all, or with --imbalance as many as possible)",
  **at_least(1),
)
_data.integer("pool_copies", 1, "number of times that the pool holds each image", **at_least(1))
_data.float(
  "pool_noise",
  0.0,
  "standard deviation of Gaussian noise on pool images, in units of the network's input; each copy has its own noise",
  **at_least(0),
)
_data.float(
  "imbalance",
  1.0,
  "size of the largest class divided by that of the smallest, in a long-tailed pool; 1 keeps the class sizes",
  **at_least(1.0),
)
_data.integer(
  "pool_seed",
  0,
  f"seed of --pool_size, --imbalance, --pool_noise and --init={'|'.join(initial_sets.CHOOSERS)}, independent of --seed",
  **SEED,
)
_data.string(
  "features",
  None,
  ".npy file of frozen features [N, F] that replace the inputs: TRAIN.npy,TEST.npy, or one file with the training rows"
  " before the test rows (if --dataset is a path, a row per row of the data)",
)
_data.enum(
  "features_dtype",
  "float32",
  "type in which --features are stored on the device; arithmetic is float32",
  enum_values=["float32", "float16"],
)
_data.string(
  "embedding",
  None,
  "features [N, E] by which acquisitions compare rows: files as for --features, or one with the training rows alone",
)
_data.float("val_last", 0.0, "fraction of the labeled rows, the most recently acquired, held out for validation")
_data.float("full_val_last", 0.0, "the same for --full_data: fraction of the pool, its last rows, held out")

_labels = Group("Labels")
_labels.integer(
  "init_labels", 20, "number of labels before round 0 (default with --init_file: the number of its ids)", **at_least(1)
)
_labels.enum(
  "init",
  "balanced",
  "initial set: equally many rows of each true class; random rows; the ids of --init_file; the 20 MNIST images from"
  " which every run of the BatchBALD paper starts; or rows chosen by a strategy that needs no labels (the same for"
  " every seed)",
  enum_values=["balanced", "random", "file", "batchbald", *initial_sets.CHOOSERS],
)
_labels.string(
  "init_file", None, "file with the pool ids of the initial set, the same for every seed: a JSON list or plain numbers"
)
_labels.integer("acq_size", 10, "number of labels acquired per round", **at_least(1))
_labels.integer("rounds", 10, "number of acquisition rounds (the model is trained rounds + 1 times)", **at_least(0))
_labels.float(
  "label_noise", 0.0, "probability that the oracle answers with a wrong class, drawn once per row and seed", **share()
)
_labels.integer("pool_subset", None, "number of candidates scored per round, redrawn in every round (default: all)")

_posterior = Group("Posterior")
_posterior.enum(
  "posterior",
  None,
  "posterior that acquisitions read (default: dropout for those that compare samples, with --model=linear laplace; else"
  " deterministic); for one strategy alone: --acq='entropy(posterior=dropout)'",
  enum_values=list(POSTERIORS),
)
_posterior.integer("mc_samples", 20, "number of posterior samples of MC dropout and Laplace", **at_least(1))
_posterior.integer("ensemble_size", 5, "number of networks in an ensemble", **at_least(1))
_posterior.enum(
  "dropout_masks",
  "consistent",
  "masks of MC dropout: one per sample, shared by all images, or one per sample and image",
  enum_values=["consistent", "per_example"],
)
_posterior.enum(
  "eval_posterior", "deterministic", "posterior whose test metrics are measured", enum_values=list(POSTERIORS)
)

_hyper = Group("Hyper-parameters of acquisitions (a flag sets all that take it; power_bald(coldness=8) sets one)")
HYPER = acquisitions.hyper_flags()
for _name, (_default, _takers) in HYPER.items():
  _kind = "float" if isinstance(_default, float) else "integer"
  getattr(_hyper, _kind)(_name, None, f"hyper-parameter of {', '.join(_takers)} [{_default:g}]")

_training = Group("Model and training")
_training.enum("model", "cnn", "network architecture", enum_values=list(models.NETWORKS))
_training.string("hidden", None, "comma-separated widths of the hidden layers of --model=mlp (default: 128,128)")
_training.enum(
  "kernel_init",
  None,
  "initial weights of --model=mlp or linear: as in Keras, as in PyTorch, or (linear alone) 0 (default: glorot, for"
  " linear zeros)",
  enum_values=list(KERNEL_INITS),
)
_training.integer(
  "vocabulary", None, "number of distinct tokens of a transformer (default: the largest token + 1)", **at_least(1)
)
_training.enum("norm", None, "normalization layers, for networks that offer the choice", enum_values=["group", "batch"])
_training.float("dropout_rate", None, "dropout rate (default: the network's own)", **share())
_training.enum(
  "optimizer",
  None,
  "optimizer, from optax; newton: full-batch logistic regression, for --model=linear (default: newton for it, else"
  " adam)",
  enum_values=[*OPTIMIZERS, NEWTON],
)
_training.float("l2", 1.0, "L2 penalty of newton: l2 / 2 |W|^2, added to the sum of the losses", lower_bound=1e-6)
_training.float("learning_rate", 3e-4, "learning rate", **at_least(0.0))
_training.float("momentum", 0.9, "momentum of sgd", lower_bound=0.0, upper_bound=1.0)
_training.boolean("nesterov", False, "use Nesterov momentum in sgd")
_training.enum(
  "schedule",
  "constant",
  "learning rate within a round: constant, or cosine decay to 0",
  enum_values=["constant", "cosine"],
)
_training.float("weight_decay", 0.0, "L2 penalty, added to the gradient; with adamw, decoupled decay", **at_least(0.0))
_training.string(
  "decay_layers",
  None,
  "comma-separated Flax layers (such as Dense_0) to whose kernels weight decay is restricted (default: all parameters)",
)
_training.boolean(
  "decay_over_labels", False, "divide the weight decay by the number of labels, as for a Gaussian prior"
)
_training.integer("batch_size", 32, "images per training step", **at_least(1))
_training.integer("train_steps", 200, "training steps per round", **at_least(1))
_training.integer("epochs", None, "epochs per round, instead of --train_steps", **at_least(1))
_training.integer("first_epochs", None, "epochs of round 0 (default: --epochs)", **at_least(1))
_training.integer(
  "epoch_draws", 0, "minimum number of images per epoch; a smaller labeled set is cycled through", **at_least(0)
)
_training.boolean(
  "drop_last",
  False,
  "with --epochs, leave out an epoch's last minibatch if it is smaller than the others and not the only one",
)
_training.integer(
  "full_train_steps",
  4000,
  "training steps of --full_data, if --epochs is not set",
  **at_least(1),
)
_training.integer(
  "early_stop",
  None,
  "early-stopping patience, in checks of the --val_size set without improvement (default: no early stopping)",
  **at_least(1),
)
_training.integer("first_early_stop", None, "patience of round 0 (default: --early_stop)", **at_least(1))
_training.integer(
  "eval_every", 50, "training steps between validation checks; with --epochs, every epoch is checked", **at_least(1)
)
_training.integer(
  "early_stop_samples", 1, "MC dropout samples averaged in a validation check; 1 turns dropout off", **at_least(1)
)
_training.enum(
  "early_stop_metric",
  "accuracy",
  "metric of the validation checks: accuracy, or negative log-likelihood",
  enum_values=list(types.STOP_METRICS),
)
_training.enum(
  "early_stop_keep",
  "best",
  "weights kept by early stopping: those of the best check, or the last",
  enum_values=list(types.KEPT),
)
_training.float("label_smoothing", 0.0, "label smoothing: probability spread evenly over all classes", **share())
_training.boolean("warm_start", False, "start each round from the weights of the previous round")
_training.boolean("keep_optimizer", False, "with --warm_start, also keep the state of the optimizer")
_training.string(
  "augment",
  None,
  "comma-separated augmentations of training batches, applied in the given order, from"
  f" {', '.join(inputs.AUGMENTATIONS)} (default: none)",
)
_training.integer(
  "chunk_size",
  None,
  f"images per forward pass outside training; raise it on a GPU (default: {types.Plan.chunk_size}, with --model=linear"
  f" {LINEAR_CHUNK})",
  **at_least(1),
)
_training.enum(
  "precision",
  "float32",
  "arithmetic of the forward passes that acquisitions read",
  enum_values=list(types.SCORE_DTYPES),
)

_program = Group("One program (--driver=scan, and experiments.ablation)")
_program.enum(
  "pack",
  None,
  "run the seeds of a device one after another (map), all at once (vmap), or train them one after another and score ten"
  " at once (heads) (default: map on CPU, with --model=linear heads; vmap elsewhere)",
  enum_values=list(PACKS),
)
_program.integer(
  "seeds_per_program",
  None,
  "seeds per call of the program (default: one per device with map, ten with heads; as many as fit in memory with"
  " vmap)",
  **at_least(1),
)
_program.integer(
  "cpu_devices",
  None,
  "virtual CPU devices, across which seeds are split (default: one per core, at most 8)",
  **at_least(1),
)
_program.string("vmap_over", None, "grid to run as one program, such as learning_rate=1e-3,3e-4;dropout_rate=0.25,0.5")

_running = Group("Running")
_running.boolean("describe", False, "print rows, classes, split and memory of the data, and exit")
_running.boolean("inspect", False, "draw the images acquired in each round, with label, prediction and score")
_running.enum("driver", "python", "run round by round, or all rounds as one program", enum_values=["python", "scan"])
_running.enum(
  "platform", None, "device type (default: JAX's choice)", enum_values=["cpu", "gpu", "cuda", "rocm", "tpu"]
)
_running.string(
  "compilation_cache", "auto", "folder of compiled programs; auto: one in the user's cache folder, none: no cache"
)
_running.boolean("profile", False, "write a trace for XProf or Perfetto to WORKDIR/profile; use few rounds")
_running.boolean("tensorboard", False, "also write the results for TensorBoard to WORKDIR/tensorboard")
_running.enum(
  "log_level",
  "warning",
  "level of the log messages on stderr",
  enum_values=["debug", "info", "warning", "error"],
)
_running.string("workdir", None, "folder of the results (default: a new runs/<dataset>-<date>-<time>)")
_running.boolean("resume", False, "continue the study in --workdir, or start it if there is none")
_running.boolean("overwrite", False, "delete the results in --workdir first")
_running.boolean("list_acquisitions", False, "print every acquisition with formula, needs and source, and exit")
