"""The flags of `experiments.features --method=simclr`."""

from absl import flags

from al_jax import models

NAMES = (
  "model",
  "outputs",
  "epochs",
  "batch_size",
  "learning_rate",
  "schedule",
  "warmup_steps",
  "temperature",
  "crop",
  "aspect",
  "rotation",
  "shear",
  "shift",
  "erase",
  "block_size",
  "seed",
  "probe",
)
# Flags that change only what is reported, not the encoder.
REPORTING = ("probe",)


def define(values: flags.FlagValues) -> None:
  """Defines them in `values`."""
  of_images = [name for name in models.NETWORKS if name not in models.TOKENS]
  own = {"flag_values": values}
  positive, share = {"lower_bound": 1e-9, **own}, {"lower_bound": 0.0, **own}
  flags.DEFINE_enum("model", "batchbald", of_images, "network that is pretrained, without dropout", **own)
  flags.DEFINE_integer("outputs", 128, "outputs of the network, which are the features", lower_bound=1, **own)
  flags.DEFINE_integer("epochs", 20, "passes over the shuffled pool", lower_bound=1, **own)
  flags.DEFINE_integer("batch_size", 256, "images per step; each gives two views", lower_bound=2, **own)
  flags.DEFINE_float("learning_rate", 1e-3, "of Adam; with a schedule, the largest", **positive)
  flags.DEFINE_enum(
    "schedule",
    "cosine",
    ["constant", "cosine"],
    "learning rate after the warmup: constant, or falling to 0 in the last step",
    **own,
  )
  flags.DEFINE_integer("warmup_steps", 0, "steps in which the learning rate rises from 0", lower_bound=0, **own)
  flags.DEFINE_float("temperature", 0.2, "of the NT-Xent loss", **positive)
  flags.DEFINE_list("crop", ["0.6", "1.15"], "range of the window's side, in image sides, that a view shows", **own)
  flags.DEFINE_float("aspect", 0.2, "largest relative change of the window's height to width", **share)
  flags.DEFINE_float("rotation", 0.3, "largest angle of a view, in radians", **share)
  flags.DEFINE_float("shear", 0.25, "largest shift of a view's rows, in columns per row", **share)
  flags.DEFINE_float("shift", 0.1, "largest shift of a view's window, as a share of the image", **share)
  flags.DEFINE_float("erase", 0.0, "probability that a rectangle of a view is set to 0", upper_bound=1.0, **share)
  flags.DEFINE_integer(
    "block_size",
    None,
    "least number of views per pass of the network, 0 for all of a step (default: 32 on a CPU, 0 elsewhere)",
    lower_bound=0,
    **own,
  )
  flags.DEFINE_integer("seed", 0, "seed of the initial weights, the order and the views", lower_bound=0, **own)
  flags.DEFINE_list(
    "probe",
    [],
    "comma-separated numbers of labels, class-balanced, of linear probes that are trained and tested on the pool",
    **own,
  )
