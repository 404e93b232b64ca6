"""Pages of Markdown, as Prefect's UI and the command line render them, in which whatever we did not write is text.

`Markdown` is the only thing that a page, a form, a table or a description takes, and `md` the only way to make one: its template is
written in the source, and every value that is put into it is escaped there and then. mypy holds the first, a test of the sources the second
(`tests/project/test_renderers.py`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from blocks.wording import one_line

#: Longest text that one place of a page quotes, in characters.
LONGEST_PART = 2000

#: What makes markup within a line in CommonMark and GitHub's dialect of it: emphasis, code, links, images, tables, HTML, entities,
#: strike-through, and addresses of mail. Each is a sign that a backslash makes a plain one. An underline within a word is a plain one.
_SIGNS = re.compile(r"([\\`*\[\]<>|~&@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
#: What marked makes a link of without any sign, also within a word.
_ADDRESSES = re.compile(r"(?i)(?<=\w):(?=//)|(?<=www)\.")
#: What makes a block at the beginning of a line: headings, lists, rules, quotations.
_BEGINNING = re.compile(r"^([#+=-]|\d{1,9}(?=[.)](?:\s|$)))")

#: A name that can stand in a code span as it is.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+=,-]{0,299}")


@dataclass(frozen=True)
class Markdown:
    """A piece of a page. Made by the functions of this module and by nothing else."""

    _source: str

    def __str__(self) -> str:
        return self._source

    def __bool__(self) -> bool:
        return bool(self._source)

    def __add__(self, other: Markdown) -> Markdown:
        return Markdown(self._source + other._source)


#: What a table of Prefect's takes: its UI renders every text of it as Markdown.
Cell = Markdown | float | bool | None


class _Filled(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return str(value) if isinstance(value, Markdown) else _escaped(format(value, format_spec))


def md(template: str, /, *parts: object) -> Markdown:
    """The template with each `{}` replaced by a part: Markdown as it is, everything else as text on one line.

    Args:
        template: Written in the source, never put together.
        parts: What to put in; a format such as `{:,.1f}` applies to it before it is escaped.
    """
    return Markdown(_Filled().vformat(template, parts, {}))


def code(text: str) -> Markdown:
    """A name, hash or command in a code span; anything that could leave one is plain text."""
    return Markdown(f"`{text}`") if _PLAIN.fullmatch(text) else md("{}", text)


def row(*cells: object) -> Markdown:
    """A row of a table."""
    return md("| {} |", joined(" | ", [cell if isinstance(cell, Markdown) else md("{}", cell) for cell in cells]))


def heads(*names: str) -> Markdown:
    """The first two lines of a table."""
    return page(row(*names), Markdown(f"|{'-|' * len(names)}"))


def verbatim(lines: Iterable[str]) -> Markdown:
    """Lines as they are, in a block of code: indented, so that nothing in them can end it."""
    return Markdown("\n".join(f"    {one_line(line, LONGEST_PART)}" for line in lines))


def picture(said: str, svg: str) -> Markdown:
    """A picture that we drew, with what it says in words: an address that holds it, as Prefect's UI (3.9.1) shows such pictures."""
    address = base64.b64encode(svg.encode()).decode()
    return md("![{}]({})", said, Markdown(f"data:image/svg+xml;base64,{address}"))


def page(*lines: Markdown) -> Markdown:
    """The lines, or pieces of several, below each other."""
    return joined("\n", lines)


def joined(between: str, parts: Sequence[Markdown]) -> Markdown:
    """The parts with something between them that is written in the source."""
    return Markdown(between.join(map(str, parts)))


def names(texts: Iterable[object], between: str = ", ") -> Markdown:
    """Texts that others wrote, listed on one line."""
    return joined(between, [md("{}", text) for text in texts])


def text_of(cell: Any) -> Any:
    """What a cell of a table said before it was escaped; what is no text is itself."""
    return cell if not isinstance(cell, str) else re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell)


def _escaped(text: str) -> str:
    line = one_line(text, LONGEST_PART)
    return _BEGINNING.sub(_behind_backslash, _ADDRESSES.sub(_behind_backslash, _SIGNS.sub(r"\\\1", line)))


def _behind_backslash(found: re.Match[str]) -> str:
    # A number stays; what makes a list of it is the sign after it.
    return f"{found[0]}\\" if found[0].isdecimal() else f"\\{found[0]}"
