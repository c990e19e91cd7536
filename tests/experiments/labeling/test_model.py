"""The model that learns while images are labeled."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from al_jax.acquisition import REGISTRY
from experiments.common.errors import UsageError
from experiments.labeling.model import Model
from experiments.labeling.model import components
from tests.support import folders

pytestmark = pytest.mark.usefixtures("fast_compilation")

SIZE = 61  # of the pool: a prime, and far below the capacity that label counts are padded to
PIXELS = folders.DIGITS[:SIZE, :, :, None]
TRUTH = load_digits().target[:SIZE].tolist()


def model(*words: str, size: int = SIZE) -> Model:
  return Model(folders.command(*words).config, components(PIXELS[:size], 8), PIXELS[:size])


def labels(num: int, classes=(0, 2, 7)) -> dict[int, int]:
  """Labels of the first images of the classes."""
  return {i: TRUTH[i] for i in range(SIZE) if TRUTH[i] in classes and i < num}


@pytest.fixture(scope="module")
def head() -> Model:
  return model()


def by_sklearn(features: np.ndarray, held: dict[int, int], c: float) -> tuple[np.ndarray, np.ndarray]:
  """Classes and their probabilities, of a head that knows no other classes than those of the labels."""
  reference = LogisticRegression(C=c, tol=1e-9, max_iter=10_000)
  reference.fit(features[list(held)].astype(np.float64), list(held.values()))
  probs = reference.predict_proba(features.astype(np.float64))
  return reference.classes_[probs.argmax(axis=1)], probs.max(axis=1)


@pytest.mark.parametrize(
  "classes", [(0, 2, 7), tuple(range(10)), (3, 9), pytest.param((0, 12), marks=pytest.mark.slow)], ids=str
)
def test_padding_changes_no_probability(head, classes):
  held = {i: TRUTH[i] if classes != (0, 12) else 12 * (TRUTH[i] > 4) for i in range(40) if TRUTH[i] in classes}
  if classes == (0, 12):
    held = {i: 12 * (TRUTH[i] > 4) for i in range(40)}  # 20 classes, of which two are present
  fitted = head.fit(held, [], [], round=0, num=0)
  # With two classes, scikit-learn has one column of weights, whose penalty counts half.
  guesses, probabilities = by_sklearn(components(PIXELS, 8), held, 2.0 if len(set(held.values())) == 2 else 1.0)
  np.testing.assert_allclose(fitted.probabilities, probabilities, atol=2e-4)
  sure = probabilities > 0.5 + 1e-3
  np.testing.assert_array_equal(fitted.guesses[sure], guesses[sure])
  assert set(fitted.guesses.tolist()) <= set(held.values())
  assert not len(fitted.ids)


def test_a_new_class_and_new_labels_compile_nothing(head, compilations):
  head.fit(labels(30), [], [], round=0, num=5)
  with compilations() as compiled:
    fitted = head.fit(labels(40, range(8)), [50], [51], round=1, num=5)
    head.fit(labels(50, range(10)), [50, 51], [], round=2, num=5)
  assert not compiled
  assert set(fitted.guesses.tolist()) <= set(range(8))


def test_a_result_depends_on_the_arguments_alone(head):
  first = head.fit(labels(30), [40], [41], round=3, num=5)
  head.fit(labels(50, range(10)), [], [], round=1, num=5)
  head.typical([1], [2], 3)
  for other in (head, model()):
    again = other.fit(labels(30), [40], [41], round=3, num=5)
    for one, two in zip(first, again, strict=True):
      np.testing.assert_array_equal(one, two)
  shuffled = dict(sorted(labels(30).items(), reverse=True))
  np.testing.assert_array_equal(head.fit(shuffled, [40], [41], round=3, num=5).guesses, first.guesses)


def test_margin_chooses_the_smallest_margins(head):
  held = labels(40)
  fitted = head.fit(held, [], [], round=0, num=5)
  features = components(PIXELS, 8).astype(np.float64)
  reference = LogisticRegression(C=1.0, tol=1e-9, max_iter=10_000).fit(features[list(held)], list(held.values()))
  top = np.sort(reference.predict_proba(features), axis=1)
  margins = top[:, -1] - top[:, -2]
  free = [i for i in range(SIZE) if i not in held]
  assert fitted.ids.tolist() == sorted(free, key=margins.__getitem__)[:5]
  np.testing.assert_allclose(fitted.scores, 1 - margins[fitted.ids], atol=1e-3)


def test_barred_images_are_neither_chosen_nor_trained_on(head):
  barred = list(range(20, 55))
  first = head.fit(labels(60), barred, [], round=0, num=20)
  assert not {*first.ids.tolist()} & {*barred, *labels(20)}
  poisoned = labels(60) | {i: 7 - label for i, label in labels(60).items() if i in barred}
  assert poisoned != labels(60)
  for one, two in zip(first, head.fit(poisoned, barred, [], round=0, num=20), strict=True):
    np.testing.assert_array_equal(one, two)


def test_fewer_are_chosen_if_fewer_are_left_and_skipped_ones_come_last(head):
  held = {i: TRUTH[i] for i in range(20)}
  choose = lambda barred, skipped: sorted(head.fit(held, barred, skipped, round=0, num=5).ids.tolist())
  assert choose(range(23, SIZE), []) == [20, 21, 22]
  assert choose(range(24, SIZE), [20, 21]) == [22, 23]
  assert choose(range(23, SIZE), [20, 21, 22]) == [20, 21, 22]
  assert choose(range(20, SIZE), []) == []
  everything = head.fit(dict(enumerate(TRUTH)), [], [], round=0, num=5)
  assert not len(everything.ids)
  assert (everything.guesses == TRUTH).mean() > 0.9


@pytest.mark.parametrize("size", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_small_folders_have_models(size):
  held = {0: 0, 1: 1}
  fitted = model(size=size).fit(held, [], [], round=0, num=30)
  assert sorted(fitted.ids.tolist()) == list(range(2, size))
  assert fitted.guesses[:2].tolist() == [0, 1]


def blobs() -> np.ndarray:
  """Four clusters of ten images, which also differ once they are scaled to unit length."""
  rng = np.random.default_rng(0)
  return np.concatenate([center + rng.normal(size=(10, 2)) * 0.1 for center in ([9, 0], [0, 9], [-9, 0], [0, -9])])


def test_typical_images_cover_clusters_without_barred_ones():
  found = Model(folders.command().config, blobs().astype(np.float32), np.zeros((40, 2, 2, 1), np.uint8))
  clusters = lambda fitted: sorted(i // 10 for i in fitted.ids.tolist())
  assert clusters(found.typical([], [], 4)) == [0, 1, 2, 3]
  assert clusters(found.typical([3, 15], [], 2)) == [2, 3]
  chosen = found.typical([], [], 4).ids.tolist()
  again = found.typical([], chosen, 4)
  assert clusters(again) == [0, 1, 2, 3]
  assert not set(again.ids.tolist()) & set(chosen)
  assert found.typical(list(range(36)), [37, 38], 4).ids.tolist() in ([36, 39], [39, 36])
  assert found.typical(list(range(40)), [], 4).ids.tolist() == []
  assert again.scores is again.guesses is again.probabilities is None


def test_components_are_principal_components_with_a_fixed_norm():
  found = components(PIXELS, 5)
  assert found.dtype == np.float32
  flat = PIXELS.reshape(SIZE, -1).astype(float)
  reference = PCA(5).fit_transform(flat)
  reference *= np.sqrt(10 / (reference**2).sum(axis=1).mean())
  np.testing.assert_allclose(np.abs(found), np.abs(reference), atol=1e-4)
  np.testing.assert_allclose(components(PIXELS.astype(np.float32) * 7, 5), found, atol=1e-4)
  assert components(np.zeros((10_003, 3), np.float32)).shape == (10_003, 3)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_equal_images_have_components_without_warnings(size):
  with warnings.catch_warnings(action="error"):
    found = components(np.full((size, 4, 4, 1), 9, np.uint8))
  assert found.shape == (size, min(size, 16))
  assert not found.any()


@pytest.mark.slow
def test_networks_see_the_images():
  words = ("--train_steps=60", "--learning_rate=0.01", "--hidden=32")
  network = model("--model=mlp", *words)
  assert not network.is_head
  held = {i: TRUTH[i] for i in range(40)}
  first = network.fit(held, [50], [], round=2, num=5)
  assert len(set(first.ids.tolist())) == 5
  assert not set(first.ids.tolist()) & {*held, 50}
  assert (first.guesses[:40] == TRUTH[:40]).mean() > 0.8
  again = model("--model=mlp", *words).fit(held, [50], [], round=2, num=5)
  np.testing.assert_array_equal(first.probabilities, again.probabilities)
  assert set(network.fit(labels(40), [], [], round=0, num=1).guesses.tolist()) <= {0, 2, 7}


@pytest.mark.slow
def test_a_training_that_diverges_is_named():
  words = ("--model=mlp", "--train_steps=60", "--learning_rate=1e30", "--optimizer=sgd")
  with pytest.raises(UsageError, match=r"diverged at step \d+: lower --learning_rate"):
    model(*words).fit({i: TRUTH[i] for i in range(40)}, [], [], round=0, num=5)


def test_what_cannot_run_on_the_images_is_refused_before_there_are_labels():
  with pytest.raises(UsageError, match="--model=cnn, --acq=margin: "):
    Model(folders.command("--model=cnn").config, components(PIXELS, 2), PIXELS[:, :4, :4])
  with pytest.raises(UsageError, match="--acq=epig: 100 targets are more than the pool's 61 rows"):
    model("--acq=epig")


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_every_acquisition_chooses_for_a_head(name):
  held = {i: TRUTH[i] for i in range(30)}
  spelled = "epig(targets=20)" if name == "epig" else name
  chosen = model(f"--acq={spelled}", "--acq_size=4").fit(held, range(50, SIZE), [49], round=1, num=12)
  assert len(set(chosen.ids.tolist())) == 12
  assert set(chosen.ids.tolist()) <= set(range(30, 49))
  assert chosen.scores.shape == (12,)
