"""The page's files keep to its Content-Security-Policy, and its parts fit together."""

from pathlib import Path
import re

import pytest

import experiments.labeling

PAGE = Path(experiments.labeling.__file__).parent / "page"
HTML, SCRIPT, STYLE = ((PAGE / name).read_text() for name in ("index.html", "page.js", "page.css"))


def test_html_has_nothing_that_the_policy_refuses():
  assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:|data:", HTML)


@pytest.mark.parametrize("content", [HTML, STYLE, SCRIPT.replace("http://www.w3.org/2000/svg", "")])
def test_nothing_comes_from_outside(content):
  assert not re.search(r"https?:|//[\w-]+\.\w|@import|url\(", content)


def test_script_never_turns_text_into_html():
  assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", SCRIPT)


def test_script_names_elements_that_exist():
  ids = re.findall(r'\bid="([\w-]+)"', HTML)
  assert len(ids) == len(set(ids))
  assert set(re.findall(r'\$\("([\w-]+)"\)', SCRIPT)) <= set(ids)
  assert set(re.findall(r'aria-(?:labelledby|controls)="([\w-]+)"', HTML)) <= set(ids)


def test_every_button_and_key_has_a_command():
  commands = set(
    re.findall(r"^  (?:async )?(\w+)(?:\(|: answer)", SCRIPT.split("const COMMANDS")[1].split("\n};")[0], re.M)
  )
  dialogs = {"keys", "name", "type"}
  keys = re.search(r"const KEYS = \{(.*?)\n\};", SCRIPT, re.S)[1]
  assert set(re.findall(r': "(\w+)"', keys)) <= commands | dialogs
  assert set(re.findall(r'data-command="(\w+)"', HTML)) <= commands | dialogs
