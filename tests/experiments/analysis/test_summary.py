"""The numbers of the closing table, compared with hand computations."""

from experiments.analysis import summary


def run(*points, acq="random", seed=0):
  return [
    {"acq": acq, "seed": seed, "round": r, "num_labeled": n, "test_accuracy": a} for r, (n, a) in enumerate(points)
  ]


def test_labels_needed_is_a_median_over_seeds_and_counts_the_never():
  fast = run((10, 0.5), (20, 0.9), (30, 0.85))
  slow = run((10, 0.5), (20, 0.7), (30, 0.9))
  never = run((10, 0.5), (20, 0.6), (30, 0.7))
  assert summary.labels_needed(0.9, [fast]) == "20"
  assert summary.labels_needed(0.9, [fast, slow, fast]) == "20"
  assert summary.labels_needed(0.9, [fast, slow, never]) == "30 (1 of 3 never)"
  assert summary.labels_needed(0.9, [fast, never, never]) == "not by 30"
  assert (
    summary.labels_needed(0.9, [fast, never]) == "not by 30"
  )  # the upper of two values, never an average with infinity


def test_mean_and_sample_spread():
  assert summary.mean_spread([0.5]) == "0.500"
  assert summary.mean_spread([0.4, 0.6]) == "0.500 ± 0.141"


def test_a_run_that_stopped_keeps_its_rows_and_its_error_is_no_point():
  rows = [*run((10, 0.5), (20, 0.6)), {"acq": "random", "seed": 0, "round": 2, "error": "not finite"}]
  assert [row["round"] for row in summary.curves(rows)["random"][0]] == [0, 1]


def test_the_table_of_first_rounds_alone():
  rows = run((20, 0.4)) + run((20, 0.6), seed=1)
  (area, final) = (list(column.cells) for column in summary.closing_table(rows, []).columns[-2:])
  assert area == final == ["0.500 ± 0.141"]


def test_plot_and_table_hold_every_strategy(tmp_path):
  rows = [row for acq in ("random", "entropy") for row in run((10, 0.5), (20, 0.9), acq=acq)]
  full = [{"seed": 0, "test_accuracy": 0.99}]
  table = summary.closing_table(rows, full)
  assert list(table.columns[0].cells) == ["random", "entropy", "full data"]
  assert list(table.columns[-2].cells)[:2] == ["0.700", "0.700"]
  path = tmp_path / "curve.png"
  summary.plot(rows, full, "title", path)
  assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size < 300_000
