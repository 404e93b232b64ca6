"""What may be said of text that others wrote: without secrets, without signs that a terminal or a reader takes for something else, and not
without end. Pure and light: the program on the nodes imports it, too."""

from __future__ import annotations

import re
import unicodedata
from itertools import chain

from blocks.secret_shapes import LONGEST_SECRET, redacted

#: Longest sentence that is said, in characters.
LONGEST_SENTENCE = 4000

#: Longest text that a fact, a log line or a page quotes, in characters.
LONGEST_TEXT = 20_000


#: What shows nothing though its category says otherwise: Unicode's Default_Ignorable_Code_Point without the category Cf (fillers, the
#: joiner of graphemes, selectors of variants; DerivedCoreProperties.txt of Unicode 16), and the empty Braille pattern.
_EMPTY = frozenset(
    chain(
        (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x2800, 0x3164, 0xFFA0),
        *(range(first, last + 1) for first, last in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF))),
    )
)
#: Marks above and below a letter, of which fonts pile up any number: more than four in a row would be drawn over the lines around them.
_MARKS = "\u0300-\u036f\u0483-\u0489\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_PILED = re.compile(f"(?<=[{_MARKS}]{{4}})[{_MARKS}]")


class _Visible(dict[int, str | int]):
    """What stands for a character; looked up once for each that is met."""

    def __missing__(self, code: int) -> str | int:
        # Controls, formats (directions, what has no width), halves of surrogate pairs, and the two separators that end a line.
        if code not in _EMPTY and unicodedata.category(chr(code)) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            shown: str | int = code
        elif code < 0x20:
            shown = 0x2400 + code  # Unicode's own pictures of them: one sign for one, so that nothing moves
        else:
            shown = "␡" if code == 0x7F else "�"
        self[code] = shown
        return shown


_VISIBLE = _Visible()
_LINES = _Visible({ord("\n"): "\n", ord("\t"): "\t"})


def visible(text: str) -> str:
    """The text on one line: every sign that shows nothing, or has others shown otherwise, is replaced by one that is seen."""
    return _spread(text.translate(_VISIBLE))


def visible_lines(text: str) -> str:
    """As `visible`, but line ends and tabs stay."""
    return _spread(text.replace("\r\n", "\n").translate(_LINES))


def _spread(text: str) -> str:
    return text if text.isascii() else _PILED.sub("\ufffd", text)


def bounded(text: str, most: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def one_line(text: str, most: int = LONGEST_SENTENCE) -> str:
    """The text as one line that may be shown: no secret, nothing hidden, white space is one space, so many characters at most."""
    return bounded(visible(" ".join(_readable(text, most).split())), most)


def many_lines(text: str, most: int = LONGEST_TEXT) -> str:
    """As `one_line`, but line ends and white space stay."""
    return bounded(visible_lines(_readable(text, most)), most)


def without_secrets(text: str, most: int = LONGEST_TEXT) -> str:
    """The text as it is, but for secrets, and cut to so many characters: for documents, which are shown elsewhere."""
    return bounded(_readable(text, most), most)


def said(value: object) -> object:
    """The same JSON-able value, each text in it as `many_lines` has it."""
    if isinstance(value, str):
        return many_lines(value)
    if isinstance(value, dict):
        return {key: said(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(said, value))  # type: ignore[call-arg, call-overload]
    return value


def _readable(text: str, most: int) -> str:
    # No more than can be shown is looked through; a secret that is cut in two here is behind what is shown.
    return redacted(text[: most + LONGEST_SECRET])
