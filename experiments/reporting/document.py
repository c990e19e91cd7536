"""The whole report, built in memory, so that a report that fails writes nothing."""

from collections.abc import Sequence

from experiments.common.places import title
from experiments.common.spelling import ORACLE_REMARK
from experiments.common.spelling import is_oracle
from experiments.reporting import acquired
from experiments.reporting import across
from experiments.reporting import blocks
from experiments.reporting import pairwise
from experiments.reporting import regimes
from experiments.reporting import sections
from experiments.reporting import study as studies
from experiments.reporting.blocks import Heading
from experiments.reporting.blocks import Text
from experiments.reporting.study import Chosen
from experiments.reporting.study import Study
from experiments.reporting.wording import count_of
from experiments.reporting.wording import format_seeds
from experiments.reporting.wording import number


def files(study: Study, bounds: Sequence[int] | None = None, beside: Sequence[Study] = ()) -> dict[str, bytes]:
  """The report's files by name: report.md, report.html, each figure as PNG and SVG, and the contact sheets.

  Args:
    study: the runs.
    bounds: numbers of labels that bound the budget regimes; by default three regimes of about equal ratio.
    beside: other studies, in the figure of the budget regimes and in the ranks over studies.

  Raises:
    UsageError: no run has a row to show, or `bounds` and `beside` do not fit (`regimes.section`).
  """
  chosen = studies.choose(study)
  incomplete = studies.incomplete(study)
  curves, curve_drawings = sections.curves(study, chosen)
  others = {other.name: studies.choose(other) for other in beside}
  above, above_drawings = regimes.section(chosen, bounds, others, study.name)
  compared, comparison_drawings = pairwise.comparison(chosen)
  ranked, rank_drawings = across.section({study.name: chosen, **others}) if others else ([], {})
  balance, balance_drawings = acquired.balance(chosen, study.class_names)
  by_class, class_drawings = acquired.by_class(chosen, study.class_names)
  sheets, out = acquired.sheets(study, chosen)
  content = [
    *_head(study, chosen, len(incomplete)),
    Heading(2, "Results"),
    *sections.results(study, chosen),
    Heading(2, "Learning curves"),
    *curves,
    *([Heading(2, "By class")] if by_class else []),
    *by_class,
    Heading(2, "Label efficiency"),
    *sections.efficiency(chosen),
    Heading(2, "Budget regimes"),
    *above,
    Heading(2, "Significance"),
    *compared,
    *([Heading(2, "Ranks over studies")] if ranked else []),
    *ranked,
    Heading(2, "What was acquired"),
    *balance,
    *sheets,
    *sections.protocol(study, chosen, incomplete),
  ]
  for name, drawing in (
    curve_drawings | class_drawings | above_drawings | comparison_drawings | rank_drawings | balance_drawings
  ).items():
    out |= {f"{name}.png": drawing.png, f"{name}.svg": drawing.svg}
  return out | {"report.md": blocks.to_markdown(content).encode(), "report.html": blocks.to_html(content).encode()}


def _head(study: Study, chosen: Chosen, incomplete: int) -> list[blocks.Block]:
  best, *others = chosen.runs
  labels = chosen.labels(best)
  summary = (
    f"{count_of(len(chosen.runs), 'strategy', 'strategies')}, {labels[0]} to {labels[-1]} labels,"
    f" {format_seeds(chosen)}."
  )
  if others:
    summary += f" Largest mean area under the curve: {best}, {number(chosen.areas(best).mean())}."
  if incomplete:
    summary += f" {count_of(incomplete, 'run')} did not finish and {'is' if incomplete == 1 else 'are'} listed below."
  return [
    Heading(1, f"Active learning on {title(study.flags.get('dataset', 'a data set'))}"),
    Text(summary),
    *([Text(ORACLE_REMARK)] if any(map(is_oracle, chosen.runs)) else []),
    *map(Text, chosen.remarks),
  ]
