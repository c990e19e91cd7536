"""Published results beside ours: counting conventions, verdicts on hand-made curves, the page, and runs that resume."""

import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats

from experiments.analysis.curves import counted_both_ways
from experiments.common.errors import UsageError
from experiments.config import acquisitions
from experiments.papers import batchbald
from experiments.papers.base import Curve
from experiments.papers.base import StudyCommand
from experiments.papers.registry import PUBLISHED
from experiments.papers.registry import REPRODUCTIONS
from experiments.reporting.blocks import Image
from experiments.reporting.blocks import Text
from experiments.reporting.blocks import to_markdown
from experiments.reproduction import archive
from experiments.reproduction import page
from experiments.reproduction import plan
from experiments.reproduction import processes
from experiments.reproduction import verdicts
from tests.experiments.config.test_flags import run
from tests.support.programs import ROOT
from tests.support.programs import environment
from tests.support.programs import untimed


def _rows(acq, seed, accuracies, start=20, acq_size=10):
  return [
    {
      "acq": acq,
      "seed": seed,
      "round": r,
      "num_labeled": start + r * acq_size,
      "test_accuracy": value,
      "seconds_total": 1.0,
    }
    for r, value in enumerate(accuracies)
  ]


def _about(rounds, **flags):
  """What is kept about a study."""
  about = {"device": "cpu", "jax": "0.10.2", "revisions": [], "data_sha256": "hash"}
  return about | {"flags": {"rounds": rounds, "acq_size": 10, **flags}}


def _config(seed, seeds, **changes):
  """What the program of a study leaves in its folder before its first row."""
  flags = {"acq": ["random", "margin"], "seed": seed, "seeds": seeds, "rounds": 1, "acq_size": 10}
  return {"flags": flags, "data_sha256": "hash", "device_kind": "cpu", "versions": {"jax": "0.10.2"}} | changes


def _strategy(acq, *runs, acq_size=10):
  rows = [row for seed, run in enumerate(runs) for row in _rows(acq, seed, run, acq_size=acq_size)]
  (found,) = verdicts.completed(rows, len(runs[0]) - 1, acq_size)
  return found


def test_both_counting_conventions_on_a_hand_made_curve():
  strategy = _strategy("bald", [0.5, 0.85, 0.9, 0.95])
  found = verdicts.reached(strategy, 0.9)
  assert found.ours == [40] and found.median == 40  # trained with 40 labels, the first time at 90%
  assert found.median_less_batch == 30  # the model that 30 labels and one more batch made
  assert counted_both_ways(40, 10) == (40, 30) and counted_both_ways(math.inf, 10) == (math.inf, math.inf)


@pytest.mark.parametrize(
  ("run", "inside"),
  [
    ([0.5, 0.91, 0.92, 0.93], False),  # 30: sooner than any published run
    ([0.5, 0.6, 0.90, 0.93], True),  # 40: the lower end belongs to it
    ([0.5, 0.6, 0.7, 0.9], True),  # 50: the upper end as well
    ([0.5, 0.6, 0.7, 0.8], False),  # not by 50, which is where the last of the published runs was
  ],
)
def test_inside_the_published_spread_has_its_ends(run, inside):
  curve = Curve("", {}, {0.9: (40, 45, 50)})
  assert verdicts.reached(_strategy("bald", run), 0.9, curve).inside is inside


def test_runs_that_end_before_the_published_ones_leave_the_verdict_open():
  curve = Curve("", {}, {0.9: (80, 100, 120)})
  assert verdicts.reached(_strategy("bald", [0.5, 0.6, 0.7, 0.8]), 0.9, curve).inside is None
  never = Curve("", {}, {0.95: (40, 50, math.inf)})
  assert verdicts.reached(_strategy("bald", [0.5, 0.6, 0.7, 0.8]), 0.95, never).inside is True
  assert verdicts.reached(_strategy("bald", [0.5, 0.6, 0.7]), 0.95, never).inside is None
  single = Curve("", {}, {0.9: (202,)}, {0.9: (165, 280)})
  assert single.spread(0.9) == (165, 280) and Curve("", {}, {0.9: (202,)}).spread(0.9) is None


def test_the_median_of_an_even_number_of_runs_is_the_later_one():
  strategy = _strategy("bald", [0.5, 0.95, 0.95, 0.95], [0.5, 0.6, 0.6, 0.6])
  found = verdicts.reached(strategy, 0.9)
  assert found.ours == [30, math.inf] and found.median == math.inf


def test_accuracy_at_a_budget():
  strategy = _strategy("bald", [0.5, 0.80, 0.9], [0.5, 0.82, 0.9], [0.5, 0.90, 0.9])
  found = verdicts.at(strategy, 30, (0.81, 0.83, 0.85))
  assert found.ours == pytest.approx(0.82) and found.inside and found.near
  assert verdicts.at(strategy, 30, (0.825, 0.835, 0.85)) == (30, pytest.approx(0.82), (0.825, 0.835, 0.85), False, True)
  alone = verdicts.at(strategy, 30, (0.85,))
  assert not alone.near and alone.inside is None and verdicts.at(strategy, 35, (0.85,)) is None


def test_the_mean_over_a_curve_is_of_every_tenth_label_as_far_as_both_sides_go():
  curve = Curve("", {}, means={30: (0.5, 0.6, 0.65), 40: (0.6, 0.7, 0.75), 50: (0.7, 0.8, 0.85)})
  runs = [0.5, 0.0, 0.7, 0.0, 0.9], [0.6, 0.0, 0.7, 0.0, 0.8], [0.4, 0.0, 0.5, 0.0, 0.6]  # 20, 25, 30, 35 and 40 labels
  strategy = _strategy("bald", *runs, acq_size=5)
  found = verdicts.mean(strategy, curve)
  assert found.stretch == range(20, 41, 10) and found.published == (0.6, 0.7, 0.75)
  np.testing.assert_allclose(found.ours, [0.5, 0.7, 0.7])
  assert found.median == pytest.approx(0.7) and found.inside and found.near
  low = verdicts.mean(_strategy("bald", runs[2], acq_size=5), curve)
  assert low.median == pytest.approx(0.5) and not low.inside and not low.near
  alone = verdicts.mean(strategy, Curve("", {}, means={30: (0.63,)}))
  assert alone.median == pytest.approx(0.6) and alone.inside is None and not alone.near
  later = verdicts.mean(strategy, Curve("", {}, means={40: (0.8,)}, first=30))
  assert later.stretch == range(30, 41, 10) and later.median == pytest.approx(0.75)
  assert verdicts.mean(strategy, Curve("", {}, means={50: (0.6,)})) is None  # the runs end before it
  assert verdicts.mean(_strategy("bald", [0.5, 0.6], acq_size=20), Curve("", {}, means={40: (0.6,)})) is None  # no 30


def test_a_sign_is_of_areas_on_matched_seeds_up_to_the_same_budget():
  high = _strategy("bald", [0.5, 0.7, 0.9, 0.99], [0.5, 0.6, 0.9, 0.99], [0.6, 0.7, 0.9, 0.99])
  low = _strategy("random", [0.5, 0.6, 0.8], [0.5, 0.55, 0.6])
  found = verdicts.sign(high, low)
  area = lambda a, b, c: (a / 2 + b + c / 2) / 2
  expected = [area(0.5, 0.7, 0.9) - area(0.5, 0.6, 0.8), area(0.5, 0.6, 0.9) - area(0.5, 0.55, 0.6)]
  np.testing.assert_allclose(found.differences, expected)
  half = stats.t.ppf(0.975, 1) * np.std(expected, ddof=1) / math.sqrt(2)
  np.testing.assert_allclose(found.interval, [np.mean(expected) - half, np.mean(expected) + half])
  assert found.holds and found.beyond == (np.mean(expected) > half)
  other = verdicts.sign(low, high)
  assert not other.holds and not other.beyond
  np.testing.assert_allclose(other.differences, [-d for d in found.differences])


def test_runs_that_did_not_end_do_not_count():
  rows = _rows("bald", 0, [0.5, 0.6]) + _rows("bald", 1, [0.5, 0.6, 0.7]) + _rows("random", 0, [0.5])
  rows += [*_rows("margin", 0, [0.5, 0.6]), {"acq": "margin", "seed": 0, "round": 2, "error": "not finite"}]
  (found,) = verdicts.completed(rows, 2, 10)
  assert found.name == "bald" and [run.seed for run in found.runs] == [1]


def test_every_study_of_the_plan_is_a_command_that_is_understood(resolve):
  studies = [(scale, s) for part in REPRODUCTIONS.values() for scale in part.studies for s in part.studies[scale]]
  configs = resolve(*([f"--preset={study.preset}", *study.flags] for _, study in studies))
  alone = resolve(*(plan.words(study, "runs", plan.all_seeds(study)[-1:]) for _, study in studies))
  for (scale, study), config, last in zip(studies, configs, alone, strict=True):
    assert isinstance(config, dict), config
    assert config["preset"] == study.preset
    assert range(config["seed"], config["seed"] + config["seeds"]) == plan.all_seeds(study)
    assert f"--workdir=runs/{scale}/{study.name} --resume" in plan.command(study, f"runs/{scale}")
    assert isinstance(last, dict), last
    differ = {name for name, value in last.items() if value != config[name]}
    assert differ <= {"seed", "seeds", "workdir", "resume"}, differ
    assert (last["seed"], last["seeds"]) == (config["seeds"] - 1, 1)


def test_signs_and_studies_name_what_is_run_and_published():
  for part in REPRODUCTIONS.values():
    assert part.published is None or part.published in PUBLISHED
    assert part.studies.keys() == part.scope.keys() and part.studies.keys() <= plan.SCALES.keys()
    names = [study.name for studies in part.studies.values() for study in studies]
    assert {reference.study for reference in part.references} <= set(names)
    for pair in part.signs:
      for name in pair:
        acquisitions.of(name)


def test_rows_are_kept_and_read_back(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(_config(0, 1, git_revision="abc")))
  assert archive.from_workdir(tmp_path) is None and archive.from_workdir(tmp_path / "none") is None
  rows = [row | {"selected": [1, 2]} for row in _rows("bald", 0, [0.5, 0.6])]
  (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"acq": "ba')
  found = archive.from_workdir(tmp_path)
  assert len(found.rows) == 2 and "selected" not in found.rows[0]
  failed = {"acq": "margin", "seed": 0, "round": 0, "error": "not finite"}
  rows += [*_rows("bald", 1, [0.5]), failed]  # one under way, one that will not go on
  (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert archive.from_workdir(tmp_path).rows == [*found.rows, failed]
  path = tmp_path / "rows" / "study.jsonl"
  archive.write(found, path)
  assert archive.read(path) == found and archive.read(tmp_path / "rows" / "no.jsonl") is None
  whole = path.read_text()
  for text in (
    "",
    "<<<<<<< HEAD\n" + whole,
    whole[:-20],
    "[]\n",
    "{}\n",
    whole + "{}\n",
    *(whole.replace(name, "") for name in ("data_sha256", "rounds", "test_accuracy")),
    whole.replace('"full_data": []', '"full_data": [{"test_accuracy": 0.9}]'),
  ):
    path.write_text(text)
    with pytest.raises(UsageError, match=r"study\.jsonl is damaged"):
      archive.read(path)
  config = json.loads((tmp_path / "config.json").read_text())
  assert archive.from_workdir(tmp_path, ["margin"]).rows == [failed]
  (tmp_path / "results.jsonl").write_text(
    "".join(json.dumps({"acq": "bald", "seed": 0, "round": r}) + "\n" for r in (0, 1))
  )
  with pytest.raises(UsageError, match=r"results\.jsonl is damaged: a row lacks num_labeled or test_accuracy"):
    archive.from_workdir(tmp_path)
  for name in ("flags", "data_sha256", "device_kind", "versions"):
    (tmp_path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if key != name}))
    with pytest.raises(UsageError, match=r"config\.json is damaged: it lacks"):
      archive.from_workdir(tmp_path)


def test_runs_of_other_data_or_flags_are_not_joined():
  first = archive.Archived(_about(1, model="cnn"), _rows("bald", 0, [0.1, 0.2]), [])
  second = lambda **about: {"a": first, "b": first._replace(about=about)}
  with pytest.raises(UsageError, match=r"b and a are not of one study \(they are on other data\)"):
    archive.joined(second(**_about(1, model="cnn") | {"data_sha256": "other"}))
  with pytest.raises(UsageError, match="--model is mlp and cnn"):
    archive.joined(second(**_about(1, model="mlp")))
  for change, said in (({"draws": 2}, "draws 1 and 2"), ({"key_impl": "rbg"}, "key_impl threefry2x32 and rbg")):
    with pytest.raises(UsageError, match=rf"they are of other draws, {said}"):
      archive.joined(second(**_about(1, model="cnn") | change))
  # A flag that a version lacks was off in it.
  assert archive.joined(second(**_about(1, model="cnn", decay=False))).about["flags"]["decay"] is False
  for about, said in (
    (_about(1, model="cnn", decay=True), "decay is True and None"),
    (_about(1), "model is None and cnn"),
  ):
    with pytest.raises(UsageError, match=said):
      archive.joined(second(**about))


def test_versions_that_made_the_runs_of_a_study_are_told():
  parts = {
    name: archive.Archived(_about(1) | {"jax": version, "jaxlib": "0.10.2"}, _rows("bald", seed, [0.1, 0.2]), [])
    for seed, (name, version) in enumerate({"a": "0.10.2", "b": "0.11.0"}.items())
  }
  assert archive.versions_remark(parts["a"]) is None
  assert archive.versions_remark(archive.joined(parts)).startswith("Rows are by jax 0.10.2 and 0.11.0, whose")


def test_kept_rows_of_other_draws_are_neither_compared_nor_gone_on_with(tmp_path):
  words = _with_plan(tmp_path, _TWO, StudyCommand("other", _TWO.preset, _TWO.flags))
  folder = tmp_path / "results/reproductions/quick"
  rows = [*_rows("margin", 0, [0.5, 0.7]), *_rows("random", 0, [0.5, 0.6])]
  archive.write(archive.Archived(_about(1), rows, []), folder / "small.jsonl")
  done = run(*words, PYTHONPATH=str(ROOT))
  assert done.returncode == 1 and "small.jsonl has rows of other draws than this version makes" in done.stderr
  assert "--out=FOLDER" in done.stderr and "Traceback" not in done.stderr and not (tmp_path / "runs").exists()
  done = run(*words, "--page_only", PYTHONPATH=str(ROOT))
  assert done.returncode == 0 and "| small | 4 | 0 | cpu | 0.10.2 | 1 |" in pages(tmp_path), done.stderr
  archive.write(archive.Archived(_about(1) | {"draws": 2}, rows, []), folder / "other.jsonl")
  done = run(*words, "--page_only", PYTHONPATH=str(ROOT))
  assert done.returncode == 1 and "small, other are compared and are of other draws" in done.stderr


def test_runs_in_several_folders_are_one_study():
  about = _about(1) | {"revisions": ["abc"]}
  later = about | {"revisions": ["def"], "device": "gpu"}
  full = [{"seed": 1, "test_accuracy": 0.9}]
  parts = {
    "a": archive.Archived(
      about, _rows("bald", 1, [0.1, 0.2]) + _rows("random", 1, [0.5, 0.7]), [{"seed": 0}, {"seed": 1}]
    ),
    "b": archive.Archived(later, _rows("bald", 0, [0.3, 0.4]) + _rows("bald", 1, [0.5, 0.6]), full),
  }
  found = archive.joined(parts)
  assert [(row["acq"], row["seed"], row["test_accuracy"]) for row in found.rows] == [
    *[("bald", 0, 0.3), ("bald", 0, 0.4)],
    *[("bald", 1, 0.5), ("bald", 1, 0.6), ("random", 1, 0.5), ("random", 1, 0.7)],
  ]
  assert found.full_data == [{"seed": 0}, *full]
  assert found.about == about | {"device": "cpu and gpu", "revisions": ["abc", "def"]}
  assert archive.joined({"a": parts["a"]}) == parts["a"]
  assert archive.joined({"joined": found, **parts}) == found
  short = archive.Archived(later, _rows("random", 1, [0.1, 0.2]) + _rows("bald", 1, [0.1]), [])
  assert archive.joined({**parts, "short": short}).rows[2:] == [
    *_rows("bald", 1, [0.5, 0.6]),  # the longer
    *_rows("random", 1, [0.1, 0.2]),  # as long as the one before: the last
  ]
  whole = archive.joined({"a": parts["a"], "again": archive.Archived(later, parts["a"].rows, parts["a"].full_data)})
  assert whole.about == later  # nothing is said of a place from which nothing comes
  parts["b"].about["flags"] = {"rounds": 2, "acq_size": 10}
  with pytest.raises(UsageError, match=r"b and a are not of one study \(--rounds is 2 and 1\)"):
    archive.joined(parts)


def test_the_page_says_what_was_published_what_is_ours_and_what_was_not_run():
  about = _about(8)
  better = [0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.89, 0.9, 0.92]
  rows = []
  for seed in (0, 1):
    rows += _rows("batchbald", seed, [value + 0.01 * seed for value in better])
    rows += _rows("bald", seed, [value - 0.05 for value in better])
  part = REPRODUCTIONS["batchbald"]
  results = {"batchbald": {"quick": page.Results(part, "quick", {"batchbald": archive.Archived(about, rows, [])})}}
  (paper,) = page.with_rows(results)
  remark = batchbald.NOTES["batchbald", "quick"].remark
  assert paper is batchbald and Text(remark) in page.of_paper(paper, results, notes=True)
  blocks = page.of_paper(paper, results, notes=False)
  assert Text(remark) not in blocks
  said = to_markdown([*page.overview(results), *blocks])
  assert "- [BatchBALD: Kirsch" in said and "](batchbald.md)" in said and "gal2017.md" not in said
  files = [block.file for block in blocks if isinstance(block, Image)]
  assert files == [f"../../results/reproductions/quick/batchbald{beside}.png" for beside in ("", "_published")]
  # Only whether BatchBALD's 90% is inside can be said; near are both at 50 labels and BALD at 100.
  assert "| BatchBALD on MNIST | quick | 1 of 1 | 0 of 1 | 1 of 1 | 3 of 6 | 2 of 2 | 4 | 0.0 |" in said
  assert "| BatchBALD on MNIST | full | not run |" in said
  assert "| batchbald above bald | +5.0 +6.0 | -0.9 to +11.9 | yes | no |" in said
  assert "| batchbald | 90% | 80 80 100 110 120 120 | 80 90 | 90 (80) | 2 | yes |" in said
  assert "| bald | 90% | 130 130 130 180 180 200 | never never | not by 100 | 2 | cannot be said |" in said
  assert "| batchbald | 100 | 88.3 89.6 90.1 | 92.5 | 2 | no | no |" in said
  assert "| batchbald | 20 to 100 | 81.8 (78.1 to 82.5) | 81.5 (81.0 to 82.0) | 2 | yes | yes |" in said


def test_strategies_stand_in_the_order_of_the_study_not_in_that_of_their_runs():
  about = _about(1)
  part = REPRODUCTIONS["gal2017"]
  ran = ["random", "mean_std", "entropy(posterior=dropout)", "margin", "bald"]
  rows = [row for acq in ran for row in _rows(acq, 0, [0.5, 0.6])]
  found = page.Results(part, "cpu", {"gal2017": archive.Archived(about, rows, [])})
  # What the study does not name comes last.
  ordered = ["bald", "entropy(posterior=dropout)", "mean_std", "random", "margin"]
  assert [strategy.name for strategy in found.strategies] == list(found.runs) == ordered
  (study,) = REPRODUCTIONS["repeated_mnist"].studies["quick"][1:]
  assert plan.strategies(study) == ["batchbald"]  # its default is not spelled


def everything(results):
  """All pages as Markdown, without notes."""
  papers = [block for paper in page.with_rows(results) for block in page.of_paper(paper, results, notes=False)]
  return to_markdown([*page.overview(results), *papers])


def test_a_published_number_is_held_against_the_mean_of_a_study_of_its_own():
  about = _about(0)
  rows = _rows("random", 0, [0.63]) + _rows("random", 1, [0.66])
  part = REPRODUCTIONS["batchbald"]
  found = page.Results(part, "quick", {"batchbald_start": archive.Archived(about, rows, [])})
  assert found.strategies == []  # its rounds are no curve
  said = everything({"batchbald": {"quick": found}})
  assert "| BatchBALD on MNIST | quick | 1 of 1 |  |  |  |  | 2 | 0.0 |" in said
  assert "0.641 | ± 0.02 | 0.6450 | 0.6300 0.6600 | yes | 1 s |" in said
  rows[1]["test_accuracy"] = 0.70
  found = page.Results(part, "quick", {"batchbald_start": archive.Archived(about, rows, [])})
  assert "0.641 | ± 0.02 | 0.6650 | 0.6300 0.7000 | no | 1 s |" in everything({"batchbald": {"quick": found}})


def test_a_scale_that_asks_for_the_same_runs_as_another_is_not_called_missing():
  about = _about(0) | {"flags": {"rounds": 0, "acq_size": 100}}
  found = page.Results(
    REPRODUCTIONS["blog"], "quick", {"blog_start": archive.Archived(about, _rows("entropy", 0, [0.78]), [])}
  )
  said = everything({"blog": {"quick": found}})
  assert "| The blog's experiment | full | as quick |" in said and "| BatchBALD on MNIST | full | not run |" in said


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (["--only=batchbold"], "unknown protocol 'batchbold'; choose from blog"),
    (["--only=gal2017"], "gal2017 is not part of --scale=quick, but of cpu and full"),
    (["quick"], "stray word 'quick'"),
  ],
)
def test_mistakes_are_refused_in_one_sentence(words, said):
  done = run("-m", "experiments.reproduce", *words)
  assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def pages(folder):
  """What was written, all pages one after another."""
  return "\n".join(page.read_text() for page in sorted((folder / "docs/reproductions").iterdir()))


def _with_plan(folder, *studies):
  """The words that run the program in `folder` on another plan: everything else is as it is."""
  script = folder / "script.py"
  script.write_text(
    "from absl import app\n"
    "from experiments import reproduce\n"
    "from experiments.papers import blog\n"
    "from experiments.papers.base import Reproduction\n"
    "from experiments.papers.base import StudyCommand\n"
    "from experiments.papers.registry import REPRODUCTIONS\n"
    f"studies = tuple(StudyCommand(*study) for study in {[(s.name, s.preset, s.flags) for s in studies]!r})\n"
    "part = Reproduction('Small', None, {'quick': studies}, (('margin', 'random'),), scope={'quick': 'All of it.'})\n"
    "for table in (REPRODUCTIONS, blog.REPRODUCTIONS):\n"
    "  table.clear()\n"
    "  table['small'] = part\n"
    "app.run(reproduce.main)\n"
  )
  return [str(script), f"--workdir={folder}/runs", f"--out={folder}"]


_ON_DIGITS = ("--dataset=digits", "--train_steps=5", "--model=mlp", "--pool_subset=100", "--compilation_cache=none")
_TWO = StudyCommand("small", "study", ("--acq=random,margin", "--seeds=1", "--rounds=1", *_ON_DIGITS))


def test_studies_are_run_kept_and_drawn(tmp_path):
  words = _with_plan(tmp_path, StudyCommand("bad", "study", ("--dataset=nonsense", "--acq=random")), _TWO)
  call = lambda *more: run(*words, *more, PYTHONPATH=str(ROOT))
  stopped = call("--minutes=0")
  assert stopped.returncode == 0 and "small is not complete: the time was up" in stopped.stdout, stopped.stderr
  whole = call()  # the mistake of one study keeps no other from running
  assert whole.returncode == 1 and "bad is not complete: it ended with exit code 1" in whole.stdout, whole.stderr
  assert "small is not" not in whole.stdout
  said = pages(tmp_path)
  assert "| Small | quick |" in said and "margin above random" in said
  assert (tmp_path / "results/reproductions/quick/small.png").exists()
  rows = (tmp_path / "results/reproductions/quick/small.jsonl").read_text()
  again = call("--page_only")
  assert again.returncode == 0 and (tmp_path / "results/reproductions/quick/small.jsonl").read_text() == rows
  assert pages(tmp_path) == said
  results = tmp_path / "runs/quick/small/results.jsonl"
  results.write_text("".join(line for line in results.read_text().splitlines(True) if '"acq": "margin"' in line))
  again = call("--page_only")  # as on another machine, which has run margin alone
  assert again.returncode == 0 and pages(tmp_path) == said


def test_a_study_that_cannot_be_joined_keeps_no_other_from_the_page(tmp_path):
  words = [*_with_plan(tmp_path, _TWO, StudyCommand("other", _TWO.preset, _TWO.flags)), "--page_only"]
  rows = [*_rows("margin", 0, [0.5, 0.7]), *_rows("random", 0, [0.5, 0.6])]
  for name in ("small", "other"):
    folder = tmp_path / "runs/quick" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(_config(0, 1)))
    further = _rows("bald", 0, [0.5, 0.9])  # which the study does not name
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + further))
  before = tmp_path / "results/reproductions/quick/small.jsonl"
  archive.write(archive.Archived(_about(1) | {"data_sha256": "other"}, rows[:2], []), before)
  text = before.read_text()
  done = run(*words, PYTHONPATH=str(ROOT))
  assert done.returncode == 1 and "small: its runs here are left out of the page" in done.stdout, done.stderr
  assert "they are on other data" in done.stdout and before.read_text() == text
  said = pages(tmp_path)
  assert "| other | 4 |" in said and "| small | 2 |" in said
  before.write_text(text[:-9])
  done = run(*words, PYTHONPATH=str(ROOT))
  assert done.returncode == 1 and f"error: {before} is damaged" in done.stderr and "Traceback" not in done.stderr


def test_a_study_that_is_stopped_in_the_middle_goes_on_to_the_same_rows(tmp_path):
  study = StudyCommand("small", "study", ("--acq=random", "--seeds=1", "--rounds=4", *_ON_DIGITS))
  kept_rows = {}
  for name in ("whole", "stopped"):
    (tmp_path / name).mkdir()
    words, results = _with_plan(tmp_path / name, study), tmp_path / name / "runs/quick/small/results.jsonl"
    if name == "stopped":
      call = [sys.executable, *words]
      with subprocess.Popen(
        call, cwd=ROOT, env=environment(PYTHONPATH=str(ROOT)), stdout=subprocess.DEVNULL
      ) as process:
        while not (results.exists() and results.read_bytes().count(b"\n")):
          assert process.poll() is None
          time.sleep(0.01)
        process.terminate()
        assert process.wait() == 130
      assert 1 <= results.read_bytes().count(b"\n") < 5
      assert not (tmp_path / name / "results").exists()  # half a curve is not kept
    done = run(*words, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    found = archive.read(tmp_path / name / "results/reproductions/quick/small.jsonl")
    kept_rows[name] = [untimed(row) for row in found.rows]
  assert len(kept_rows["whole"]) == 5 and kept_rows["stopped"] == kept_rows["whole"]


_SMALL = StudyCommand("small", "study", ("--acq=random", "--seeds=2", "--rounds=1", *_ON_DIGITS))


def test_seeds_are_told_by_a_study_or_by_its_preset():
  assert plan.all_seeds(_SMALL) == range(2)
  assert plan.all_seeds(StudyCommand("first_rounds", "batchbald", ("--rounds=0",))) == range(6)
  assert plan.all_seeds(StudyCommand("one", "blog")) == range(1)


def test_several_processes_take_seeds_and_go_on_with_what_was_begun(tmp_path):
  other = StudyCommand("other", "study", ("--seeds=1",))
  seeds = lambda study, *parts: [processes.Piece(study, range(*part)) for part in parts]
  whole, divided = [processes.Piece(_SMALL)], seeds(_SMALL, (0, 1), (1, 2))
  pieces = lambda count: processes.pieces([_SMALL], tmp_path, count)
  assert pieces(1) == whole and pieces(2) == divided
  assert processes.pieces([other, _SMALL], tmp_path, 2) == [*seeds(other, (0, 1)), *divided]
  assert [piece.name for piece in divided] == ["small-0", "small-1"]
  (tmp_path / "small-by_hand").mkdir()  # which the page takes in and no command goes on with
  assert pieces(1) == whole
  (tmp_path / "small-1").mkdir()
  assert pieces(1) == pieces(2) == divided  # begun by seeds
  (tmp_path / "small-1" / "config.json").write_text(json.dumps(_config(1, 3)))
  assert pieces(1) == pieces(2) == seeds(_SMALL, (0, 1), (1, 4))  # begun by several, elsewhere
  assert plan.words(_SMALL, "runs", range(1, 4))[-4:] == ["--seed=1", "--seeds=3", "--workdir=runs/small-1", "--resume"]
  (tmp_path / "small").mkdir()
  assert pieces(1) == pieces(2) == whole  # begun as a whole


def test_every_process_has_cores_to_itself(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 4, 5, 7}, raising=False)
  assert processes.shares(1) == [None]
  assert processes.shares(2) == [{1, 4, 7}, {2, 5}]
  with pytest.raises(UsageError, match="--processes=6: more than there are cores, 5"):
    processes.shares(6)
  monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
  monkeypatch.setattr(os, "cpu_count", lambda: 2)
  assert processes.shares(2) == [None, None]


def test_seeds_run_side_by_side_are_those_of_one_run(tmp_path, monkeypatch):
  bound = {}
  monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: bound.update({pid: cores}), raising=False)
  bad = StudyCommand("bad", "study", ("--dataset=digits", "--acq=nonsense", "--seeds=1"))
  pieces = processes.pieces([_SMALL, bad], tmp_path / "apart", 2)
  missing = processes.run(pieces, tmp_path / "apart", [], [{0}, {1}], math.inf)
  assert missing == {"bad-0": f"it ended with exit code 1, see {tmp_path}/apart/bad-0/log"}
  assert "nonsense" in (tmp_path / "apart/bad-0/log").read_text()
  assert sorted(bound.values(), key=min) in ([{0}, {0}, {1}], [{0}, {1}, {1}])
  assert processes.run([processes.Piece(_SMALL)], tmp_path / "whole", [], [None], math.inf) == {}
  folders = {folder: archive.from_workdir(folder) for folder in (tmp_path / "apart").glob("small-*")}
  without_times = lambda found: [untimed(row) for row in found.rows]
  assert len(folders) == 2
  assert without_times(archive.joined(folders)) == without_times(archive.from_workdir(tmp_path / "whole/small"))


def test_all_processes_stop_when_the_time_is_up(tmp_path):
  long = StudyCommand("long", "study", ("--dataset=digits", "--acq=random", "--seeds=3", "--compilation_cache=none"))
  pieces, begun = processes.pieces([long], tmp_path, 2), time.monotonic()
  missing = processes.run(pieces, tmp_path, [], [None, None], begun + 2)
  assert missing == dict.fromkeys(("long-0", "long-1", "long-2"), "the time was up")
  assert (tmp_path / "long-1").exists() and not (tmp_path / "long-2").exists()


@pytest.mark.parametrize("fault", ["folder", "cores"])
def test_no_process_is_left_where_another_cannot_be_begun(fault, tmp_path, monkeypatch):
  begun, begin = [], processes._begin
  monkeypatch.setattr(processes, "_begin", lambda *args, **kwargs: begun.append(begin(*args, **kwargs)) or begun[-1])
  long = StudyCommand("long", "study", ("--dataset=digits", "--acq=random", "--seeds=2", "--compilation_cache=none"))
  cores = [None, None]
  if fault == "folder":
    (tmp_path / "long-1").write_text("in the way")
  else:
    cores = [None, {1}]

    def refuse(*_):
      raise OSError("no such core")

    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
  with pytest.raises(OSError):
    processes.run(processes.pieces([long], tmp_path, 2), tmp_path, [], cores, math.inf)
  assert len(begun) == 1 + (fault == "cores")
  assert all(running.process.poll() is not None for running in begun)
