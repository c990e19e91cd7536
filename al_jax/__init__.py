"""Pool-based deep active learning in JAX: pure functions that read no files or flags and print nothing."""

from al_jax import acquisition as acquisition
from al_jax import inputs as inputs
from al_jax import metrics as metrics
from al_jax import optimizers as optimizers
from al_jax import posterior as posterior
from al_jax.ask import Question as Question
from al_jax.ask import ask as ask
from al_jax.ask import start as start
from al_jax.ask import tell as tell
from al_jax.learner import Learner as Learner
from al_jax.learner import Trainer as Trainer
from al_jax.loop import fit_full as fit_full
from al_jax.loop import init_state as init_state
from al_jax.loop import round_fn as round_fn
from al_jax.loop import run as run
from al_jax.network import from_flax as from_flax
from al_jax.network import from_nnx as from_nnx
from al_jax.sweep import Runs as Runs
from al_jax.sweep import sweep as sweep
from al_jax.types import SKIPPED as SKIPPED
from al_jax.types import UNKNOWN as UNKNOWN
from al_jax.types import UNUSABLE as UNUSABLE
from al_jax.types import Acquisition as Acquisition
from al_jax.types import ALState as ALState
from al_jax.types import Dataset as Dataset
from al_jax.types import EarlyStop as EarlyStop
from al_jax.types import FitInfo as FitInfo
from al_jax.types import FullBatch as FullBatch
from al_jax.types import Head as Head
from al_jax.types import Metrics as Metrics
from al_jax.types import Needs as Needs
from al_jax.types import Network as Network
from al_jax.types import Outputs as Outputs
from al_jax.types import Plan as Plan
from al_jax.types import PoolView as PoolView
from al_jax.types import Posterior as Posterior
from al_jax.types import RoundInfo as RoundInfo
from al_jax.types import TrainPlan as TrainPlan

__version__ = "0.2.0"
