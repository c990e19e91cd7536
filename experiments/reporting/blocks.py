"""A page of headings, paragraphs, tables and images, written as Markdown or as one self-contained HTML file."""

import base64
from collections.abc import Sequence
from html import escape
import re
from typing import NamedTuple


class Heading(NamedTuple):
  """A heading; level 1 is the page's title."""

  level: int
  text: str


class Text(NamedTuple):
  """A paragraph."""

  text: str


class Code(NamedTuple):
  """Shell commands."""

  text: str


class Table(NamedTuple):
  """A table of formatted cells; the first column names the row."""

  header: Sequence[str]
  rows: Sequence[Sequence[str]]
  numbers: bool = True  # the other columns are numbers, aligned right


class Links(NamedTuple):
  """A list of links, each a text and a path."""

  entries: Sequence[tuple[str, str]]


class Image(NamedTuple):
  """A PNG whose path, relative to the page, is `file`."""

  file: str
  png: bytes
  alt: str
  caption: str
  wide: bool = False  # up to the full width of the page


Block = Heading | Text | Code | Table | Links | Image

_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; color: #1a1a1a; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
figure { margin: 1.2rem 0; } img { width: 40rem; max-width: 100%; height: auto; }
img.wide { width: auto; }
figcaption, .note { color: #555; font-size: .9rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.words td, .words th { overflow-wrap: anywhere; min-width: 4rem; }
tbody th { font-weight: normal; position: sticky; left: 0; background: #fff; }
pre { overflow-x: auto; background: #f4f4f4; padding: .7rem; font-size: .85rem; }
nav a { margin-right: .9rem; white-space: nowrap; }
@media (min-width: 50rem) { .numbers tbody th { white-space: nowrap; } }
"""


def to_markdown(blocks: Sequence[Block]) -> str:
  """The page as GitHub's Markdown; images are linked, not embedded."""
  return "\n\n".join(map(_markdown, blocks)) + "\n"


def _markdown(block: Block) -> str:
  match block:
    case Heading(level, text):
      return f"{'#' * level} {_plain(text)}"
    case Text(text):
      return _plain(text)
    case Code(text):
      return f"```sh\n{text}\n```"
    case Links(entries):
      return "\n".join(f"- [{_plain(text)}]({path})" for text, path in entries)
    case Image(file, _, alt, caption, _):
      return f"![{alt}]({file})\n\n*{_plain(caption)}*"
    case Table(header, rows, numbers):
      rule = [":--", *(["--:" if numbers else ":--"] * (len(header) - 1))]
      cells = [header, rule, *rows]
      return "\n".join("| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def _plain(text: str) -> str:
  """Escapes Markdown's markup; `_` and `-` inside words need no escape."""
  return re.sub(r"([*\\`<\[\]])", r"\\\1", text.replace("\n", " "))


def to_html(blocks: Sequence[Block]) -> str:
  """The page as one HTML file that refers to no other file; the first block is the title."""
  title = escape(blocks[0].text)
  sections = [block.text for block in blocks if isinstance(block, Heading) and block.level == 2]
  nav = "".join(f'<a href="#{_anchor(text)}">{escape(text)}</a> ' for text in sections)
  first, *others = map(_html, blocks)
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n{first}\n<nav>{nav}</nav>\n"
    + "\n".join(others)
    + "\n</body>\n</html>\n"
  )


def _html(block: Block) -> str:
  match block:
    case Heading(level, text):
      return f'<h{level} id="{_anchor(text)}">{escape(text)}</h{level}>'
    case Text(text):
      return f"<p>{escape(text)}</p>"
    case Code(text):
      return f"<pre>{escape(text)}</pre>"
    case Links(entries):
      items = "".join(f'<li><a href="{escape(path)}">{escape(text)}</a></li>' for text, path in entries)
      return f"<ul>{items}</ul>"
    case Image(_, png, alt, caption, wide):
      source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
      kind = ' class="wide"' if wide else ""
      return (
        f'<figure><img{kind} src="{source}" alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'
      )
    case Table(header, rows, numbers):
      head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
      body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in others)}</tr>'
        for first, *others in rows
      )
      kind = "numbers" if numbers else "words"
      return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
      )


def _anchor(text: str) -> str:
  return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
