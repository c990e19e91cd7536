"""Contact sheets: the images that a strategy asked for, with what they are and what the model took them for."""

from collections.abc import Callable
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from al_jax import evaluation
from al_jax import inputs
from al_jax import types
from al_jax.learner import Learner
from experiments.analysis.records import sheet_name

_COLUMNS, _MOST = 10, 100


@functools.partial(jax.jit, static_argnames="learner")
def _look(state: types.ALState, data: types.Dataset, ids: jax.Array, learner: Learner):
  return evaluation.predict_pool(state, data, ids, learner), inputs.of_pool(data, ids)


def writer(folder: Path, data: types.Dataset, learner: Learner) -> Callable[[dict, types.ALState], None]:
  """A function of a row and the state that its round ended with; it writes the round's sheet as PNG.

  The prediction is the mean of the samples that the strategy looked at; a deterministic one where it looked at none.
  """

  def write(row: dict, state: types.ALState) -> None:
    if not row.get("selected"):
      return
    ids = jnp.array(row["selected"], jnp.int32)
    state = state._replace(round=jnp.int32(row["round"]))
    log_probs, images = jax.device_get(_look(state, data, ids, learner))
    path = folder / sheet_name(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(row, images, np.exp(log_probs), path)

  return write


def draw(row: dict, images: np.ndarray, probs: np.ndarray, path: Path) -> None:
  """Draws the first hundred images of a row, best first; a wrong prediction is in red.

  Args:
    row: a row of results.jsonl.
    images: `[K, H, W]` or `[K, H, W, channels]` floats, on any scale.
    probs: `[K, C]` predicted probabilities.
    path: the PNG file.
  """
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  count = min(len(images), _MOST)
  columns = min(_COLUMNS, max(count, 4))
  lines = -(-count // columns)
  figure, axes = plt.subplots(lines, columns, figsize=(1.25 * columns, 1.75 * lines + 0.5), squeeze=False, dpi=110)
  low, high = images.min(), images.max()
  for place, axis in enumerate(axes.flat):
    axis.axis("off")
    if place >= count:
      continue
    image = (images[place] - low) / (high - low) if high > low else images[place]
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] != 3 else image
    axis.imshow(image.reshape(image.shape[0], -1) if image.ndim < 2 else image, cmap="gray_r", interpolation="nearest")
    label, said = row["selected_labels"][place], int(probs[place].argmax())
    scores = row.get("selected_scores")
    text = f"is {label}, said {said}\np = {probs[place, said]:.2f}"
    if scores:
      text += "\nscore not finite" if scores[place] is None else f"\nscore {scores[place]:.3g}"
    axis.set_title(text, fontsize=7, color="black" if label == said else "#B00020")
  wrong = int((probs.argmax(axis=1) != np.asarray(row["selected_labels"])).sum())
  figure.suptitle(
    f"{row['acq']}, seed {row['seed']}, round {row['round']}: bought after {row['num_labeled']} labels, {wrong} of"
    f" {len(images)} predicted wrongly",
    fontsize=9,
  )
  figure.tight_layout()
  figure.savefig(path)
  plt.close(figure)
