"""Advice on stopping, in sentences that name their rule."""

from collections.abc import Sequence
import math
from typing import NamedTuple

from experiments.labeling import audit
from experiments.labeling import stopping

INTERVAL = "the 95% interval that holds whenever you look (confidence sequence, Robbins 1970)"


class Advice(NamedTuple):
  """Whether to stop, and why."""

  stop: bool
  title: str
  lines: tuple[str, ...]  # sentences


def advice(
  *,
  target: float,
  right: int,
  answers: int,
  reservoir: int,
  audit_share: float,
  kappas: Sequence[float],
  forecast: stopping.Forecast,
) -> Advice:
  """Stop or go on, by the audit's interval against the target and by stabilized predictions.

  Args:
    target: accuracy between 0 and 1 that is wanted.
    right: audit answers that the present model gets right; 0 before the first model.
    answers: audit answers with a label; 0 before the first model.
    reservoir: audit images of the folder, those with an answer included.
    audit_share: share of audit images among the images shown, between 0 and 1.
    kappas: as for `stopping.stabilized`.
    forecast: from `stopping.labels_more`.
  """
  interval = audit.any_time(right, answers)
  reached, below = interval.low >= target, interval.high < target
  settled = stopping.stabilized(kappas)
  lines = [_of_audit(target, right, answers, interval)]
  if not reached:
    lines.append(_of_needed(target, right, answers, reservoir, audit_share))
  lines.append(_of_predictions(kappas, settled))
  if reached:
    return Advice(True, "Stop: the target is reached", tuple(lines))
  if settled and below:
    lines.append("More labels change little: better features or another model would change more.")
    return Advice(True, "Stop: more labels change little", tuple(lines))
  lines.append(_of_curve(target, forecast))
  title = "Go on: the predictions have stabilized, the audit is not done" if settled else "Go on"
  return Advice(False, title, tuple(lines))


def percent(value: float) -> str:
  """A share as a percentage with at most one decimal."""
  return f"{100 * value:.1f}".removesuffix(".0") + "%"


def _of_audit(target: float, right: int, answers: int, interval: audit.Interval) -> str:
  if not answers:
    return f"Audit: no model is measured on a labeled audit image yet; the target is {percent(target)}."
  low, high = interval
  where = "its lower end reaches" if low >= target else "it ends below" if high < target else "it contains"
  return (
    f"Audit: {right} of {answers} answers are right; {INTERVAL} is {percent(low)} to {percent(high)}, and {where} the"
    f" target of {percent(target)}."
  )


def _of_needed(target: float, right: int, answers: int, reservoir: int, audit_share: float) -> str:
  least = audit.answers_needed(target)
  if least is None:
    return f"No number of audit answers shows {percent(target)}: set a lower target."
  if right == answers:
    needed = least
    once, one_sided = (audit.answers_needed(target, 1.0, audit.fixed_time, level) for level in (audit.LEVEL, 0.9))
    what = (
      f"The interval needs {needed:,} audit answers, all of them right, to reach {percent(target)} ({once:,} if it is"
      f" read only once, {one_sided:,} for a one-sided bound read once)"
    )
  else:
    needed = audit.answers_needed(target, right / answers)
    what = f"At the present share of right audit answers, {percent(right / answers)}, the interval"
    if needed is None:
      return f"{what} would not reach the target with {audit.MOST:,} of them."
    what = f"{what} needs {needed:,} of them to reach {percent(target)}"
  if needed > reservoir:
    return f"{what}, and this folder has {reservoir:,} audit images: lower the target, or begin with a larger --audit."
  more = needed - answers
  if not audit_share:
    return f"{what}: {more:,} more, and with --audit=0 none is shown."
  others = round(more * (1 - audit_share) / audit_share)
  return f"{what}: {more:,} more, which come with about {others:,} other answers."


def _of_predictions(kappas: Sequence[float], settled: bool) -> str:
  rule = "stabilizing predictions, Bloodgood and Vijay-Shanker 2009"
  if len(kappas) < stopping.WINDOWS:
    return f"Predictions: {stopping.WINDOWS + 1} models are compared before anything is said ({rule})."
  mean = math.floor(1000 * stopping.mean_agreement(kappas)) / 1000  # not rounded up to the threshold
  state, sign = ("have stabilized", "at least") if settled else ("still change", "less than")
  return (
    f"Predictions {state}: the last {stopping.WINDOWS} retrainings agree with a mean kappa of {mean:.3f}, {sign}"
    f" {stopping.AGREEMENT} ({rule})."
  )


def _of_curve(target: float, forecast: stopping.Forecast) -> str:
  if forecast.reason is not None:
    return f"Learning curve: no forecast. {forecast.reason}"
  assert forecast.low is not None
  assert forecast.high is not None
  rule = f"until {percent(target)} (power law, {percent(stopping.RANGE)} range)"
  if math.isinf(forecast.low):
    return f"Learning curve: more labels than there are images left {rule}."
  low = f"{_rounded(forecast.low):,}"
  if math.isinf(forecast.high):
    return f"Learning curve: at least {low} labels more {rule}, and perhaps more than there are images left."
  return f"Learning curve: {low} to {_rounded(forecast.high):,} labels more {rule}."


def _rounded(labels: float) -> int:
  """Rounded to two digits: the rest would be noise."""
  digits = 1 - math.floor(math.log10(max(labels, 1.0)))
  return round(round(labels, digits)) if labels >= 1 else 0
