"""Contact sheets: the images that a strategy acquired, with their labels and the model's predictions."""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from pathlib import Path
import textwrap

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import evaluation
from al_jax import inputs
from al_jax import types
from al_jax.learner import Learner
from experiments.analysis import styles
from experiments.analysis.records import sheet_name

_COLUMNS, _MAX_IMAGES = 10, 100
_WIDE, _HIGH, _SIDE = 1.25, 1.75, 1.1  # inches: width and height of an image with its text, the image's longer side


@functools.partial(jax.jit, static_argnames="learner")
def _predict(state: types.ALState, data: types.Dataset, ids: jax.Array, learner: Learner):
  return evaluation.predict_pool(state, data, ids, learner), inputs.of_pool(data, ids)


def writer(
  folder: Path, data: types.Dataset, learner: Learner, class_names: Sequence[str] | None = None
) -> Callable[[dict, types.ALState], None]:
  """Returns a function `(row, state after its round)` that writes the round's contact sheet as PNG.

  The prediction is the mean over the strategy's posterior samples; if it reads no predictions, the deterministic one.
  """

  def write(row: dict, state: types.ALState) -> None:
    if not row.get("selected"):
      return
    ids = jnp.array(row["selected"], jnp.int32)
    state = state._replace(round=jnp.int32(row["round"]))
    log_probs, images = jax.device_get(_predict(state, data, ids, learner))
    path = folder / sheet_name(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(row, images, np.exp(log_probs), path, class_names)

  return write


def draw(
  row: dict, images: np.ndarray, probs: np.ndarray, path: Path, class_names: Sequence[str] | None = None
) -> None:
  """Draws the first hundred images of a row, in the order of selection; wrong predictions are red.

  Args:
    row: a row of results.jsonl.
    images: `[K, H, W]` or `[K, H, W, channels]` floats, on any scale.
    probs: `[K, C]` predicted probabilities.
    path: the PNG file.
    class_names: `[C]`; default: the class numbers.
  """
  from matplotlib.figure import Figure

  count = min(len(images), _MAX_IMAGES)
  columns = min(_COLUMNS, max(count, 4))
  lines = -(-count // columns)
  width, height = _WIDE * columns, _HIGH * lines + 0.5  # inches, the unit of the axes
  figure = Figure(figsize=(width, height), dpi=110)
  axes = figure.add_axes((0, 0, 1, 1))
  axes.axis("off")
  low, high = images.min(), images.max()
  called = lambda c: str(c) if class_names is None else styles.short(class_names[c])
  for place in range(count):
    image = (images[place] - low) / (high - low) if high > low else images[place]
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] != 3 else image
    image = image[:, None] if image.ndim < 2 else image
    scale = _SIDE / max(image.shape[:2])
    middle, top = _WIDE * (place % columns + 0.5), _SIDE + 0.1 + _HIGH * (lines - 1 - place // columns)
    half, bottom = image.shape[1] * scale / 2, top - image.shape[0] * scale
    axes.imshow(
      image, cmap="gray_r", interpolation="nearest", extent=(middle - half, middle + half, bottom, top), aspect="auto"
    )
    label, predicted = row["selected_labels"][place], int(probs[place].argmax())
    scores = row.get("selected_scores")
    text = f"label {called(label)}\npred. {called(predicted)} ({probs[place, predicted]:.2f})"
    if scores:
      text += "\nscore not finite" if scores[place] is None else f"\nscore {scores[place]:.3g}"
    color = "black" if label == predicted else "#B00020"
    axes.text(middle, top + 0.06, text, fontsize=7, color=color, ha="center", va="bottom")
  wrong = int((probs.argmax(axis=1) != np.asarray(row["selected_labels"])).sum())
  title = (
    f"{row['acq']}, seed {row['seed']}, round {row['round']}: acquired after {row['num_labeled']} labels, {wrong} of"
    f" {len(images)} predictions wrong"
  )
  title = textwrap.fill(title, int(width / 0.075))  # width of a letter in inches
  axes.text(width / 2, height - 0.1, title, fontsize=9, ha="center", va="top")
  axes.set(xlim=(0, width), ylim=(0, height))  # imshow changed the limits
  figure.savefig(path)
