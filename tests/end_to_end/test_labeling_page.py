"""Labels digits in a browser, by keys, through two kills of the server."""

import signal

import pytest
from sklearn.datasets import load_digits

from experiments.labeling import demo
from tests.support import browser
from tests.support import labeling

CLASSES = "--classes=1,2,3,4,5,6,7,8,9,0"  # the key of a digit is the digit
TRUTH = load_digits().target


def key_of(name: str) -> str:
  return str(TRUTH[int(name.removesuffix(".png"))])


@pytest.mark.slow
@pytest.mark.browser
def test_no_answer_is_lost_or_doubled_by_two_kills(tmp_path):
  folder = demo.write(tmp_path / "digits")
  workdir, acknowledged, unknown = folder / ".al_jax", [], []
  with browser.browser() as driver:
    for keys in (25, 20, 15):
      with labeling.serving(str(folder), CLASSES) as server:
        server.wait()
        browser.join(driver, server.address)
        acknowledged += [labeling.answer(driver, key_of) for _ in range(keys - 1)]
        if keys != 15:  # a key whose answer is on its way when the server is killed
          name = browser.text(driver, "#name")
          browser.press(driver, key_of(name))
          unknown.append((name, key_of(name)))
          server.process.send_signal(signal.SIGKILL)
          server.process.wait()
        else:
          acknowledged.append(labeling.answer(driver, key_of))
    assert not [text for text in browser.complaints(driver) if "Content Security" in text or "Uncaught" in text]
  written = [(event["path"], event["label"]) for event in labeling.events(workdir) if event["action"] == "label"]
  assert len({path for path, _ in written}) == len(written), "no answer is doubled"
  assert set(acknowledged) <= set(written), "no answer is lost"
  assert set(written) <= {*acknowledged, *unknown}
  assert any(event["audit"] for event in labeling.events(workdir) if event["action"] == "label")
