"""The rows themselves: flattened, on the scale on which a network gets them (0 to 1 for images)."""

from experiments.encoders.base import Encoded
from experiments.encoders.base import Task
from experiments.encoders.base import flat_rows


def encode(task: Task) -> Encoded:
  """Flattens the rows."""
  return Encoded(*flat_rows(task.data), facts={"encoder": "rows flattened, on the scale of the network's inputs"})
