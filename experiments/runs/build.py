"""Builds networks, optimizers, plans, posteriors and learners from a Config."""

import dataclasses
import functools
import math

import jax
import optax

from al_jax import checks
from al_jax import from_flax
from al_jax import inputs
from al_jax import models
from al_jax import optimizers
from al_jax import posterior as posteriors
from al_jax import types
from al_jax.learner import Learner
from al_jax.learner import Trainer
from al_jax.sweep import check_packing
from experiments.analysis import grid
from experiments.common.errors import UsageError
from experiments.common.spelling import Spelling
from experiments.config import acquisitions
from experiments.config.flags import HYPER
from experiments.config.optimizers import NEWTON
from experiments.config.optimizers import OPTIMIZERS
from experiments.config.posteriors import POSTERIORS
from experiments.config.resolve import Config
from experiments.runs import runtime


def network(config: Config, num_classes: int) -> types.Network:
  """The network by name, with its default settings unless flags set others."""
  settings = {} if config.dropout_rate is None else {"dropout_rate": config.dropout_rate}
  for name in ("norm", "vocabulary", "hidden", "kernel_init"):
    if getattr(config, name) is not None:
      settings[name] = getattr(config, name)
  return from_flax(models.NETWORKS[config.model](num_classes=num_classes, **settings))


def with_vocabulary(config: Config, data: types.Dataset) -> Config:
  """Sets the vocabulary size of a token network from the data; returns the config of any other network unchanged.

  Raises:
    UsageError: --vocabulary is given for another network, the data are no tokens, or a token is outside it.
  """
  if config.model not in models.TOKENS:
    if config.vocabulary is not None:
      raise UsageError(
        f"--vocabulary applies to --model={models.TOKENS[0]} only, and --model is {config.model}: leave it out"
      )
    return config
  arrays = [x for x in (data.inputs, data.test_inputs) if x.size]
  if data.inputs.ndim != 2 or data.inputs.dtype.kind not in "iu" or data.prepare is not inputs.as_they_are:
    raise UsageError(
      f"--model={config.model} needs rows of integer tokens, and these data have none: choose another --model"
    )
  least, most = min(int(x.min()) for x in arrays), max(int(x.max()) for x in arrays)
  if least < 0 or most >= (config.vocabulary or most + 1):
    odd = least if least < 0 else most
    raise UsageError(f"token {odd} is outside 0 <= token < --vocabulary={config.vocabulary or most + 1}")
  return dataclasses.replace(config, vocabulary=config.vocabulary or most + 1)


def optimizer(config: Config) -> optax.GradientTransformation:
  """The optimizer by name. Weight decay is an L2 term in the gradient, unless the optimizer decays the weights itself.

  Its `init` raises UsageError if the network lacks one of the `--decay_layers`.
  """
  mask = None if config.decay_layers is None else functools.partial(_kernels, config.decay_layers.split(","))
  if config.optimizer == NEWTON:
    return optax.identity()  # not read: `TrainPlan.full_batch` trains
  entry = OPTIMIZERS[config.optimizer]
  parts = [entry.make(config, mask) if entry.decays else entry.make(config)]
  # A traced weight decay has no concrete value to compare with 0.
  if not entry.decays and (not isinstance(config.weight_decay, float) or config.weight_decay):
    decay = optimizers.add_decayed_weights_over_labels if config.decay_over_labels else optax.add_decayed_weights
    decayed = decay(config.weight_decay)
    parts.insert(0, decayed if mask is None else optax.masked(decayed, mask))
  if config.schedule == "cosine":
    parts.append(optimizers.scale_by_cosine())
  return parts[0] if len(parts) == 1 else optax.chain(*parts)


def _kernels(layers: list[str], params: types.PyTree) -> types.PyTree:
  """Mask of the parameters: True for the kernels of `layers`, False for all others."""
  for layer in layers:
    if layer not in params:
      raise UsageError(f"--decay_layers: the network has no layer {layer!r}; choose from {', '.join(params)}")
  return {name: {own: name in layers and own == "kernel" for own in layer} for name, layer in params.items()}


def plan(config: Config) -> types.Plan:
  """The static plan of a run."""
  early_stop = None
  if config.early_stop is not None:
    early_stop = types.EarlyStop(
      config.early_stop,
      config.eval_every,
      config.early_stop_samples,
      config.early_stop_metric,
      config.early_stop_keep,
      config.first_early_stop,
    )
  augment = None
  if config.augment is not None:
    augment = inputs.Chain(tuple(inputs.AUGMENTATIONS[name] for name in config.augment.split(",")))
  # Flags that share a field's name are copied.
  named = lambda part: {
    field.name: getattr(config, field.name) for field in dataclasses.fields(part) if hasattr(config, field.name)
  }
  lengths = {"steps": config.train_steps, "min_epoch_size": config.epoch_draws}
  if config.optimizer == NEWTON:
    lengths["full_batch"] = types.FullBatch(l2=config.l2)
  train = types.TrainPlan(**named(types.TrainPlan) | lengths | {"early_stop": early_stop, "augment": augment})
  others = {"init_balanced": config.init == "balanced", "initial_ids": config.init_ids, "score_dtype": config.precision}
  return types.Plan(**named(types.Plan) | others | {"train": train})


def posterior(strategy: Spelling, made: types.Acquisition, config: Config) -> types.Posterior:
  """A strategy's posterior: the one in its spelling, else `--posterior`, else the acquisition's default.

  The default for acquisitions that compare samples is MC dropout, for a linear head Laplace; for the others it is
  deterministic. Acquisitions that read no predictions, and the greedy oracle, always get the deterministic posterior.
  """
  if not made.needs.samples or acquisitions.instead(strategy) is not None:
    return posteriors.deterministic()
  sampled = "laplace" if config.model == "linear" else "dropout"
  own = sampled if made.needs.samples > 1 else "deterministic"
  return POSTERIORS[acquisitions.posterior_of(strategy) or config.posterior or own](config)


def trainer(config: Config, num_classes: int) -> Trainer:
  """The trainer; it trains as many networks as `--eval_posterior` reads."""
  evaluated = POSTERIORS[config.eval_posterior](config)
  return Trainer(
    network(config, num_classes),
    optimizer(config),
    plan(config),
    evaluated.members,
    evaluated,
    config.label_noise,
  )


def scores_images(spelling: str) -> bool:
  """Whether a strategy gives each image a score."""
  return acquisitions.of(spelling).score is not None


def learners(config: Config, num_classes: int, point: dict[str, float | jax.Array] | None = None) -> dict[str, Learner]:
  """One learner per strategy; all share the network and optimizer objects, and so their compiled programs.

  The learners of a config are cached, so that its checks run once. The values of `point`, a grid point, may be traced.
  They replace flags, and hyper-parameters that the strategy's spelling leaves open.
  """
  return _learners(config, num_classes, point) if point else dict(_cached_learners(config, num_classes))


@functools.lru_cache(maxsize=4)
def _cached_learners(config: Config, num_classes: int) -> dict[str, Learner]:
  return _learners(config, num_classes, {})


def _learners(config: Config, num_classes: int, point: dict[str, float | jax.Array]) -> dict[str, Learner]:
  config = dataclasses.replace(config, **{name: value for name, value in point.items() if name not in HYPER})
  single, out = trainer(config, num_classes), {}
  for spelling in config.acq:
    strategy = acquisitions.parse(spelling)
    made = acquisitions.make(strategy, **point)
    read = posterior(strategy, made, config)
    own = single._replace(members=max(single.members, read.members))
    out[spelling] = Learner(own, made, read, acquisitions.instead(strategy))
  return out


@dataclasses.dataclass(frozen=True)
class Recipe:
  """Maps a point of a grid, whose values may be traced, to the learners of the config's strategies. Hashable."""

  config: Config
  num_classes: int

  def __call__(self, point: dict[str, jax.Array]) -> tuple[Learner, ...]:
    return tuple(learners(self.config, self.num_classes, point).values())


def full_data_trainer(config: Config, num_classes: int) -> Trainer:
  """The trainer of full supervision: the same network and optimizer, for `--epochs` or `--full_train_steps`.

  Its only round is no first one: `--first_epochs` and `--first_early_stop` do not apply.
  """
  own = trainer(config, num_classes)
  train = dataclasses.replace(own.plan.train, first_epochs=None)
  if train.early_stop is not None:
    train = dataclasses.replace(train, early_stop=train.early_stop._replace(first_patience=None))
  if train.full_batch is None:
    train = dataclasses.replace(train, steps=None if config.epochs else config.full_train_steps)
  return own._replace(plan=dataclasses.replace(own.plan, train=train, val_last=config.full_val_last, pool_subset=None))


def packing(config: Config) -> str:
  """The value of `--pack`; default: on CPU "heads" for a linear head, else "map"; on other devices "vmap".

  On CPU, vmapped convolutions are slow, and a linear head alone is bound by reading the features.
  """
  if config.pack is not None:
    return config.pack
  if jax.default_backend() != "cpu":
    return "vmap"
  return "heads" if config.model == "linear" else "map"


def cpu_devices(config: Config) -> int:
  """The value of `--cpu_devices`; default: one per core, at most 8, and one alone for a study with a form of BAIT.

  They factorize one matrix per row in a batch, which two devices at once may never end (see `al_jax.linalg`).

  Raises:
    UsageError: several devices are asked for, and a form of BAIT is a strategy.
  """
  bases = [part.base for spelling in config.acq for part in acquisitions.parse(spelling).parts]
  alone = next((base for base in bases if base.startswith("bait")), None)
  if alone and (config.cpu_devices or 1) > 1:
    raise UsageError(f"--cpu_devices={config.cpu_devices}: {alone} runs on one CPU device: give 1, or omit the flag")
  return config.cpu_devices or (1 if alone else min(8, runtime.cores()))


def head_bytes(config: Config, data: types.Dataset) -> int:
  """Memory of the square matrices that newton and Laplace need for a linear head; 0 if the study has neither.

  Measured: six matrices `[F + 1, F + 1]` at a time, with the work space of the eigendecomposition.
  """
  if config.model != "linear":
    return 0
  reads = config.optimizer == NEWTON or config.eval_posterior == "laplace"
  reads = reads or any(own.posterior.name == "laplace" for own in learners(config, data.num_classes).values())
  return 6 * 4 * (math.prod(data.inputs.shape[1:]) + 1) ** 2 if reads else 0


def _check_memory(config: Config, data: types.Dataset) -> None:
  needed, free = head_bytes(config, data), runtime.free_bytes()
  if needed > free:
    features = math.prod(data.inputs.shape[1:])
    raise UsageError(
      f"a linear head on {features:,} features needs {needed / 2**30:.1f} GiB for the matrices of newton and Laplace,"
      f" but {free / 2**30:.1f} are free: give fewer features, such as principal components, or --optimizer=sgd with"
      " --posterior=ensemble"
    )


def check(config: Config, data) -> None:
  """Raises UsageError if the study cannot run on this data, before anything is compiled or written."""
  if config.inspect and data.inputs.ndim < 3:
    raise UsageError(f"--inspect draws images, but rows of these data have shape {data.inputs.shape[1:]}: leave it out")
  own, name = plan(config), f"--init_file={config.init_file}" if config.init_file else None
  key = jax.random.key(config.seed)
  try:
    checks.check_initial(own, data)
    _check_memory(config, data)
    name = None
    if config.full_data:
      full = full_data_trainer(config, data.num_classes)
      checks.check_trainer(full, data)
      checks.check_key(key, data, full)
      return
    checks.check(own, data)
    targets = max(acquisitions.of(spelling).needs.targets for spelling in config.acq)
    checks.check_values(data, own, targets=targets)
    if config.driver == "scan":
      check_packing(key, packing(config))
    for point in grid.points(config.vmap_over):
      for name, learner in learners(config, data.num_classes, point).items():  # noqa: B007 (used in the error message)
        checks.check_learner(learner, data)
        checks.check_key(key, data, learner.trainer, learner)
  except ValueError as error:
    raise UsageError(f"{name}: {error}" if name else error) from error
