"""BatchBALD compared with the enumeration of all label configurations and with the outputs of `batchbald_redux`."""

import functools
import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from al_jax import acquisition
from al_jax import types
from al_jax.acquisition import _batchbald as batchbald
from tests.support import reference as core_reference
from tests.support import reference_information as reference
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SIZE, SAMPLES, CLASSES = 8, 4, 3
FEW = 2 * SAMPLES  # configurations: sampling begins after two picks
gains_of = jax.jit(batchbald.gains)
extend_by_drawn = jax.jit(batchbald.extend_by_drawn)
sample_informative_configs = jax.jit(batchbald.sample_informative_configs, static_argnames="num")
gain_bounds = jax.jit(batchbald.gain_bounds)


def log_probs_of(seed: int = 0, size: int = SIZE, samples: int = SAMPLES, scale: float = 2.0) -> np.ndarray:
  """`[size, samples, CLASSES]` log-probabilities, some certain and some not."""
  return log_softmax(np.random.default_rng(seed).normal(size=(size, samples, CLASSES)) * scale)


def log_softmax(logits: np.ndarray) -> np.ndarray:
  return scipy.special.log_softmax(logits, axis=-1).astype(np.float32)


def certain_log_probs(labels) -> np.ndarray:
  """Probabilities of exactly 0 and 1: sample s predicts `labels[n][s]` for image n."""
  return np.where(np.eye(CLASSES)[np.array(labels)] > 0, 0.0, -np.inf).astype(np.float32)


@functools.cache
def selector(num: int, max_configs: int):
  """A compiled selection, shared by all tests of the same sizes."""
  made = acquisition.make("batchbald", max_configs=max_configs, chunk_size=3)
  return jax.jit(functools.partial(made.select, num=num))


def select(log_probs, num: int, candidates=None, *, max_configs: int = 10_000, key: int = 0) -> list[int]:
  candidates = np.ones(len(log_probs), bool) if candidates is None else candidates
  view = ties_by_id(types.PoolView(labeled=~candidates, candidates=candidates, log_probs=log_probs))
  return selector(num, max_configs)(jax.random.key(key), jax.tree.map(jnp.asarray, view)).tolist()


def all_labels(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Log-likelihoods `[J, S]` and weights `[J]` of every configuration of the images' labels."""
  every = itertools.product(*(image.T for image in np.maximum(images, -1e30).astype(np.float64)))
  log_likelihoods = np.array([np.sum(labels, axis=0) if labels else np.zeros(images.shape[1]) for labels in every])
  return log_likelihoods.astype(np.float32), np.exp(log_likelihoods).mean(axis=1).astype(np.float32)


def drawn_labels(key: jax.Array, images: np.ndarray, num: int) -> tuple[jax.Array, jax.Array]:
  """Log-likelihoods `[num, S]` and weights `[num]` of sampled configurations of the images' labels."""
  log_likelihoods = jnp.zeros((num, images.shape[1]))
  for i, image in enumerate(images):
    log_likelihoods = extend_by_drawn(jax.random.fold_in(key, i), log_likelihoods, image)
  return log_likelihoods, np.full(num, 1 / num, np.float32)


POOLS = {
  "ordinary": log_probs_of(),
  "nearly agreeing": log_probs_of(scale=0.2),
  "certain": certain_log_probs(np.random.default_rng(5).integers(0, CLASSES, (SIZE, SAMPLES))),
  "mixed": np.concatenate([log_probs_of()[:5], certain_log_probs([[0, 0, 1, 2], [1, 1, 1, 1], [2, 0, 2, 0]])]),
}


@pytest.mark.parametrize("kind", POOLS)
def test_gains_equal_the_enumeration(kind, debug_nans):
  log_probs = POOLS[kind]
  for picked in ([], [2], [2, 6], [2, 6, 0]):
    gains = gains_of(log_probs, *all_labels(log_probs[np.array(picked, int)]))
    known = reference.joint_information(log_probs[np.array(picked, int)])
    expected = [reference.joint_information(log_probs[np.array([*picked, n])]) - known for n in range(SIZE)]
    np.testing.assert_allclose(gains, expected, rtol=2e-5, atol=1e-6 * max(expected))
    assert (gains >= 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_greedy_over_the_joint_information_of_every_set(seed):
  log_probs, num = log_probs_of(seed), 3
  candidates = np.arange(SIZE) != seed
  ids = select(log_probs, num, candidates)
  information = {
    batch: reference.joint_information(log_probs[np.array(batch)])
    for size in range(1, num + 1)
    for batch in itertools.combinations(np.flatnonzero(candidates).tolist(), size)
  }
  for size in range(1, num + 1):
    prefix = set(ids[: size - 1])
    greedy = max(information[batch] for batch in information if len(batch) == size and prefix < {*batch, -1} - {-1})
    assert information[tuple(sorted(ids[:size]))] == greedy
  best = max(information[batch] for batch in information if len(batch) == num)
  assert information[tuple(sorted(ids))] >= (1 - 1 / np.e) * best  # Nemhauser et al. (1978): it is submodular
  assert ids == reference.batchbald(log_probs, candidates, num)[0]


def test_sampled_gains_are_within_three_standard_errors_of_the_exact_ones():
  images, repeats, num = POOLS["mixed"], 400, 5 * SAMPLES
  picked = images[np.array([3, 5, 0])]
  draw = jax.jit(jax.vmap(lambda key: gains_of(images, *drawn_labels(key, picked, num))))
  drawn = np.asarray(draw(jax.random.split(jax.random.key(0), repeats)), np.float64)
  exact = np.asarray(gains_of(images, *all_labels(picked)), np.float64)
  standard_error = drawn.std(axis=0, ddof=1) / np.sqrt(repeats)
  assert (standard_error < 0.01 * exact.max()).all()  # otherwise the next check would be weak
  assert (np.abs(drawn.mean(axis=0) - exact) < 3 * standard_error + 1e-6).all()


def test_sampled_labels_come_in_equal_shares_from_every_sample():
  labels = [[0, 1, 2, 2], [1, 1, 0, 0]]
  log_likelihoods, _ = drawn_labels(jax.random.key(0), certain_log_probs(labels), 3 * SAMPLES)
  drawn_from = np.repeat(np.arange(SAMPLES), 3)
  same = (np.array(labels)[:, drawn_from, None] == np.array(labels)[:, None, :]).all(axis=0)
  np.testing.assert_array_equal(log_likelihoods > -1, same)
  assert (log_likelihoods[same] == 0).all()


def test_sampled_labels_follow_the_predictions():
  image, share = log_probs_of(1)[0], 4000
  log_likelihoods, _ = drawn_labels(jax.random.key(0), image[None], share * SAMPLES)
  for s, drawn in enumerate(np.split(np.asarray(log_likelihoods), SAMPLES)):
    for c in range(CLASSES):
      p = np.exp(float(image[s, c]))
      seen = np.isclose(drawn, np.asarray(image[:, c])[None], atol=1e-6).all(axis=1).mean()
      assert abs(seen - p) < 4 * np.sqrt(p * (1 - p) / share)


@pytest.mark.slow
@pytest.mark.parametrize("max_configs", [FEW, 10_000])
def test_batch_is_greedy_where_samples_are_certain_of_every_label(max_configs):
  # Each sample then allows a single configuration, so sampled gains are exact; many enumerated configurations are
  # impossible.
  for seed in range(5):
    log_probs = certain_log_probs(np.random.default_rng(seed).integers(0, CLASSES, (SIZE, 10)))
    ids = select(log_probs, 4, max_configs=max_configs)
    for k, picked in enumerate(ids):
      others = sorted(set(range(SIZE)) - set(ids[:k]))
      values = {i: reference.joint_information(log_probs[np.array([*ids[:k], i])]) for i in others}
      assert values[picked] > max(values.values()) - 1e-5  # several may be equal up to rounding


@pytest.mark.parametrize("max_configs", [1, 10_000])
def test_the_first_pick_is_that_of_bald(max_configs):
  bald = jax.jit(functools.partial(acquisition.make("bald").select, None, num=1))
  for seed in range(20):
    log_probs = log_probs_of(seed)
    candidates = np.arange(SIZE) % 4 != seed % 4
    view = ties_by_id(types.PoolView(~candidates, candidates, log_probs))
    assert select(log_probs, 1, candidates, max_configs=max_configs) == bald(view).tolist()
  gains = gains_of(log_probs, jnp.zeros((1, SAMPLES)), jnp.ones(1))
  np.testing.assert_allclose(gains, [core_reference.mutual_information(x) for x in log_probs], rtol=1e-5)


@pytest.mark.slow
def test_order_of_classes_images_and_samples_does_not_matter():
  log_probs, rng = log_probs_of(11), np.random.default_rng(0)
  ids = select(log_probs, 4)
  assert select(log_probs[:, :, rng.permutation(CLASSES)], 4) == ids
  assert select(log_probs[:, rng.permutation(SAMPLES)], 4) == ids
  order = rng.permutation(SIZE)
  assert order[select(log_probs[order], 4)].tolist() == ids


@pytest.mark.parametrize(("samples", "max_configs"), [(SAMPLES, 10_000), (10, FEW)])  # 1/10 is not exact in binary
def test_samples_that_agree_say_nothing_and_leave_the_order_to_the_ids(samples, max_configs):
  log_probs = np.repeat(log_probs_of(2, samples=1), samples, axis=1)
  assert (gains_of(log_probs, *drawn_labels(jax.random.key(0), log_probs[:3], 2 * samples)) == 0).all()
  candidates = np.arange(SIZE) != 1
  assert select(log_probs, 4, candidates, max_configs=max_configs) == [0, 2, 3, 4]


def test_what_is_left_when_all_is_known_is_exactly_nothing():
  labels = np.random.default_rng(0).integers(0, CLASSES, (SIZE, 10))
  assert len(set(map(tuple, labels.T))) == 10  # the labels distinguish all samples
  log_probs = certain_log_probs(labels)
  assert (gains_of(log_probs, *drawn_labels(jax.random.key(0), log_probs, 20)) == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("max_configs", [FEW, 10_000])
def test_no_copies_while_anything_else_informs(max_configs):
  # The first four images are copies that split the samples into 0 | 1 2 | 3, the next into 0 1 | 2 3, the others not.
  log_probs = certain_log_probs([[0, 1, 1, 2]] * 4 + [[0, 0, 1, 1]] + [[2, 2, 2, 2]] * 3)
  every = jnp.ones(SIZE, bool)
  view = ties_by_id(types.PoolView(~every, every, jnp.asarray(log_probs)))
  assert acquisition.make("bald").select(None, view, num=4).tolist() == [0, 1, 2, 3]
  # After two picks everything is known, and rounding residue must not decide.
  assert select(log_probs, 4, max_configs=max_configs) == [0, 4, 1, 2]


def test_a_hundred_labels_do_not_underflow():
  num, configs = 100, 5 * SAMPLES
  log_probs = log_softmax(np.random.default_rng(3).normal(size=(num + 10, SAMPLES, 10)) * 2)
  assert len(set(select(log_probs, num, max_configs=configs))) == num

  log_probs[:, 1] = log_probs[:, 0]  # two samples that no label distinguishes ...
  log_probs[-1, 1] = log_probs[-1, 2]  # ... except the label of the last image
  log_likelihoods, weights = drawn_labels(jax.random.key(0), log_probs[:num], configs)
  assert log_likelihoods.max() < np.log(np.finfo(np.float32).tiny)  # as float32 probabilities they would all be 0
  # Half of the configurations come from one of the two samples; under the others, all gains are 0.
  gains = np.asarray(gains_of(log_probs, log_likelihoods, weights))
  np.testing.assert_allclose(gains[:-1], 0, atol=1e-5)
  np.testing.assert_allclose(gains[-1], core_reference.mutual_information(log_probs[-1, :2]) / 2, rtol=1e-4)


@pytest.mark.parametrize("kind", POOLS)
def test_batch_is_full_whatever_is_left(kind, debug_nans):
  assert sorted(select(POOLS[kind], SIZE, max_configs=FEW)) == list(range(SIZE))


def test_agrees_with_the_authors_program():
  published = json.loads((pathlib.Path(__file__).parent / "batchbald_redux.json").read_text())
  for case in published["cases"]:
    logits = np.random.default_rng(case["seed"]).normal(size=case["shape"]) * case["scale"]
    log_probs = log_softmax(logits)
    assert select(log_probs, len(case["ids"])) == case["ids"]
    # The scores it reports are the joint information of the batch so far.
    joint = [reference.joint_information(log_probs[np.array(case["ids"][: k + 1])]) for k in range(len(case["ids"]))]
    np.testing.assert_allclose(joint, case["scores"], rtol=1e-6)


def exhaustive_batchbald(log_probs, candidates, num: int, max_configs: int, key: int = 0) -> list[int]:
  """BatchBALD without lazy evaluation: computes the gain of every image at every pick."""
  images, ids, classes = jnp.asarray(log_probs), [], log_probs.shape[2]
  configs = len(log_probs[0]) * max(max_configs // len(log_probs[0]), 1)
  for k in range(num):
    picked = log_probs[np.array(ids, int)]
    exact = classes**k <= max_configs
    joint = all_labels(picked) if exact else drawn_labels(jax.random.key(key), picked, configs)
    found = np.where(candidates, gains_of(images, *joint), -np.inf)
    ids.append(int(found.argmax()))
    candidates = candidates & (np.arange(len(candidates)) != ids[-1])
  return ids


# 3000: all picks are exact, screened on 256 configurations when there are 729 and 2187. 700: sampled from the seventh
# pick on. 6000: sampled from the ninth pick on, with screening.
@pytest.mark.slow
@pytest.mark.parametrize(("max_configs", "num"), [(3000, 8), (700, 8), (6000, 11)])
@pytest.mark.parametrize("seed", range(3))
def test_looking_at_few_images_buys_what_looking_at_all_does(seed, max_configs, num):
  rng = np.random.default_rng(seed)
  log_probs = log_softmax(rng.normal(size=(60, 30, CLASSES)) * rng.gamma(1, 2, size=(60, 1, 1)))
  log_probs[40:50] = log_probs[:10]  # ties
  candidates = rng.random(60) < 0.9
  expected = exhaustive_batchbald(log_probs, candidates, num, max_configs)
  assert select(log_probs, num, candidates, max_configs=max_configs) == expected


@pytest.mark.slow
def test_first_looks_do_not_choose_between_images_that_say_nothing_new():
  # A few labels distinguish the four samples: the remaining gains fall to exactly 0.
  log_probs = log_probs_of(3, size=60, scale=8.0)
  expected = exhaustive_batchbald(log_probs, np.ones(60, bool), 14, 800)
  joint = drawn_labels(jax.random.key(0), log_probs[np.array(expected[:12])], 800)
  assert expected[12:] == sorted(set(range(60)) - set(expected[:12]))[:2]
  assert (np.asarray(gains_of(log_probs, *joint)) == 0).all()
  assert select(log_probs, 14, max_configs=800) == expected


@pytest.mark.slow
def test_images_that_cannot_be_the_best_are_not_looked_at():
  log_probs = log_probs_of(4, size=30)
  alone = np.array(gains_of(log_probs, jnp.zeros((1, SAMPLES)), jnp.ones(1)))
  first = int(alone.argmax())
  joint = all_labels(log_probs[np.array([first])])
  conditional_gains = np.array(gains_of(log_probs, *joint))
  others = np.arange(30) != first
  best = np.where(others, conditional_gains, -np.inf).max()
  hopeless = others & (alone < 0.98 * best)
  assert 5 < hopeless.sum() < 25
  spoiled = np.where(hopeless[:, None, None], np.nan, log_probs)  # scoring one of them would give NaN
  search = functools.partial(batchbald.lazy_argmax, slack=0.01, chunk_size=1)
  new, upper_bounds = search(jnp.asarray(spoiled), jnp.asarray(others), jnp.asarray(alone), *joint)
  assert new == np.where(others, conditional_gains, -np.inf).argmax()
  np.testing.assert_array_equal(np.asarray(upper_bounds)[hopeless], alone[hopeless])
  np.testing.assert_allclose(np.asarray(upper_bounds)[int(new)], best, rtol=1e-6)
  assert upper_bounds[first] == -np.inf
  # With infinite upper bounds, all are scored.
  new, _ = search(jnp.asarray(log_probs), jnp.asarray(others), jnp.full(30, np.inf), *joint)
  assert new == np.where(others, conditional_gains, -np.inf).argmax()


def informed_pool(joint: str) -> tuple[np.ndarray, tuple]:
  """`[200, 10, 3]` log-probabilities, and configurations of seven images that mostly distinguish the samples."""
  rng = np.random.default_rng(0)
  log_probs = log_softmax(rng.normal(size=(200, 10, CLASSES)) * rng.gamma(1, 2, size=(200, 1, 1)))
  picked = log_probs[:7]
  return log_probs, all_labels(picked) if joint == "exact" else drawn_labels(jax.random.key(0), picked, 8000)


@pytest.mark.slow
@pytest.mark.parametrize("joint", ["exact", "sampled"])
def test_the_few_configurations_are_rather_those_that_leave_much_open(joint):
  log_probs, (log_likelihoods, weights) = informed_pool(joint)
  entropies = lambda lls: scipy.stats.entropy(scipy.special.softmax(np.asarray(lls, np.float64), axis=1), axis=1)
  every = entropies(log_likelihoods)
  mean = weights @ every
  screening, factors = sample_informative_configs(jax.random.key(1), log_likelihoods, weights, num=500)
  np.testing.assert_allclose(factors * entropies(screening), mean, rtol=1e-3)
  in_proportion = weights * every**2 / mean
  assert in_proportion.sum() > 1.5 * mean
  np.testing.assert_allclose(entropies(screening).mean(), in_proportion.sum(), rtol=0.05)

  conditional_gains = np.asarray(gains_of(log_probs, log_likelihoods, weights))
  drawn = [
    sample_informative_configs(key, log_likelihoods, weights, num=500)
    for key in jax.random.split(jax.random.key(2), 50)
  ]
  means = np.array([gains_of(log_probs, screening, factors / 500) for screening, factors in drawn])
  bounds = np.array([gain_bounds(log_probs, *screening) for screening in drawn])
  assert (bounds[:, 0] <= conditional_gains).all() and (conditional_gains <= bounds[:, 1]).all()
  assert (bounds[:, 1] - means > means - bounds[:, 0]).all()
  spread = means.std(axis=0, ddof=1)
  np.testing.assert_array_less(np.abs(means.mean(axis=0) - conditional_gains), 5 * spread / 50**0.5 + 1e-6)
  # The bounds assume independent draws; stratified draws have no larger standard errors.
  ratio = np.median((means - bounds[:, 0]).mean(axis=0) / 4 / spread)
  assert 0.8 < ratio < 3
  # The same number of configurations drawn by weight alone gives a larger spread.
  plain = [jax.random.choice(key, len(weights), (500,), p=weights) for key in jax.random.split(jax.random.key(3), 50)]
  plain = np.array([gains_of(log_probs, log_likelihoods[ids], np.full(500, 1 / 500)) for ids in plain])
  assert np.median(spread / plain.std(axis=0, ddof=1)) < 0.5


@pytest.mark.parametrize("joint", ["exact", "sampled"])
def test_a_first_look_leaves_few_images_to_all_configurations(joint):
  log_probs, (log_likelihoods, weights) = informed_pool(joint)
  conditional_gains = np.asarray(gains_of(log_probs, log_likelihoods, weights))
  screening = sample_informative_configs(jax.random.key(1), log_likelihoods, weights, num=500)
  low, high = gain_bounds(log_probs, *screening)
  alone, everyone = np.array(gains_of(log_probs, jnp.zeros((1, 10)), jnp.ones(1))), jnp.ones(200, bool)
  hopeless = np.asarray(high < low.max() * 0.98)
  assert hopeless.sum() > 100
  search = functools.partial(batchbald.lazy_argmax, slack=0.01, chunk_size=1)
  new, upper_bounds = search(jnp.asarray(log_probs), everyone, jnp.asarray(alone), log_likelihoods, weights, screening)
  assert new == conditional_gains.argmax()
  screened = np.isclose(upper_bounds, np.minimum(alone, high), rtol=1e-5)
  assert (screened | np.isclose(upper_bounds, alone, rtol=1e-5))[hopeless].all() and screened.sum() > 10


def test_impossible_number_of_configurations():
  with pytest.raises(ValueError, match="max_configs must be at least 1, not 0"):
    acquisition.make("batchbald", max_configs=0)
