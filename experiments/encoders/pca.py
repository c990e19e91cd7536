"""Principal components, fitted on the pool by scikit-learn."""

from experiments.common.errors import UsageError
from experiments.encoders.base import Encoded
from experiments.encoders.base import Task
from experiments.encoders.base import flat_rows


def encode(task: Task) -> Encoded:
  """Projects the flattened rows on the `--dimensions` components of largest variance of the pool, centered on its mean.

  Raises:
    UsageError: the pool has fewer components.
  """
  from sklearn.decomposition import PCA  # importing it takes a second

  train, test = flat_rows(task.data)
  pool = train if task.fit_ids is None else train[task.fit_ids]
  most = min(pool.shape)
  if task.settings["dimensions"] > most:
    raise UsageError(
      f"--dimensions={task.settings['dimensions']} exceeds the {most} principal components of {pool.shape[0]} pool rows"
      f" of {pool.shape[1]} numbers: give {most} or less"
    )
  task.display.phase(f"principal components of {len(pool):,} rows")
  pca = PCA(task.settings["dimensions"], random_state=0).fit(pool)
  kept = float(pca.explained_variance_ratio_.sum())
  task.display.line(f"{task.settings['dimensions']} principal components hold {kept:.1%} of the pool's variance")
  facts = {
    "encoder": "principal components of the pool's flattened rows, scikit-learn's PCA with random_state=0",
    "fitted_on_rows": len(pool),
    "explained_variance": kept,
  }
  return Encoded(pca.transform(train), pca.transform(test) if len(test) else test[:, : pca.n_components_], facts)
