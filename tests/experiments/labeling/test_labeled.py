"""Which images the audit may use, which ones a model is trained on, and files that vanish or change."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from experiments.common.errors import UsageError
from experiments.labeling import images
from experiments.labeling.audit import position
from experiments.labeling.journal import NAME
from experiments.labeling.journal import Journal
from experiments.labeling.labeled import Labeled
from experiments.labeling.labeled import workdir_of
from tests.support import label_sessions as support


@pytest.fixture
def root(tmp_path):
  return tmp_path / "root"


@pytest.fixture
def workdir(tmp_path):
  return tmp_path / "work"


def answer(
  own: Labeled, number: int, action: str = "label", label: str | None = "cat", annotator: str = "anna"
) -> None:
  image = own.found.images[number]
  own.write({"action": action, "label": label, "sha256": image.sha256, "annotator": annotator, "round": number})


def hashes(own: Labeled, numbers) -> list[str]:
  return [own.found.images[i].sha256 for i in numbers]


def test_the_reservoir_is_the_start_of_the_permutation(root, workdir):
  own = support.labeled(support.numbered(root, 50), workdir, seed=3, audit=0.2)
  places = [position(3, image.sha256) for image in own.found.images]
  assert own.permutation == sorted(range(50), key=places.__getitem__)
  assert own.reservoir == own.permutation[:10]
  assert own.in_reservoir == set(own.reservoir)


@pytest.mark.parametrize(
  ("audit", "num", "size"), [(0.0, 9, 0), (0.1, 4, 0), (0.1, 5, 0), (0.1, 6, 1), (0.99, 9, 9), (0.5, 9, 4)]
)
def test_size_of_the_reservoir(root, workdir, audit, num, size):
  assert len(support.labeled(support.numbered(root, num), workdir, audit=audit).reservoir) == size


def test_the_reservoir_depends_on_the_seed_and_on_the_contents_alone(root, workdir, tmp_path):
  contents = [f"content {i}".encode() for i in range(40)]
  first = support.labeled(support.write(root, contents), workdir)
  renamed = support.labeled(support.write(tmp_path / "b", reversed(contents)), tmp_path / "b_work")
  assert hashes(first, first.reservoir) == hashes(renamed, renamed.reservoir)
  other = support.labeled(first.found, tmp_path / "c_work", seed=1)
  assert hashes(first, first.reservoir) != hashes(other, other.reservoir)


def test_files_that_come_and_go_move_no_others_and_flags_change_nothing_later(root, workdir, tmp_path):
  first = support.labeled(support.write(root, (f"content {i}".encode() for i in range(40))), workdir)
  before = set(hashes(first, first.reservoir))
  changed = support.write(tmp_path / "b", (f"content {i}".encode() for i in range(20, 80)))
  later = support.labeled(changed, workdir, seed=9, audit=0.7)
  here = {image.sha256 for image in changed.images}
  kept = {image.sha256 for image in first.found.images} & here
  assert set(hashes(later, later.reservoir)) & kept == before & here
  new = set(hashes(later, later.reservoir)) - before
  threshold = json.loads((workdir / NAME).read_text().splitlines()[0])["threshold"]
  assert new == {sha256 for sha256 in here - kept if position(0, sha256) < threshold}


def test_audit_images_are_never_trained_on_and_never_chosen(root, workdir):
  own = support.labeled(support.numbered(root, 30), workdir)
  for i in reversed(range(30)):
    answer(own, i, label=support.CLASSES[i % 2])
  assert own.training_labels() == [(i, i % 2) for i in reversed(range(30)) if i not in own.in_reservoir]
  assert own.audit_labels() == [(i, i % 2) for i in own.reservoir]
  assert set(own.barred()) >= own.in_reservoir
  again = support.labeled(own.found, workdir)
  assert again.training_labels() == own.training_labels()
  assert again.audit_labels() == own.audit_labels()
  assert again.last_round == 29


def test_skipped_and_unusable_images(root, workdir):
  own = support.labeled(support.numbered(root, 30), workdir)
  first, second, third = [i for i in range(30) if i not in own.in_reservoir][:3]
  audit, other = own.reservoir[:2]
  for i, action in [(first, "skip"), (audit, "skip"), (second, "unusable"), (other, "unusable")]:
    answer(own, i, action, None)
  answer(own, third)
  assert own.skipped() == [first]
  assert own.barred() == sorted({*own.reservoir, second})
  assert own.training_labels() == [(third, 0)]
  assert own.audit_labels() == []
  assert (own.audit_count("skip"), own.audit_count("unusable"), own.audit_count("label")) == (1, 1, 0)
  assert own.left == 25
  own.write({"action": "undo", "undoes": own._journal.events[-1]["event"], "sha256": own.found.images[third].sha256})
  assert own.training_labels() == []
  assert own.left == 26
  assert own.is_free(third)


def test_changes_count_what_trains(root, workdir):
  own = support.labeled(support.numbered(root, 30), workdir)
  trains = next(i for i in range(30) if i not in own.in_reservoir)
  answer(own, trains)
  answer(own, own.reservoir[0])
  own.write({"action": "class", "label": "fox"})
  assert own.changes == 1
  assert len(own.events) == len(Journal(workdir / NAME).events)


@pytest.mark.parametrize("damage", ["vanish", "change", "link", "pipe"])
def test_a_file_that_vanishes_or_changes_is_out_for_good(root, workdir, damage):
  own = support.labeled(support.numbered(root, 10), workdir, audit=0.0)
  for i in range(10):
    answer(own, i)
  path = root / own.found.images[4].path
  path.unlink()
  if damage == "change":
    path.write_bytes(b"content 5")
  elif damage == "link":
    path.symlink_to(root / own.found.images[5].path)
  elif damage == "pipe":
    os.mkfifo(path)
  changes = own.changes
  assert [own.is_lost(4) for _ in range(3)] == [True] * 3  # not only when it is noticed
  assert own.changes == changes + 1
  assert not any(own.is_lost(i) for i in (3, 5))
  assert [i for i, _ in own.training_labels()] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
  assert own.barred() == [4]
  path.unlink(missing_ok=True)
  path.write_bytes(b"content 4")
  assert own.is_lost(4)
  assert not own.is_free(4)


def test_a_file_is_hashed_only_if_its_size_or_time_differs(root, workdir, monkeypatch):
  own = support.labeled(support.numbered(root, 3), workdir)
  hashed = []
  digest = images.sha256_of
  monkeypatch.setattr(images, "sha256_of", lambda base, path: (hashed.append(path), digest(base, path))[1])
  for _ in range(3):
    assert not own.is_lost(1)
  (root / "0001.png").write_bytes(b"content 1")
  os.utime(root / "0001.png", ns=(10**18, 10**18))
  for _ in range(3):
    assert not own.is_lost(1)
  assert hashed == ["0001.png"] * 2


def test_answers_to_files_that_vanished_are_kept_but_not_counted_as_left(root, workdir):
  own = support.labeled(support.numbered(root, 10), workdir, audit=0.0)
  answer(own, 3)
  answer(own, 7)
  there = images.Found(own.found.root, tuple(
    image._replace(number=i) for i, image in enumerate(own.found.images[5:])
  ), (), 64)  # fmt: skip
  later = support.labeled(there, workdir)
  assert later.training_labels() == [(2, 0)]
  assert later.left == 4
  answer(later, 0)
  assert support.labeled(own.found, workdir).training_labels() == [(3, 0), (7, 0), (5, 0)]


def test_classes_are_added_once(root, workdir):
  found = support.numbered(root, 5)
  own = support.labeled(found, workdir)
  assert support.labeled(found, workdir, classes=["dog", "fox", "cat"]).classes == {"cat": 0, "dog": 1, "fox": 2}
  assert len(Journal(workdir / NAME).events) == 4
  assert own.classes == {"cat": 0, "dog": 1}


@pytest.mark.parametrize(
  ("line", "old", "new"),
  [(1, '"start"', '"class"'), (2, '"class"', '"clas"'), (4, '"cat"', '"kat"'), (4, '"sha256"', '"hash"')],
)
def test_a_file_that_was_edited_into_nonsense_is_refused(root, workdir, line, old, new):
  own = support.labeled(support.numbered(root, 5), workdir)
  answer(own, 0)
  lines = (workdir / NAME).read_text().splitlines(keepends=True)
  lines[line - 1] = lines[line - 1].replace(old, new)
  (workdir / NAME).write_text("".join(lines))
  with pytest.raises(UsageError, match=rf"line {line} is damaged"):
    support.labeled(own.found, workdir)


def test_place_of_the_workdir(tmp_path):
  assert workdir_of(tmp_path, None) == tmp_path / ".al_jax"
  assert workdir_of(tmp_path / "list.csv", None) == tmp_path / ".al_jax"
  assert workdir_of(tmp_path, "elsewhere") == Path("elsewhere")
  assert workdir_of(tmp_path, "~/x") == Path.home() / "x"


def test_positions_are_those_of_the_documented_hash():
  digest = hashlib.sha256(b"5 abc").digest()
  assert position(5, "abc") == (int.from_bytes(digest[:8], "big") >> 11) * 2.0**-53
