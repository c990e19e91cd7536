"""Acquisitions: which images to label next. Each is made by a factory, as in `optax.adam(learning_rate)`.

`power`, `softmax` and `softrank` turn any acquisition that scores each image into a stochastic one:
`power(bald(), coldness=8)`. `switch` goes from one acquisition to another at a number of labels. An acquisition that
needs `samples=2` takes a learner whose posterior has two samples or more, such as `Learner(trainer, bald(),
posterior=al_jax.posterior.mc_dropout(20))`. `chunk_size` is the number of rows worked on at a time; it bounds the
memory and does not change the ids.
"""

from al_jax.acquisition._alfamix import alfamix as alfamix
from al_jax.acquisition._badge import badge as badge
from al_jax.acquisition._bait import bait as bait
from al_jax.acquisition._bait_cheap import bait_binary as bait_binary
from al_jax.acquisition._bait_cheap import bait_expectation as bait_expectation
from al_jax.acquisition._batchbald import batchbald as batchbald
from al_jax.acquisition._cluster_margin import cluster_margin as cluster_margin
from al_jax.acquisition._diversity import kcenter as kcenter
from al_jax.acquisition._diversity import kmeans as kmeans
from al_jax.acquisition._dropquery import dropquery as dropquery
from al_jax.acquisition._epig import epig as epig
from al_jax.acquisition._herding import maxherding as maxherding
from al_jax.acquisition._herding import uherding as uherding
from al_jax.acquisition._lcmd import lcmd as lcmd
from al_jax.acquisition._pointwise import bald as bald
from al_jax.acquisition._pointwise import consensus_kl as consensus_kl
from al_jax.acquisition._pointwise import entropy as entropy
from al_jax.acquisition._pointwise import from_score as from_score
from al_jax.acquisition._pointwise import least_confidence as least_confidence
from al_jax.acquisition._pointwise import margin as margin
from al_jax.acquisition._pointwise import mean_std as mean_std
from al_jax.acquisition._pointwise import random as random
from al_jax.acquisition._pointwise import variation_ratio as variation_ratio
from al_jax.acquisition._pointwise import vote_entropy as vote_entropy
from al_jax.acquisition._probcover import probcover as probcover
from al_jax.acquisition._registry import REGISTRY as REGISTRY
from al_jax.acquisition._registry import WRAPPERS as WRAPPERS
from al_jax.acquisition._registry import Entry as Entry
from al_jax.acquisition._registry import make as make
from al_jax.acquisition._selection import from_select as from_select
from al_jax.acquisition._stochastic import power as power
from al_jax.acquisition._stochastic import softmax as softmax
from al_jax.acquisition._stochastic import softrank as softrank
from al_jax.acquisition._switch import switch as switch
from al_jax.acquisition._typiclust import typiclust as typiclust
