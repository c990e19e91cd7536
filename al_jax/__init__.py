"""Pool-based deep active learning in JAX: a pure core without files, flags or prints."""

from al_jax import acquisition as acquisition
from al_jax import metrics as metrics
from al_jax.loop import fit_full as fit_full
from al_jax.loop import init_state as init_state
from al_jax.loop import round_fn as round_fn
from al_jax.loop import run as run
from al_jax.loop import sweep as sweep
from al_jax.types import Acquisition as Acquisition
from al_jax.types import ALState as ALState
from al_jax.types import Dataset as Dataset
from al_jax.types import Learner as Learner
from al_jax.types import PoolView as PoolView
from al_jax.types import Posterior as Posterior
from al_jax.types import Protocol as Protocol
from al_jax.types import RoundInfo as RoundInfo

__version__ = "0.2.0"
