"""Features of an encoder that is pretrained on the pool's images by SimCLR, without labels."""

from collections.abc import Mapping
import functools
from pathlib import Path
import time
from typing import Any

import jax
import numpy as np
import optax

from al_jax import from_flax
from al_jax import models
from al_jax import simclr
from al_jax import types
from al_jax import warping
from experiments.common.errors import UsageError
from experiments.encoders import epochs_file
from experiments.encoders import probe
from experiments.encoders import simclr_flags
from experiments.encoders.base import Encoded
from experiments.encoders.base import Task


def plan(settings: Mapping[str, Any]) -> simclr.Plan:
  """The plan of the flags.

  Raises:
    UsageError: a number is out of range.
  """
  try:
    crop = tuple(map(float, settings["crop"]))
    if len(crop) != 2:
      raise ValueError(f"--crop={','.join(settings['crop'])} must be two numbers, such as 0.6,1.15")
    views = warping.RandomWarp(
      scale=(crop[0], crop[1]),
      erase_probability=settings["erase"],
      **{name: settings[name] for name in ("aspect", "rotation", "shear", "shift")},
    )
    block_size = settings["block_size"]
    if block_size is None:
      block_size = simclr.Plan.block_size if jax.default_backend() == "cpu" else 0
    return simclr.Plan(settings["batch_size"], settings["temperature"], views=views, block_size=block_size)
  except ValueError as error:
    raise UsageError(str(error)) from error


def network(settings: Mapping[str, Any]) -> types.Network:
  """The network of the flags, without dropout; on a CPU its deep convolutions train by Winograd's products."""
  of = models.NETWORKS[settings["model"]]
  lowering = {"lowering": "winograd"} if hasattr(of, "lowering") else {}
  return from_flax(of(num_classes=settings["outputs"], dropout_rate=0.0, **lowering))


def optimizer(settings: Mapping[str, Any], steps: int) -> optax.GradientTransformation:
  """Adam with the learning rate of the flags over `steps` steps.

  Raises:
    UsageError: the warmup takes all steps.
  """
  rate, warmup = settings["learning_rate"], settings["warmup_steps"]
  if warmup >= steps:
    raise UsageError(f"--warmup_steps={warmup} must be less than the {steps} steps of all epochs")
  if settings["schedule"] == "cosine":
    start = 0.0 if warmup else rate
    return optax.adam(optax.warmup_cosine_decay_schedule(start, rate, warmup, steps))
  return optax.adam(optax.linear_schedule(0.0, rate, warmup) if warmup else rate)


def encode(task: Task) -> Encoded:
  """Pretrains on the pool's images for `--epochs` epochs and encodes all rows.

  After each epoch the work is in `task.part`; the same command continues from there, with the same bits as without a
  stop. The curve of the losses is written beside that file.

  Raises:
    UsageError: a flag is out of range, the pool does not suit SimCLR, or the loss is not finite.
  """
  data, settings = task.data, task.settings
  images, labels = data.inputs, data.labels
  if task.fit_ids is not None:
    images, labels = images[task.fit_ids], labels[task.fit_ids]
  budgets = probe.budgets(settings["probe"], labels)
  parts: dict[str, Any] = {"network": network(settings), "prepare": data.prepare}
  own = plan(settings)
  try:
    simclr.check(images, data.prepare, parts["network"], own)
  except ValueError as error:
    raise UsageError(str(error)) from error
  trained_by = {"optimizer": optimizer(settings, settings["epochs"] * (len(images) // own.batch_size)), "plan": own}
  finished = _pretrained(task, images, {**parts, **trained_by})

  task.display.phase("encoding")
  variables = jax.device_put(finished.state.variables)
  rows = jax.jit(functools.partial(simclr.encode, **parts))
  train = np.asarray(rows(variables, data.inputs))
  test = np.asarray(rows(variables, data.test_inputs)) if len(data.test_inputs) else train[:0]
  plot(finished.losses, curve_path(task.part))
  facts = described(settings, finished, len(images))
  if budgets:
    task.display.phase("linear probes")
    found = probe.accuracies(train if task.fit_ids is None else train[task.fit_ids], labels, budgets)
    for one in found:
      task.display.line(
        f"linear probe, {one.labels} labels: {one.mean:.1%} ± {one.deviation:.1%} of the other pool rows"
      )
    facts["probe"] = {"of": "pool rows", "seeds": probe.SEEDS, "accuracy": [one._asdict() for one in found]}
  return Encoded(train, test, facts)


def _pretrained(task: Task, images: np.ndarray, parts: dict[str, Any]) -> epochs_file.Finished:
  """The state after all epochs, continued from `task.part`."""
  epochs, display, batch = task.settings["epochs"], task.display, parts["plan"].batch_size
  steps, key = len(images) // batch, jax.random.key(task.settings["seed"])
  images = jax.device_put(images)
  start = epochs_file.Finished(simclr.init(key, images, **parts), np.zeros((0, steps), np.float32), np.zeros(0))
  identity = _identity(task)
  finished = epochs_file.load(task.part, identity, start.state, overwrite=task.overwrite) or start
  done = len(finished.losses)
  if done:
    display.line(f"{done} of {epochs} epochs are in {task.part} and are not computed again")
  if len(images) % batch:
    display.line(f"each epoch leaves out {len(images) % batch} of {len(images):,} images, which fill no batch")
  display.expect(epochs)
  display.advance(done)
  display.phase("compiling, then pretraining")
  state, epoch = jax.device_put(finished.state), jax.jit(functools.partial(simclr.epoch, **parts), donate_argnums=1)
  epoch = epoch.lower(key, state, images).compile()  # here, so that the first epoch's time is that of an epoch
  for number in range(done + 1, epochs + 1):
    began = time.perf_counter()
    state, losses = epoch(key, state, images)
    while not losses.is_ready():  # Python handles Ctrl-C between its own calls, not while it waits in JAX
      time.sleep(0.05)
    losses, seconds = np.asarray(losses), time.perf_counter() - began
    if not np.isfinite(losses).all():
      step = int(np.flatnonzero(~np.isfinite(losses))[0])
      raise UsageError(
        f"the loss is {losses[step]} in step {step + 1} of epoch {number}: give a smaller --learning_rate or a larger"
        " --temperature"
      )
    losses, times = np.concatenate([finished.losses, losses[None]]), np.append(finished.seconds, seconds)
    finished = epochs_file.Finished(state, losses, times)
    epochs_file.save(task.part, identity, finished)
    display.advance()
    display.line(
      f"epoch {number} of {epochs}: loss {losses[-1].mean():.3f}, {steps * batch / seconds:.0f} images per second,"
      f" {(epochs - number) * seconds / 60:.0f} min left"
    )
  return finished


def _identity(task: Task) -> dict[str, Any]:
  """All that determines the encoder: the task's identity without the flags that only report."""
  settings = {name: value for name, value in task.settings.items() if name not in simclr_flags.REPORTING}
  return {**task.identity, "settings": settings}


def described(settings: Mapping[str, Any], finished: epochs_file.Finished, pool: int) -> dict[str, Any]:
  """JSON about the pretraining: mean loss and seconds of each epoch, and what a reader needs to repeat it."""
  steps = finished.losses.shape[1]
  return {
    "encoder": "output of a network pretrained by SimCLR on the pool without labels, before the projection head",
    "fitted_on_rows": pool,
    "steps": int(finished.losses.size),
    "loss_per_epoch": [round(float(loss), 5) for loss in finished.losses.mean(axis=1)],
    "seconds_per_epoch": [round(float(seconds), 2) for seconds in finished.seconds],
    "images_per_second": round(float(steps * settings["batch_size"] / np.median(finished.seconds)), 1),
  }


def curve_path(part: Path) -> Path:
  """The figure of the losses of the features whose unfinished work is `part`."""
  return part.with_suffix(".losses.png")


def plot(losses: np.ndarray, path: Path) -> None:
  """Writes a figure of the losses `[epochs, steps]`: each step's, and each epoch's mean."""
  from matplotlib.figure import Figure  # importing it takes a second

  figure = Figure(figsize=(6, 4), layout="constrained")
  axes = figure.subplots()
  epochs, steps = losses.shape
  axes.plot((np.arange(losses.size) + 0.5) / steps, losses.ravel(), lw=0.5, alpha=0.4, label="step")
  axes.plot(np.arange(epochs) + 0.5, losses.mean(axis=1), marker="o", ms=3, label="mean of an epoch")
  axes.set(xlabel="epoch", ylabel="NT-Xent loss (nats)", title="SimCLR pretraining")
  axes.legend()
  temporary = path.with_name(f".{path.name}")
  try:
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
  except OSError as error:
    raise UsageError(f"{path} cannot be written: {error.strerror}; all epochs are kept") from error
