"""Console output while a study runs: progress bars on a terminal, plain lines elsewhere."""

import sys

from rich import progress
import rich.console


def console() -> rich.console.Console:
  """A console as wide as the terminal, or 120 columns wide if the output is not a terminal."""
  return rich.console.Console(highlight=False, width=None if sys.stdout.isatty() else 120)


class Display:
  """A progress bar over all rounds of all runs, one over the rounds of the current run, and printed lines above them.

  A context manager.
  """

  def __init__(self, total_rounds: int):
    self.console = console()
    self._bar = progress.Progress(
      progress.SpinnerColumn(),
      progress.TextColumn("{task.description}"),
      progress.BarColumn(),
      progress.MofNCompleteColumn(),
      progress.TimeElapsedColumn(),
      progress.TimeRemainingColumn(),
      console=self.console,
      disable=not self.console.is_terminal,
      transient=True,
    )
    self._task = self._bar.add_task("", total=total_rounds)
    self._run = None

  def __enter__(self):
    self._bar.start()
    return self

  def __exit__(self, *_):
    self._bar.stop()

  def expect(self, total: int) -> None:
    """Sets the total of the bar over all runs, and counts from 0."""
    self._bar.update(self._task, total=total, completed=0)

  def run(self, text: str, rounds: int, done: int) -> None:
    """Starts the bar of a run, of which `done` rounds are complete already."""
    self._bar.update(self._task, description="all runs")
    if self._run is not None:
      self._bar.remove_task(self._run)
    self._run = self._bar.add_task(text, total=rounds, completed=done)

  def phase(self, text: str) -> None:
    """Shows the current activity on the bar."""
    self._bar.update(self._task if self._run is None else self._run, description=text)

  def line(self, text: str) -> None:
    """Prints a line above the bar."""
    self.console.print(text, markup=False, soft_wrap=True)

  def advance(self, rounds: int = 1) -> None:
    """Counts rounds as complete."""
    self._bar.advance(self._task, rounds)
    if self._run is not None:
      self._bar.advance(self._run, rounds)
