"""How good the model is, how it got there, and whether to stop: what the page shows next to the images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.labeling import audit
from experiments.labeling import stopping
from experiments.labeling.advice import INTERVAL
from experiments.labeling.advice import advice
from experiments.labeling.answers import SKIP
from experiments.labeling.answers import UNUSABLE
from experiments.labeling.labeled import Labeled
from experiments.labeling.learner import Trained


class Answered(NamedTuple):
  """What a report takes from the answers."""

  audit: list[tuple[int, int]]  # labeled audit images and their class numbers
  skipped: int  # audit images
  unusable: int  # audit images
  reservoir: int  # audit images of the folder
  left: int  # images without an answer
  stop_set: list[int]  # images on which successive models are compared
  doubly: list[tuple[str, str]] | None  # labels of two annotators; None if there is one


def answered(labeled: Labeled) -> Answered:
  """The present answers, of which a report is made in another thread."""
  answers = labeled.answers
  return Answered(
    labeled.audit_labels(),
    labeled.audit_count(SKIP),
    labeled.audit_count(UNUSABLE),
    len(labeled.reservoir),
    labeled.left,
    labeled.permutation[-stopping.STOP_SET :],  # the end of the permutation, which the audit reaches last
    answers.doubly_labeled() if len(answers.annotators) > 1 else None,
  )


def report(answers: Answered, models: Sequence[Trained], target: float, share: float) -> dict:
  """The accuracy, the learning curve, the advice and the annotators' agreement, as the page gets them.

  Args:
    answers: the answers.
    models: the models, by their numbers of labels, ascending.
    target: accuracy that is wanted.
    share: share of audit images among the images shown.
  """
  pairs = answers.audit
  images, classes = (np.array(column, int) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0, int),) * 2
  right = np.array([model.guesses[images] == classes for model in models]).reshape(len(models), len(pairs))
  curve, accuracy = [], None
  for model, own in zip(models, right, strict=True):
    if pairs:
      interval = audit.any_time(int(own.sum()), len(own))
      curve.append({"labels": model.labels, "accuracy": float(own.mean()), **interval._asdict()})
  if curve:
    accuracy = {key: curve[-1][key] for key in ("low", "high")} | {"estimate": curve[-1]["accuracy"]}
    counts = {"answers": len(pairs), "skipped": answers.skipped, "unusable": answers.unusable}
    accuracy |= counts | {"text": INTERVAL}
  advised = advice(
    target=target,
    right=int(right[-1].sum()) if models else 0,
    answers=len(pairs) if models else 0,
    reservoir=answers.reservoir,
    audit_share=share,
    kappas=_kappas(answers.stop_set, models),
    forecast=_forecast(models, right, target, answers.left),
  )
  agreement = _agreement(answers.doubly) if answers.doubly else None
  advised = advised._asdict()
  return {"accuracy": accuracy, "curve": curve, "target": target, "advice": advised, "agreement": agreement}


def _agreement(pairs: list[tuple[str, str]]) -> dict:
  """Agreement on the images that two annotators labeled."""
  first, second = zip(*pairs, strict=True)
  kappa = round(stopping.kappa(first, second), 3)
  return {"images": len(pairs), "equal": sum(a == b for a, b in pairs), "kappa": kappa}


def _kappas(stop_set: list[int], models: Sequence[Trained]) -> list[float]:
  """Agreement of the last models, each with its predecessor, on the stop set."""
  models = models[-stopping.WINDOWS - 1 :]
  pairs = zip(models[:-1], models[1:], strict=True)
  return [stopping.kappa(first.guesses[stop_set], second.guesses[stop_set]) for first, second in pairs]


def _forecast(models: Sequence[Trained], right: np.ndarray, target: float, left: int) -> stopping.Forecast:
  if not right.size:
    return stopping.Forecast(reason="No model is measured yet.")
  return stopping.labels_more(right, [model.labels for model in models], target, left=left)
