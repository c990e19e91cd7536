"""ImageNet features of a data set, computed by the program, killed and continued."""

import json
import os
import signal
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

pytestmark = [pytest.mark.slow, pytest.mark.pretrained]


def test_a_killed_encoding_continues_and_gives_the_same_bits(program, tmp_path):
  images, labels = load_digits(return_X_y=True)
  np.savez(tmp_path / "d.npz", x=images[:100].astype(np.uint8).reshape(-1, 8, 8), y=labels[:100])
  command = ("experiments.features", f"--dataset={tmp_path / 'd.npz'}", "--scale=16", "--method=pretrained")
  command = (*command, "--chunk_size=1", "--dtype=float32", "--test_size=0.4")  # parts of 64 rows
  program.run(*command, f"--out={tmp_path / 'whole.npy'}")
  part, killed = tmp_path / "f.part", (*command, f"--out={tmp_path / 'f.npy'}")
  with program.start(*killed) as started:
    while not (part.exists() and part.stat().st_size > 64 * 1280 * 4):
      time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
  assert not (tmp_path / "f.npy").exists()
  printed = program.run(*killed)
  assert "of 100 rows are in" in printed and "grey images: their channel is repeated" in printed
  assert (tmp_path / "f.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
  assert not part.exists()
  rows, facts = np.load(tmp_path / "f.npy"), json.loads((tmp_path / "f.json").read_text())
  assert rows.shape == (100, 1280) and rows.dtype == np.float32 and facts["weights_license"] == "Apache-2.0"
  of = lambda name: np.concatenate([np.arange(*map(int, text.split(":"))) for text in facts[name]])
  train, test = of("training_rows"), of("test_rows")
  accuracy = LogisticRegression(max_iter=1000).fit(rows[train], labels[train]).score(rows[test], labels[test])
  assert accuracy > 0.6  # and so the rows are those of their images
