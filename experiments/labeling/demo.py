"""The demonstration: scikit-learn's digits as image files."""

from pathlib import Path

import numpy as np

from experiments.common.errors import UsageError

FOLDER = Path("runs/label_demo")


def write(folder: Path = FOLDER) -> Path:
  """Writes the 1,797 digits as PNG files of 32 x 32 pixels, unless they are there; returns the folder.

  Raises:
    UsageError: the folder cannot be written.
  """
  from PIL import Image
  from sklearn.datasets import load_digits

  pixels = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(pixels):
      path, unfinished = folder / f"{i:04d}.png", folder / ".unfinished"
      if not path.exists():
        Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC).save(unfinished, "PNG")
        unfinished.replace(path)
  except OSError as error:
    raise UsageError(f"--demo cannot write its images to {folder} ({error.strerror})") from error
  return folder
