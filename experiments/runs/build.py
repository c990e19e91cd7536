"""From a Config to the pieces that the core runs on."""

import dataclasses
import functools

import flax.linen as nn
import jax
import optax

from al_jax import checks
from al_jax import models
from al_jax import training
from al_jax import types
from experiments.analysis import grid
from experiments.common.errors import UsageError
from experiments.common.spelling import Spelling
from experiments.config import acquisitions
from experiments.config.flags import HYPER
from experiments.config.resolve import Config


def model(config: Config, num_classes: int) -> nn.Module:
  """The network by name, with its own dropout rates unless `--dropout_rate` is given."""
  rate = {} if config.dropout_rate is None else {"dropout_rate": config.dropout_rate}
  return models.NETWORKS[config.model](num_classes=num_classes, **rate)


def optimizer(config: Config) -> optax.GradientTransformation:
  """The optimiser by name. Adadelta has Keras's settings, and L2 is coupled: it is part of the gradient.

  Its `init` raises UsageError where the network has no layer of `--decay_layers`.
  """
  core = {
    "adam": lambda: optax.adam(config.learning_rate),
    "sgd": lambda: optax.sgd(config.learning_rate, momentum=config.momentum),
    "adadelta": lambda: optax.adadelta(config.learning_rate, rho=0.95, eps=1e-7),
  }[config.optimizer]()
  if not isinstance(config.weight_decay, float) or config.weight_decay:  # a traced number cannot be looked at
    decay = training.add_decayed_weights_over_labels if config.decay_over_labels else optax.add_decayed_weights
    decayed = decay(config.weight_decay)
    if config.decay_layers is not None:
      decayed = optax.masked(decayed, functools.partial(_kernels, config.decay_layers.split(",")))
    return optax.chain(decayed, core)
  return core


def _kernels(layers: list[str], params: types.PyTree) -> types.PyTree:
  """True for the kernels of the layers, False for all else."""
  for layer in layers:
    if layer not in params:
      raise UsageError(f"--decay_layers: the network has no layer {layer!r}, but {', '.join(params)}")
  return {name: {own: name in layers and own == "kernel" for own in layer} for name, layer in params.items()}


def protocol(config: Config) -> types.Protocol:
  """The static plan of a run."""
  early_stop = None
  if config.early_stop is not None:
    early_stop = types.EarlyStop(
      config.early_stop, config.eval_every, config.early_stop_samples, config.early_stop_metric
    )
  return types.Protocol(
    init_labels=config.init_labels,
    acq_size=config.acq_size,
    rounds=config.rounds,
    batch_size=config.batch_size,
    train_steps=config.train_steps,
    epochs=config.epochs,
    epoch_draws=config.epoch_draws,
    init_balanced=config.init == "balanced",
    initial_ids=config.init_ids,
    warm_start=config.warm_start,
    val_size=config.val_size,
    val_last=config.val_last,
    pool_subset=config.pool_subset,
    chunk_size=config.chunk_size,
    early_stop=early_stop,
    score_dtype=config.precision,
  )


def _posterior(kind: str, config: Config) -> types.Posterior:
  if kind == "dropout":
    return types.Posterior(kind, config.mc_samples, per_example=config.dropout_masks == "per_example")
  return types.Posterior(kind, config.ensemble_size if kind == "ensemble" else 1)


def posterior(strategy: Spelling, made: types.Acquisition, config: Config) -> types.Posterior:
  """What a strategy's samples are: as its spelling says, else `--posterior`, else what it needs.

  MC dropout for those that compare samples, the network as it is for the rest. A strategy that looks at no sample has
  none, unless an ensemble has to be trained for `--eval_posterior`.
  """
  needs = made.needs & {"samples", "posterior"}
  if not needs:
    return _posterior("ensemble" if config.eval_posterior == "ensemble" else "deterministic", config)
  own = "dropout" if "posterior" in needs else "deterministic"
  return _posterior(strategy.posterior or config.posterior or own, config)


def scores_images(spelling: str) -> bool:
  """Whether a strategy gives single images a score."""
  return acquisitions.of(spelling).score is not None


def learners(
  config: Config, num_classes: int, point: dict[str, float | jax.Array] | None = None
) -> dict[str, types.Learner]:
  """One learner for each strategy; all share the same model and optimiser objects, and so their programs.

  At a `point` of a grid, whose numbers may be traced: a flag takes the point's value, and so does a strategy whose
  spelling leaves the hyper-parameter open.
  """
  point = point or {}
  config = dataclasses.replace(config, **{name: value for name, value in point.items() if name not in HYPER})
  network, shared_optimizer, plan = model(config, num_classes), optimizer(config), protocol(config)
  out = {}
  for spelling in config.acq:
    strategy = acquisitions.parse(spelling)
    known = acquisitions.hyper_parameters(strategy)
    made = acquisitions.make(strategy, **{name: value for name, value in point.items() if name in known})
    out[spelling] = types.Learner(
      network,
      shared_optimizer,
      made,
      plan,
      posterior=posterior(strategy, made, config),
      eval_posterior=_posterior(config.eval_posterior, config),
      label_noise=config.label_noise,
    )
  return out


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A strategy's learner as a function of a point of a grid, whose numbers may be traced. Hashable."""

  config: Config
  spelling: str
  num_classes: int

  def __call__(self, point: dict[str, jax.Array]) -> types.Learner:
    return learners(dataclasses.replace(self.config, acq=(self.spelling,)), self.num_classes, point)[self.spelling]


def full_data_learner(config: Config, num_classes: int) -> types.Learner:
  """The learner of full supervision: the same model and optimiser, trained for as long as `--full_data` says."""
  evaluated = _posterior(config.eval_posterior, config)
  plan = dataclasses.replace(
    protocol(config),
    val_last=config.full_val_last,
    pool_subset=None,
    train_steps=None if config.epochs else config.full_train_steps,
  )
  own = evaluated if evaluated.kind == "ensemble" else types.Posterior()
  return types.Learner(
    model(config, num_classes), optimizer(config), None, plan, own, evaluated, label_noise=config.label_noise
  )


def packing(config: Config) -> str:
  """As `--pack` says; else one run after another on CPU, where packed convolutions are slow, and elsewhere at once."""
  return config.pack or ("map" if jax.default_backend() == "cpu" else "vmap")


def check(config: Config, data) -> None:
  """Raises UsageError for a study that cannot be carried out on this data, before anything compiles or is written."""
  plan, name = protocol(config), f"--init_file={config.init_file}" if config.init_file else None
  key = jax.random.key(config.seed)
  try:
    checks.check_initial(plan, data)
    name = None
    if config.full_data:
      learner = full_data_learner(config, data.num_classes)
      checks.check_learner(learner, data)
      checks.check_key(key, learner, data)
      return
    checks.check(plan, data)
    if config.driver == "scan":
      checks.check_packing(key, packing(config))
    for point in grid.points(config.vmap_over):
      for name, learner in learners(config, data.num_classes, point).items():  # noqa: B007 (read where one is refused)
        checks.check_learner(learner, data)
        checks.check_key(key, learner, data)
  except ValueError as error:
    raise UsageError(f"{name}: {error}" if name else error) from error
